//! One decision over several limits: overrides, then what this process knows, then the store.
//!
//! 1. Overrides. A limit that is unlimited or blocked for the key needs no store.
//! 2. Denials that this process knows: blocked keys and the deny cache. If there is one, nothing is asked and nothing is
//!    charged.
//! 3. Peeks (cost 0). Where one would deny, nothing is charged.
//! 4. The limits that count: one step on each host in turn, and local budgets last. If one denies, everything charged before
//!    it is refunded.
//! 5. Shadows, each alone, once all others have admitted. They can neither deny nor be refunded.

use std::time::Duration;

use futures::future::join_all;

use super::{
    charge::{Charge, Decisions, MAX_CHARGES},
    refunds::{PendingRefunds, by_host},
};
use crate::{
    engine::{
        request::ChargeToken,
        step::{Take, Taken, TakenAll},
    },
    error::{Error, Result, Retry, invalid},
    key::Count,
    limit::{Decision, LimitHandle, OnError, Source, handle::Resolved, local::LocalLimiter},
    store::Store,
    time::When,
};

impl Store {
    /// See [`Forebay::take_all`](crate::Forebay::take_all). With a token it charges once, however often it is called.
    ///
    /// Shadows are charged without the token.
    pub(crate) async fn take_all_with(
        &self,
        charges: &[Charge],
        when: When,
        token: Option<ChargeToken>,
    ) -> Result<Decisions> {
        let mut call = Call::new(self, charges, when, token)?;
        if !call.deny_locally(true) {
            call.ask_store().await?;
        }
        call.decisions.track(charges);
        Ok(call.decisions)
    }

    /// The denial of a take over several limits, if this process knows it: see
    /// [`Forebay::known_denial`](crate::Forebay::known_denial).
    pub(crate) fn known_denial(&self, charges: &[Charge]) -> Result<Option<Decisions>> {
        let mut call = Call::new(self, charges, When::EngineClock, None)?;
        if !call.deny_locally(false) {
            return Ok(None);
        }
        call.decisions.track(charges);
        Ok(Some(call.decisions))
    }

    /// The denial of a take of the same cost from each of several limits, if it is remembered at `now`, on the monotonic clock.
    /// `None` also if an override decides, or the take is refused: this allocates nothing but the answer.
    pub(crate) fn remembered_denial<'a>(
        takes: &(impl ExactSizeIterator<Item = (&'a LimitHandle, &'a str)> + Clone),
        cost: Count,
        now: Duration,
    ) -> Option<Decisions> {
        check(takes).ok()?;
        let take = |(limit, key): (&'a LimitHandle, &'a str)| match limit
            .resolve(limit.key(key).ok()?, cost.get())
        {
            Ok(Resolved::Take(take)) => Some((limit, take)),
            _ => None,
        };
        if takes.len() > 1 && !takes.clone().all(|one| take(one).is_some()) {
            return None;
        }
        let mut denied: Option<Vec<Option<Decision>>> = None;
        for (place, one) in takes.clone().enumerate() {
            let (limit, take) = take(one)?;
            let Some(decision) = limit.known_denial(&take, || now, false) else { continue };
            denied.get_or_insert_with(|| vec![None; takes.len()])[place] = Some(decision);
        }
        Some(Decisions { allowed: false, limits: denied?, charged: vec![], in_doubt: false })
    }
}

/// How often takes are grouped by hosts, while slots move.
const MAX_GROUPED: usize = 3;

/// A limit that counts: its place among the charges, and its take.
type Member<'a> = (usize, Take<'a>);

/// A take over several limits, and what is decided of it.
struct Call<'a> {
    store: &'a Store,
    charges: &'a [Charge],
    when: When,
    token: Option<ChargeToken>,
    enforced: Vec<Member<'a>>,
    decisions: Decisions,
}

