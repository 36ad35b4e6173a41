//! Writes pending counts to their series, once a second.

use std::{
    iter::repeat_n,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use forebay::{ErrorKind, Retry, When, key, time::secs};
use futures::{StreamExt, stream};
use metrics::Gauge;
use parking_lot::Mutex;

use super::{
    held::{Held, Job},
    observed::{Batch, Items, Measured},
    pending::Count,
    refused::Refusals,
    target::{Series, Target},
    why::Why,
};

/// The interval between writes. A crash loses at most the counts of one.
pub(super) const INTERVAL: Duration = secs(1);

/// Writes under way at the same time: enough to fill many round trips to the store.
const MAX_IN_FLIGHT: usize = 512;

/// The most points of one write.
const MAX_POINTS: u32 = 1_000;

/// The state that the reader of datagrams and the writer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub targets: Vec<Target>,
    pub pending: Mutex<Held>,
    pub refusals: Refusals,
    pub gauge: Gauge,
    /// Counts, values and elements that are being written. It orders nothing else.
    pub writing: AtomicUsize,
}

impl Shared {
    /// Writes all that is pending. What the store certainly did not take stays for the next time, if there is room.
    pub(super) async fn write(&self) {
        let jobs = self.pending.lock().take();
        self.writing.store(jobs.iter().map(Job::len).sum(), Ordering::Relaxed);
        let write = async |job: Job| {
            let length = job.len();
            match job {
                Job::Count(count) => self.write_count(count).await,
                Job::Batch(batch) => self.write_batch(batch).await,
            }
            self.writing.fetch_sub(length, Ordering::Relaxed);
        };
        let writes = stream::iter(jobs).map(write).buffer_unordered(MAX_IN_FLIGHT);
        writes.collect::<()>().await;
        self.gauge.set(self.left() as f64);
        self.refusals.log();
    }

    /// The counts, values and elements that are not in the store.
    pub(super) fn left(&self) -> usize {
        self.pending.lock().len() + self.writing.load(Ordering::Relaxed)
    }

    /// Writes a count. It has one key, so that the store takes all of it or nothing.
    async fn write_count(&self, count: Count) {
        let Count { subject, bucket, events } = &count;
        let target = &self.targets[subject.target];
        let Series::Hits(series) = &target.series else { return };
        // More would be 2^41 events in a second.
        let points = events.div_ceil(key::Count::MAX).min(MAX_POINTS.into());
        let part = |place: u64| (*events - place * key::Count::MAX).min(key::Count::MAX);
        let points = (0..points).map(|place| (&*subject.key, part(place), *bucket));
        let added = series.add_many(points, When::EngineClock).await;
        match added.map_err(|error| outcome(&subject.key, &error, false)) {
            Ok(()) => target.metrics.points.increment(1),
            Err(Some(why)) => self.refusals.add(why, subject.key.as_bytes()),
            Err(None) => {
                let key = subject.key.clone();
                if self.pending.lock().counts.put_back(count).is_err() {
                    self.refusals.add(Why::Overflow, key.as_bytes());
                }
            }
        }
    }

    /// Writes what is pending of a key, in parts of which the store takes all or nothing.
    async fn write_batch(&self, batch: Batch) {
        let Batch { target, key, items } = batch;
        for part in items.parts(MAX_POINTS) {
            if !self.write_part(target, &key, part.clone(), part.len() > 1).await {
                // One of them is refused, and with it all.
                for part in part.parts(1) {
                    self.write_part(target, &key, part, false).await;
                }
            }
        }
    }

    /// Writes a part of a batch. With `may_split`, `false` means that nothing is done, because the series refuses one of its
    /// items.
    async fn write_part(&self, place: usize, key: &str, items: Items, may_split: bool) -> bool {
        let target = &self.targets[place];
        let when = When::EngineClock;
        let copies = |value: &Measured| repeat_n((key, value.value, value.at), value.times as usize);
        let written = match (&target.series, &items) {
            (Series::Gauge(series), Items::Values(values)) => {
                series.record_many(values.iter().flat_map(copies), when).await
            }
            (Series::Percentiles(series), Items::Values(values)) => {
                series.record_many(values.iter().flat_map(copies), when).await
            }
            (Series::Distinct(series), Items::Elements(elements)) => {
                series.add_many(elements.iter().map(|(at, element)| (key, element, *at)), when).await
            }
            _ => return true,
        };
        let Err(error) = written else {
            target.metrics.points.increment(1);
            return true;
        };
        // An element may be added again.
        let is_repeatable = matches!(items, Items::Elements(_));
        let (why, lost) = match outcome(key, &error, is_repeatable) {
            Some(Why::Refused) if may_split && error.kind() != ErrorKind::Overloaded => return false,
            Some(why) => (why, items.len()),
            None => {
                let batch = Batch { target: place, key: key.into(), items };
                (Why::Overflow, self.pending.lock().observed.put_back(batch))
            }
        };
        (0..lost).for_each(|_| self.refusals.add(why, key.as_bytes()));
        true
    }
}

/// The reason why what was not written is given up; `None`: it is written again.
fn outcome(key: &str, error: &forebay::Error, is_repeatable: bool) -> Option<Why> {
    tracing::debug!(%error, key, "statsd: not written");
    match (error.kind(), error.retry()) {
        (ErrorKind::Overloaded, _) | (_, Retry::Never) => Some(Why::Refused),
        (_, Retry::Now | Retry::Later) => None,
        _ if is_repeatable => None,
        // To send it again could count it twice.
        _ => Some(Why::Unknown),
    }
}
