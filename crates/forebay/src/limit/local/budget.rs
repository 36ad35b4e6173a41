//! What this process holds of the keys of a leased limit, and spends without asking.
//!
//! No engine and no task in here: what should be asked of the store comes out as an [`Ask`], and how that ended is told
//! to [`Purses::landed`].

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use compact_str::CompactString;

use crate::{
    clock::Clock,
    engine::step::{Allotted, Take},
    key::hash,
    model::rate::rule::Rule,
    table::Shards,
    time::{millis, secs, whole_micros},
};

/// Beyond this many keys nothing new is held until others are idle: some megabytes.
const MOST: usize = 65_536;

/// A slice is to last about so long: what a process that dies takes with it, and how often a busy key asks.
const WORTH: Duration = millis(100);

/// No demand is measured over less: the coarse clock steps by up to so much.
const LEAST: Duration = millis(10);

/// How long it does not ask again when there was nothing to be had, and when there was no answer.
const NOTHING: Duration = millis(20);
const NO_ANSWER: Duration = millis(100);

/// For how long what is lent of a bucket can be spent: so long its tokens do not come back when the holder dies.
pub(crate) const SPAN: Duration = secs(2);

/// The keys that are held, each in a shard by its hash.
#[derive(Debug)]
pub(crate) struct Purses {
    shards: Shards<Purse>,
    held: AtomicUsize,
}

/// What is held of one key. All that spending changes, and most of what it looks at, is in the first line of the
/// processor's cache: threads that spend of the same key take that one from each other, and nothing else.
#[derive(Debug)]
#[repr(C, align(64))]
struct Purse {
    key: CompactString,
    left: u64,
    /// In microseconds of the coarse clock: from then on nothing of it is spent.
    until: u64,
    /// More is asked for when no more than this is left.
    low: u64,
    /// As of the last answer: what else the store would have admitted, and when nothing were used, in microseconds.
    beyond: u64,
    empty_at: u64,
    /// Allotments of another rule, after an override changed, are not spent.
    rule: Rule,
    /// What was left when it was last counted what has been spent.
    counted: u64,
    /// What had been spent by then, since the last request: the demand.
    spent: u64,
    /// The same since the last sweep.
    fresh: u64,
    since: Duration,
    /// Until then no request is sent.
    quiet_until: Duration,
    /// A request is on its way: one at a time.
    asking: bool,
}

/// What was spent, and what is known of the rest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    /// In this process and, as of its last answer, in the store.
    pub remaining: u64,
    pub reset_after: Duration,
}

/// A request to the store. Until it has landed, the key sends no other.
#[derive(Debug)]
pub(crate) struct Ask {
    pub key: Box<str>,
    pub rule: Rule,
    pub kept: u64,
    pub back: u64,
    pub want: u64,
}

impl Default for Purses {
    fn default() -> Self {
        Self { shards: Shards::new(), held: AtomicUsize::new(0) }
    }
}

impl Purses {
    /// Spends a cost, if enough is held of the key; perhaps it is time to ask for more.
    #[inline]
    pub(crate) fn spend(&self, take: &Take<'_>, clock: &Clock) -> Option<(Spent, Option<Ask>)> {
        let hash = hash(take.key.as_bytes());
        let mut shard = self.shards.lock(hash);
        let purse = shard.find_mut(hash, |purse| purse.is_of(take))?;
        // With the lock held: a thread that waits for it, or is stopped before, decides by the time after.
        let now = clock.coarse();
        let micros = whole_micros(now);
        if take.cost > purse.left || micros >= purse.until || purse.rule != take.rule {
            return None;
        }
        purse.left -= take.cost;
        let remaining = purse.left.saturating_add(purse.beyond);
        let reset_after = Duration::from_micros(purse.empty_at.saturating_sub(micros));
        let ask = if purse.left <= purse.low { purse.ask(now) } else { None };
        Some((Spent { remaining, reset_after }, ask))
    }