impl<'a> Call<'a> {
    fn new(store: &'a Store, charges: &'a [Charge], when: When, token: Option<ChargeToken>) -> Result<Self> {
        check(&charges.iter().map(|charge| (&charge.limit, &*charge.key)))?;
        let mut decisions = Decisions::none(charges.len());
        let mut enforced = Vec::with_capacity(charges.len());
        for (place, charge) in charges.iter().enumerate().filter(|(_, one)| one.cost > 0) {
            let limit = &charge.limit;
            match charge.resolve()? {
                Resolved::Fixed(decision) => decisions.limits[place] = Some(limit.apply_shadow(decision)),
                Resolved::Take(take) if !limit.is_shadow() => enforced.push((place, take)),
                Resolved::Take(_) => {}
            }
        }
        Ok(Self { store, charges, when, token, enforced, decisions })
    }

    /// Answers without the store, if this process knows that a limit denies. Otherwise the caller `will_ask`, or not.
    ///
    /// A repeated request asks the store: an earlier attempt may have been charged.
    fn deny_locally(&mut self, will_ask: bool) -> bool {
        let limits = &mut self.decisions.limits;
        if self.when == When::EngineClock && self.token.is_none_or(|token| token.is_first) {
            let now = || self.store.clock().monotonic();
            for (place, take) in &self.enforced {
                limits[*place] = self.charges[*place].limit.known_denial(take, now, will_ask);
            }
        }
        self.decisions.allowed = limits.iter().flatten().all(Decision::is_allowed);
        !self.decisions.allowed
    }

    async fn ask_store(&mut self) -> Result<()> {
        if self.charges.iter().any(|charge| charge.cost == 0) {
            self.decisions.allowed = Box::pin(self.peek()).await?;
        }
        if self.decisions.allowed {
            self.decisions.allowed = self.ask_enforced().await?;
        }
        if self.decisions.limits.iter().any(Option::is_none) {
            Box::pin(self.ask_the_rest()).await?;
        }
        Ok(())
    }

