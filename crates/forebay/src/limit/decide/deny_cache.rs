//! Remembered denials, so that a flood against a full limit does not reach the store.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    engine::step::Take,
    limit::decision::{Decision, Source},
    model::rate::rule::{Rule, State},
    time::secs,
};

/// The store is asked again after at most this long: another process may have reset the key.
const MAX_AGE: Duration = secs(1);

/// The cache remembers at most this many keys: some megabytes. It takes more once old ones expire.
const MAX_KEYS: usize = 16_384;

/// The keys of one limit that were denied lately.
///
/// It denies only where the store would: for costs at least as large as the denied one, from before the take was sent until
/// the time that the denial named. The lock protects the table for one look-up.
#[derive(Debug, Default)]
pub(crate) struct DenyCache {
    table: Mutex<Table>,
    /// The size of the table, so that a limit without denials takes no lock. Relaxed: a reader of an old zero asks the
    /// store, which is always right.
    held: AtomicUsize,
}

#[derive(Debug, Default)]
struct Table {
    denied: HashMap<Box<str>, Denied>,
    /// When a key was last forgotten, on the monotonic clock. A denial that was sent before may be from before a reset.
    forgotten: Option<Duration>,
}

#[derive(Debug)]
struct Denied {
    /// The denial does not hold once another rule applies to the key.
    rule: Rule,
    cost: u64,
    /// The state in the store's answer, and the store's time.
    state: State,
    now: u64,
    sent: Duration,
    until: Duration,
}

impl DenyCache {
    /// Whether nothing is remembered.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.load(Ordering::Relaxed) == 0
    }

    /// A denial that still holds at `now`, on the monotonic clock.
    pub(crate) fn look_up(&self, take: &Take<'_>, now: Duration) -> Option<Decision> {
        let table = self.table.lock();
        let known = table.denied.get(take.key)?;
        let holds = known.rule == take.rule && take.cost >= known.cost && now < known.until;
        let decision = || Decision::from_state(&known.rule, known.state, known.now, Some(take.cost));
        holds.then(|| decision().later(now.saturating_sub(known.sent)).from(Source::DenyCache))
    }

    /// Remembers that the store denied a take at its time `now`. The take was sent at `sent`.
    pub(crate) fn remember(&self, take: &Take<'_>, now: u64, state: State, sent: Duration) {
        let &Take { key, rule, cost, .. } = take;
        let until = sent + Duration::from_micros(rule.wait(state, now, cost)).min(MAX_AGE);
        let mut table = self.table.lock();
        if until == sent || table.forgotten.is_some_and(|forgotten| sent <= forgotten) {
            return;
        }
        if table.denied.len() >= MAX_KEYS && !table.denied.contains_key(key) {
            table.denied.retain(|_, denied| denied.until > sent);
            if table.denied.len() >= MAX_KEYS {
                return;
            }
        }
        table.denied.insert(key.into(), Denied { rule, cost, state, now, sent, until });
        self.held.store(table.denied.len(), Ordering::Relaxed);
    }

    /// Forgets a key that was reset or refunded before `now`. Takes that were sent before are not remembered any more.
    pub(crate) fn forget(&self, key: &str, now: Duration) {
        let mut table = self.table.lock();
        table.denied.remove(key);
        table.forgotten = Some(now);
        self.held.store(table.denied.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Name, time::millis};

    /// The state of a fixed window that is over in so many seconds.
    const NOW: u64 = 60_000_000 * 1_000;

    fn rule(quota: u64) -> Rule {
        Rule::fixed_window(quota, secs(60), secs(0)).expect("in range")
    }

    fn with_take<T>(rule: Rule, key: &str, cost: u64, then: impl FnOnce(&Take<'_>) -> T) -> T {
        let limit = Name::new("hits").expect("valid");
        then(&Take { limit: &limit, key, rule, cost, within: secs(1) })
    }

    /// A denial whose window ends in 30 s.
    fn remember(cache: &DenyCache, key: &str, cost: u64, sent: Duration) {
        with_take(rule(1), key, cost, |take| cache.remember(take, NOW + 30_000_000, State(1_000, 1), sent));
    }

    fn look_up(cache: &DenyCache, key: &str, cost: u64, now: Duration) -> Option<Decision> {
        with_take(rule(1), key, cost, |take| cache.look_up(take, now))
    }

    #[test]
    fn holds_until_the_time_it_named_and_at_most_a_second() {
        let cache = DenyCache::default();
        remember(&cache, "a", 2, secs(10));
        assert!(look_up(&cache, "a", 1, secs(10)).is_none(), "a smaller cost may fit");
        let later = look_up(&cache, "a", 2, secs(10) + millis(400)).expect("holds");
        assert_eq!(later.retry_after(), Some(millis(29_600)));
        assert_eq!(later.source(), Source::DenyCache);
        assert!(look_up(&cache, "a", 2, secs(11)).is_none(), "asked again after a second");
        remember(&cache, "c", 1, secs(10));
        let other = with_take(rule(2), "c", 1, |take| cache.look_up(take, secs(10)));
        assert!(other.is_none(), "another rule applies by now");
    }

    #[test]
    fn a_larger_cost_waits_for_itself() {
        let (cache, bucket) = (DenyCache::default(), Rule::token_bucket(1, secs(1), 5).expect("in range"));
        let full = bucket.charge(bucket.advance(None, NOW), 5);
        with_take(bucket, "a", 1, |take| cache.remember(take, NOW, full, secs(10)));
        let wait = |cost| with_take(bucket, "a", cost, |take| cache.look_up(take, secs(10))?.retry_after());
        assert_eq!((wait(1), wait(3)), (Some(secs(1)), Some(secs(3))));
    }

    #[test]
    fn an_answer_that_was_under_way_during_a_reset_is_not_remembered() {
        let cache = DenyCache::default();
        remember(&cache, "a", 1, secs(10));
        cache.forget("a", secs(11));
        assert!(look_up(&cache, "a", 1, secs(10)).is_none());
        remember(&cache, "a", 1, secs(10) + millis(999));
        assert!(look_up(&cache, "a", 1, secs(11)).is_none(), "sent before the reset");
        remember(&cache, "a", 1, secs(11) + millis(1));
        assert!(look_up(&cache, "a", 1, secs(11) + millis(2)).is_some());
    }

    #[test]
    fn memory_is_bounded() {
        let cache = DenyCache::default();
        for key in 0..2 * MAX_KEYS {
            remember(&cache, &key.to_string(), 1, secs(10));
        }
        assert_eq!(cache.table.lock().denied.len(), MAX_KEYS);
        remember(&cache, "late", 1, secs(12));
        assert_eq!(cache.table.lock().denied.len(), 1, "expired keys make room");
    }
}
