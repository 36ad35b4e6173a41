//! One take from one limit: overrides, then what this process knows, then the store, then `on_error`.

use std::{pin::pin, time::Duration};

use super::fast_path::poll_outlined;
use crate::{
    engine::step::{Take, Taken},
    error::{Error, Result},
    key::Key,
    limit::{Decision, LimitHandle, handle::Resolved},
    model::rate::rule::State,
    time::When,
};

impl LimitHandle {
    /// Takes 1 for `key`, if it fits.
    ///
    /// # Errors
    /// As [`take_n`](Self::take_n).
    ///
    /// # Cancellation
    /// Dropping the future may leave the cost charged.
    ///
    /// # Cost
    /// One round trip, shared with other calls of this process to the same host. None on the embedded engine, while a
    /// denial is remembered, and from a local budget.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{Decision, Limit};
    /// let hits = bay.limit(Limit::per_minute("hits", 20))?;
    ///
    /// match hits.take("user:42").await? {
    ///     Decision::Allow { remaining, .. } => assert_eq!(remaining, 19),
    ///     Decision::Deny { retry_after, .. } => println!("try again in {retry_after:?}"),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn take(&self, key: impl AsRef<str>) -> impl Future<Output = Result<Decision>> {
        // An async function of its own would copy the answer once more.
        self.take_n(key, 1)
    }

    /// Takes `cost` (1 to the limit, at most 2^31) for `key`, if it fits: all of it or nothing.
    ///
    /// A cost of 0 is a [`peek`](Self::peek): the answer to a take of 1, without the charge.
    ///
    /// A store that does not answer is not an error: [`OnError`](crate::limit::OnError) decides then.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a key that is empty or longer than 512 bytes,
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) for a cost that could never be admitted.
    ///
    /// # Cancellation
    /// Dropping the future may leave the cost charged.
    ///
    /// # Cost
    /// As [`take`](Self::take).
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::Limit;
    /// let hits = bay.limit(Limit::per_minute("hits", 20))?;
    ///
    /// assert_eq!(hits.take_n("user:42", 15).await?.remaining(), 5);
    /// assert!(!hits.take_n("user:42", 6).await?.is_allowed()); // nothing is charged
    /// assert_eq!(hits.peek("user:42").await?.remaining(), 5);
    /// # Ok(()) }
    /// ```
    pub async fn take_n(&self, key: impl AsRef<str>, cost: u64) -> Result<Decision> {
        let key = self.key(key.as_ref())?;
        if let Some(decision) = self.take_fast(key, cost) {
            return Ok(decision);
        }
        if cost == 0 {
            return Box::pin(self.peek_at(key, When::EngineClock)).await;
        }
        if let Some(decision) = self.known_denial_of(key, cost, true) {
            return Ok(decision);
        }
        if let Some((rule, batched)) = self.take_batched(key, cost) {
            let answer = batched.await;
            let take = self.take_under(rule, key, cost);
            return match answer {
                Ok((taken, sent)) => Ok(self.decided(take, taken, Some(sent))),
                Err(error) => {
                    let step = pin!(self.undecided(take, When::EngineClock, error));
                    poll_outlined(step).await
                }
            };
        }
        let step = pin!(self.decide(key, cost, When::EngineClock));
        poll_outlined(step).await
    }

    /// As [`take_n`](Self::take_n), at a time other than the store's: for replays of old traffic.
    ///
    /// # Errors
    /// As [`take_n`](Self::take_n).
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{Limit, Timestamp, When};
    /// let hits = bay.limit(Limit::per_minute("hits", 20))?;
    ///
    /// let then = When::At(Timestamp::from_secs(1_790_000_000)); // a replay
    /// assert!(hits.take_at("user:42", 1, then).await?.is_allowed());
    /// # Ok(()) }
    /// ```
    pub async fn take_at(&self, key: impl AsRef<str>, cost: u64, when: When) -> Result<Decision> {
        let key = self.key(key.as_ref())?;
        if cost == 0 {
            return Box::pin(self.peek_at(key, when)).await;
        }
        let step = pin!(self.decide(key, cost, when));
        poll_outlined(step).await
    }

    /// The stages of every take that the fast path does not decide.
    async fn decide(&self, key: Key<'_>, cost: u64, when: When) -> Result<Decision> {
        let take = match self.resolve(key, cost)? {
            Resolved::Take(take) => take,
            Resolved::Fixed(decision) => return Ok(self.noted(key.as_str(), self.apply_shadow(decision))),
        };
        let local = self.0.leased.as_ref().filter(|_| when == When::EngineClock);
        let engine = self.0.store.engine();
        let known = match local {
            Some(local) => local.spend(&take).map(Ok::<_, Error>),
            None if engine.is_in_process() => {
                let taken = engine.take_at_once(&take, when);
                taken.map(|taken| Ok(self.apply_shadow(Decision::of(&take, taken?))))
            }
            None => None,
        };
        if let Some(decision) = known {
            return Ok(self.noted(take.key, decision?));
        }
        let sent = self.0.store.clock().monotonic();
        let mut answer = self.ask(take, when).await;
        if let (Some(local), Ok(Taken { allowed: false, .. })) = (local, &answer) {
            // Together with what is left in the store, the local budget may be enough.
            if Box::pin(local.give_back_of(&take)).await {
                answer = self.ask(take, when).await;
            }
        }
        match answer {
            Ok(taken) => {
                if let Some(local) = local.filter(|_| taken.allowed) {
                    local.missed(&take);
                }
                Ok(self.decided(take, taken, (when == When::EngineClock).then_some(sent)))
            }
            Err(error) => self.undecided(take, when, error).await,
        }
    }

    /// The decision about a take that the store answered. A denial is remembered if it was sent at a known time.
    #[inline(never)]
    fn decided(&self, take: Take<'_>, taken: Taken, sent: Option<Duration>) -> Decision {
        if let Some(sent) = sent.filter(|_| !taken.allowed) {
            self.remember_denial(&take, taken.now, taken.state, sent);
        }
        self.noted(take.key, self.apply_shadow(Decision::of(&take, taken)))
    }

    /// The decision about a take that the store did not answer.
    async fn undecided(&self, take: Take<'_>, when: When, error: Error) -> Result<Decision> {
        Ok(self.noted(take.key, self.without_store(take, when, error).await?))
    }

    /// A remembered denial of a key: see [`known_denial`](Self::known_denial).
    pub(crate) fn known_denial_of(&self, key: Key<'_>, cost: u64, will_ask: bool) -> Option<Decision> {
        if !self.remembers_denials() {
            return None;
        }
        let Ok(Resolved::Take(take)) = self.resolve(key, cost) else { return None };
        self.known_denial(&take, || self.0.store.clock().monotonic(), will_ask)
    }

    /// A remembered denial of a take, which is counted. `None` also to a caller who `will_ask` the store, if it is time to do
    /// so. The monotonic time `now` is read only if there may be one.
    pub(crate) fn known_denial(
        &self,
        take: &Take<'_>,
        now: impl FnOnce() -> Duration,
        will_ask: bool,
    ) -> Option<Decision> {
        if !self.remembers_denials() || self.0.store.engine().is_closed() {
            return None;
        }
        self.0.shared.denied.look_up(take, now(), will_ask)
    }

    /// Whether any denial is remembered.
    pub(crate) fn remembers_denials(&self) -> bool {
        self.0.remembers && !self.0.shared.denied.is_empty()
    }

    pub(crate) fn remember_denial(&self, take: &Take<'_>, now: u64, state: State, sent: Duration) {
        if self.0.remembers {
            self.0.shared.denied.remember(take, now, state, sent);
        }
    }
}
