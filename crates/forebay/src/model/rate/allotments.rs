//! The allotments of one key's quota, which processes spend without a call to the store.
//!
//! Numbers in, numbers out: no clock, no engine. Times are microseconds since 1970.
//!
//! An allotment is charged when it is granted. Until it ends the whole of it counts as used, whether or not its holder has
//! spent it. The allotments of a window end with the window, and those of a bucket do not leak. So everything that
//! allotments admit in a span either fitted at its beginning, or was charged within it.

use super::{
    rule::{Rule, State},
    state::Allotment,
};

/// The most processes that hold an allotment of one key at a time. The others call the store for every take.
pub(crate) const MAX_HOLDERS: usize = 256;

/// The allotments of one key, in the order of their ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allotments(Vec<Allotment>);

/// A process's report of its allotment of a key, and its request for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AllotmentRequest {
    pub holder: u128,
    /// A sequence number, larger than in every earlier request of this holder.
    pub sequence: u64,
    /// The unspent amount that it keeps.
    pub kept: u64,
    /// The unspent amount that it returns.
    pub back: u64,
    /// The amount that it wants in addition.
    pub want: u64,
    /// The time for which an allotment of a bucket can be spent.
    pub span: u64,
}

/// The result of an [`AllotmentRequest`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AllotmentReply {
    /// The additional amount that was granted.
    pub granted: u64,
    /// The part of the holder's kept amount that the store knows. The rest had ended.
    pub kept: u64,
    /// The time until the allotment ends.
    pub rest: u64,
}

/// The allotted part of a key, which stays charged when the key is reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outstanding {
    pub amount: u64,
    /// The time after which none of it is spent any more.
    pub until: u64,
}

impl Allotments {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// [`Rule::advance`], with the allotments.
    pub(crate) fn advance(&self, rule: &Rule, state: State, now: u64) -> State {
        rule.advance_with(state, &self.0, now)
    }

    /// Removes the allotments of a stored state that have ended as of a later one.
    #[inline]
    pub(crate) fn prune(&mut self, rule: &Rule, before: State, after: State) {
        if !self.0.is_empty() {
            self.0.retain(|allotment| rule.still_out(allotment, before, after));
        }
    }

    /// Takes back and grants parts of an allotment, and returns the next state. `state` is advanced, and these are
    /// [pruned](Self::prune) for it. `None`: the holder has sent a later request. Nothing changes then, not even the
    /// stored state.
    pub(crate) fn grant(
        &mut self,
        rule: &Rule,
        state: State,
        now: u64,
        request: &AllotmentRequest,
    ) -> Option<(State, AllotmentReply)> {
        let place = self.0.iter().position(|allotment| allotment.holder == request.holder);
        if place.is_some_and(|place| self.0[place].sequence >= request.sequence) {
            return None;
        }
        let had = place.map_or(0, |place| self.0.remove(place).amount);
        let back = request.back.min(had);
        let kept = request.kept.min(had - back);
        let state = if back > 0 { rule.refund(state, back, None) } else { state };
        let others = self.0.len();
        // There is a share for each other holder, one for this one, and one for further processes.
        let share = if others < MAX_HOLDERS { rule.room(state) / (others as u64 + 2) } else { 0 };
        let granted = request.want.min(share);
        let state = rule.charge(state, granted);
        let (amount, (end, longest)) = (kept + granted, rule.end(state, now, request.span));
        if amount > 0 {
            let place = self.0.partition_point(|allotment| allotment.end <= end);
            let AllotmentRequest { holder, sequence, .. } = *request;
            self.0.insert(place, Allotment { holder, sequence, amount, end });
        }
        Some((state, AllotmentReply { granted, kept, rest: end.saturating_sub(now).min(longest) }))
    }

    /// The state after a reset, from an advanced state: the allotted amount stays charged. `None`: nothing is allotted.
    pub(crate) fn reset(&self, rule: &Rule, state: State) -> Option<State> {
        let amount = self.amount();
        (amount > 0).then(|| rule.at_most(state, amount))
    }

