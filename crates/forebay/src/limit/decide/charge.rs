//! The request and the answer of a take over several limits.

use futures::future::join_all;

use crate::{
    applied::Applied,
    engine::request::ChargeToken,
    error::{Error, Result, Retry},
    limit::{Decision, LimitHandle, handle::Resolved},
    store::Store,
    time::When,
};

/// One decision spans at most this many limits. More would delay the takes of other callers.
pub const MAX_CHARGES: usize = 64;

/// A cost against one key of one limit, as a part of a take over several limits.
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
    /// The key.
    pub key: String,
    /// The cost: 1 to the limit's quota, at most 2^31. A cost of 0 only asks whether a take of 1 would be admitted. If not,
    /// no other limit is charged either.
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
/// assert_eq!((decisions.allowed, decisions.limits[0].map(|limit| limit.remaining())), (true, Some(19)));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "a denied request should not be served"]
pub struct Decisions {
    /// All were charged; else none was.
    pub allowed: bool,
    /// The decision of each limit, in order. `None`: the limit was not asked, because another one had denied already.
    ///
    /// When the whole is denied, `Allow` means that this limit would have admitted. Nothing was charged to it.
    pub limits: Vec<Option<Decision>>,
    /// The window that each limit was charged in, for [`give_back`](Self::give_back). `None`: it was not charged. Empty: none
    /// was.
    pub(super) charged: Vec<Option<u64>>,
    /// A limit was decided without the store, which may have charged all the same: its answer did not come in time.
    pub(super) in_doubt: bool,
}

impl Charge {
    /// Checks the key and the cost, and finds the allowance of the key.
    pub(super) fn resolve(&self) -> Result<Resolved<'_>> {
        self.limit.resolve(self.limit.key(&self.key)?, self.cost)
    }

    /// The decision that a take of the cost would get. A cost of 0 asks for the decision about a take of 1.
    pub(super) async fn peek(&self, when: When) -> Result<Decision> {
        let key = self.limit.key(&self.key)?;
        match self.cost {
            0 => self.limit.peek_at(key, when).await,
            cost => self.limit.peek_for(key, cost, when).await,
        }
    }
}

impl Decisions {
    /// No decision of any of `limits`: none of them denies. With 0, the decision of an earlier attempt, whose details are not
    /// kept.
    pub(crate) fn none(limits: usize) -> Self {
        let (limits, charged) = (vec![None; limits], vec![None; limits]);
        Self { allowed: true, limits, charged, in_doubt: false }
    }

    /// The limits that were asked, each with its place and its decision.
    pub fn asked(&self) -> impl Iterator<Item = (usize, &Decision)> {
        self.limits.iter().enumerate().filter_map(|(place, decision)| Some((place, decision.as_ref()?)))
    }

    /// The window that a limit was charged in.
    pub(crate) fn window(&self, place: usize) -> Option<u64> {
        self.charged.get(place).copied().flatten()
    }

    /// Tracks the keys that were charged or that denied.
    pub(super) fn track(&self, charges: &[Charge]) {
        for (place, decision) in self.asked() {
            let Charge { limit, key, cost } = &charges[place];
            // A shadow that admitted with the others was tracked when it was asked.
            let counts = if self.allowed { !limit.is_shadow() } else { decision.denies() };
            if *cost > 0 && counts {
                limit.note(key, decision);
            }
        }
    }

    /// Whether an allowed decision left something charged.
    pub(crate) fn charged(&self) -> Applied {
        match (self.charged.iter().any(Option::is_some), self.in_doubt) {
            (true, _) => Applied::Yes,
            (false, true) => Applied::Unknown,
            (false, false) => Applied::No,
        }
    }

    /// Refunds what an allowed decision charged, into the windows that were charged. A refund of a window that is over
    /// changes nothing: in the next one it would admit too much. Of charges with a token, those that a later attempt owns by
    /// now stay. Returns whether anything stays charged.
    pub(crate) async fn give_back(
        &self,
        store: &Store,
        charges: &[Charge],
        token: Option<ChargeToken>,
    ) -> Applied {
        let charged = charges.iter().zip(&self.charged);
        let charged = charged.filter_map(|(charge, window)| Some((charge, (*window)?)));
        let refund = async |(Charge { limit, key, cost }, window): (&Charge, u64)| {
            limit.refund_into(limit.key(key)?, *cost, Some(window)).await.map(drop)
        };
        let refunds = match token {
            Some(token) => store.refund_once(charged, token).await,
            None => join_all(charged.map(refund)).await,
        };
        let failures: Vec<Error> = refunds.into_iter().filter_map(Result::err).collect();
        if failures.iter().any(|error| error.retry() != Retry::Unknown) {
            Applied::Yes
        } else if failures.is_empty() && !self.in_doubt {
            Applied::No
        } else {
            Applied::Unknown
        }
    }
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
        assert_eq!(taken.give_back(bay.store(), &charges, None).await, Applied::No);
        assert_eq!(limit.peek("42").await.expect("answers").used(), 0, "the same window");

        let taken = bay.take_all(&charges).await.expect("answers");
        hand.advance(mins(1));
        assert!(limit.take_n("42", 5).await.expect("answers").is_allowed());
        assert_eq!(taken.give_back(bay.store(), &charges, None).await, Applied::No);
        assert!(!limit.take("42").await.expect("answers").is_allowed(), "the next window");
    }
}
