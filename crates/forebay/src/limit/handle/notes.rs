//! Who is denied, and who is near to that.

use std::sync::PoisonError;

use super::LimitHandle;
use crate::limit::{
    Kind,
    decision::Decision,
    near::{Near, excess, is_near},
    top::Denied,
};

impl LimitHandle {
    /// The keys that this process saw denied most, the first the most; those that a shadow would have denied, too. At
    /// most 256, counted since the start, in a memory that does not grow with the number of keys.
    pub fn top_denied(&self, most: usize) -> Vec<Denied> {
        self.0.shared.top.lock().unwrap_or_else(PoisonError::into_inner).most(most)
    }

    /// The keys that this process saw nearest to their limit lately, the nearest first: those that have used at least 80 %
    /// of what they are allowed, after the last of their takes that was admitted. At most 256, in a memory that does not
    /// grow with the number of keys; a key is left out once its window is over, or its bucket has refilled so far.
    pub fn near(&self, most: usize) -> Vec<Near> {
        let now = self.0.bay.clock().monotonic();
        self.0.shared.nearest.lock().unwrap_or_else(PoisonError::into_inner).most(most, now)
    }

    #[inline]
    pub(super) fn noted(&self, key: &str, decision: Decision) -> Decision {
        self.note(key, &decision);
        decision
    }

    /// Counts a key that was denied, and takes down one that is near to that.
    #[inline]
    pub(in crate::limit) fn note(&self, key: &str, decision: &Decision) {
        if decision.denies() {
            self.0.shared.top.lock().unwrap_or_else(PoisonError::into_inner).count(key);
        }
        let (used, limit) = (decision.used(), decision.limit());
        if decision.is_allowed() && is_near(used, limit) && !decision.is_degraded() {
            self.note_near(key, *decision);
        }
    }

    #[cold]
    pub(super) fn note_near(&self, key: &str, decision: Decision) {
        let Ok(mut nearest) = self.0.shared.nearest.try_lock() else { return };
        let (used, limit) = (decision.used(), decision.limit());
        let counts = match self.0.kind {
            // It refills steadily: until it is no longer near.
            Kind::TokenBucket => decision.reset_after().mul_f64(excess(used, limit)),
            _ => decision.reset_after(),
        };
        let now = self.0.bay.clock().monotonic();
        nearest.note(key, used, limit, now, now.saturating_add(counts));
    }
}
