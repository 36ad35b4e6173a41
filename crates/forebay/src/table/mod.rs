//! Tables in memory that many threads look into.

mod shards;
mod short;

pub(crate) use shards::{SHARDS, Shard, Shards};
pub(crate) use short::ShortKey;

/// Lines of the processor's cache of its own: threads that change neighbours, or change one and read the other, would take
/// it from each other. Two lines, since processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Line<T>(pub T);