    /// Notes that the store admitted what was not held; perhaps it is time to hold some.
    pub(crate) fn missed(&self, take: &Take<'_>, now: Duration) -> Option<Ask> {
        let hash = hash(take.key.as_bytes());
        let mut shard = self.shards.lock(hash);
        if let Some(purse) = shard.find_mut(hash, |purse| purse.is_of(take)) {
            if purse.rule != take.rule {
                if purse.left > 0 || purse.asking {
                    return purse.give(purse.left);
                }
                *purse = Purse::new(take, now);
                return None;
            }
            purse.spent = purse.spent.saturating_add(take.cost);
            purse.fresh = purse.fresh.saturating_add(take.cost);
            return purse.ask(now);
        }
        if self.held.load(Ordering::Relaxed) < MOST {
            self.held.fetch_add(1, Ordering::Relaxed);
            let purse = Purse::new(take, now);
            shard.insert_unique(hash, purse, Purse::hash);
        }
        None
    }

    /// How much is held of a key.
    pub(crate) fn left(&self, take: &Take<'_>, now: Duration) -> u64 {
        let hash = hash(take.key.as_bytes());
        let shard = self.shards.lock(hash);
        let purse = shard.find(hash, |purse| purse.is_of(take) && purse.rule == take.rule);
        purse.filter(|purse| purse.is_good(now)).map_or(0, |purse| purse.left)
    }

    /// Takes everything out that is held of a key, to be given back.
    pub(crate) fn empty(&self, take: &Take<'_>) -> Option<Ask> {
        let hash = hash(take.key.as_bytes());
        let mut shard = self.shards.lock(hash);
        let purse = shard.find_mut(hash, |purse| purse.is_of(take))?;
        purse.give(purse.left)
    }

    /// Takes everything out that is held of a key, so that the store forgets also what has been spent of it; `None`: a request
    /// is on its way, whose answer has to come first.
    pub(crate) fn void(&self, take: &Take<'_>, now: Duration) -> Option<Ask> {
        let hash = hash(take.key.as_bytes());
        let mut shard = self.shards.lock(hash);
        let mut purse = Purse::new(take, now);
        let known = shard.find_mut(hash, |purse| purse.is_of(take));
        let is_known = known.is_some();
        let place = known.unwrap_or(&mut purse);
        if place.asking {
            return None;
        }
        let back = place.left;
        place.set_left(0);
        (place.asking, place.until) = (true, 0);
        let ask = Ask { key: take.key.into(), rule: place.rule, kept: 0, back, want: 0 };
        if !is_known {
            // What is not noted to be on its way could be overtaken by the next request.
            self.held.fetch_add(1, Ordering::Relaxed);
            shard.insert_unique(hash, purse, Purse::hash);
        }
        Some(ask)
    }

    /// Takes everything out, to be given back; and whether requests are on their way, so that there is more to come.
    pub(crate) fn empty_all(&self) -> (Vec<Ask>, bool) {
        let (mut asks, mut more) = (vec![], false);
        self.shards.retain(
            |purse| {
                more |= purse.asking;
                asks.extend(purse.give_all());
                true
            },
            Purse::hash,
        );
        // Time may be short: what has been spent stays charged anyway, only a reset would have to wait for it.
        asks.sort_by_key(|ask: &Ask| ask.back == 0);
        (asks, more)
    }

    /// Once in a while: forgets what is idle; what it holds, and whatever is more than was spent lately, is given back.
    pub(crate) fn sweep(&self, now: Duration) -> Vec<Ask> {
        let mut asks = vec![];
        let keep = |purse: &mut Purse| {
            purse.count();
            let fresh = std::mem::take(&mut purse.fresh);
            let live = purse.left > 0 && purse.is_good(now);
            if !purse.asking && !live && fresh == 0 {
                self.held.fetch_sub(1, Ordering::Relaxed);
                return false;
            }
            if live && purse.left > 2 * fresh {
                asks.extend(purse.give(purse.left - fresh));
            }
            true
        };
        self.shards.retain(keep, Purse::hash);
        asks
    }

    /// Whether nothing is held, nor any demand remembered.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.load(Ordering::Relaxed) == 0
    }

    /// Notes how a request that was sent at `sent` ended; `None`: nobody knows.
    pub(crate) fn landed(&self, ask: &Ask, sent: Duration, now: Duration, sliced: Option<Allotted>) {
        let hash = hash(ask.key.as_bytes());
        let mut shard = self.shards.lock(hash);
        let Some(purse) = shard.find_mut(hash, |purse| purse.key.as_bytes() == ask.key.as_bytes()) else {
            return;
        };
        purse.asking = false;
        match sliced {
            Some(sliced) => purse.filled(ask, sent, sliced),
            // What it asked for may be lent, and is lost until it ends. What it holds it still holds.
            None => purse.quiet_until = now + NO_ANSWER,
        }
        if sliced.is_some_and(|sliced| sliced.reply.granted < ask.want) {
            purse.quiet_until = now + NOTHING;
        }
    }
}

