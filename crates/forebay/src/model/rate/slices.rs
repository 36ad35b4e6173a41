//! What is lent of one key's quota: slices, which processes spend without asking.
//!
//! Numbers in, numbers out: no clock, no engine. Times are microseconds since 1970.
//!
//! A slice is charged when it is lent, and until it ends it counts as used, whatever its holder has spent of it: a
//! window's slices end with the window, and what is lent of a bucket does not leak. So what is admitted by slices in any
//! span was room at its beginning, or was charged within it.

use super::rule::{Rule, State};

/// At most so many processes hold something of one key at a time; the others ask for every take.
pub(crate) const MAX_HOLDERS: usize = 256;

/// What one process holds of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    pub holder: u128,
    /// Of the request that set it: an earlier one that comes later changes nothing.
    pub sequence: u64,
    /// At least what the holder has not spent yet.
    pub amount: u64,
    /// After that nothing of it is spent any more.
    pub end: u64,
}

/// The slices of one key, by their ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slices(Vec<Slice>);

/// What a process says of its slice of a key, and wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lend {
    pub holder: u128,
    /// Larger than in every request of this holder before.
    pub sequence: u64,
    /// What it has not spent, and keeps.
    pub kept: u64,
    /// What it has not spent, and gives back.
    pub back: u64,
    /// What it would have on top.
    pub want: u64,
    /// For how long what is lent of a bucket can be spent.
    pub span: u64,
}

/// What became of a [`Lend`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lent {
    /// How much came on top.
    pub granted: u64,
    /// How much of what the holder kept the store knows of; of the rest it was taken for gone.
    pub kept: u64,
    /// Until the slice ends.
    pub rest: u64,
}

/// What of a key is lent, and stays charged when the key is reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outstanding {
    pub amount: u64,
    /// After that nothing of it is spent any more.
    pub until: u64,
}

impl Slices {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// [`Rule::settle`], with what is lent.
    pub(crate) fn settle(&self, rule: &Rule, state: Option<State>, now: u64) -> State {
        let (Rule::TokenBucket(bucket), Some(mut state)) = (rule, state) else {
            return rule.settle(state, now);
        };
        let ticks = (now / bucket.tick).max(state.0);
        let mut lent = self.lent();
        for slice in &self.0 {
            let end = slice.end.div_ceil(bucket.tick);
            if end > ticks {
                break;
            }
            state = bucket.leak(state, end, lent);
            lent -= slice.amount;
        }
        bucket.leak(state, ticks, lent)
    }

    /// Forgets the slices that have ended as of a settled state, which is stored with those that are left.
    #[inline]
    pub(crate) fn prune(&mut self, rule: &Rule, state: State) {
        if self.0.is_empty() {
            return;
        }
        if let Rule::TokenBucket(bucket) = rule {
            self.0.retain(|slice| slice.end.div_ceil(bucket.tick) > state.0);
        } else {
            let end = rule.end(state, 0, 0);
            self.0.retain(|slice| slice.end >= end);
        }
    }

    /// Lends, and takes back, as of a settled state, for which these are [pruned](Self::prune): the state after it. `None`: the
    /// holder has sent another request since, and nothing changes, not even what is stored.
    pub(crate) fn lend(&mut self, rule: &Rule, state: State, now: u64, lend: &Lend) -> Option<(State, Lent)> {
        let place = self.0.iter().position(|slice| slice.holder == lend.holder);
        if place.is_some_and(|place| self.0[place].sequence >= lend.sequence) {
            return None;
        }
        let had = place.map_or(0, |place| self.0.remove(place).amount);
        let back = lend.back.min(had);
        let kept = lend.kept.min(had - back);
        let state = if back > 0 { rule.refund(state, back, None) } else { state };
        let others = self.0.len();
        // A share for each that holds something, for this one, and for those who come.
        let share = if others < MAX_HOLDERS { rule.room(state) / (others as u64 + 2) } else { 0 };
        let granted = lend.want.min(share);
        let state = rule.charge(state, granted);
        let (amount, end) = (kept + granted, rule.end(state, now, lend.span));
        if amount > 0 {
            let place = self.0.partition_point(|slice| slice.end <= end);
            self.0.insert(place, Slice { holder: lend.holder, sequence: lend.sequence, amount, end });
        }
        let longest = if matches!(rule, Rule::TokenBucket(_)) { lend.span } else { rule.length() };
        Some((state, Lent { granted, kept, rest: end.saturating_sub(now).min(longest) }))
    }

