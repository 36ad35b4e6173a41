//! A layer in front of a database: buffered writes, rate limits, time series, locks and sharding.
//!
//! [`Forebay::open`] opens a store: `memory:`, a file, one Redis or many. From it come the handles: a
//! [`limit`] decides, a [`series`] counts by time, a [`buffer`] gathers writes for SQL, a [`lock`] is held by one at a
//! time, an [`event`] does several of these in one call, and a [`cluster`] says which host has a key. All are cheap to
//! clone, and the same code runs on every store.
//!
//! # Vocabulary
//!
//! - A *key* says whose limit or series it is: any UTF-8, 1 to 512 bytes. A *name* says which: it is declared in code.
//! - What may be expected is a value: [`Decision::Deny`], a lock that is held, an empty range. An [`Error`] means that
//!   there is no answer, and [`Error::retry`] says what can be done about it.
//! - A decision is *degraded* when the store did not answer and the limit's [`OnError`](limit::OnError) decided.
//! - A *generation* is what a buffer hands to SQL as a whole, once. Its id is in SQL's ledger.
//! - A *fence* is a number that grows with every holder of a lock; what the lock protects should refuse smaller ones.
//!
//! # What it does not do
//!
//! It keeps no history of single hits, gives no answer across stores at one moment, and has no blocking twin.
//!
//! # Features
//!
//! `redis` (default): the engine for Redis and Valkey. `test-util`: faults on command. `conformance`: the suite that
//! every engine passes.

#[doc(hidden)]
#[macro_use]
pub mod failpoint;

mod applied;
mod backoff;
pub mod bay;
pub mod buffer;
pub mod clock;
pub mod cluster;
mod engine;
pub mod error;
pub mod event;
mod held_lease;
pub mod key;
mod lease_margin;
pub mod limit;
pub mod lock;
mod model;
pub mod once;
mod options;
pub mod series;
pub mod sink;
mod store;
mod table;
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
pub use series::{Distinct, Gauge, Percentiles, Series};
pub use time::{Timestamp, When};

/// The examples of the README and the guides, so that they compile and run.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
#[doc = include_str!("../../../docs/guide/buffer.md")]
#[doc = include_str!("../../../docs/guide/limits.md")]
#[doc = include_str!("../../../docs/guide/series.md")]
#[doc = include_str!("../../../docs/guide/kinds.md")]
#[doc = include_str!("../../../docs/guide/locks.md")]
struct Readme;
