//! Leases of concurrency limits.

mod acquire;
mod guard;
mod id;
mod quota;

pub use acquire::Lease;
pub use guard::LeaseGuard;
pub use id::{LeaseId, LeaseTerm};
pub(super) use quota::LeaseQuota;
pub use quota::MAX_LEASES;