    /// The state after a reset, as of a settled one: what is lent stays charged. `None`: nothing is.
    pub(crate) fn reset(&self, rule: &Rule, state: State) -> Option<State> {
        let lent = self.lent();
        (lent > 0).then(|| match rule {
            Rule::FixedWindow(_) => State(state.0, state.1.min(lent)),
            Rule::SlidingWindow(_) => State(state.0, (state.1 & u64::from(u32::MAX)).min(lent)),
            Rule::TokenBucket(bucket) => State(state.0, state.1.min(lent * bucket.period)),
        })
    }

    /// What is lent, and until when at most.
    pub(crate) fn outstanding(&self) -> Outstanding {
        Outstanding { amount: self.lent(), until: self.0.last().map_or(0, |slice| slice.end) }
    }

    /// For how long a store must remember the state and these.
    #[inline]
    pub(crate) fn lifetime(&self, rule: &Rule, state: State, now: u64) -> u64 {
        match (rule, self.0.last()) {
            // Until the last one ends it may not leak.
            (Rule::TokenBucket(bucket), Some(last)) => {
                rule.lifetime(State(last.end.div_ceil(bucket.tick).max(state.0), state.1), now)
            }
            _ => rule.lifetime(state, now),
        }
    }

    fn lent(&self) -> u64 {
        self.0.iter().map(|slice| slice.amount).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use proptest::prelude::*;

    use super::*;
    use crate::time::{millis, secs};

    const NOW: u64 = 1_790_000_000_000_000;
    const HOLDERS: usize = 3;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// Time passes.
        Pass(u64),
        /// A holder asks for more, says what it keeps, gives some back; perhaps the answer is lost.
        Ask {
            holder: usize,
            want: u64,
            back: u64,
            lost: bool,
        },
        /// It is sent again, late.
        Repeat {
            holder: usize,
        },
        /// A holder spends.
        Spend {
            holder: usize,
            cost: u64,
        },
        /// A holder spends, and gives back what it spent: nothing came of it.
        Undo {
            holder: usize,
        },
        /// A holder dies, and another process takes its place.
        Die {
            holder: usize,
        },
        /// Somebody takes without a slice.
        Take(u64),
        Reset,
    }

    fn steps() -> impl Strategy<Value = Step> {
        let holder = 0..HOLDERS;
        prop_oneof![
            4 => (0u64..400_000).prop_map(Step::Pass),
            4 => (holder.clone(), 0u64..20, 0u64..4, prop::bool::weighted(0.1))
                .prop_map(|(holder, want, back, lost)| Step::Ask { holder, want, back, lost }),
            1 => holder.clone().prop_map(|holder| Step::Repeat { holder }),
            6 => (holder.clone(), 1u64..8).prop_map(|(holder, cost)| Step::Spend { holder, cost }),
            1 => holder.clone().prop_map(|holder| Step::Undo { holder }),
            1 => holder.prop_map(|holder| Step::Die { holder }),
            4 => (1u64..4).prop_map(Step::Take),
            1 => Just(Step::Reset),
        ]
    }

