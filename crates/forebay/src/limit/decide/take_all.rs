//! One decision over several limits.

use crate::{
    engine::{
        request::ChargeToken,
        step::{Take, Taken, TakenAll},
    },
    error::{Error, Result, Retry, invalid},
    limit::{
        Decision, LimitHandle, OnError, Source,
        handle::{Asked, decision, in_time},
    },
    store::Store,
    time::When,
};

/// A cost against one key of one limit, among others.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::{Limit, limit::Charge};
/// let minute = bay.limit(Limit::per_minute("minute", 20))?;
/// let day = bay.limit(Limit::per_day("day", 1_000))?;
/// let charge = |limit: &_| Charge { limit: Clone::clone(limit), key: "user:42".into(), cost: 1 };
/// assert!(bay.take_all(&[charge(&minute), charge(&day)]).await?.allowed);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Charge {
    /// The limit.
    pub limit: LimitHandle,
    /// Whose.
    pub key: String,
    /// How much: 1 to the limit's quota, at most 2^31. 0 only asks whether a take of 1 would be admitted; if not, no other
    /// limit is charged either.
    pub cost: u64,
}

/// The answer to a take over several limits.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::{Limit, limit::Charge};
/// let limit = bay.limit(Limit::per_minute("hits", 20))?;
/// let decisions = bay.take_all(&[Charge { limit, key: "user:42".into(), cost: 1 }]).await?;
/// assert_eq!((decisions.allowed, decisions.limits[0].remaining()), (true, 19));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "a denied request should not be served"]
pub struct Decisions {
    /// All were charged; else none was.
    pub allowed: bool,
    /// Each limit's own word, in order. When the whole is denied, `Allow` means that this one would have admitted;
    /// nothing was charged to it.
    pub limits: Vec<Decision>,
    /// Which windows were charged, for [`give_back`](Self::give_back): one for each limit that the store charged.
    pub(crate) charged: Vec<Option<u64>>,
    /// A limit was decided without the store, which may have charged all the same: its answer did not come in time.
    pub(crate) in_doubt: bool,
}

impl Decisions {
    /// Notes what was charged, and else who denied it.
    fn note(&self, charges: &[Charge]) {
        for (charge, decision) in charges.iter().zip(&self.limits) {
            // What a shadow admitted with the others was noted when it was asked.
            let peeked = charge.cost == 0;
            let says = !peeked && if self.allowed { !charge.limit.is_shadow() } else { decision.denies() };
            if says {
                charge.limit.note(&charge.key, decision);
            }
        }
    }

    /// The decision of an earlier attempt, which nobody has kept.
    pub(crate) fn none() -> Self {
        Self { allowed: true, limits: vec![], charged: vec![], in_doubt: false }
    }

    /// What an allowed decision left charged.
    pub(crate) fn charged(&self) -> Charged {
        match (self.charged.iter().any(Option::is_some), self.in_doubt) {
            (true, _) => Charged::Yes,
            (false, true) => Charged::Unknown,
            (false, false) => Charged::No,
        }
    }

    /// Refunds what an allowed decision charged, as far as its windows still count: what was charged to a window that is
    /// over is gone with it, and giving it back to the next one would admit too much. Returns what stays charged.
    pub(crate) async fn give_back(&self, charges: &[Charge]) -> Charged {
        let refund = async |(charge, window): (&Charge, &Option<u64>)| match window {
            Some(_) => charge.limit.refund_into(&charge.key, charge.cost, *window).await.map(|_| ()),
            None => Ok(()),
        };
        let refunds = futures::future::join_all(charges.iter().zip(&self.charged).map(refund)).await;
        self.left(refunds)
    }

    /// [`give_back`](Self::give_back) of what was charged with a token. Nothing goes back that is another attempt's by now.
    pub(crate) async fn give_back_once(
        &self,
        store: &Store,
        charges: &[Charge],
        token: ChargeToken,
    ) -> Charged {
        let charged =
            charges.iter().zip(&self.charged).filter_map(|(charge, window)| Some((charge, (*window)?)));
        self.left(store.refund_once(charged, token).await)
    }

