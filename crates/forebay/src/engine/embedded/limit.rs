//! Limits of the embedded engine.

use std::time::Duration;

use super::{
    Embedded,
    codec::Pack,
    journal::{PendingCommit, Record},
    limit_table::{Counter, Entry, Time, advanced, is, limits},
};
use crate::{
    clock::TICK,
    engine::step::{Allotted, Take, Taken, TakenAll},
    error::{Result, out_of_range},
    key::Name,
    model::rate::{
        allotments::{AllotmentReply, AllotmentRequest, Allotments, Outstanding},
        rule::{Rule, Scale, State},
    },
    table::{SHARDS, Shard, Shards},
    time::{Timestamp, When, mins, whole_micros},
};

/// Superseded entries that a shard's log may hold beyond its live keys before it is rewritten.
const SLACK: u64 = 256;

/// How much longer a state is kept that was decided at an explicit time, which may run behind the engine's clock.
pub(super) const AT_GRACE: Duration = mins(1);

impl Embedded {
    pub(crate) async fn take(&self, take: Take<'_>, when: When) -> Result<Taken> {
        self.take_at_once(&take, when)
    }

    /// [`take`](Self::take) without waiting: one clock read, one look-up, and no allocation for a known key.
    pub(crate) fn take_at_once(&self, take: &Take<'_>, when: When) -> Result<Taken> {
        let taken = if when == When::EngineClock { self.take_now(take) } else { None };
        match taken {
            Some(taken) => Ok(taken),
            None => self.take_exactly(*take, when),
        }
    }

    #[inline(never)]
    fn take_exactly(&self, take: Take<'_>, when: When) -> Result<Taken> {
        Ok(self.charge(&take, self.limit_time(when)?, 0).expect("an exact time decides"))
    }

