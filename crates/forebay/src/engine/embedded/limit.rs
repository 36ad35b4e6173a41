//! Limits of the embedded engine.

use std::time::Duration;

use super::{
    Embedded,
    batch::Rider,
    codec::Pack,
    shards::{SHARDS, Shard, Shards, hash_pair},
};
use crate::{
    engine::step::{Sliced, Take, Taken, TakenAll},
    error::{Result, out_of_range},
    key::Name,
    limit::{
        rule::{Rule, Scale, State},
        slices::{Lend, Slices},
    },
    time::{Timestamp, When, mins},
};

/// One key of one limit.
#[derive(Debug)]
pub(super) struct Entry {
    limit: Name,
    key: Box<str>,
    scale: Scale,
    state: State,
    /// Those who hold them are in this process, and end with it: a file does not have them.
    slices: Slices,
    /// On the engine's monotonic clock; by then the state counts nothing.
    deadline: Duration,
    /// Has changed since the journal saw it.
    unsaved: bool,
}

impl Entry {
    fn hash(&self) -> u64 {
        hash_pair(self.limit.as_str(), &self.key)
    }

    #[inline]
    fn settled(&self, rule: &Rule, now: u64) -> State {
        if self.slices.is_empty() {
            return rule.settle(Some(self.state), now);
        }
        self.slices.settle(rule, Some(self.state), now)
    }

    #[inline]
    fn set(&mut self, rule: &Rule, state: State, time: Time) {
        self.slices.prune(rule, state);
        let lifetime = self.slices.lifetime(rule, state, time.now);
        (self.state, self.deadline, self.unsaved) = (state, time.after(lifetime), true);
    }
}

/// So many replaced keys the file may have of a shard beside as many as there are keys.
const SLACK: u64 = 256;

pub(super) fn limits(shard: usize, rewrite: bool, packed: Pack) -> Rider {
    let shard = u16::try_from(shard).expect("there are few shards");
    Rider::Limits { shard, rewrite, packed }
}

/// A limit that is asked about an explicit time may be asked again later than that time says.
pub(super) const AT_GRACE: Duration = mins(1);

impl Embedded {
    #[expect(clippy::unused_async, reason = "steps are async on every engine")]
    pub(crate) async fn take(&self, take: Take<'_>, when: When) -> Result<Taken> {
        self.take_at_once(&take, when)
    }

    /// [`take`](Self::take), which needs no waiting: one clock, one look-up, and of a known key no allocation.
    #[inline]
    pub(crate) fn take_at_once(&self, take: &Take<'_>, when: When) -> Result<Taken> {
        let time = self.limit_time(when)?;
        let hash = hash_pair(take.limit.as_str(), take.key);
        let mut shard = self.limits.lock(hash);
        let entry = shard.find_mut(hash, |entry| is(entry, take));
        let settled = match &entry {
            Some(entry) => entry.settled(&take.rule, time.now),
            None => take.rule.settle(None, time.now),
        };
        if take.cost > take.rule.room(settled) {
            return Ok(Taken { allowed: false, now: time.now, state: settled });
        }
        let state = take.rule.charge(settled, take.cost);
        if take.cost > 0 {
            match entry {
                Some(entry) => entry.set(&take.rule, state, time),
                None => insert(&mut shard, hash, take, state, time),
            }
        }
        Ok(Taken { allowed: true, now: time.now, state })
    }

    #[expect(clippy::unused_async, reason = "steps are async on every engine")]
    pub(crate) async fn take_up_to(&self, take: Take<'_>, when: When) -> Result<(u64, Taken)> {
        let time = self.limit_time(when)?;
        let now = time.now;
        let hash = hash_pair(take.limit.as_str(), take.key);
        let mut shard = self.limits.lock(hash);
        let settled = settled(&shard, hash, &take, now);
        let granted = take.cost.min(take.rule.room(settled));
        if granted == 0 {
            return Ok((0, Taken { allowed: false, now, state: settled }));
        }
        let state = take.rule.charge(settled, granted);
        store(&mut shard, hash, &take, state, time);
        Ok((granted, Taken { allowed: true, now, state }))
    }

