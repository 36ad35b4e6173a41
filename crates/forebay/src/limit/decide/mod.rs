//! How a take is decided: by an override, by what this process knows, or by the store.

mod charge;
mod deny_cache;
mod fast_path;
mod refunds;
mod take;
mod take_all;

pub use charge::{Charge, Decisions, MAX_CHARGES};
pub(super) use deny_cache::DenyCache;
