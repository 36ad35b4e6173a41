//! Leases of concurrency limits.

mod acquire;
mod guard;

pub use acquire::{Lease, LeaseId, LeaseTerm};
pub(super) use acquire::{LeaseQuota, wrong_kind};
pub use guard::LeaseGuard;
