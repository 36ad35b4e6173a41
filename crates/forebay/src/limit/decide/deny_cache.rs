//! Remembered denials, so that a flood against a full limit does not reach the store.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    engine::step::Take,
    key::hash,
    limit::{
        decision::{Decision, Source},
        report::{self, HeavyHitters},
    },
    model::rate::rule::{Rule, State},
    table::{InlineKey, SHARDS, Shards},
    time::{secs, whole_micros},
};

/// The store is asked again after at most this long: another process may have reset the key.
const MAX_AGE: Duration = secs(1);

/// From this age on one caller asks the store again, while the others are still denied. Otherwise all who come within one
/// round trip of the end would ask.
const REFRESH_AGE: Duration = Duration::from_millis(900);

/// A shard remembers at most this many keys: together some megabytes. It takes more once old ones expire.
const MAX_KEYS: usize = 16_384 / SHARDS;

/// The keys of one limit that were denied lately, and how often.
///
/// It denies only where the store would: for costs at least as large as the denied one, from before the take was sent until
/// the time that the denial named. The lock of a shard protects it for one look-up.
#[derive(Debug, Default)]
pub(crate) struct DenyCache {
    table: Shards<Denied>,
    /// The size of the table, so that a limit without denials takes no lock. Relaxed: a reader of an old zero asks the
    /// store, which is always right.
    held: AtomicUsize,
    /// When a key was last forgotten, in µs on the monotonic clock. A denial that was sent before may be from before a
    /// reset. Relaxed: a key is forgotten and remembered under the same lock.
    forgotten: AtomicU64,
    /// How often keys were denied, without the repeats in the table. Locked after a shard.
    top: Mutex<HeavyHitters>,
}

#[derive(Debug)]
struct Denied {
    key: InlineKey,
    /// The denial does not hold once another rule applies to the key.
    rule: Rule,
    cost: u64,
    /// The state in the store's answer, and the store's time.
    state: State,
    now: u64,
    sent: Duration,
    until: Duration,
    /// From then on a caller asks the store again.
    refresh: Duration,
    /// How often it was repeated: counted here, where the lock is held anyway.
    repeats: u64,
}

