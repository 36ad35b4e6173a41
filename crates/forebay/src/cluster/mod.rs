//! Sharding: plain commands on the host of their key, many at a time.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
//! use forebay::{Forebay, cluster::Ticket, time::days};
//!
//! let bay = Forebay::open("memory:").await?;
//! let mut map = bay.cluster().map();
//! let hits: Vec<Ticket<i64>> = (0..5).map(|user| map.incr(format!("hits:{user}"), 1)).collect();
//! map.expire("hits:0", days(1));
//! let answers = map.run().await;
//! for ticket in hits {
//!     assert_eq!(answers.get(ticket)?, 1);
//! }
//! # Ok(()) }
//! ```
//!
//! Each host gets its commands as one pipeline, all hosts at the same time. Each command has its own answer: a command that
//! is refused, or a dead host, does not affect the others.
//!
//! Keys are sent as they are, without the prefix of Forebay's own structures. The router decides which host has a key: with
//! `nydus-partition`, for example, the host where Nydus would look for it.

mod answers;
mod argument;
#[cfg(feature = "redis")]
mod convert;
mod handle;
#[cfg(feature = "redis")]
mod hosts;
#[cfg(feature = "redis")]
mod inspection;
mod map;
#[cfg(feature = "redis")]
mod reshard;
#[cfg(feature = "redis")]
mod scan;

pub use answers::{Answers, CommandError, HostAnswer, Ticket};
pub use argument::Argument;
#[cfg(feature = "redis")]
pub use convert::Conversion;
pub use handle::{Cluster, Route};
#[cfg(feature = "redis")]
pub use hosts::{FirstPlacement, Hosts};
#[cfg(feature = "redis")]
pub use inspection::{Inspection, Plan, SlotMove, Verification};
pub use map::{MAX_BYTES, MAX_COMMANDS, MAX_TTL, Map, Target};
#[cfg(feature = "redis")]
pub use reshard::ReshardOptions;

#[cfg(feature = "redis")]
pub use crate::engine::cluster::RouterKind;
pub use crate::model::{
    Calls, Fate, FromReply, Health, HostStatus, Latency, Memory, Placement, Redirects, Reply, Script, Since,
    Skew,
};
#[cfg(feature = "redis")]
pub use crate::model::{Converted, Finding, KeysOfKind, Outcome, Progress, ServerReport};
