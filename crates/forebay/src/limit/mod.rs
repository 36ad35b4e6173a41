//! Quotas and decisions.

mod allowance;
mod decide;
mod decision;
mod definition;
mod handle;
mod lease;
mod local;
mod overrides;
mod report;
mod reserve;

pub use crate::model::rate::{calendar::CalendarUnit, kind::Kind};
pub use decide::{Charge, Decisions, MAX_CHARGES};
pub use decision::{Decision, Source};
pub use definition::{Limit, Mode, OnError, Settings};
pub use handle::{LimitHandle, Outstanding, Policy};
pub use lease::{Lease, LeaseGuard, LeaseId, LeaseTerm, MAX_LEASES};
pub(crate) use overrides::{Limits, follow_overrides};
pub use overrides::{Overridden, Override, SetBy};
pub use report::{Denied, Header, NearLimit, headers};
pub use reserve::{Reservation, Reserve};
