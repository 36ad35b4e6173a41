//! Reports of a limit: response headers, the keys denied most, the keys close to their limit.

mod headers;
mod heavy_hitters;
mod near_limit;
mod tracking;

pub use headers::{Header, headers};
pub use heavy_hitters::Denied;
pub(super) use heavy_hitters::HeavyHitters;
pub use near_limit::NearLimit;
pub(super) use near_limit::{NearKeys, is_near};
