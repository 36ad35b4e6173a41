//! The size of batches: smaller while the sink is slow.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::time::{millis, secs};

/// Applying a batch should not take longer: other transactions wait for its row locks.
const SLOW_APPLY: Duration = secs(1);

/// After a batch that took less than this, batches grow.
const QUICK_APPLY: Duration = millis(250);

/// Smaller batches are not applied faster.
const MIN_BATCH_ROWS: u64 = 100;

/// Decides how many rows a partition gathers before it is flushed early.
///
/// Additive increase and multiplicative decrease, as in TCP: the flushers of one database converge to equal shares.
#[derive(Debug, Default)]
pub(super) struct BatchSizer {
    /// The configured number of rows less the current one. Nothing else is ordered by this atomic.
    fewer: AtomicU64,
}

impl BatchSizer {
    /// The number of rows at which a partition is flushed early; at most `most`, which is configured.
    pub(super) fn rows(&self, most: u64) -> u64 {
        most.saturating_sub(self.fewer.load(Ordering::Relaxed)).max(MIN_BATCH_ROWS.min(most))
    }

    /// Adapts to the time that a batch took.
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
        assert_eq!(batch_size.rows(5_000), 2_500, "neither slow nor quick");
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
        assert_eq!(batch_size.rows(7), 7, "less than the minimum is configured");
    }
}
