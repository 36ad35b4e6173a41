//! Limits on a Redis host.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use redis::Value;

use super::{
    Redis,
    about::run_one_about,
    calls::PATIENCE,
    combine::{QueuedTake, late},
    redirect,
    reply::{foreign_key, unavailable, unexpected},
    script::Script,
    wire::{self, Times},
};
use crate::{
    engine::step::{Allotted, Take, Taken, TakenAll},
    error::{ErrorKind, Result, Retry, out_of_range},
    model::rate::{
        allotments::{AllotmentRequest, Outstanding},
        rule::{EXACT, State},
    },
    time::When,
};

/// The most keys in one request, which is one script call.
const MAX_TAKES_PER_CALL: usize = 1_000;

/// A take in a batch with others.
#[derive(Debug)]
pub(crate) struct BatchedTake<'a> {
    redis: &'a Redis,
    queued: QueuedTake<'a>,
}

impl Future for BatchedTake<'_> {
    /// The result, and a time on the monotonic clock before it was sent.
    type Output = Result<(Taken, Duration)>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { redis, queued } = &mut *self;
        redis.poll_queued(queued, context)
    }
}

impl Redis {
    pub(crate) async fn take(&self, take: Take<'_>, when: When) -> Result<Taken> {
        let at = explicit(when)?;
        self.admit()?;
        let (mut answer, mut until) = (self.take_now(take, at).await, None);
        while self.is_on_the_move(&answer, &mut until, take.within).await {
            answer = self.take_now(take, at).await;
        }
        self.record_outcome(&answer);
        answer
    }

    /// Whether nothing was done, because the key's slot is moving between two nodes of a Redis Cluster, and there is time left.
    /// Then it waits a little: for the round trips of others nobody waits.
    async fn is_on_the_move<T>(
        &self,
        answer: &Result<T>,
        until: &mut Option<Duration>,
        within: Duration,
    ) -> bool {
        // Behind a fence it is for the caller to find another host.
        if self.host.epoch().is_some() || !answer.as_ref().is_err_and(|error| error.retry() == Retry::Now) {
            return false;
        }
        let now = self.host.clock().monotonic();
        if now >= *until.get_or_insert(now.saturating_add(within.min(PATIENCE))) {
            return false;
        }
        self.host.clock().sleep(redirect::PAUSE).await;
        true
    }

    async fn take_now(&self, take: Take<'_>, at: Option<u64>) -> Result<Taken> {
        if let Some(_alone) = self.combiner.try_solo() {
            // Boxed: its kilobytes of driver state would otherwise be moved with every combined take.
            return Box::pin(self.take_alone(take, at)).await;
        }
        let mut queued = QueuedTake::new(take, at);
        poll_fn(|context| queued.poll(&self.combiner, context)).await.map(|(taken, _)| taken)
    }

    /// A take in a batch with others. `None`: no batch is under way, or the host has not answered lately.
    pub(crate) fn take_batched<'a>(&'a self, take: Take<'a>) -> Option<BatchedTake<'a>> {
        Some(BatchedTake { redis: self, queued: self.queue_take(take)? })
    }

