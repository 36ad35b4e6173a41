//! Denials remembered, so that a flood against a full limit does not reach the store.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};

use crate::{
    engine::step::Take,
    limit::decision::{Decision, Source},
    model::rate::rule::Rule,
};

/// The store is asked again after at most this long: somebody else may have reset the key.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Beyond this many keys nothing new is remembered until old ones run out: some megabytes.
const MOST: usize = 16_384;

/// The keys of one limit that were denied lately.
///
/// Says no only where the store would: from before the question was sent until the time the answer
/// named, for costs at least as large. The lock protects the table, for one look-up at a time.
#[derive(Debug, Default)]
pub(crate) struct DenyCache {
    table: Mutex<HashMap<Box<str>, Denied>>,
    /// How many the table holds, so that a limit that denies nobody takes no lock. Relaxed: who reads an old zero asks
    /// the store, which is always right.
    held: AtomicUsize,
}

#[derive(Debug)]
struct Denied {
    /// A key that is allowed something else by now is not denied by what it was allowed.
    rule: Rule,
    cost: u64,
    asked: Duration,
    until: Duration,
    decision: Decision,
}

impl DenyCache {
    /// Whether nothing is remembered.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.load(Ordering::Relaxed) == 0
    }

    /// A denial that still stands at `now`, on the monotonic clock.
    pub(crate) fn look_up(&self, key: &str, rule: &Rule, cost: u64, now: Duration) -> Option<Decision> {
        let denied = self.table();
        let denied = denied.get(key).filter(|denied| denied.stands(rule, cost, now))?;
        Some(denied.decision.later(now.saturating_sub(denied.asked)).from(Source::DenyCache))
    }

    /// Remembers a denial that was asked for at `asked`.
    pub(crate) fn remember(&self, take: &Take<'_>, asked: Duration, decision: Decision) {
        let Some(wait) = decision.retry_after().filter(|wait| !wait.is_zero()) else { return };
        let &Take { key, rule, cost, .. } = take;
        let denied = Denied { rule, cost, asked, until: asked + wait.min(ASK_AGAIN), decision };
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
    pub(crate) fn forget(&self, key: &str) {
        let mut table = self.table();
        table.remove(key);
        self.held.store(table.len(), Ordering::Relaxed);
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Box<str>, Denied>> {
        self.table.lock()
    }
}

impl Denied {
    fn stands(&self, rule: &Rule, cost: u64, now: Duration) -> bool {
        self.rule == *rule && cost >= self.cost && now < self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Name, model::rate::rule::State, time::secs};

    fn rule(quota: u64) -> Rule {
        Rule::fixed_window(quota, secs(60), secs(0)).expect("in range")
    }

    fn remember(cache: &DenyCache, key: &str, cost: u64, asked: Duration) {
        let limit = Name::new("hits").expect("valid");
        let take = Take { limit: &limit, key, rule: rule(1), cost, within: secs(1) };
        cache.remember(&take, asked, denial(30));
    }

    fn look_up(cache: &DenyCache, key: &str, cost: u64, now: Duration) -> Option<Decision> {
        cache.look_up(key, &rule(1), cost, now)
    }

    fn denial(wait: u64) -> Decision {
        let rule = rule(1);
        let now = 60_000_000 * 1_000;
        Decision::from_state(&rule, State(1_000, 1), now + 60_000_000 - wait * 1_000_000, Some(1))
    }

    #[test]
    fn stands_until_the_time_it_named_and_at_most_a_second() {
        let cache = DenyCache::default();
        remember(&cache, "a", 2, secs(10));
        assert!(look_up(&cache, "a", 1, secs(10)).is_none(), "a smaller cost may fit");
        let later = look_up(&cache, "a", 2, secs(10) + Duration::from_millis(400)).expect("stands");
        assert_eq!(later.retry_after(), Some(Duration::from_millis(29_600)));
        assert_eq!(later.source(), Source::DenyCache);
        assert!(look_up(&cache, "a", 2, secs(11)).is_none(), "asked again after a second");
        remember(&cache, "c", 1, secs(10));
        assert!(cache.look_up("c", &rule(2), 1, secs(10)).is_none(), "it is allowed more by now");
        remember(&cache, "b", 1, secs(10));
        cache.forget("b");
        assert!(look_up(&cache, "b", 1, secs(10)).is_none());
    }

    #[test]
    fn memory_is_bounded() {
        let cache = DenyCache::default();
        for key in 0..2 * MOST {
            remember(&cache, &key.to_string(), 1, secs(10));
        }
        assert_eq!(cache.table().len(), MOST);
        remember(&cache, "late", 1, secs(12));
        assert_eq!(cache.table().len(), 1, "what ran out makes room");
    }
}
