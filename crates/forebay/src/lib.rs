//! A basin in front of a database: buffered writes, rate limits, time series, locks and sharding.

pub mod clock;
pub mod error;
pub mod key;
pub mod time;

pub use clock::{Clock, ManualClock};
pub use error::{Error, ErrorKind, Result, Retry};
pub use key::Name;
pub use time::{Timestamp, When};
