//! The decision about a take: by an override, by the knowledge of this process, or by the store.

mod charge;
mod deny_cache;
mod fast_path;
mod refunds;
mod take;
mod take_all;

pub use charge::{Charge, Decisions, MAX_CHARGES};
pub(super) use deny_cache::DenyCache;
