//! How a take is decided: in this process where that is possible, else by the store.

mod deny_cache;
mod fast_path;
mod multi_host;
mod partial;
mod take_all;

pub(super) use deny_cache::DenyCache;
pub(super) use fast_path::apart;
pub(crate) use take_all::Charged;
pub use take_all::{Charge, Decisions, MAX_CHARGES};
