//! Tables in memory that many threads look into.

mod inline_key;
mod shards;

pub(crate) use inline_key::InlineKey;
pub(crate) use shards::{SHARDS, Shard, Shards};