impl Purse {
    fn new(take: &Take<'_>, now: Duration) -> Self {
        Self {
            key: take.key.into(),
            left: 0,
            until: 0,
            low: 0,
            beyond: 0,
            empty_at: 0,
            rule: take.rule,
            counted: 0,
            spent: take.cost,
            fresh: take.cost,
            since: now,
            quiet_until: Duration::ZERO,
            asking: false,
        }
    }

    fn hash(&self) -> u64 {
        hash(self.key.as_bytes())
    }

    #[inline]
    fn is_of(&self, take: &Take<'_>) -> bool {
        self.key.as_bytes() == take.key.as_bytes()
    }

    /// Whether what is held can still be spent.
    fn is_good(&self, now: Duration) -> bool {
        whole_micros(now) < self.until
    }

    /// Counts what has been spent: before `left` changes in any other way, and before anybody asks.
    fn count(&mut self) {
        let spent = self.counted.saturating_sub(self.left);
        self.spent = self.spent.saturating_add(spent);
        self.fresh = self.fresh.saturating_add(spent);
        self.counted = self.left;
    }

    fn set_left(&mut self, left: u64) {
        self.count();
        (self.left, self.counted) = (left, left);
    }

    /// A request for as much as the demand says, if that is more than is held.
    #[cold]
    fn ask(&mut self, now: Duration) -> Option<Ask> {
        if self.asking || now < self.quiet_until {
            return None;
        }
        self.count();
        let passed = now.saturating_sub(self.since);
        // Not more than some times what it took so far: whoever begins must not empty a small quota.
        let worth = self.spent.saturating_mul(whole_micros(WORTH)) / whole_micros(passed.max(LEAST));
        let aim = worth.min(self.spent.saturating_mul(4)).min(self.rule.quota());
        (self.spent, self.since) = (0, now);
        let expired = if self.is_good(now) { 0 } else { self.left };
        self.set_left(self.left - expired);
        if aim < 2 || aim <= self.left {
            // It lasts; to be looked at again when half of it is gone.
            self.low = self.left / 2;
            return None;
        }
        self.asking = true;
        let (kept, want) = (self.left, aim - self.left);
        Some(Ask { key: self.key.as_str().into(), rule: self.rule, kept, back: expired, want })
    }

    /// A request that gives some back, if none is on its way.
    fn give(&mut self, back: u64) -> Option<Ask> {
        if self.asking || back == 0 {
            return None;
        }
        self.asking = true;
        self.set_left(self.left - back);
        Some(Ask { key: self.key.as_str().into(), rule: self.rule, kept: self.left, back, want: 0 })
    }

    /// A request that gives all back, and has the store forget what has been spent of it.
    fn give_all(&mut self) -> Option<Ask> {
        if self.asking || self.left == 0 && self.until == 0 {
            return None;
        }
        (self.asking, self.until) = (true, 0);
        let back = self.left;
        self.set_left(0);
        Some(Ask { key: self.key.as_str().into(), rule: self.rule, kept: 0, back, want: 0 })
    }

    fn filled(&mut self, ask: &Ask, sent: Duration, Allotted { now, state, reply }: Allotted) {
        // Of what was kept some may have been spent meanwhile. What the store knows nothing of has ended there.
        let known = (self.left + reply.kept).saturating_sub(ask.kept);
        self.set_left(known + reply.granted);
        if self.left > 0 {
            self.until = whole_micros(sent + counted(Duration::from_micros(reply.rest)));
        }
        self.low = self.left / 2;
        self.beyond = self.rule.room(state);
        self.empty_at = whole_micros(sent).saturating_add(self.rule.reset_after(state, now));
    }
}

/// How much of a slice's time its holder counts on: less 1 %, as of a lock, and 15 ms, which the coarse clock may be
/// behind and a store may round.
fn counted(rest: Duration) -> Duration {
    rest.saturating_sub(rest / 100 + millis(15))
}

#[cfg(test)]
mod tests {
    use std::mem::{align_of, offset_of};

    use super::*;

    #[test]
    fn what_spending_changes_is_in_the_first_line_of_the_cache() {
        assert_eq!((align_of::<Purse>(), offset_of!(Purse, rule)), (64, 64));
    }
}
