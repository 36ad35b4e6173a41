//! Writes pending counts to their series, once a second.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use forebay::{ErrorKind, Retry, When, key, time::secs};
use futures::{StreamExt, stream};
use metrics::Gauge;
use parking_lot::Mutex;

use super::{
    pending::{Count, Pending},
    refused::Refusals,
    target::{Series, Target},
    why::Why,
};

/// The interval between writes. A crash loses at most the counts of one.
pub(super) const INTERVAL: Duration = secs(1);

/// Writes under way at the same time: enough to fill many round trips to the store.
const MAX_IN_FLIGHT: usize = 512;

/// The most points of one write.
const MAX_POINTS: u64 = 1_000;

/// What the reader of datagrams and the writer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub targets: Vec<Target>,
    pub pending: Mutex<Pending>,
    pub refusals: Refusals,
    pub gauge: Gauge,
    /// Counts that are being written. It orders nothing else.
    pub writing: AtomicUsize,
}

impl Shared {
    /// Writes all that is pending. What the store certainly did not take stays for the next time, if there is room.
    pub(super) async fn write(&self) {
        let counts = self.pending.lock().take();
        self.writing.store(counts.len(), Ordering::Relaxed);
        let write = async |count| {
            self.write_one(count).await;
            self.writing.fetch_sub(1, Ordering::Relaxed);
        };
        let writes = stream::iter(counts).map(write).buffer_unordered(MAX_IN_FLIGHT);
        writes.collect::<()>().await;
        self.gauge.set(self.left() as f64);
        self.refusals.log();
    }

    /// The counts that are not in the store.
    pub(super) fn left(&self) -> usize {
        self.pending.lock().len() + self.writing.load(Ordering::Relaxed)
    }

    /// Writes a count. It has one key, so that the store takes all of it or nothing.
    async fn write_one(&self, count: Count) {
        let Count { subject, bucket, events } = &count;
        let target = &self.targets[subject.target];
        let added = match &target.series {
            Series::Hits(series) => {
                // More would be 2^41 events in a second.
                let points = events.div_ceil(key::Count::MAX).min(MAX_POINTS);
                let part = |place: u64| (*events - place * key::Count::MAX).min(key::Count::MAX);
                let points = (0..points).map(|place| (&*subject.key, part(place), *bucket));
                series.add_many(points, When::EngineClock).await
            }
        };
        let Err(error) = added else {
            target.metrics.points.increment(1);
            return;
        };
        tracing::debug!(%error, key = %subject.key, "a count of statsd was not written");
        let why = match (error.kind(), error.retry()) {
            (ErrorKind::Overloaded, _) | (_, Retry::Never) => Some(Why::Refused),
            (_, Retry::Now | Retry::Later) => None,
            // To send it again could count it twice.
            _ => Some(Why::Unknown),
        };
        let text = subject.key.clone();
        let why = why.or_else(|| self.pending.lock().put_back(count).err().map(|_| Why::Overflow));
        if let Some(why) = why {
            self.refusals.add(why, text.as_bytes());
        }
    }
}
