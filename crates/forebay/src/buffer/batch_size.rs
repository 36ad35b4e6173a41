//! How many rows a batch should have.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::time::{millis, secs};

/// What applying a batch should take at most: so long others may wait for its row locks.
const SLOW_APPLY: Duration = secs(1);

/// Below it batches may grow.
const QUICK_APPLY: Duration = millis(250);

/// A batch that is made smaller than this is not applied any faster.
const MIN_BATCH_ROWS: u64 = 100;

/// How many rows a partition gathers before it is flushed early: fewer while the sink is slow, and slowly more again.
///
/// Additive increase and multiplicative decrease, as TCP has it: several flushers of one database come to equal shares.
#[derive(Debug, Default)]
pub(super) struct BatchSizer {
    /// How many fewer than the most. A number of its own: nothing is ordered by it.
    fewer: AtomicU64,
}

impl BatchSizer {
    /// The rows at which a partition is flushed early; `most` is configured.
    pub(super) fn rows(&self, most: u64) -> u64 {
        most.saturating_sub(self.fewer.load(Ordering::Relaxed)).max(MIN_BATCH_ROWS.min(most))
    }

    /// Learns from a batch that was applied.
    pub(super) fn applied(&self, took: Duration, most: u64) {
        let rows = self.rows(most);
        let next = if took > SLOW_APPLY {
            rows / 2
        } else if took < QUICK_APPLY {
            rows + most.div_ceil(10)
        } else {
            rows
        };
        let next = next.clamp(MIN_BATCH_ROWS.min(most), most);
        self.fewer.store(most - next, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_shrink_while_the_sink_is_slow_and_grow_again() {
        let batch_size = BatchSizer::default();
        assert_eq!(batch_size.rows(5_000), 5_000);
        batch_size.applied(secs(2), 5_000);
        assert_eq!(batch_size.rows(5_000), 2_500);
        batch_size.applied(millis(500), 5_000);
        assert_eq!(batch_size.rows(5_000), 2_500, "as it should be");
        for _ in 0..20 {
            batch_size.applied(secs(9), 5_000);
        }
        assert_eq!(batch_size.rows(5_000), MIN_BATCH_ROWS);
        batch_size.applied(millis(1), 5_000);
        assert_eq!(batch_size.rows(5_000), MIN_BATCH_ROWS + 500);
        for _ in 0..20 {
            batch_size.applied(millis(1), 5_000);
        }
        assert_eq!(batch_size.rows(5_000), 5_000);
        batch_size.applied(secs(9), 7);
        assert_eq!(batch_size.rows(7), 7, "fewer than the least are configured");
    }
}