    /// The same at this engine's time. `None`: [`take_exactly`](Self::take_exactly) decides. Well within a window the coarse clock decides
    /// as the exact one does, and costs a fifth.
    #[expect(
        clippy::inline_always,
        reason = "an answer is put together where it is wanted: see limit/decide/fast_path.rs"
    )]
    #[inline(always)]
    pub(crate) fn take_now(&self, take: &Take<'_>) -> Option<Taken> {
        if self.is_closed() {
            return None;
        }
        if !take.rule.has_windows() {
            return self.take_exactly(*take, When::EngineClock).ok();
        }
        let (wall, monotonic) = self.clock.both_coarse();
        let now = u64::try_from(wall.as_micros()).ok()?;
        let taken = self.charge(take, Time { now, forget: monotonic }, whole_micros(TICK))?;
        if taken.allowed { Some(taken) } else { self.dated(taken, take.rule) }
    }

    /// A denial with the exact time, since it tells when the cost would be admitted; `None`: the window has ended.
    #[cold]
    fn dated(&self, taken: Taken, rule: Rule) -> Option<Taken> {
        let now = u64::try_from(self.clock.both().0.as_micros()).ok()?;
        (rule.reset_after(taken.state, now) > 0).then_some(Taken { now, ..taken })
    }

    /// Takes at a time that may be up to `behind` µs behind the true one. `None`: that may be in a later window, and nothing was
    /// done.
    #[expect(
        clippy::inline_always,
        reason = "an answer is put together where it is wanted: see limit/decide/fast_path.rs"
    )]
    #[inline(always)]
    fn charge(&self, take: &Take<'_>, time: Time, behind: u64) -> Option<Taken> {
        let hash = take.limit.hash_of(take.key.as_bytes());
        let mut shard = self.limits.lock(hash);
        let (limit, key, scale) = (take.limit, take.key.as_bytes(), take.rule.scale());
        let entry = shard.find_mut(hash, |entry| entry.is(limit, key, scale));
        let advanced = match &entry {
            Some(entry) => entry.advanced(&take.rule, time.now),
            None => take.rule.advance(None, time.now),
        };
        if behind > 0 && take.rule.end(advanced, time.now, 0).0.saturating_sub(time.now) <= behind {
            return None;
        }
        if take.cost > take.rule.room(advanced) {
            return Some(Taken { allowed: false, now: time.now, state: advanced });
        }
        let state = take.rule.charge(advanced, take.cost);
        if take.cost > 0 {
            match entry {
                Some(entry) => entry.set(&take.rule, state, time),
                None => self.insert(&mut shard, hash, *take, (state, Allotments::default()), time),
            }
        }
        Some(Taken { allowed: true, now: time.now, state })
    }

    pub(crate) async fn take_up_to(&self, take: Take<'_>, when: When) -> Result<(u64, Taken)> {
        let time = self.limit_time(when)?;
        let now = time.now;
        let hash = take.limit.hash_of(take.key.as_bytes());
        let mut shard = self.limits.lock(hash);
        let advanced = advanced(&shard, hash, &take, now);
        let granted = take.cost.min(take.rule.room(advanced));
        if granted == 0 {
            return Ok((0, Taken { allowed: false, now, state: advanced }));
        }
        let state = take.rule.charge(advanced, granted);
        self.store(&mut shard, hash, &take, state, time);
        Ok((granted, Taken { allowed: true, now, state }))
    }

    pub(crate) async fn take_all(&self, takes: &[Take<'_>], when: When) -> Result<TakenAll> {
        self.take_all_at_once(takes, when)
    }

    /// Commits the current states of keys in the change that `note` adds to.
    pub(super) fn save_keys<'a, T>(
        &self,
        takes: impl Iterator<Item = &'a Take<'a>> + Clone,
        answer: T,
        note: impl FnOnce(&mut Record<'_>),
    ) -> Result<PendingCommit<T>> {
        let hash = |take: &Take<'_>| take.limit.hash_of(take.key.as_bytes());
        let mut indexes: Vec<usize> = takes.clone().map(|take| Shards::<Entry>::index(hash(take))).collect();
        indexes.sort_unstable();
        indexes.dedup();
        let shards: Vec<_> = indexes.iter().map(|&index| self.limits.lock_index(index)).collect();
        let mut record = self.journal.record()?;
        note(&mut record);
        if self.journal.is_kept() {
            let (now, time) = (self.clock.monotonic(), self.clock.now());
            for take in takes {
                let hash = hash(take);
                let index = Shards::<Entry>::index(hash);
                let place = indexes.binary_search(&index).expect("its shard is locked");
                let Some(entry) = shards[place].find(hash, |entry| is(entry, take)) else { continue };
                let mut pack = Pack::default();
                let deadline = time.plus(entry.deadline().saturating_sub(now));
                pack.limit(take.limit.as_str(), take.key, take.rule.scale(), entry.state, deadline);
                record.include_deferred(limits(index, false, pack));
            }
        }
        Ok(record.commit(answer))
    }

    pub(super) fn take_all_at_once(&self, takes: &[Take<'_>], when: When) -> Result<TakenAll> {
        if let [take] = takes {
            let Taken { allowed, now, state } = self.take_at_once(take, when)?;
            return Ok(TakenAll { allowed, now, states: vec![state] });
        }
        let time = self.limit_time(when)?;
        let now = time.now;
        let hashes: Vec<u64> = takes.iter().map(|take| take.limit.hash_of(take.key.as_bytes())).collect();
        let mut indexes: Vec<usize> = hashes.iter().map(|&hash| Shards::<Entry>::index(hash)).collect();
        indexes.sort_unstable();
        indexes.dedup();
        let mut shards: Vec<_> = indexes.iter().map(|&index| self.limits.lock_index(index)).collect();
        let place = |hash| indexes.binary_search(&Shards::<Entry>::index(hash)).expect("its shard is locked");

        let mut states: Vec<State> = Vec::with_capacity(takes.len());
        let mut allowed = true;
        for (i, take) in takes.iter().enumerate() {
            // The same key twice: the second take sees what the first one charged.
            let same =
                takes[..i].iter().rposition(|other| other.limit == take.limit && other.key == take.key);
            let before = match same {
                Some(earlier) => states[earlier],
                None => advanced(&shards[place(hashes[i])], hashes[i], take, now),
            };
            if take.cost > take.rule.room(before) {
                allowed = false;
                break;
            }
            states.push(take.rule.charge(before, take.cost));
        }
        if allowed {
            for ((take, &hash), &state) in takes.iter().zip(&hashes).zip(&states) {
                if take.cost > 0 {
                    self.store(&mut shards[place(hash)], hash, take, state, time);
                }
            }
        }
        let state = |(take, &hash): (&Take<'_>, &u64)| advanced(&shards[place(hash)], hash, take, now);
        let states = takes.iter().zip(&hashes).map(state).collect();
        Ok(TakenAll { allowed, now, states })
    }

    pub(crate) async fn refund(&self, take: Take<'_>, charged: Option<u64>, when: When) -> Result<Taken> {
        self.refund_at_once(take, charged, when)
    }

    pub(super) fn refund_at_once(&self, take: Take<'_>, charged: Option<u64>, when: When) -> Result<Taken> {
        let time = self.limit_time(when)?;
        let now = time.now;
        let hash = take.limit.hash_of(take.key.as_bytes());
        let mut shard = self.limits.lock(hash);
        let advanced = advanced(&shard, hash, &take, now);
        let state = take.rule.refund(advanced, take.cost, charged);
        // A refund that changes nothing creates no key.
        if state != advanced {
            self.store(&mut shard, hash, &take, state, time);
        }
        Ok(Taken { allowed: true, now, state })
    }

    pub(crate) async fn allot(
        &self,
        take: Take<'_>,
        request: AllotmentRequest,
        when: When,
    ) -> Result<Allotted> {
        let time = self.limit_time(when)?;
        let hash = take.limit.hash_of(take.key.as_bytes());
        let mut shard = self.limits.lock(hash);
        let advanced = advanced(&shard, hash, &take, time.now);
        let entry = shard.find_mut(hash, |entry| is(entry, &take));
        let mut allotments =
            entry.as_ref().and_then(|entry| entry.allotments.as_deref().cloned()).unwrap_or_default();
        let before = entry.as_ref().map_or(advanced, |entry| entry.state);
        allotments.prune(&take.rule, before, advanced);
        let Some((state, reply)) = allotments.grant(&take.rule, advanced, time.now, &request) else {
            return Ok(Allotted { now: time.now, state: advanced, reply: AllotmentReply::default() });
        };
        match entry {
            Some(entry) => {
                // First, so that the new allotment is not taken for one of an earlier window.
                entry.state = state;
                entry.allotments = Some(Box::new(allotments));
                entry.set(&take.rule, state, time);
            }
            None if reply.granted > 0 => {
                self.insert(&mut shard, hash, take, (state, allotments), time);
            }
            None => {}
        }
        Ok(Allotted { now: time.now, state, reply })
    }

    pub(crate) async fn reset(&self, take: Take<'_>, when: When) -> Result<Outstanding> {
        let time = self.limit_time(when)?;
        let hash = take.limit.hash_of(take.key.as_bytes());
        let mut shard = self.limits.lock(hash);
        let Ok(mut found) = shard.find_entry(hash, |entry| is(entry, &take)) else {
            return Ok(Outstanding::default());
        };
        let entry = found.get_mut();
        let advanced = entry.advanced(&take.rule, time.now);
        let before = entry.state;
        let left = entry.allotments.as_mut().and_then(|allotments| {
            allotments.prune(&take.rule, before, advanced);
            Some((allotments.reset(&take.rule, advanced)?, allotments.outstanding()))
        });
        if let Some((state, outstanding)) = left {
            entry.set(&take.rule, state, time);
            return Ok(outstanding);
        }
        found.remove();
        if self.journal.is_kept() {
            // A deadline in the past: opening the file drops the key.
            let mut pack = Pack::default();
            let (scale, never) = (take.rule.scale(), Timestamp::UNIX_EPOCH);
            pack.limit(take.limit.as_str(), take.key, scale, State(0, 0), never);
            self.journal.defer(limits(Shards::<Entry>::index(hash), false, pack));
        }
        Ok(Outstanding::default())
    }

    /// The time that decides.
    #[inline]
    fn limit_time(&self, when: When) -> Result<Time> {
        let (wall, monotonic) = self.clock.both();
        let (at, grace) = match when {
            When::EngineClock => (wall, Duration::ZERO),
            When::At(at) => (at, AT_GRACE),
        };
        match u64::try_from(at.as_micros()) {
            Ok(now) => Ok(Time { now, forget: monotonic + whole_micros(grace) }),
            Err(_) => Err(out_of_range(format!("limit at {at}: a time since 1970"))),
        }
    }

    /// Lets what has changed ride to the file. `logged`: how many keys the file's log of each shard has.
    pub(super) fn defer_limits(&self, logged: &mut [u64; SHARDS]) {
        let (now, time) = (self.clock.monotonic(), self.clock.now());
        for (index, logged) in logged.iter_mut().enumerate() {
            let mut shard = self.limits.lock_index(index);
            let mut pack = Pack::default();
            let (leases, packed) = self.pack_leases(index, false, &mut pack);
            *logged += packed;
            let rewrite = *logged > 2 * (shard.len() as u64 + leases) + SLACK;
            if rewrite {
                pack = Pack::default();
                *logged = self.pack_leases(index, true, &mut pack).1;
            }
            for entry in shard.iter_mut().filter(|entry| rewrite || entry.deadline % 2 == 1) {
                entry.deadline -= entry.deadline % 2;
                let deadline = time.plus(entry.deadline().saturating_sub(now));
                let Counter { limit, scale } = &*entry.counter;
                pack.limit(limit.as_str(), entry.key.as_str(), *scale, entry.state, deadline);
                *logged += 1;
            }
            // Still under the shard's lock: a reset that comes after must not reach the file before.
            if rewrite || pack.len() > 0 {
                self.journal.defer(limits(index, rewrite, pack));
            }
        }
    }

    /// Restores a key from the file. A later entry replaces an earlier one; an expired one is dropped.
    pub(super) fn restore_limit(&self, limit: &Name, key: &str, scale: Scale, state: State, end: Timestamp) {
        let left = end.since(self.clock.now());
        let deadline = self.clock.monotonic().saturating_add(left);
        let hash = limit.hash_of(key.as_bytes());
        let same = |entry: &Entry| entry.is(limit, key.as_bytes(), scale);
        let mut shard = self.limits.lock(hash);
        if let Ok(earlier) = shard.find_entry(hash, same) {
            earlier.remove();
        }
        if !left.is_zero() {
            let counter = self.counters.of(limit, scale);
            let deadline = whole_micros(deadline) * 2;
            shard.insert_unique(
                hash,
                Entry { counter, key: key.into(), state, allotments: None, deadline },
                Entry::hash,
            );
        }
    }

    fn store(&self, shard: &mut Shard<'_, Entry>, hash: u64, take: &Take<'_>, state: State, time: Time) {
        match shard.find_mut(hash, |entry| is(entry, take)) {
            Some(entry) => entry.set(&take.rule, state, time),
            None => self.insert(shard, hash, *take, (state, Allotments::default()), time),
        }
    }

    #[cold]
    fn insert(
        &self,
        shard: &mut Shard<'_, Entry>,
        hash: u64,
        take: Take<'_>,
        (state, allotments): (State, Allotments),
        time: Time,
    ) {
        let counter = self.counters.of(take.limit, take.rule.scale());
        let deadline = time.after(allotments.lifetime(&take.rule, state, time.now)) * 2 + 1;
        let allotments = (!allotments.is_empty()).then(|| Box::new(allotments));
        let entry = Entry { counter, key: take.key.into(), state, allotments, deadline };
        shard.insert_unique(hash, entry, Entry::hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The machine's clocks: the coarse one is some milliseconds behind, most of the time.
    #[tokio::test]
    async fn a_denial_is_dated_by_the_exact_clock() {
        let engine = Embedded::in_memory(crate::Clock::system());
        let limit = Name::new("hits").expect("valid");
        let rule = Rule::fixed_window(1, crate::time::days(300), Duration::ZERO).expect("valid");
        let take = Take { limit: &limit, key: "a", rule, cost: 1, within: Duration::ZERO };
        engine.take_at_once(&take, When::EngineClock).expect("decides");
        let start = engine.clock.monotonic();
        while engine.clock.monotonic() < start + 2 * TICK {
            let before = u64::try_from(engine.clock.both().0.as_micros()).expect("after 1970");
            let taken = engine.take_at_once(&take, When::EngineClock).expect("decides");
            // Not to the microsecond: the time of day may be compared anew in between.
            assert!(!taken.allowed && taken.now + 500 >= before, "{} before {before}", taken.now);
        }
    }

    #[tokio::test]
    async fn a_time_that_may_be_behind_decides_nothing_near_the_end_of_a_window() {
        let engine = Embedded::in_memory(crate::Clock::system());
        let limit = Name::new("hits").expect("valid");
        let rule = Rule::fixed_window(3, crate::time::secs(1), Duration::ZERO).expect("valid");
        let take = Take { limit: &limit, key: "a", rule, cost: 1, within: Duration::ZERO };
        let charge = |now, behind| {
            let taken = engine.charge(&take, Time { now, forget: 0 }, behind);
            taken.map(|Taken { state: State(window, used), .. }| (window, used))
        };
        assert_eq!(charge(10_996_500, 4_000), None);
        assert_eq!(charge(10_996_500, 3_000), Some((10, 1)), "nothing was charged before");
        assert_eq!(charge(10_996_500, 3_500), None, "the end itself is in the next window");
        // A later window has begun for this key: whatever the true time is, it counts there.
        assert_eq!(charge(11_000_001, 0), Some((11, 1)));
        assert_eq!(charge(10_999_999, 4_000), Some((11, 2)));
    }

    /// An entry on two cache lines would cost a second miss.
    #[test]
    fn an_entry_is_a_line_of_the_cache() {
        assert_eq!((size_of::<Entry>(), align_of::<Entry>()), (64, 64));
    }
}