    #[expect(clippy::unused_async, reason = "steps are async on every engine")]
    pub(crate) async fn take_all(&self, takes: &[Take<'_>], when: When) -> Result<TakenAll> {
        let time = self.limit_time(when)?;
        let now = time.now;
        let hashes: Vec<u64> = takes.iter().map(|take| hash_pair(take.limit.as_str(), take.key)).collect();
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
                None => settled(&shards[place(hashes[i])], hashes[i], take, now),
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
                    store(&mut shards[place(hash)], hash, take, state, time);
                }
            }
        }
        let states = takes
            .iter()
            .zip(&hashes)
            .map(|(take, &hash)| settled(&shards[place(hash)], hash, take, now))
            .collect();
        Ok(TakenAll { allowed, now, states })
    }

    #[expect(clippy::unused_self, reason = "a question every engine answers")]
    pub(crate) fn together(&self, _takes: &[Take<'_>]) -> bool {
        true
    }

    #[expect(clippy::unused_async, reason = "steps are async on every engine")]
    pub(crate) async fn refund(&self, take: Take<'_>, charged: Option<u64>, when: When) -> Result<Taken> {
        let time = self.limit_time(when)?;
        let now = time.now;
        let hash = hash_pair(take.limit.as_str(), take.key);
        let mut shard = self.limits.lock(hash);
        let settled = settled(&shard, hash, &take, now);
        let state = take.rule.refund(settled, take.cost, charged);
        // Nothing came back: a refund does not make a key.
        if state != settled {
            store(&mut shard, hash, &take, state, time);
        }
        Ok(Taken { allowed: true, now, state })
    }

    #[expect(clippy::unused_async, reason = "steps are async on every engine")]
    pub(crate) async fn slice(&self, take: Take<'_>, lend: Lend, when: When) -> Result<Sliced> {
        let time = self.limit_time(when)?;
        let hash = hash_pair(take.limit.as_str(), take.key);
        let mut shard = self.limits.lock(hash);
        let settled = settled(&shard, hash, &take, time.now);
        let Some(entry) = shard.find_mut(hash, |entry| is(entry, &take)) else {
            let mut slices = Slices::default();
            let (state, lent) = slices.lend(&take.rule, settled, time.now, &lend);
            if lent.granted > 0 {
                insert_with(&mut shard, hash, &take, (state, slices), time);
            }
            return Ok(Sliced { now: time.now, state, lent });
        };
        entry.slices.prune(&take.rule, settled);
        let (state, lent) = entry.slices.lend(&take.rule, settled, time.now, &lend);
        entry.set(&take.rule, state, time);
        Ok(Sliced { now: time.now, state, lent })
    }

    #[expect(clippy::unused_async, reason = "steps are async on every engine")]
    pub(crate) async fn reset(&self, take: Take<'_>, when: When) -> Result<()> {
        let time = self.limit_time(when)?;
        let hash = hash_pair(take.limit.as_str(), take.key);
        let mut shard = self.limits.lock(hash);
        let Ok(mut found) = shard.find_entry(hash, |entry| is(entry, &take)) else { return Ok(()) };
        let entry = found.get_mut();
        let settled = entry.settled(&take.rule, time.now);
        entry.slices.prune(&take.rule, settled);
        if let Some(state) = entry.slices.reset(&take.rule, settled) {
            entry.set(&take.rule, state, time);
            return Ok(());
        }
        found.remove();
        if self.journal.is_kept() {
            // A deadline that is over: whoever reads it forgets the key.
            let mut pack = Pack::default();
            let (scale, never) = (take.rule.scale(), Timestamp::UNIX_EPOCH);
            pack.limit(take.limit.as_str(), take.key, scale, State(0, 0), never);
            self.journal.ride(limits(Shards::<Entry>::index(hash), false, pack));
        }
        Ok(())
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
            Ok(now) => Ok(Time { now, forget: monotonic + grace }),
            Err(_) => Err(out_of_range(format!("limit at {at}: a time since 1970"))),
        }
    }

    /// Lets what has changed ride to the file. `logged`: how many keys the file's log of each shard has.
    pub(super) fn ride_limits(&self, logged: &mut [u64; SHARDS]) {
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
            for entry in shard.iter_mut().filter(|entry| rewrite || entry.unsaved) {
                entry.unsaved = false;
                let deadline = time.plus(entry.deadline.saturating_sub(now));
                pack.limit(entry.limit.as_str(), &entry.key, entry.scale, entry.state, deadline);
                *logged += 1;
            }
            // Still under the shard's lock: a reset that comes after must not reach the file before.
            if rewrite || pack.len() > 0 {
                self.journal.ride(limits(index, rewrite, pack));
            }
        }
    }

    /// Takes a key as the file has it, in place of what an earlier entry said; one whose time is over is forgotten.
    pub(super) fn restore_limit(
        &self,
        limit: &Name,
        key: &str,
        scale: Scale,
        state: State,
        deadline: Timestamp,
    ) {
        let left = deadline.since(self.clock.now());
        let deadline = self.clock.monotonic().saturating_add(left);
        let hash = hash_pair(limit.as_str(), key);
        let same = |entry: &Entry| *entry.key == *key && entry.limit == *limit && entry.scale == scale;
        let mut shard = self.limits.lock(hash);
        if let Ok(earlier) = shard.find_entry(hash, same) {
            earlier.remove();
        }
        if !left.is_zero() {
            let (limit, key) = (limit.clone(), key.into());
            let slices = Slices::default();
            let entry = Entry { limit, key, scale, state, slices, deadline, unsaved: false };
            shard.insert_unique(hash, entry, Entry::hash);
        }
    }

    pub(super) fn sweep_limits(&self, now: Duration) {
        self.limits.retain(|entry| entry.deadline > now, Entry::hash);
    }
}

