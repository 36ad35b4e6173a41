//! Buffers through the public API: a store, a sink, and the fate of acknowledged writes.

mod failover;
mod flushing;
mod outage;
mod partitions;
mod rollback;
mod support;
