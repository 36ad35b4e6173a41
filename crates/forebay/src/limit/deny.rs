//! Denials remembered, so that a flood against a full limit does not reach the store.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::decision::{Decision, Source};

/// The store is asked again after at most this long: somebody else may have reset the key.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Beyond this many keys nothing new is remembered until old ones run out: some megabytes.
const MOST: usize = 16_384;

/// The keys of one limit that were denied lately.
///
/// Says no only where the store would: from before the question was sent until the time the answer
/// named, for costs at least as large. The lock protects the table, for one look-up at a time.
#[derive(Debug, Default)]
pub(super) struct DenyCache {
    table: Mutex<HashMap<Box<str>, Denied>>,
    /// How many the table holds, so that a limit that denies nobody takes no lock. Relaxed: who reads an old zero asks
    /// the store, which is always right.
    held: AtomicUsize,
}

#[derive(Debug)]
struct Denied {
    cost: u64,
    asked: Duration,
    until: Duration,
    decision: Decision,
}

impl DenyCache {
    /// A denial that still stands at `now`, on the monotonic clock.
    pub(super) fn look_up(&self, key: &str, cost: u64, now: Duration) -> Option<Decision> {
        if self.held.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let denied = self.table();
        let denied = denied.get(key).filter(|denied| cost >= denied.cost && now < denied.until)?;
        Some(denied.decision.later(now.saturating_sub(denied.asked)).from(Source::DenyCache))
    }

    /// Remembers a denial that was asked for at `asked`.
    pub(super) fn remember(&self, key: &str, cost: u64, asked: Duration, decision: Decision) {
        let Some(wait) = decision.retry_after().filter(|wait| !wait.is_zero()) else { return };
        let denied = Denied { cost, asked, until: asked + wait.min(ASK_AGAIN), decision };
        let mut table = self.table();
        if table.len() >= MOST && !table.contains_key(key) {
            table.retain(|_, denied| denied.until > asked);
            if table.len() >= MOST {
                return;
            }
        }
        table.insert(key.into(), denied);
        self.held.store(table.len(), Ordering::Relaxed);
    }

    /// Forgets a key: it was reset, or something was given back.
    pub(super) fn forget(&self, key: &str) {
        let mut table = self.table();
        table.remove(key);
        self.held.store(table.len(), Ordering::Relaxed);
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Box<str>, Denied>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        limit::rule::{Rule, State},
        time::secs,
    };

    fn denial(wait: u64) -> Decision {
        let rule = Rule::fixed_window(1, secs(60), secs(0)).expect("in range");
        let now = 60_000_000 * 1_000;
        Decision::from_state(&rule, State(1_000, 1), now + 60_000_000 - wait * 1_000_000, Some(1))
    }

    #[test]
    fn stands_until_the_time_it_named_and_at_most_a_second() {
        let cache = DenyCache::default();
        cache.remember("a", 2, secs(10), denial(30));
        assert!(cache.look_up("a", 1, secs(10)).is_none(), "a smaller cost may fit");
        let later = cache.look_up("a", 2, secs(10) + Duration::from_millis(400)).expect("stands");
        assert_eq!(later.retry_after(), Some(Duration::from_millis(29_600)));
        assert_eq!(later.source(), Source::DenyCache);
        assert!(cache.look_up("a", 2, secs(11)).is_none(), "asked again after a second");
        cache.remember("b", 1, secs(10), denial(30));
        cache.forget("b");
        assert!(cache.look_up("b", 1, secs(10)).is_none());
    }

    #[test]
    fn memory_is_bounded() {
        let cache = DenyCache::default();
        for key in 0..2 * MOST {
            cache.remember(&key.to_string(), 1, secs(10), denial(30));
        }
        assert_eq!(cache.table().len(), MOST);
        cache.remember("late", 1, secs(12), denial(30));
        assert_eq!(cache.table().len(), 1, "what ran out makes room");
    }
}
