//! Quotas and decisions.

mod across;
mod apart;
mod decision;
mod definition;
mod deny;
mod gcra;
mod handle;
pub(crate) mod rule;
mod window;

pub use across::{Charge, Decisions, MAX_CHARGES};
pub use decision::{Decision, Source};
pub use definition::{Kind, Limit, OnError};
pub use handle::{LimitHandle, MAX_COST};
