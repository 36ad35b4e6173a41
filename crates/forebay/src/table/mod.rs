//! Tables in memory that many threads look into.

mod shards;

pub(crate) use shards::{SHARDS, Shard, Shards};