    /// The allotted amount, and its latest end.
    pub(crate) fn outstanding(&self) -> Outstanding {
        Outstanding { amount: self.amount(), until: self.0.last().map_or(0, |allotment| allotment.end) }
    }

    /// The time for which a store must keep the state and these.
    #[inline]
    pub(crate) fn lifetime(&self, rule: &Rule, state: State, now: u64) -> u64 {
        match self.0.last() {
            Some(last) => rule.lifetime_with(state, last, now),
            None => rule.lifetime(state, now),
        }
    }

    fn amount(&self) -> u64 {
        self.0.iter().map(|allotment| allotment.amount).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        model::rate::{
            calendar::{CalendarUnit, Zone},
            rule::RateKind as _,
        },
        time::{millis, secs},
    };

    const NOW: u64 = 1_790_000_000_000_000;
    const HOLDERS: usize = 3;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// Time passes.
        Pass(u64),
        /// A holder asks for more, reports its kept amount, and returns a part. The answer may be lost.
        Ask {
            holder: usize,
            want: u64,
            back: u64,
            lost: bool,
        },
        /// An earlier request arrives again, late.
        Repeat {
            holder: usize,
        },
        /// A holder spends.
        Spend {
            holder: usize,
            cost: u64,
        },
        /// A holder spends, and gives back what it spent, because the take had no effect.
        Undo {
            holder: usize,
        },
        /// A holder dies, and another process takes its place.
        Die {
            holder: usize,
        },
        /// A caller takes from the store directly.
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
        (1u64..40, 1u64..40, spans, 0..5).prop_map(|(rate, burst, span, kind)| {
            match kind {
                0 => Rule::fixed_window(rate, span, Duration::from_micros(7)),
                1 => Rule::sliding_window(rate, span),
                3 => Rule::calendar_window(rate, CalendarUnit::Day, midnight_soon()),
                // The numbers are so large that ticks are milliseconds.
                2 => Rule::token_bucket(1 << 20, secs(86_400), burst),
                _ => Rule::token_bucket(rate, span, burst),
            }
            .expect("in range")
        })
    }

    /// A zone in which it is midnight some seconds after [`NOW`].
    fn midnight_soon() -> Zone {
        Zone::new(jiff::tz::TimeZone::posix("<XXX>-10:26:36").expect("a zone"))
    }

    #[derive(Default)]
    struct Holder {
        id: u128,
        left: u64,
        until: u64,
        last: Option<AllotmentRequest>,
    }

    /// A key, its holders, and everything that was admitted.
    struct World {
        rule: Rule,
        now: u64,
        state: Option<State>,
        allotments: Allotments,
        holders: [Holder; HOLDERS],
        sequence: u64,
        admitted: Vec<(u64, u64)>,
    }

    const SPAN: u64 = 300_000;

    impl World {
        fn new(rule: Rule) -> Self {
            let holders = std::array::from_fn(|id| Holder { id: id as u128, ..Holder::default() });
            let (allotments, admitted) = (Allotments::default(), vec![]);
            Self { rule, now: NOW, state: None, allotments, holders, sequence: 0, admitted }
        }

        fn advanced(&self) -> State {
            match self.state {
                Some(state) => self.allotments.advance(&self.rule, state, self.now),
                None => self.rule.advance(None, self.now),
            }
        }

        fn store(&mut self, state: State) {
            let before = self.state.replace(state).unwrap_or(state);
            self.allotments.prune(&self.rule, before, state);
        }

        fn ask_store(&mut self, request: &AllotmentRequest) -> AllotmentReply {
            let advanced = self.advanced();
            let before = self.allotments.clone();
            self.allotments.prune(&self.rule, self.state.unwrap_or(advanced), advanced);
            let Some((state, reply)) = self.allotments.grant(&self.rule, advanced, self.now, request) else {
                self.allotments = before;
                return AllotmentReply::default();
            };
            self.state = Some(state);
            reply
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
            let request =
                AllotmentRequest { holder: it.id, sequence: self.sequence, kept, back, want, span: SPAN };
            it.last = Some(request);
            let reply = self.ask_store(&request);
            if !lost {
                let it = &mut self.holders[holder];
                it.left = reply.kept + reply.granted;
                it.until = self.now + reply.rest;
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
                    if let Some(request) = self.holders[holder].last {
                        self.ask_store(&request);
                    }
                }
                Step::Spend { holder, cost } => drop(self.spend(holder, cost)),
                Step::Undo { holder } => {
                    if self.spend(holder, 1) {
                        self.admitted.pop();
                        let state = self.rule.refund(self.advanced(), 1, None);
                        self.store(state);
                    }
                }
                Step::Die { holder } => {
                    let id = self.holders[holder].id + 16;
                    self.holders[holder] = Holder { id, ..Holder::default() };
                }
                Step::Take(cost) => {
                    let advanced = self.advanced();
                    if cost <= self.rule.room(advanced) {
                        self.store(self.rule.charge(advanced, cost));
                        self.admitted.push((self.now, cost));
                    }
                }
                Step::Reset => {
                    let advanced = self.advanced();
                    self.allotments.prune(&self.rule, self.state.unwrap_or(advanced), advanced);
                    self.state = self.allotments.reset(&self.rule, advanced);
                    // Amounts that were admitted before the reset no longer count.
                    self.admitted.clear();
                }
            }
        }

        /// Checks the guarantee of the kind for the costs that were admitted since the last reset.
        fn check(&self) -> Result<(), String> {
            match &self.rule {
                rule @ (Rule::FixedWindow(_) | Rule::CalendarWindow(_)) => {
                    let mut windows: BTreeMap<u64, u64> = BTreeMap::new();
                    for (at, cost) in &self.admitted {
                        *windows.entry(rule.advance(None, *at).0).or_default() += cost;
                    }
                    let over = windows.values().find(|&&sum| sum > rule.quota());
                    over.map_or(Ok(()), |sum| Err(format!("{sum} in a window of {}", rule.quota())))
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
                    // The highest level of a bucket with the exact rule that admits the same costs.
                    let (mut then, mut level) = (0, 0);
                    for (at, cost) in &self.admitted {
                        level = rule.advance(Some(State(then, level)), *at).1 + cost * rule.period;
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
        fn allotments_admit_no_more_than_the_exact_rule(rule in rules(), steps in prop::collection::vec(steps(), 1..80)) {
            let mut world = World::new(rule);
            for step in steps {
                world.step(step);
                let checked = world.check();
                prop_assert!(checked.is_ok(), "{:?}: {step:?}", checked);
            }
        }
    }

    #[test]
    fn tokens_come_back_when_their_allotment_ends() {
        let mut world = World::new(Rule::token_bucket(10, secs(1), 10).expect("in range"));
        world.ask(0, 5, 0, false);
        assert_eq!(world.holders[0].left, 5);
        world.step(Step::Die { holder: 0 });
        world.now += SPAN - 1;
        assert_eq!(world.rule.room(world.advanced()), 5, "it does not leak");
        world.now += 1 + 500_000;
        assert_eq!(world.rule.room(world.advanced()), 10, "it leaks from then on");
    }

    /// The key was lost or deleted. To extend an allotment that is no longer charged would admit too much.
    #[test]
    fn an_allotment_that_the_store_does_not_know_is_not_kept() {
        let mut world = World::new(Rule::fixed_window(100, secs(86_400), secs(0)).expect("in range"));
        world.ask(0, 10, 0, false);
        (world.state, world.allotments) = (None, Allotments::default());
        let request = AllotmentRequest { holder: 0, sequence: 9, kept: 10, back: 3, want: 0, span: SPAN };
        let reply = world.ask_store(&request);
        assert_eq!((reply.kept, world.rule.used(world.advanced())), (0, 0));
        assert!(world.allotments.is_empty());
    }

    #[test]
    fn the_last_of_a_quota_is_not_allotted() {
        let mut world = World::new(Rule::fixed_window(100, secs(86_400), secs(0)).expect("in range"));
        for holder in 0..HOLDERS {
            world.ask(holder, 100, 0, false);
        }
        let left: Vec<u64> = world.holders.iter().map(|holder| holder.left).collect();
        assert_eq!(left, [50, 16, 8]);
    }
}