    fn rules() -> impl Strategy<Value = Rule> {
        let spans = prop_oneof![Just(millis(250)), Just(secs(1)), Just(secs(86_400))];
        (1u64..40, 1u64..40, spans, 0..4).prop_map(|(rate, burst, span, kind)| {
            match kind {
                0 => Rule::fixed_window(rate, span, Duration::from_micros(7)),
                1 => Rule::sliding_window(rate, span),
                // So much that its ticks are milliseconds.
                2 => Rule::token_bucket(1 << 20, secs(86_400), burst),
                _ => Rule::token_bucket(rate, span, burst),
            }
            .expect("in range")
        })
    }

    #[derive(Default)]
    struct Holder {
        id: u128,
        left: u64,
        until: u64,
        last: Option<Lend>,
    }

    /// A key, its holders, and everything that was admitted.
    struct World {
        rule: Rule,
        now: u64,
        state: Option<State>,
        slices: Slices,
        holders: [Holder; HOLDERS],
        sequence: u64,
        admitted: Vec<(u64, u64)>,
    }

    const SPAN: u64 = 300_000;

    impl World {
        fn new(rule: Rule) -> Self {
            let holders = std::array::from_fn(|id| Holder { id: id as u128, ..Holder::default() });
            let (slices, admitted) = (Slices::default(), vec![]);
            Self { rule, now: NOW, state: None, slices, holders, sequence: 0, admitted }
        }

        fn settled(&self) -> State {
            self.slices.settle(&self.rule, self.state, self.now)
        }

        fn store(&mut self, state: State) {
            self.state = Some(state);
            self.slices.prune(&self.rule, state);
        }

        fn lend(&mut self, lend: &Lend) -> Lent {
            let settled = self.settled();
            self.slices.prune(&self.rule, settled);
            let Some((state, lent)) = self.slices.lend(&self.rule, settled, self.now, lend) else {
                return Lent::default();
            };
            self.store(state);
            lent
        }

        fn ask(&mut self, holder: usize, want: u64, back: u64, lost: bool) {
            let live = self.now < self.holders[holder].until;
            let it = &mut self.holders[holder];
            let (kept, back) = if live {
                let back = back.min(it.left);
                it.left -= back;
                (it.left, back)
            } else {
                (0, std::mem::take(&mut it.left))
            };
            self.sequence += 1;
            let lend = Lend { holder: it.id, sequence: self.sequence, kept, back, want, span: SPAN };
            it.last = Some(lend);
            let lent = self.lend(&lend);
            if !lost {
                let it = &mut self.holders[holder];
                it.left = lent.kept + lent.granted;
                it.until = self.now + lent.rest;
            }
        }

        fn spend(&mut self, holder: usize, cost: u64) -> bool {
            let it = &mut self.holders[holder];
            let fits = self.now < it.until && cost <= it.left;
            if fits {
                it.left -= cost;
                self.admitted.push((self.now, cost));
            }
            fits
        }

        fn step(&mut self, step: Step) {
            match step {
                Step::Pass(span) => self.now += span,
                Step::Ask { holder, want, back, lost } => self.ask(holder, want, back, lost),
                Step::Repeat { holder } => {
                    if let Some(lend) = self.holders[holder].last {
                        self.lend(&lend);
                    }
                }
                Step::Spend { holder, cost } => drop(self.spend(holder, cost)),
                Step::Undo { holder } => {
                    if self.spend(holder, 1) {
                        self.admitted.pop();
                        let state = self.rule.refund(self.settled(), 1, None);
                        self.store(state);
                    }
                }
                Step::Die { holder } => {
                    let id = self.holders[holder].id + 16;
                    self.holders[holder] = Holder { id, ..Holder::default() };
                }
                Step::Take(cost) => {
                    let settled = self.settled();
                    if cost <= self.rule.room(settled) {
                        self.store(self.rule.charge(settled, cost));
                        self.admitted.push((self.now, cost));
                    }
                }
                Step::Reset => {
                    let settled = self.settled();
                    self.slices.prune(&self.rule, settled);
                    self.state = self.slices.reset(&self.rule, settled);
                    // What was admitted before does not count any more.
                    self.admitted.clear();
                }
            }
        }

