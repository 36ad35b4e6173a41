//! How large batches are, and how long to wait after a failure. Numbers in, numbers out.

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

/// The pause after a failure, doubled each time, and its bound.
const MIN_BACKOFF: Duration = millis(200);
const MAX_BACKOFF: Duration = secs(30);

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

/// Doubles with each failure up to 30 s, and spreads over the last half so that many processes do not come together.
pub(super) fn backoff(failures: u32) -> Duration {
    let pause = MIN_BACKOFF.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(MAX_BACKOFF);
    let spread =
        f64::from(u32::try_from(uuid::Uuid::now_v7().as_u128() & 0xffff).expect("sixteen bits")) / 65_536.0;
    pause.mul_f64(0.5 + spread / 2.0)
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

    #[test]
    fn pauses_double_to_half_a_minute() {
        for (failures, most) in [(1, millis(200)), (2, millis(400)), (9, secs(30)), (u32::MAX, secs(30))] {
            let pause = backoff(failures);
            assert!((most / 2..=most).contains(&pause), "{failures}: {pause:?}");
        }
    }
}
