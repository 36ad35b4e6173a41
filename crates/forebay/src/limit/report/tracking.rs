//! Tracks the keys that are denied most, and keys close to their limit.

use std::sync::atomic::Ordering;

use super::{
    heavy_hitters::Denied,
    near_limit::{NearLimit, excess, is_near},
};
use crate::{
    error::Error,
    limit::{
        Kind, LimitHandle,
        decision::{Decision, Source},
    },
    time::{secs, whole_micros},
};

impl LimitHandle {
    /// Logs that the store does not answer, at most once a second for each limit, with a key as an example.
    pub(crate) fn note_outage(&self, key: &str, error: &Error) {
        let (now, noted) = (whole_micros(self.0.store.clock().coarse()).max(1), &self.0.outage_noted);
        let last = noted.load(Ordering::Relaxed);
        let is_due = last == 0 || now.saturating_sub(last) >= whole_micros(secs(1));
        // If another thread notes an outage at this moment, its message is enough.
        if is_due && noted.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            tracing::warn!(limit = %self.0.name, key, %error, "deciding without the store");
        }
    }

    /// The keys that this process saw denied most, the first the most; those that a shadow would have denied, too. At
    /// most 256, counted since the start, in a memory that does not grow with the number of keys.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::Limit;
    /// let hits = bay.limit(Limit::per_minute("hits", 20))?;
    ///
    /// let _ = hits.take_n("user:42", 20).await?;
    /// let _ = hits.take("user:42").await?;
    /// assert_eq!(hits.top_denied(10)[0].key, "user:42");
    /// # Ok(()) }
    /// ```
    pub fn top_denied(&self, most: usize) -> Vec<Denied> {
        self.0.shared.denied.most(most)
    }

    /// The keys that this process saw nearest to their limit lately, the nearest first: those that have used at least 80 %
    /// of what they are allowed, after the last of their takes that was admitted. At most 256, in a memory that does not
    /// grow with the number of keys; a key is left out once its window is over, or its bucket has refilled so far.
    pub fn near(&self, most: usize) -> Vec<NearLimit> {
        let now = self.0.store.clock().monotonic();
        self.0.shared.near.lock().most(most, now)
    }

    #[inline]
    pub(crate) fn noted(&self, key: &str, decision: Decision) -> Decision {
        self.note(key, &decision);
        decision
    }

    /// Counts a key that was denied, and takes down one that is near to that.
    #[inline]
    pub(crate) fn note(&self, key: &str, decision: &Decision) {
        // A remembered denial is counted where it is found.
        if decision.denies() && decision.source() != Source::DenyCache {
            self.0.shared.denied.count(key, 1);
        }
        let (used, limit) = (decision.used(), decision.limit());
        if decision.is_allowed() && is_near(used, limit) && !decision.is_degraded() {
            self.note_near(key, *decision);
        }
    }

    #[cold]
    pub(crate) fn note_near(&self, key: &str, decision: Decision) {
        let Some(mut nearest) = self.0.shared.near.try_lock() else { return };
        let (used, limit) = (decision.used(), decision.limit());
        let counts = match self.kind() {
            // It refills steadily: until it is no longer near.
            Kind::TokenBucket => decision.reset_after().mul_f64(excess(used, limit)),
            _ => decision.reset_after(),
        };
        let now = self.0.store.clock().monotonic();
        nearest.note(key, used, limit, now, now.saturating_add(counts));
    }
}
