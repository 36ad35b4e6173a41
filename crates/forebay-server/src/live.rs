//! The recent samples that the dashboard shows, shared by all its viewers.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use forebay::{Clock, time::millis};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api::live::{LiveLine, LivePast};

/// The number of viewers at once. Each holds a connection, which are bounded too.
pub(crate) const MAX_VIEWERS: usize = 32;

/// The time for which a sample is shown to further viewers. It is a little less than the second between two lines, so that
/// each line of the first viewer is new although its timer is not exact.
const FRESH: Duration = millis(900);

/// The number of samples that are kept, a second apart: as many as the page draws.
const MAX_HISTORY: usize = 121;

/// The state of the dashboard's live stream.
#[derive(Debug)]
pub(crate) struct Live {
    /// The time at which the server started.
    pub(crate) started: String,
    /// The monotonic time of the start.
    began: Duration,
    viewers: Arc<Semaphore>,
    /// The last sample. However many viewers there are, the store is read once a second: the others wait for this lock.
    last: tokio::sync::Mutex<Option<LiveLine>>,
    /// The last samples, oldest first. Locked to add one or to copy all, never across an await.
    history: Mutex<VecDeque<LivePast>>,
}

impl Live {
    pub(crate) fn new(clock: &Clock) -> Self {
        Self {
            started: clock.now().to_string(),
            began: clock.monotonic(),
            viewers: Arc::new(Semaphore::new(MAX_VIEWERS)),
            last: tokio::sync::Mutex::new(None),
            history: Mutex::default(),
        }
    }

    /// Admits a viewer, unless [`MAX_VIEWERS`] watch already.
    pub(crate) fn admit(&self) -> Option<OwnedSemaphorePermit> {
        self.viewers.clone().try_acquire_owned().ok()
    }

    /// Seconds since the start.
    pub(crate) fn elapsed(&self, clock: &Clock) -> f64 {
        clock.monotonic().saturating_sub(self.began).as_secs_f64()
    }

    /// Adds a sample to the history. To be called once a second.
    pub(crate) fn remember(&self, past: LivePast) {
        let mut history = self.history.lock();
        history.push_back(past);
        if history.len() > MAX_HISTORY {
            history.pop_front();
        }
    }

    /// The history before a sample. A shared sample may be older than the last entry.
    pub(crate) fn history(&self, sample: &LiveLine) -> Vec<LivePast> {
        self.history.lock().iter().filter(|past| past.elapsed < sample.elapsed).cloned().collect()
    }

    /// The last sample while it is fresh, else a new one.
    pub(crate) async fn sample(&self, clock: &Clock, read: impl AsyncFnOnce(f64) -> LiveLine) -> LiveLine {
        let mut last = self.last.lock().await;
        let elapsed = self.elapsed(clock);
        match &*last {
            Some(sample) if elapsed - sample.elapsed < FRESH.as_secs_f64() => sample.clone(),
            _ => last.insert(read(elapsed).await).clone(),
        }
    }
}
