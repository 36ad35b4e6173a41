//! A basin in front of a database: buffered writes, rate limits, time series, locks and sharding.

#[macro_use]
mod failpoint;

pub mod bay;
pub mod buffer;
pub mod clock;
pub mod cluster;
mod engine;
pub mod error;
pub mod event;
pub mod key;
pub mod limit;
pub mod lock;
pub mod series;
pub mod sink;
pub mod time;

pub use bay::Forebay;
pub use buffer::Buffer;
pub use clock::{Clock, ManualClock};
#[cfg(feature = "conformance")]
pub use engine::conformance;
#[cfg(feature = "test-util")]
pub use engine::fault;
pub use error::{Error, ErrorKind, Result, Retry};
pub use event::{Event, Hit};
pub use key::Name;
pub use limit::{Decision, Limit};
pub use lock::{Guard, LockHandle};
pub use series::Series;
pub use time::{Timestamp, When};
