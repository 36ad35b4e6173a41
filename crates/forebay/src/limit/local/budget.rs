//! The budgets that this process holds of the keys of a leased limit.
//!
//! This file uses neither an engine nor a task. It returns each [`RefillRequest`] to be sent, and is told how the request
//! ended by [`LocalBudgets::completed`].

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use crate::{
    clock::Clock,
    engine::step::{Allotted, Take},
    key::hash,
    lease_margin::{COARSE_CLOCK, usable},
    model::rate::rule::Rule,
    table::{InlineKey, Shards},
    time::{millis, secs, whole_micros},
};

/// At most this many keys have a budget: some megabytes. More get one once others are idle.
const MAX_KEYS: usize = 65_536;

/// An allotment should last for this long. A process that dies loses this much, and a busy key requests a refill this often.
const TARGET_SPAN: Duration = millis(100);

/// The shortest span over which demand is measured: the coarse clock steps by up to this much.
const MIN_DEMAND_SPAN: Duration = millis(10);

/// Back-off after an empty grant, and after a timeout.
const EMPTY_GRANT_BACKOFF: Duration = millis(20);
const TIMEOUT_BACKOFF: Duration = millis(100);

/// An allotment of a bucket can be spent for this long. If its holder dies, its tokens do not refill for as long.
pub(crate) const BUCKET_SPAN: Duration = secs(2);

/// The budgets, each in a shard by the hash of its key.
#[derive(Debug, Default)]
pub(crate) struct LocalBudgets {
    shards: Shards<LocalBudget>,
    held: AtomicUsize,
}

/// The budget of one key.
///
/// Everything that spending changes, and most of what it reads, is in the first cache line. Threads that spend from the
/// same key contend for that line only.
#[derive(Debug)]
#[repr(C, align(64))]
struct LocalBudget {
    key: InlineKey,
    left: u64,
    /// The deadline, in microseconds of the coarse clock. Nothing is spent from then on.
    until: u64,
    /// A refill is requested when no more than this is left.
    low: u64,
    /// As of the last answer: what the store would have admitted in addition, and when nothing would be used, in
    /// microseconds.
    beyond: u64,
    empty_at: u64,
    /// An allotment under another rule, after an override changed, is not spent.
    rule: Rule,
    /// The window of the allotment, as of the last answer.
    window: u64,
    /// The balance when the demand was last counted.
    counted: u64,
    /// Spent since the last request, as of then: the demand.
    spent: u64,
    /// Spent since the last sweep.
    fresh: u64,
    since: Duration,
    /// No request is sent before this time.
    quiet_until: Duration,
    /// A request is in flight: one at a time.
    asking: bool,
}

/// The state after a cost was spent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    /// In this process and, as of the last answer, in the store.
    pub remaining: u64,
    pub reset_after: Duration,
    /// The window that it was charged in.
    pub window: u64,
}

/// A request to the store. The key sends no other one until it has completed.
#[derive(Debug)]
pub(crate) struct RefillRequest {
    pub key: Box<str>,
    pub rule: Rule,
    pub kept: u64,
    pub back: u64,
    pub want: u64,
}

impl LocalBudgets {
    /// Runs a step on the budget of a key, with its shard locked.
    #[inline]
    fn with<T>(&self, key: &str, step: impl FnOnce(&mut LocalBudget) -> T) -> Option<T> {
        let hash = hash(key.as_bytes());
        let mut shard = self.shards.lock(hash);
        shard.find_mut(hash, |budget| budget.is_of(key)).map(step)
    }

    /// Spends a cost if the key's budget covers it. Also returns the request for a refill, if one is due.
    #[inline]
    pub(crate) fn spend(&self, take: &Take<'_>, clock: &Clock) -> Option<(Spent, Option<RefillRequest>)> {
        self.with(take.key, |budget| {
            // Read with the lock held, so that the time is not from before a wait for it.
            let now = clock.coarse();
            let micros = whole_micros(now);
            if take.cost > budget.left || micros >= budget.until || budget.rule != take.rule {
                return None;
            }
            budget.left -= take.cost;
            let remaining = budget.left.saturating_add(budget.beyond);
            let reset_after = Duration::from_micros(budget.empty_at.saturating_sub(micros));
            let window = budget.window;
            let request = if budget.left <= budget.low { budget.ask(now) } else { None };
            Some((Spent { remaining, reset_after, window }, request))
        })?
    }

