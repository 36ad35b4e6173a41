//! Plain commands on whichever host has their key, many in one go.
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
//! Each host gets its commands as one pipeline, all hosts at the same time. Each command has its own
//! answer: what one is refused, or a host that is dead, costs no other command anything.
//!
//! Keys go to the store as they are, without the prefix of Forebay's own structures, and to the host
//! where the router finds them: with `nydus-partition`, say, where Nydus would look for them.

mod answers;
mod argument;
mod handle;
#[cfg(feature = "redis")]
mod hosts;
mod map;

pub use answers::{Answers, CommandError, HostAnswer};
pub use argument::Argument;
pub use handle::{Cluster, Route, Target};
#[cfg(feature = "redis")]
pub use hosts::Hosts;
pub use map::{MAX_TTL, Map, Ticket};

#[cfg(feature = "redis")]
pub use crate::engine::cluster::RouterKind;
pub use crate::model::{Fate, FromReply, Health, HostStatus, Placement, Reply};
