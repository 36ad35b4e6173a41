//! A basin in front of a database: buffered writes, rate limits, time series, locks and sharding.

pub mod buffer;
pub mod clock;
mod engine;
pub mod error;
pub mod key;
pub mod limit;
pub mod series;
pub mod sink;
pub mod time;

pub use buffer::Buffer;
pub use clock::{Clock, ManualClock};
pub use error::{Error, ErrorKind, Result, Retry};
pub use key::Name;
pub use time::{Timestamp, When};
