//! Tables in memory that many threads look into.

mod shards;
mod short;

pub(crate) use shards::{SHARDS, Shard, Shards};
pub(crate) use short::ShortKey;