impl DenyCache {
    /// Whether nothing is remembered.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.load(Ordering::Relaxed) == 0
    }

    /// A denial that still holds at `now`, on the monotonic clock. Its repetition is counted. `None` also if it is time to ask
    /// the store again: to one caller `will_ask`, and to all who will not.
    pub(crate) fn look_up(&self, take: &Take<'_>, now: Duration, will_ask: bool) -> Option<Decision> {
        let hash = hash(take.key.as_bytes());
        let mut shard = self.table.lock(hash);
        let known = shard.find_mut(hash, Denied::is_of(take.key))?;
        let mut holds = known.rule == take.rule && take.cost >= known.cost && now < known.until;
        if holds && now >= known.refresh {
            holds = false;
            if will_ask {
                known.refresh = known.until;
            }
        }
        known.repeats += u64::from(holds);
        let decision = || Decision::from_state(&known.rule, known.state, known.now, Some(take.cost));
        holds.then(|| decision().later(now.saturating_sub(known.sent)).from(Source::DenyCache))
    }

    /// Remembers that the store denied a take at its time `now`. The take was sent at `sent`.
    pub(crate) fn remember(&self, take: &Take<'_>, now: u64, state: State, sent: Duration) {
        let &Take { key, rule, cost, .. } = take;
        let wait = Duration::from_micros(rule.wait(state, now, cost));
        let until = sent + wait.min(MAX_AGE);
        let refresh = if wait > MAX_AGE { sent + REFRESH_AGE } else { until };
        let hash = hash(key.as_bytes());
        let mut shard = self.table.lock(hash);
        if until == sent || whole_micros(sent) < self.forgotten.load(Ordering::Relaxed) {
            return;
        }
        let denied = Denied { key: key.into(), rule, cost, state, now, sent, until, refresh, repeats: 0 };
        if let Some(known) = shard.find_mut(hash, Denied::is_of(key)) {
            let before = std::mem::replace(known, denied);
            self.count(key, before.repeats);
            return;
        }
        if shard.len() >= MAX_KEYS {
            shard.retain(|denied| {
                let holds = denied.until > sent;
                if !holds {
                    self.count(denied.key.as_str(), denied.repeats);
                    self.held.fetch_sub(1, Ordering::Relaxed);
                }
                holds
            });
        }
        if shard.len() < MAX_KEYS {
            shard.insert_unique(hash, denied, |denied| crate::key::hash(denied.key.as_bytes()));
            self.held.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Forgets a key that was reset or refunded before `now`. Takes that were sent before are not remembered any more.
    pub(crate) fn forget(&self, key: &str, now: Duration) {
        let hash = hash(key.as_bytes());
        let mut shard = self.table.lock(hash);
        self.forgotten.fetch_max(whole_micros(now) + 1, Ordering::Relaxed);
        if let Ok(known) = shard.find_entry(hash, Denied::is_of(key)) {
            self.count(key, known.remove().0.repeats);
            self.held.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Counts denials of a key that did not come from here.
    pub(crate) fn count(&self, key: &str, denials: u64) {
        if denials > 0 {
            self.top.lock().count(key, denials);
        }
    }

    /// The `most` keys that were denied most.
    pub(crate) fn most(&self, most: usize) -> Vec<report::Denied> {
        for index in 0..SHARDS {
            for known in self.table.lock_index(index).iter_mut() {
                self.count(known.key.as_str(), std::mem::take(&mut known.repeats));
            }
        }
        self.top.lock().most(most)
    }
}

impl Denied {
    fn is_of(key: &str) -> impl Fn(&Self) -> bool {
        move |denied| denied.key.as_bytes() == key.as_bytes()
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
        with_take(rule(1), key, cost, |take| cache.look_up(take, now, false))
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
        let other = with_take(rule(2), "c", 1, |take| cache.look_up(take, secs(10), false));
        assert!(other.is_none(), "another rule applies by now");
    }

    #[test]
    fn one_caller_asks_again_before_the_end_and_the_others_are_denied_meanwhile() {
        let (cache, early, late) = (DenyCache::default(), secs(10) + millis(899), secs(10) + millis(900));
        let ask = |now| with_take(rule(1), "a", 1, |take| cache.look_up(take, now, true));
        remember(&cache, "a", 1, secs(10));
        assert!(ask(early).is_some());
        assert!(look_up(&cache, "a", 1, late).is_none(), "leaves it to somebody who will ask");
        assert!(ask(late).is_none());
        assert!(ask(late).is_some() && look_up(&cache, "a", 1, late).is_some(), "one asks already");
        assert!(ask(secs(11)).is_none(), "it came to nothing");
        remember(&cache, "a", 1, late);
        assert!(ask(secs(11)).is_some());
        with_take(rule(1), "b", 1, |take| cache.remember(take, NOW + 59_500_000, State(1_000, 1), secs(10)));
        let other = |now| with_take(rule(1), "b", 1, |take| cache.look_up(take, now, true));
        assert!(other(secs(10) + millis(499)).is_some() && other(secs(10) + millis(500)).is_none());
    }

    #[test]
    fn a_larger_cost_waits_for_itself() {
        let (cache, bucket) = (DenyCache::default(), Rule::token_bucket(1, secs(1), 5).expect("in range"));
        let full = bucket.charge(bucket.advance(None, NOW), 5);
        with_take(bucket, "a", 1, |take| cache.remember(take, NOW, full, secs(10)));
        let wait =
            |cost| with_take(bucket, "a", cost, |take| cache.look_up(take, secs(10), false)?.retry_after());
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
        for key in 0..2 * SHARDS * MAX_KEYS {
            remember(&cache, &key.to_string(), 1, secs(10));
        }
        assert_eq!(cache.table.len(), SHARDS * MAX_KEYS);
        remember(&cache, "late", 1, secs(12));
        assert_eq!(cache.table.len(), (SHARDS - 1) * MAX_KEYS + 1, "expired keys make room");
        assert_eq!(cache.held.load(Ordering::Relaxed), cache.table.len());
    }

    /// A repetition is counted at its entry, which may be replaced, forgotten or make room for others.
    #[test]
    fn no_repetition_is_lost_to_the_count() {
        let cache = DenyCache::default();
        remember(&cache, "a", 1, secs(10));
        let repeat = || assert!(look_up(&cache, "a", 1, secs(10) + millis(1)).is_some());
        let counted = || cache.most(9).iter().map(|denied| denied.count).collect::<Vec<_>>();
        repeat();
        assert_eq!(counted(), [1]);
        repeat();
        remember(&cache, "a", 1, secs(10) + millis(1));
        assert_eq!(counted(), [2]);
        repeat();
        for key in 0..2 * SHARDS * MAX_KEYS {
            remember(&cache, &key.to_string(), 1, secs(12));
        }
        assert!(look_up(&cache, "a", 1, secs(10) + millis(1)).is_none(), "it made room");
        assert_eq!(counted(), [3]);
        remember(&cache, "a", 1, secs(14));
        assert!(look_up(&cache, "a", 1, secs(14)).is_some());
        cache.forget("a", secs(15));
        assert_eq!((counted(), cache.most(9)[0].key.as_str()), (vec![4], "a"));
    }
}
