//! Denied hits, counted in this process and added to the `limited` series about once a second.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::runtime::Handle;

use crate::{
    error::{ErrorKind, Retry},
    key::{Count, Name},
    series::SeriesHandle,
    store::Store,
    table::{InlineKey, SHARDS, Shard, Shards},
    time::{Timestamp, When, secs},
};

/// The interval at which the counts are sent to the store. A crash loses at most those of one interval.
const FLUSH_INTERVAL: Duration = secs(1);

/// The longest wait of a shutdown for the store to take the counts.
const CLOSE_TIMEOUT: Duration = secs(1);

/// At most this many counts are held: some megabytes. Beyond this, each denied hit of a new key is sent by itself.
const MAX_PENDING: usize = 65_536;

/// A thread counts a key by itself, in a shard that others seldom lock, once it was denied this often within one interval.
/// Otherwise the threads that deny one key would wait for one lock.
const HOT: u64 = 64;

/// At most this many points go into one write.
const MAX_POINTS: usize = 1_000;

/// A key, how often it was denied, and when.
type LimitedPoint = (InlineKey, u64, Timestamp);

/// The denied hits of the events of an open store, by series, key and bucket of the finest resolution.
#[derive(Debug)]
pub(crate) struct LimitedTally {
    store: Store,
    pending: Shards<Pending>,
    /// The size of the table. Ordered with `flushing`, so that no count is left without a task.
    held: AtomicUsize,
    /// A task sends what is pending.
    flushing: AtomicBool,
}

#[derive(Debug)]
struct Pending {
    series: SeriesHandle,
    key: InlineKey,
    /// The bucket of the finest resolution.
    bucket: Range<Timestamp>,
    /// The time of the first hit in the bucket.
    at: Timestamp,
    n: u64,
}

thread_local! {
    /// The shard in which this thread counts keys that are denied often.
    static SHARD_OF_THREAD: usize = NEXT_SHARD.fetch_add(1, Ordering::Relaxed) % SHARDS;
}

/// Spreads threads over shards. Orders nothing else.
static NEXT_SHARD: AtomicUsize = AtomicUsize::new(0);

impl Pending {
    fn is_of(&self, series: &SeriesHandle, key: &str, at: Timestamp) -> bool {
        self.bucket.contains(&at)
            && self.key.as_bytes() == key.as_bytes()
            && self.series.name().is(series.name())
    }

    fn hash(&self) -> u64 {
        self.series.name().hash_of(self.key.as_bytes())
    }
}

impl LimitedTally {
    pub(crate) fn new(store: Store) -> Arc<Self> {
        let (held, flushing) = (AtomicUsize::new(0), AtomicBool::new(false));
        Arc::new(Self { store, pending: Shards::default(), held, flushing })
    }

    /// Counts denied hits of `series`. False: there is no room.
    pub(crate) fn add(self: &Arc<Self>, series: &SeriesHandle, key: &str, n: u64, at: Timestamp) -> bool {
        let hash = series.name().hash_of(key.as_bytes());
        let count = |shard: &mut Shard<'_, Pending>| {
            let pending = shard.find_mut(hash, |pending| pending.is_of(series, key, at))?;
            pending.n = pending.n.saturating_add(n);
            Some(pending.n)
        };
        let own = SHARD_OF_THREAD.with(|shard| *shard);
        if count(&mut self.pending.lock_index(own)).is_some() {
            return true;
        }
        let mut shard = self.pending.lock(hash);
        let counted = count(&mut shard);
        if counted.is_some_and(|counted| counted < HOT) {
            return true;
        }
        if self.held.load(Ordering::Relaxed) >= MAX_PENDING {
            return counted.is_some();
        }
        self.held.fetch_add(1, Ordering::SeqCst);
        let (mut shard, n) = if counted.is_some() {
            drop(shard);
            (self.pending.lock_index(own), 0)
        } else {
            (shard, n)
        };
        let bucket = series.resolutions().first().expect("a series has a resolution").span(at);
        let pending = Pending { series: series.clone(), key: key.into(), bucket, at, n };
        shard.insert_unique(hash, pending, Pending::hash);
        drop(shard);
        self.ensure_flush_task();
        true
    }

    /// Sends what is pending, within a second.
    pub(crate) async fn close(&self) {
        self.store.clock().timeout(CLOSE_TIMEOUT, self.flush()).await;
    }

    fn ensure_flush_task(self: &Arc<Self>) {
        if self.flushing.load(Ordering::SeqCst) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        if !self.flushing.swap(true, Ordering::SeqCst) {
            drop(runtime.spawn(flush_loop(FlushTask(Arc::downgrade(self)))));
        }
    }

    async fn flush(&self) {
        let mut all: HashMap<Name, (SeriesHandle, Vec<LimitedPoint>)> = HashMap::new();
        for index in 0..SHARDS {
            let shard = std::mem::take(&mut *self.pending.lock_index(index));
            self.held.fetch_sub(shard.len(), Ordering::Relaxed);
            for Pending { series, key, at, mut n, .. } in shard {
                let (_, points) = all.entry(series.name().clone()).or_insert_with(|| (series, vec![]));
                while n > 0 {
                    points.push((key.clone(), n.min(Count::MAX), at));
                    n -= n.min(Count::MAX);
                }
            }
        }
        for (series, points) in all.into_values() {
            for points in points.chunks(MAX_POINTS) {
                send(&series.limited(), points).await;
            }
        }
    }
}

/// Adds points to a `limited` series. A failure changes nothing for the callers, who were denied before.
async fn send(series: &SeriesHandle, points: &[LimitedPoint]) {
    let Err(error) = series.add_many(points.to_vec(), When::EngineClock).await else { return };
    let may_be_of_one = !error.is_outage() || error.kind() == ErrorKind::Overloaded;
    let is_uncounted = error.retry() != Retry::Unknown;
    if may_be_of_one && is_uncounted && points.len() > 1 {
        // The series refuses one of the points, such as a new key beyond its bound, and with it all.
        let (some, others) = points.split_at(points.len() / 2);
        Box::pin(send(series, some)).await;
        Box::pin(send(series, others)).await;
        return;
    }
    tracing::debug!(series = %series.name(), points = points.len(), %error, "limited hits were not counted");
}

/// The task that sends the counts. When it ends for any reason, another may start.
struct FlushTask(Weak<LimitedTally>);

impl Drop for FlushTask {
    fn drop(&mut self) {
        if let Some(tally) = self.0.upgrade() {
            tally.flushing.store(false, Ordering::SeqCst);
        }
    }
}

/// Sends the counts for as long as there are any.
async fn flush_loop(task: FlushTask) {
    let Some(clock) = task.0.upgrade().map(|tally| tally.store.clock().clone()) else { return };
    loop {
        clock.sleep(FLUSH_INTERVAL).await;
        let Some(tally) = task.0.upgrade() else { return };
        tally.flush().await;
        if tally.held.load(Ordering::Relaxed) == 0 {
            drop(task);
            // A count that came meanwhile found this task running.
            if tally.held.load(Ordering::SeqCst) > 0 {
                tally.ensure_flush_task();
            }
            return;
        }
    }
}
