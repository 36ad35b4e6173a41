//! What a limit reports: response headers, the keys denied most, the keys close to their limit.

mod headers;
mod heavy_hitters;
mod near_limit;
mod tracking;

pub use headers::{Header, headers};
pub use heavy_hitters::Denied;
pub(super) use heavy_hitters::Top;
pub use near_limit::Near;
pub(super) use near_limit::{Nearest, is_near};
