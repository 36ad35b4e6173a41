//! Buffers from the outside: a store, a sink, and what becomes of what was acknowledged.

mod failover;
mod flushing;
mod outage;
mod partitions;
mod rollback;
mod support;
