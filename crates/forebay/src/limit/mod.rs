//! Quotas and decisions.

mod across;
mod allowance;
mod apart;
mod decision;
mod definition;
mod deny;
mod guard;
mod handle;
mod headers;
mod lease;
mod leased;
mod mixed;
mod near;
mod overrides;
mod purse;
mod reserve;
mod shared;
mod top;

pub(crate) use across::Charged;
pub use across::{Charge, Decisions, MAX_CHARGES};
pub use decision::{Decision, Source};
pub use definition::{Kind, Limit, MAX_LEASES, Mode, OnError, Settings};
pub use guard::LeaseGuard;
pub use handle::{LimitHandle, MAX_COST, Outstanding, Overridden, Policy, SetBy};
pub use headers::{Header, headers};
pub use lease::{Lease, LeaseId, LeaseTerm};
pub use near::Near;
pub use overrides::Override;
pub use reserve::{Reservation, Reserve};
pub(crate) use shared::{Limits, follow_overrides};
pub use top::Denied;