/// The time of one step.
#[derive(Clone, Copy, Debug)]
struct Time {
    /// What decides, in microseconds.
    now: u64,
    /// On the monotonic clock: when a state that lives for no time may be forgotten.
    forget: Duration,
}

impl Time {
    #[inline]
    fn after(self, lifetime: u64) -> Duration {
        self.forget + Duration::from_micros(lifetime)
    }
}

#[inline]
fn is(entry: &Entry, take: &Take<'_>) -> bool {
    // The key first: names are the same more often.
    *entry.key == *take.key && entry.scale == take.rule.scale() && entry.limit == *take.limit
}

fn settled(shard: &Shard<'_, Entry>, hash: u64, take: &Take<'_>, now: u64) -> State {
    match shard.find(hash, |entry| is(entry, take)) {
        Some(entry) => entry.settled(&take.rule, now),
        None => take.rule.settle(None, now),
    }
}

fn store(shard: &mut Shard<'_, Entry>, hash: u64, take: &Take<'_>, state: State, time: Time) {
    match shard.find_mut(hash, |entry| is(entry, take)) {
        Some(entry) => entry.set(&take.rule, state, time),
        None => insert(shard, hash, take, state, time),
    }
}

fn insert(shard: &mut Shard<'_, Entry>, hash: u64, take: &Take<'_>, state: State, time: Time) {
    insert_with(shard, hash, take, (state, Slices::default()), time);
}

fn insert_with(
    shard: &mut Shard<'_, Entry>,
    hash: u64,
    take: &Take<'_>,
    (state, slices): (State, Slices),
    time: Time,
) {
    let (limit, key, scale) = (take.limit.clone(), take.key.into(), take.rule.scale());
    let deadline = time.after(slices.lifetime(&take.rule, state, time.now));
    let entry = Entry { limit, key, scale, state, slices, deadline, unsaved: true };
    shard.insert_unique(hash, entry, Entry::hash);
}
