//! The tables of the engine in this process, and the task that sweeps them.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    buffer_table, journal::Journal, kv_table, lease_table, limit_table, lock_table, once_table,
    override_table, population, series_table, summary_table,
};
use crate::{
    clock::Clock,
    error::Result,
    table::{SHARDS, Shards},
};
use parking_lot::Mutex;

/// How often what has expired is thrown away. Expiry itself is exact; this only bounds the memory.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The least time of the machine between two sweeps: in a replay or a test the engine's clock may run so fast that
/// nothing else were done.
const MIN_SWEEP_PAUSE: Duration = Duration::from_millis(20);

/// The embedded engine.
///
/// Memory answers; a file, if there is one, remembers. Steps on buffers and locks are answered once a commit has
/// them; limits and series follow within a second.
#[derive(Debug, Default)]
pub(crate) struct Embedded {
    pub(super) clock: Clock,
    pub(super) limits: Shards<limit_table::Entry>,
    pub(super) counters: limit_table::Counters,
    pub(super) leases: Shards<lease_table::Entry>,
    pub(super) series: Shards<series_table::Entry>,
    pub(super) summaries: Shards<summary_table::Entry>,
    pub(super) populations: population::Populations,
    pub(super) buffers: buffer_table::Partitions,
    pub(super) locks: lock_table::Locks,
    pub(super) kv: Shards<kv_table::Entry>,
    pub(super) requests: Mutex<once_table::Requests>,
    pub(super) tokens: Mutex<once_table::Tokens>,
    pub(super) overrides: Mutex<override_table::Overrides>,
    pub(super) journal: Journal,
    /// Locked while changed limits are collected, so that only one thread does.
    pub(super) logged: Mutex<Logged>,
    /// No step is taken any more. Orders nothing else: a step that began before is as good as one that ended before.
    pub(super) closed: AtomicBool,
}

/// How many keys the file's log of each shard of the limits has.
#[derive(Debug)]
pub(super) struct Logged(pub [u64; SHARDS]);

impl Default for Logged {
    fn default() -> Self {
        Self([0; SHARDS])
    }
}

impl Embedded {
    /// An empty engine in memory. Needs a tokio runtime for its sweeper, which ends with the engine.
    pub(crate) fn in_memory(clock: Clock) -> Arc<Self> {
        let engine = Arc::new(Self { clock, ..Self::default() });
        tokio::spawn(sweep_loop(Arc::downgrade(&engine), engine.clock.clone(), SWEEP_INTERVAL));
        engine
    }

    /// Throws away what has expired.
    pub(crate) fn sweep(&self) {
        let now = self.clock.monotonic();
        self.limits.retain(|entry| entry.deadline() > now, limit_table::Entry::hash);
        self.sweep_leases(now);
        self.sweep_series(now);
        self.sweep_summaries(now);
        self.sweep_locks(now);
        self.kv.retain(|entry| !entry.is_over(now), kv_table::Entry::hash);
        self.sweep_requests();
    }

    /// How many keys of limits, leases and series are held.
    #[cfg(test)]
    pub(super) fn keys(&self) -> usize {
        self.limits.len() + self.leases.len() + self.series.len() + self.summaries.len()
    }

    /// Lets the limits and series that have changed ride to the file, and has it all committed.
    pub(super) fn save(&self) {
        let mut logged = self.logged.lock();
        self.defer_limits(&mut logged.0);
        self.defer_all_series();
        self.defer_all_summaries();
        drop(logged);
        self.journal.request_commit();
    }

    pub(crate) async fn ping(&self) -> Result<()> {
        self.journal.check()
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        let relaxed = self.journal.is_relaxed();
        let warning =
            "buffers are answered before they are on disk (sync): a crash loses what that span took in";
        if relaxed { vec![warning.to_owned()] } else { vec![] }
    }

    /// How many commits the file took.
    #[cfg(test)]
    pub(super) fn commits(&self) -> u64 {
        self.journal.commits()
    }

    /// Whether it was closed.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    pub(crate) async fn close(self: &Arc<Self>) -> Result<()> {
        self.closed.store(true, Ordering::Relaxed);
        if self.journal.is_kept() {
            let engine = self.clone();
            // Packing many keys takes longer than a runtime's worker may be kept from others. A runtime that ends
            // takes no more work; then nobody else is kept.
            if tokio::task::spawn_blocking(move || engine.save()).await.is_err() {
                self.save();
            }
        }
        self.journal.end();
        self.journal.ended().await
    }
}

/// Takes out the items that are over. The vector keeps room for so many more than there are, and for twice as many.
pub(super) fn take_out<T>(items: &mut Vec<T>, spare: usize, is_over: impl Fn(&T) -> bool) -> Vec<T> {
    let gone = items.extract_if(.., |item| is_over(item)).collect();
    if items.capacity() > 2 * items.len() + spare {
        items.shrink_to_fit();
    }
    gone
}

/// Sweeps, and saves if there is a file, for as long as there is an engine.
pub(super) async fn sweep_loop(engine: Weak<Embedded>, clock: Clock, every: Duration) {
    loop {
        clock.sleep(every).await;
        let Some(engine) = engine.upgrade() else { return };
        if engine.journal.is_kept() {
            // Packing many keys takes longer than a runtime's worker may be kept from others.
            let tended = tokio::task::spawn_blocking(move || {
                engine.sweep();
                // If what rode before is still on its way, this waits its turn and does not pile up.
                if engine.journal.has_room() {
                    engine.save();
                } else {
                    engine.journal.request_commit();
                }
            });
            // An error would be a panic of a sweep, or the end of the runtime, which ends this task too.
            let _ = tended.await;
        } else {
            engine.sweep();
            drop(engine);
        }
        Clock::system().sleep(MIN_SWEEP_PAUSE).await;
    }
}