    /// [`take_batched`](Self::take_batched) without this host, which [`poll_queued`](Self::poll_queued) needs.
    #[inline]
    pub(crate) fn queue_take<'a>(&self, take: Take<'a>) -> Option<QueuedTake<'a>> {
        let joins = self.combiner.is_busy() && self.breaker.is_closed();
        joins.then(|| QueuedTake::new(take, None))
    }

    /// The result of a take that this host has [queued](Self::queue_take), and a time on the monotonic clock before it was sent.
    #[inline]
    pub(crate) fn poll_queued(
        &self,
        queued: &mut QueuedTake<'_>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(Taken, Duration)>> {
        let answer = ready!(queued.poll(&self.combiner, context));
        self.record_outcome(&answer);
        Poll::Ready(answer)
    }

    pub(crate) async fn take_up_to(&self, take: Take<'_>, when: When) -> Result<(u64, Taken)> {
        // Written as calls at cost 1, of which the script grants those that fit.
        let argument = |times| wire::up_to(&take.rule, times, take.cost);
        let script = Script::take(&take.rule);
        let (now, before) = Box::pin(self.one_key(script, &take, explicit(when)?, argument)).await?;
        let advanced = take.rule.advance(Some(before), now);
        let granted = take.cost.min(take.rule.room(advanced));
        let state = if granted > 0 { take.rule.charge(advanced, granted) } else { advanced };
        Ok((granted, Taken { allowed: granted > 0, now, state }))
    }

    pub(crate) async fn take_all(&self, takes: &[Take<'_>], when: When) -> Result<TakenAll> {
        let at = explicit(when)?;
        if takes.len() > MAX_TAKES_PER_CALL {
            let text = format!("take of {} limits at once: at most {MAX_TAKES_PER_CALL}", takes.len());
            return Err(out_of_range(text));
        }
        if takes.is_empty() {
            let now = at.unwrap_or_else(|| self.host.clock().now().as_micros().unsigned_abs());
            return Ok(TakenAll { allowed: true, now, states: vec![] });
        }
        self.admit()?;
        let within = takes.iter().map(|take| take.within).min().unwrap_or_default();
        let (mut answer, mut until) = (self.combiner.submit(takes, at).await, None);
        while self.is_on_the_move(&answer, &mut until, within).await {
            answer = self.combiner.submit(takes, at).await;
        }
        self.record_outcome(&answer);
        let (verdict, states) = answer?;
        Ok(TakenAll { allowed: verdict.allowed, now: verdict.now, states })
    }

    pub(crate) async fn refund(&self, take: Take<'_>, charged: Option<u64>, when: When) -> Result<Taken> {
        let argument = |times| wire::refund(&take.rule, times, take.cost, charged);
        let (now, before) = Box::pin(self.one_key(Script::Refund, &take, explicit(when)?, argument)).await?;
        let state = take.rule.refund(take.rule.advance(Some(before), now), take.cost, charged);
        Ok(Taken { allowed: true, now, state })
    }

    pub(crate) async fn allot(
        &self,
        take: Take<'_>,
        request: AllotmentRequest,
        when: When,
    ) -> Result<Allotted> {
        let argument = |times| wire::allot(&take.rule, times, &request);
        let reply = Box::pin(self.ask_one(Script::Allot, &take, explicit(when)?, argument)).await?;
        wire::read_allotted(&reply).ok_or_else(|| unexpected(self.host.name(), "an allotment"))
    }

    pub(crate) async fn reset(&self, take: Take<'_>, when: When) -> Result<Outstanding> {
        let argument = |times| wire::reset(&take.rule, times);
        // Not repeated when the reply is lost: a repetition would forget what was charged in between.
        let reply = Box::pin(self.ask_one(Script::Reset, &take, explicit(when)?, argument)).await?;
        let (amount, until) =
            redis::from_redis_value(reply).map_err(|_| unexpected(self.host.name(), "a reset"))?;
        Ok(Outstanding { amount, until })
    }

    /// Rejects takes while the circuit breaker is open, except for probes.
    pub(super) fn admit(&self) -> Result<()> {
        if self.breaker.is_closed() || self.breaker.allow_probe(self.host.clock().monotonic()) {
            return Ok(());
        }
        let text = "no answer to the last takes before their deadlines; one in half a second tries again";
        Err(unavailable(self.host.name(), text))
    }

    pub(super) fn record_outcome<T>(&self, answer: &Result<T>) {
        match answer {
            Err(error) if error.kind() == ErrorKind::Timeout => {
                if self.breaker.on_timeout(self.host.clock().monotonic()) {
                    tracing::warn!(host = self.host.name(), "takes go unanswered: most are not sent for now");
                }
            }
            _ => self.breaker.on_answer(),
        }
    }

    async fn take_alone(&self, take: Take<'_>, at: Option<u64>) -> Result<Taken> {
        let answer = self.host.clock().timeout(take.within, self.take_one(take, at)).await;
        answer.unwrap_or_else(|| Err(late(self.host.name(), Retry::Unknown)))
    }

    async fn take_one(&self, take: Take<'_>, at: Option<u64>) -> Result<Taken> {
        let argument = |times| wire::lone(&take.rule, times, take.cost);
        let (now, before) = self.one_key(Script::take(&take.rule), &take, at, argument).await?;
        let advanced = take.rule.advance(Some(before), now);
        let allowed = take.cost <= take.rule.room(advanced);
        let state = if allowed { take.rule.charge(advanced, take.cost) } else { advanced };
        Ok(Taken { allowed, now, state })
    }

    /// Calls a script on the key of a take: the time that decided, and the state before.
    async fn one_key(
        &self,
        script: Script,
        take: &Take<'_>,
        at: Option<u64>,
        argument: impl Fn(Times) -> Vec<u8>,
    ) -> Result<(u64, State)> {
        let reply = self.ask_one(script, take, at, argument).await?;
        let (now, state) = wire::read(&reply, 1)
            .and_then(|(now, mut states)| Some((now, states.next()?)))
            .ok_or_else(|| unexpected(self.host.name(), "a take"))?;
        match wire::foreign(state) {
            None => Ok((now, state)),
            Some(kind) => {
                let mut key = vec![];
                self.write_key(&mut key, take);
                Err(foreign_key(self.host.name(), &self.keys, &key, kind))
            }
        }
    }

    async fn ask_one(
        &self,
        script: Script,
        take: &Take<'_>,
        at: Option<u64>,
        argument: impl Fn(Times) -> Vec<u8>,
    ) -> Result<Value> {
        let mut key = Vec::with_capacity(64);
        self.write_key(&mut key, take);
        run_one_about(&self.host, |about| {
            let argument = argument(Times::new(at, about));
            let mut call = self.host.call(script, 1, key.len() + argument.len());
            call.command.arg(&key).arg(argument);
            call
        })
        .await
    }

    pub(super) fn write_key(&self, to: &mut Vec<u8>, take: &Take<'_>) {
        self.keys.limit(to, &take.rule, take.limit.as_str(), take.key);
    }
}

/// The caller's time in microseconds, if it decides.
pub(super) fn explicit(when: When) -> Result<Option<u64>> {
    let When::At(at) = when else { return Ok(None) };
    // With the longest window on top it must stay exact in a Lua number: that is until the year 2112.
    let micros = u64::try_from(at.as_micros()).ok().filter(|&micros| micros < EXACT / 2);
    let micros = micros.ok_or_else(|| out_of_range(format!("limit at {at}: a time from 1970 to 2112")))?;
    Ok(Some(micros))
}