    /// Records that the store admitted what the budget did not cover. Returns the request for a refill, if one is due.
    pub(crate) fn missed(&self, take: &Take<'_>, now: Duration) -> Option<RefillRequest> {
        let hash = hash(take.key.as_bytes());
        let mut shard = self.shards.lock(hash);
        if let Some(budget) = shard.find_mut(hash, |budget| budget.is_of(take.key)) {
            if budget.rule != take.rule {
                if budget.left > 0 || budget.asking {
                    return budget.give(budget.left);
                }
                *budget = LocalBudget::new(take, now);
                return None;
            }
            budget.spent = budget.spent.saturating_add(take.cost);
            budget.fresh = budget.fresh.saturating_add(take.cost);
            return budget.ask(now);
        }
        if self.held.load(Ordering::Relaxed) < MAX_KEYS {
            self.held.fetch_add(1, Ordering::Relaxed);
            let budget = LocalBudget::new(take, now);
            shard.insert_unique(hash, budget, LocalBudget::hash);
        }
        None
    }

    /// The balance of a key.
    pub(crate) fn left(&self, take: &Take<'_>, now: Duration) -> u64 {
        let left = |budget: &mut LocalBudget| {
            if budget.rule == take.rule && budget.is_good(now) { budget.left } else { 0 }
        };
        self.with(take.key, left).unwrap_or(0)
    }

    /// Takes out the balance of a key, to be returned to the store.
    pub(crate) fn empty(&self, take: &Take<'_>) -> Option<RefillRequest> {
        self.with(take.key, |budget| budget.give(budget.left))?
    }

    /// Takes out the balance of a key, and has the store forget what was spent of it. `None`: a request is in flight and
    /// must complete first.
    pub(crate) fn void(&self, take: &Take<'_>, now: Duration) -> Option<RefillRequest> {
        let hash = hash(take.key.as_bytes());
        let mut shard = self.shards.lock(hash);
        // Without an entry the next request of the key could overtake this one.
        let entry = shard.entry(hash, |budget| budget.is_of(take.key), LocalBudget::hash);
        let mut entry = entry.or_insert_with(|| {
            self.held.fetch_add(1, Ordering::Relaxed);
            LocalBudget::new(take, now)
        });
        let budget = entry.get_mut();
        (!budget.asking).then(|| budget.request_all())
    }

    /// Takes out all balances, to be returned. Also tells whether requests are in flight, which may bring more.
    pub(crate) fn empty_all(&self) -> (Vec<RefillRequest>, bool) {
        let (mut requests, mut more) = (vec![], false);
        self.shards.retain(
            |budget| {
                more |= budget.asking;
                requests.extend(budget.give_all());
                true
            },
            LocalBudget::hash,
        );
        // Time may be short, so balances go first. The others only tell the store what was spent, for a later reset.
        requests.sort_by_key(|request: &RefillRequest| request.back == 0);
        (requests, more)
    }

    /// Forgets idle keys, and takes out what exceeds the recent demand of the others, to be returned.
    pub(crate) fn sweep(&self, now: Duration) -> Vec<RefillRequest> {
        let mut requests = vec![];
        let keep = |budget: &mut LocalBudget| {
            budget.count();
            let fresh = std::mem::take(&mut budget.fresh);
            let live = budget.left > 0 && budget.is_good(now);
            if !budget.asking && !live && fresh == 0 {
                self.held.fetch_sub(1, Ordering::Relaxed);
                return false;
            }
            if live && budget.left > 2 * fresh {
                requests.extend(budget.give(budget.left - fresh));
            }
            true
        };
        self.shards.retain(keep, LocalBudget::hash);
        requests
    }