        /// What the kind promises of all that was admitted since the last reset.
        fn check(&self) -> Result<(), String> {
            match &self.rule {
                Rule::FixedWindow(rule) => {
                    let mut windows: BTreeMap<u64, u64> = BTreeMap::new();
                    for (at, cost) in &self.admitted {
                        *windows.entry((at + rule.offset) / rule.length).or_default() += cost;
                    }
                    let over = windows.values().find(|&&sum| sum > rule.limit);
                    over.map_or(Ok(()), |sum| Err(format!("{sum} in a window of {}", rule.limit)))
                }
                Rule::SlidingWindow(rule) => {
                    let window = |at: u64| at / rule.tick / rule.length;
                    for (i, (at, _)) in self.admitted.iter().enumerate() {
                        let sum = |of: u64| -> u64 {
                            self.admitted[..=i]
                                .iter()
                                .filter(|(at, _)| window(*at) == of)
                                .map(|(_, cost)| cost)
                                .sum()
                        };
                        let left = rule.length - at / rule.tick % rule.length;
                        let (now, before) = (sum(window(*at)), sum(window(*at) - 1));
                        if before * left > (rule.limit.saturating_sub(now)) * rule.length || now > rule.limit
                        {
                            return Err(format!("{before} before and {now} of {}", rule.limit));
                        }
                    }
                    Ok(())
                }
                Rule::TokenBucket(rule) => {
                    // The fullest that a bucket of the exact rule gets, if it admits the same.
                    let (mut then, mut level) = (0, 0);
                    for (at, cost) in &self.admitted {
                        level = rule.settle(Some(State(then, level)), *at).1 + cost * rule.period;
                        then = at / rule.tick;
                        if level > rule.burst * rule.period {
                            return Err(format!("level {level} of {}", rule.burst * rule.period));
                        }
                    }
                    Ok(())
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        #[test]
        fn slices_admit_no_more_than_the_exact_rule(rule in rules(), steps in prop::collection::vec(steps(), 1..80)) {
            let mut world = World::new(rule);
            for step in steps {
                world.step(step);
                let checked = world.check();
                prop_assert!(checked.is_ok(), "{:?}: {step:?}", checked);
            }
        }
    }

    #[test]
    fn what_is_lent_of_a_bucket_comes_back_when_its_slice_ends() {
        let mut world = World::new(Rule::token_bucket(10, secs(1), 10).expect("in range"));
        world.ask(0, 5, 0, false);
        assert_eq!(world.holders[0].left, 5);
        world.step(Step::Die { holder: 0 });
        world.now += SPAN - 1;
        assert_eq!(world.rule.room(world.settled()), 5, "it does not leak");
        world.now += 1 + 500_000;
        assert_eq!(world.rule.room(world.settled()), 10, "it leaks from then on");
    }

    /// The key was lost, or somebody deleted it: to extend a slice that is not charged any more would admit too much.
    #[test]
    fn what_the_store_does_not_know_is_not_kept() {
        let mut world = World::new(Rule::fixed_window(100, secs(86_400), secs(0)).expect("in range"));
        world.ask(0, 10, 0, false);
        (world.state, world.slices) = (None, Slices::default());
        let lend = Lend { holder: 0, sequence: 9, kept: 10, back: 3, want: 0, span: SPAN };
        let lent = world.lend(&lend);
        assert_eq!((lent.kept, world.rule.used(world.settled())), (0, 0));
        assert!(world.slices.is_empty());
    }

    #[test]
    fn the_last_of_a_quota_is_not_lent() {
        let mut world = World::new(Rule::fixed_window(100, secs(86_400), secs(0)).expect("in range"));
        for holder in 0..HOLDERS {
            world.ask(holder, 100, 0, false);
        }
        let lent: Vec<u64> = world.holders.iter().map(|holder| holder.left).collect();
        assert_eq!(lent, [50, 16, 8]);
    }
}