    /// What stays charged after refunds.
    fn left(&self, refunds: Vec<Result<()>>) -> Charged {
        let failures: Vec<Error> = refunds.into_iter().filter_map(Result::err).collect();
        if failures.iter().any(|error| error.retry() != Retry::Unknown) {
            Charged::Yes
        } else if failures.is_empty() && !self.in_doubt {
            Charged::No
        } else {
            Charged::Unknown
        }
    }
}

/// Whether a charge stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Charged {
    Yes,
    No,
    /// The store did not say.
    Unknown,
}

/// How many limits one decision may span: more is a mistake, and would hold up everybody else's.
pub const MAX_CHARGES: usize = 64;

impl Store {
    /// See [`Forebay::take_all`](crate::Forebay::take_all); with a token it charges once, however often it is called.
    ///
    /// What shadows count has no token.
    pub(crate) async fn take_all_with(
        &self,
        charges: &[Charge],
        when: When,
        token: Option<ChargeToken>,
    ) -> Result<Decisions> {
        check(charges)?;
        match plain(charges)? {
            Some(takes) => self.take_enforced(charges, &takes, when, token).await,
            None => Box::pin(self.take_mixed(charges, when, token)).await,
        }
        .inspect(|decisions| decisions.note(charges))
    }

    /// Gives back what was charged with a token, and to which windows, host by host.
    pub(crate) async fn refund_once<'a>(
        &self,
        charged: impl Iterator<Item = (&'a Charge, u64)>,
        token: ChargeToken,
    ) -> Vec<Result<()>> {
        let mut groups: Vec<Vec<(Take<'_>, u64)>> = vec![];
        for (Charge { limit, key, cost }, window) in charged {
            let Ok(Asked::Take(take)) = limit.asked(key, *cost) else { continue };
            match groups.iter_mut().find(|group| self.engine().together(&[group[0].0, take])) {
                Some(group) => group.push((take, window)),
                None => groups.push(vec![(take, window)]),
            }
        }
        let refund = async |group: &Vec<(Take<'_>, u64)>| {
            let (first, _) = group[0];
            self.engine().refund_once(group, token.of(first.limit, first.key)).await
        };
        futures::future::join_all(groups.iter().map(refund)).await
    }

    /// Takes from limits all of which count.
    pub(crate) async fn take_enforced(
        &self,
        charges: &[Charge],
        takes: &[Take<'_>],
        when: When,
        token: Option<ChargeToken>,
    ) -> Result<Decisions> {
        if self.engine().together(takes) {
            self.take_together(charges, takes, when, token).await
        } else {
            Box::pin(self.take_apart(charges, takes, when, token)).await
        }
    }

    /// Takes that one step can do; or what each limit says without the store.
    pub(crate) async fn take_together(
        &self,
        charges: &[Charge],
        takes: &[Take<'_>],
        when: When,
        token: Option<ChargeToken>,
    ) -> Result<Decisions> {
        let (Some(first), Some(deadline)) =
            (charges.first(), charges.iter().map(|charge| charge.limit.deadline()).min())
        else {
            return Ok(Decisions::none());
        };
        let step = async {
            match token {
                None => self.engine().take_all(takes, when).await,
                Some(token) => {
                    let token = token.of(first.limit.name(), &first.key);
                    Box::pin(self.engine().take_all_once(takes, when, token)).await
                }
            }
        };
        let answer = if self.engine().keeps_deadlines() {
            step.await
        } else {
            in_time(self, deadline, first.limit.name(), step).await
        };
        match answer {
            Ok(taken) => Ok(decisions(takes, &taken)),
            Err(error) if error.is_outage() => {
                first.limit.note_outage(&first.key, &error);
                Box::pin(self.decide_without_store(charges, takes, when, &error)).await
            }
            Err(error) => Err(error),
        }
    }

    async fn decide_without_store(
        &self,
        charges: &[Charge],
        takes: &[Take<'_>],
        when: When,
        error: &Error,
    ) -> Result<Decisions> {
        let is_local = |charge: &Charge| charge.limit.on_error() == OnError::Local;
        let local = takes.iter().zip(charges).filter(|(_, charge)| is_local(charge));
        let local: Vec<Take<'_>> = local.map(|(take, _)| *take).collect();
        let taken = self.fallback().take_all(&local, when).await?;
        let mut locally = decisions(&local, &taken).limits.into_iter();
        let limits: Vec<Decision> = charges
            .iter()
            .zip(takes)
            .map(|(charge, take)| match charge.limit.on_error() {
                OnError::Open => Decision::without_store(take.rule.quota(), true),
                OnError::Closed => Decision::without_store(take.rule.quota(), false),
                OnError::Local => locally.next().expect("one for each local limit").from(Source::Fallback),
            })
            .collect();
        let charged = vec![None; charges.len()];
        let in_doubt = error.retry() == Retry::Unknown;
        Ok(Decisions { allowed: limits.iter().all(Decision::is_allowed), limits, charged, in_doubt })
    }
}

fn check(charges: &[Charge]) -> Result<()> {
    if charges.len() > MAX_CHARGES {
        return Err(invalid(format!("take over {} limits: at most {MAX_CHARGES}", charges.len())));
    }
    for (i, charge) in charges.iter().enumerate() {
        let same = |other: &Charge| other.limit.name() == charge.limit.name() && other.key == charge.key;
        if charges[..i].iter().any(same) {
            return Err(invalid(format!(
                "limit {}: named twice for one key in one take",
                charge.limit.name()
            )));
        }
    }
    Ok(())
}

/// The takes, if the store is asked about all of them and each counts.
fn plain(charges: &[Charge]) -> Result<Option<Vec<Take<'_>>>> {
    let mut takes = Vec::with_capacity(charges.len());
    for Charge { limit, key, cost } in charges {
        if *cost == 0 {
            return Ok(None);
        }
        match limit.asked(key, *cost)? {
            Asked::Take(take) if !limit.is_shadow() => takes.push(take),
            _ => return Ok(None),
        }
    }
    Ok(Some(takes))
}

fn decisions(takes: &[Take<'_>], taken: &TakenAll) -> Decisions {
    let limits = takes.iter().zip(&taken.states).map(|(take, &state)| {
        let fits = taken.allowed || take.rule.room(state) >= take.cost;
        decision(&take.rule, take.cost, Taken { allowed: fits, now: taken.now, state })
    });
    let charged = taken.states.iter().map(|state| taken.allowed.then_some(state.0)).collect();
    Decisions { allowed: taken.allowed, limits: limits.collect(), charged, in_doubt: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Clock, Forebay, Limit, ManualClock, Timestamp, time::mins};

    /// A charge in one window, given back in the next, would erase somebody else's hit there and admit one too many.
    #[tokio::test]
    async fn what_comes_back_too_late_opens_nothing() {
        let hand = ManualClock::at(Timestamp::from_secs(1_790_000_000));
        let bay = Forebay::options().clock(Clock::from(hand.clone())).open("memory:").await.expect("opens");
        let limit = bay.limit(Limit::per_minute("hits", 5)).expect("valid");
        let charges = [Charge { limit: limit.clone(), key: "42".into(), cost: 3 }];

        let taken = bay.take_all(&charges).await.expect("answers");
        assert_eq!(taken.give_back(&charges).await, Charged::No);
        assert_eq!(limit.peek("42").await.expect("answers").used(), 0, "the same window");

        let taken = bay.take_all(&charges).await.expect("answers");
        hand.advance(mins(1));
        assert!(limit.take_n("42", 5).await.expect("answers").is_allowed());
        assert_eq!(taken.give_back(&charges).await, Charged::No);
        assert!(!limit.take("42").await.expect("answers").is_allowed(), "the next window");
    }
}
