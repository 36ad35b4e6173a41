//! Counts that come as datagrams of statsd or DogStatsD.
//!
//! ```text
//! socket ─ source allowed? ─ lines ─ parse ─ pattern: series and key ─ pending, bounded ─ once a second ─ series
//!  listener.rs  kernel.rs = drops    line.rs     target.rs              held.rs           writer.rs
//!                                    why.rs                             pending.rs = counts, observed.rs = values, elements
//!                                                                       sampled.rs = exact sums, levels.rs = gauges
//! ```
//!
//! Nothing here is counted exactly once: a datagram may be lost or come twice, and a crash loses what is pending.

mod held;
mod kernel;
mod levels;
mod line;
mod listener;
mod observed;
mod pending;
mod refused;
mod sampled;
mod target;
mod why;
mod writer;

pub use listener::{Listener, Running};
