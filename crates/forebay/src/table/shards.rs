//! Tables cut into shards, each behind a lock of its own.

use crossbeam_utils::CachePadded;
use hashbrown::HashTable;
use parking_lot::{Mutex, MutexGuard};

/// Enough that two of a few dozen threads seldom meet, few enough that a sweep stays cheap.
pub(crate) const SHARDS: usize = 64;

/// A hash table in shards.
///
/// A plain mutex per shard, not a lock-free map: a step over several keys must hold all of them, and
/// locking shards in ascending order does that without deadlock. Sections are some ten
/// instructions, so the lock is held for less time than a reader-writer lock takes to get.
#[derive(Debug)]
pub(crate) struct Shards<T>(Box<[CachePadded<Mutex<HashTable<T>>>]>);

/// A shard, locked.
pub(crate) type Shard<'a, T> = MutexGuard<'a, HashTable<T>>;

impl<T> Default for Shards<T> {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| CachePadded::default()).collect())
    }
}

impl<T> Shards<T> {
    /// Which shard a hash falls into. The table inside uses the low bits, so this takes the high ones.
    #[inline]
    pub(crate) fn index(hash: u64) -> usize {
        usize::try_from(hash >> 58).expect("six bits")
    }

    /// Locks the shard of a hash.
    #[inline]
    pub(crate) fn lock(&self, hash: u64) -> Shard<'_, T> {
        self.lock_index(Self::index(hash))
    }

    /// Locks a shard by its index. Several are locked in ascending order.
    #[inline]
    pub(crate) fn lock_index(&self, index: usize) -> Shard<'_, T> {
        self.0[index].lock()
    }

    /// Keeps what `keep` says, shard by shard, and gives memory back that is no longer needed.
    pub(crate) fn retain(&self, mut keep: impl FnMut(&mut T) -> bool, hash: impl Fn(&T) -> u64) {
        for index in 0..SHARDS {
            let mut shard = self.lock_index(index);
            shard.retain(&mut keep);
            let kept = shard.len();
            if kept < shard.capacity() / 4 {
                shard.shrink_to(2 * kept, &hash);
            }
        }
    }

    /// How many entries there are, without stopping anybody.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        (0..SHARDS).map(|index| self.lock_index(index).len()).sum()
    }
}