    /// Takes from the limits that are enforced. Whether all admitted.
    async fn ask_enforced(&mut self) -> Result<bool> {
        let enforced = std::mem::take(&mut self.enforced);
        let takes: Vec<Take<'_>> = enforced.iter().map(|(_, take)| *take).collect();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let engine = self.store.engine();
            let together =
                if self.token.is_some() { engine.stay_together(&takes) } else { engine.together(&takes) };
            let asked = if together && !enforced.iter().any(|one| self.is_local(one)) {
                self.ask_host(&enforced, &takes).await
            } else {
                Box::pin(self.ask_in_turn(&enforced)).await
            };
            match asked {
                // Keys that were on one host are on two.
                Err(error) if error.retry() == Retry::Now && attempts < MAX_GROUPED => {}
                asked => return asked,
            }
        }
    }

    /// Asks the limits of the charges with a cost of 0. Whether all would admit.
    async fn peek(&mut self) -> Result<bool> {
        let peeks = self.charges.iter().enumerate().filter(|(_, charge)| charge.cost == 0);
        let peeks = peeks.map(async |(place, charge)| (place, charge.peek(self.when).await));
        for (place, decision) in join_all(peeks).await {
            self.decisions.limits[place] = Some(decision?);
        }
        Ok(self.decisions.limits.iter().flatten().all(Decision::is_allowed))
    }

    /// Asks the limits that have no decision yet: shadows, which count with the others; or, after a denial, whatever was not
    /// asked, which is only looked at. A limit that does not answer then stays without a decision.
    async fn ask_the_rest(&mut self) -> Result<()> {
        let (allowed, when) = (self.decisions.allowed, self.when);
        let rest = self.charges.iter().zip(&self.decisions.limits).enumerate();
        let rest = rest.filter(|(_, (_, decision))| decision.is_none());
        let rest = rest.map(async |(place, (charge, _))| {
            let answer = if allowed {
                charge.limit.take_at(&charge.key, charge.cost, when).await.map(Some)
            } else {
                Ok(charge.peek(when).await.ok())
            };
            (place, answer)
        });
        for (place, decision) in join_all(rest).await {
            self.decisions.limits[place] = decision?;
        }
        Ok(())
    }

    /// The local budgets of a limit, if this call may spend from them. A charge with a token must be known to the store.
    fn local(&self, place: usize) -> Option<&'a std::sync::Arc<LocalLimiter>> {
        let local = self.charges[place].limit.0.leased.as_ref();
        local.filter(|_| self.when == When::EngineClock && self.token.is_none())
    }

    /// Whether the local budget covers a take.
    fn is_local(&self, (place, take): &Member<'_>) -> bool {
        self.local(*place).is_some_and(|local| local.left(take) >= take.cost)
    }

    /// Asks one host after the other, in the order of the limits, and spends from local budgets last. Most denied requests
    /// are denied by the first host and never reach the others. A host that does not answer is decided by the `on_error` of
    /// its own limits.
    async fn ask_in_turn(&mut self, enforced: &[Member<'a>]) -> Result<bool> {
        let (local, stored): (Vec<Member<'a>>, _) = enforced.iter().partition(|one| self.is_local(one));
        let mut groups = by_host(self.store.engine(), self.token.is_some(), stored, |(_, take)| *take);
        let hosts = groups.len();
        groups.extend(local.into_iter().map(|member| vec![member]));
        let mut pending = PendingRefunds::new(self.store, self.when, self.token);
        for (nth, group) in groups.iter().enumerate() {
            let spent = nth >= hosts && self.spend(&group[0]);
            let takes: Vec<Take<'_>> = group.iter().map(|(_, take)| *take).collect();
            let allowed = spent || self.ask_host(group, &takes).await?;
            let charged =
                group.iter().filter_map(|&(place, _)| Some((place, self.decisions.charged[place]?)));
            pending.extend(charged.map(|(place, window)| (place, self.charges[place].clone(), window)));
            failpoint!("take_all_after_host");
            if !allowed {
                self.decisions.charged.fill(None);
                for (place, decision) in pending.refund().await {
                    self.decisions.limits[place] = Some(decision);
                }
                return Ok(false);
            }
        }
        pending.keep();
        Ok(true)
    }

    /// Spends from a local budget, unless others have spent it meanwhile.
    fn spend(&mut self, (place, take): &Member<'_>) -> bool {
        let spent = self.local(*place).and_then(|local| local.spend_in_window(take));
        if let Some((decision, window)) = spent {
            self.decisions.limits[*place] = Some(decision);
            self.decisions.charged[*place] = Some(window);
        }
        spent.is_some()
    }

    /// Takes what one step can do, or decides without the store. Whether all admitted.
    async fn ask_host(&mut self, group: &[Member<'_>], takes: &[Take<'_>]) -> Result<bool> {
        let Some(first) = takes.first() else { return Ok(true) };
        // Only denials of other processes' stores are remembered, and only of now.
        let remembers = self.when == When::EngineClock && !self.store.engine().is_in_process();
        let sent = remembers.then(|| self.store.clock().monotonic());
        let mut answer = self.ask_engine(takes).await;
        if let Ok(taken) = &answer
            && !taken.allowed
            && Box::pin(self.return_budgets(group, taken)).await
        {
            answer = self.ask_engine(takes).await;
        }
        match answer {
            Ok(taken) => self.record(group, &taken, sent),
            // The caller groups them anew.
            Err(error) if error.retry() == Retry::Now && !self.store.engine().together(takes) => {
                return Err(error);
            }
            Err(error) if error.is_outage() => {
                self.charges[group[0].0].limit.note_outage(first.key, &error);
                Box::pin(self.decide_without_store(group, &error)).await?;
            }
            Err(error) => return Err(error),
        }
        Ok(group.iter().all(|(place, _)| self.decisions.limits[*place].is_some_and(|one| one.is_allowed())))
    }

    async fn ask_engine(&self, takes: &[Take<'_>]) -> Result<TakenAll> {
        let (engine, first) = (self.store.engine(), takes[0]);
        let step = async {
            match self.token {
                None => engine.take_all(takes, self.when).await,
                Some(token) => {
                    Box::pin(engine.take_all_once(takes, self.when, token.of(first.limit, first.key))).await
                }
            }
        };
        if engine.keeps_deadlines() {
            return step.await;
        }
        let deadline = takes.iter().map(|take| take.within).min().unwrap_or_default();
        self.store.in_time(deadline, || format!("limit {}", first.limit), step).await
    }

    /// Returns the local budgets of the limits that denied: with what is left in the store they may be enough. Whether there
    /// were any.
    async fn return_budgets(&self, group: &[Member<'_>], taken: &TakenAll) -> bool {
        let denying =
            group.iter().zip(&taken.states).filter(|((_, take), state)| take.rule.room(**state) < take.cost);
        let returns = denying.filter_map(|((place, take), _)| Some((self.local(*place)?, take)));
        let returns = returns.map(async |(local, take)| local.give_back_of(take).await);
        join_all(returns).await.into_iter().any(|returned| returned)
    }

    /// Records the answer of a host.
    fn record(&mut self, group: &[Member<'_>], taken: &TakenAll, sent: Option<Duration>) {
        for ((place, take), &state) in group.iter().zip(&taken.states) {
            let limit = &self.charges[*place].limit;
            let allowed = taken.allowed || take.rule.room(state) >= take.cost;
            let now = taken.now;
            self.decisions.limits[*place] = Some(Decision::of(take, Taken { allowed, now, state }));
            self.decisions.charged[*place] = taken.allowed.then_some(state.0);
            if let Some(sent) = sent.filter(|_| !allowed) {
                limit.remember_denial(take, now, state, sent);
            }
            if let Some(local) = self.local(*place).filter(|_| taken.allowed) {
                local.missed(take);
            }
        }
    }

    /// Decides by the `on_error` of each limit.
    async fn decide_without_store(&mut self, group: &[Member<'_>], error: &Error) -> Result<()> {
        let on_error = |place: usize| self.charges[place].limit.0.definition.on_error;
        let local = group.iter().filter(|(place, _)| on_error(*place) == OnError::Local);
        let local: Vec<Member<'_>> = local.copied().collect();
        let takes: Vec<Take<'_>> = local.iter().map(|(_, take)| *take).collect();
        let taken = self.store.fallback().take_all(&takes, self.when).await?;
        for (place, take) in group {
            let allowed = on_error(*place) == OnError::Open;
            self.decisions.limits[*place] = Some(Decision::without_store(take.rule.quota(), allowed));
        }
        for ((place, take), &state) in local.iter().zip(&taken.states) {
            let allowed = taken.allowed || take.rule.room(state) >= take.cost;
            let decision = Decision::of(take, Taken { allowed, now: taken.now, state });
            self.decisions.limits[*place] = Some(decision.from(Source::Fallback));
        }
        self.decisions.in_doubt |= error.retry() == Retry::Unknown;
        Ok(())
    }
}

fn check<'a>(takes: &(impl ExactSizeIterator<Item = (&'a LimitHandle, &'a str)> + Clone)) -> Result<()> {
    if takes.len() > MAX_CHARGES {
        return Err(invalid(format!("take over {} limits: at most {MAX_CHARGES}", takes.len())));
    }
    for (nth, (limit, key)) in takes.clone().enumerate() {
        let mut before = takes.clone().take(nth);
        if before.any(|(other, other_key)| other.name().is(limit.name()) && other_key == key) {
            return Err(invalid(format!("limit {}: named twice for one key in one take", limit.name())));
        }
    }
    Ok(())
}