    /// Whether there is neither a balance nor any recorded demand.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.load(Ordering::Relaxed) == 0
    }

    /// Records how a request that was sent at `sent` ended. `None`: it is not known.
    pub(crate) fn completed(
        &self,
        request: &RefillRequest,
        sent: Duration,
        now: Duration,
        allotted: Option<Allotted>,
    ) {
        self.with(&request.key, |budget| {
            budget.asking = false;
            match allotted {
                Some(allotted) => budget.filled(request, sent, allotted),
                // The store may have granted it. That part is unusable until it expires. The balance is unaffected.
                None => budget.quiet_until = now + TIMEOUT_BACKOFF,
            }
            if allotted.is_some_and(|allotted| allotted.reply.granted < request.want) {
                budget.quiet_until = now + EMPTY_GRANT_BACKOFF;
            }
        });
    }
}

impl LocalBudget {
    fn new(take: &Take<'_>, now: Duration) -> Self {
        Self {
            key: take.key.into(),
            left: 0,
            until: 0,
            low: 0,
            beyond: 0,
            empty_at: 0,
            rule: take.rule,
            window: 0,
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
    fn is_of(&self, key: &str) -> bool {
        self.key.as_bytes() == key.as_bytes()
    }

    /// Whether the balance can still be spent.
    fn is_good(&self, now: Duration) -> bool {
        whole_micros(now) < self.until
    }

    /// Adds what was spent to the demand. Called before `left` changes in any other way, and before a request.
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

    /// Requests budget for the recent demand, if that exceeds the balance.
    #[cold]
    fn ask(&mut self, now: Duration) -> Option<RefillRequest> {
        if self.asking || now < self.quiet_until {
            return None;
        }
        self.count();
        let passed = now.saturating_sub(self.since);
        // At most four times what was spent so far, so that a new holder does not empty a small quota.
        let worth =
            self.spent.saturating_mul(whole_micros(TARGET_SPAN)) / whole_micros(passed.max(MIN_DEMAND_SPAN));
        let aim = worth.min(self.spent.saturating_mul(4)).min(self.rule.quota());
        (self.spent, self.since) = (0, now);
        let expired = if self.is_good(now) { 0 } else { self.left };
        let left = self.left - expired;
        if aim < 2 || aim <= left {
            // The balance lasts. Checked again when half of it is spent.
            self.set_left(left);
            self.low = left / 2;
            return None;
        }
        Some(self.request(expired, aim - left))
    }

    /// Takes out `back`, and requests `want`.
    fn request(&mut self, back: u64, want: u64) -> RefillRequest {
        self.asking = true;
        self.set_left(self.left - back);
        RefillRequest { key: self.key.as_str().into(), rule: self.rule, kept: self.left, back, want }
    }

    /// Takes out everything, and has the store forget what was spent.
    fn request_all(&mut self) -> RefillRequest {
        self.until = 0;
        self.request(self.left, 0)
    }

    /// Returns an amount to the store, unless a request is in flight.
    fn give(&mut self, back: u64) -> Option<RefillRequest> {
        (!self.asking && back > 0).then(|| self.request(back, 0))
    }

    /// Returns everything to the store, unless a request is in flight.
    fn give_all(&mut self) -> Option<RefillRequest> {
        let has_any = self.left > 0 || self.until > 0;
        (!self.asking && has_any).then(|| self.request_all())
    }

    fn filled(&mut self, request: &RefillRequest, sent: Duration, Allotted { now, state, reply }: Allotted) {
        // Some of the kept amount may have been spent meanwhile. The part that the store does not know has ended there.
        let known = (self.left + reply.kept).saturating_sub(request.kept);
        self.set_left(known + reply.granted);
        if self.left > 0 {
            self.until = whole_micros(sent + counted(Duration::from_micros(reply.rest)));
        }
        self.low = self.left / 2;
        self.beyond = self.rule.room(state);
        self.window = state.0;
        self.empty_at = whole_micros(sent).saturating_add(self.rule.reset_after(state, now));
    }
}

/// The usable part of an allotment's lifetime: less 1 % for clock drift, and 15 ms for the coarse clock and rounding.
fn counted(rest: Duration) -> Duration {
    usable(rest, COARSE_CLOCK)
}

#[cfg(test)]
mod tests {
    use std::mem::{align_of, offset_of};

    use super::*;

    #[test]
    fn what_spending_changes_is_in_the_first_cache_line() {
        assert_eq!((align_of::<LocalBudget>(), offset_of!(LocalBudget, rule)), (64, 64));
    }
}
