//! Limits on a Redis host.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use redis::Value;

use super::{
    Redis,
    combine::{QueuedTake, late},
    reply::{foreign_key, unavailable, unexpected},
    script::Script,
    wire,
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

/// Keys in one request: more would not be one script call.
const MAX_TAKES_PER_CALL: usize = 1_000;

/// A take that goes with others.
#[derive(Debug)]
pub(crate) struct BatchedTake<'a> {
    redis: &'a Redis,
    queued: QueuedTake<'a>,
}

impl Future for BatchedTake<'_> {
    /// What became of it, and a time on the monotonic clock before it was sent.
    type Output = Result<(Taken, Duration)>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.queued).poll(context));
        self.redis.record_outcome(&answer);
        Poll::Ready(answer)
    }
}

impl Redis {
    pub(crate) async fn take(&self, take: Take<'_>, when: When) -> Result<Taken> {
        let at = explicit(when)?;
        self.admit()?;
        let answer = self.take_now(take, at).await;
        self.record_outcome(&answer);
        answer
    }

    async fn take_now(&self, take: Take<'_>, at: Option<u64>) -> Result<Taken> {
        if let Some(_alone) = self.combiner.try_solo() {
            // Boxed: its kilobytes of driver state would otherwise be moved with every combined take.
            return Box::pin(self.take_alone(take, at)).await;
        }
        self.combiner.queue_take(take, at).await.map(|(taken, _)| taken)
    }

    /// A take that goes with others; `None`: nothing is under way, or the host has not answered lately.
    pub(crate) fn take_batched<'a>(&'a self, take: Take<'a>) -> Option<BatchedTake<'a>> {
        let joins = self.combiner.is_busy() && self.breaker.is_closed();
        joins.then(|| BatchedTake { redis: self, queued: self.combiner.queue_take(take, None) })
    }

    pub(crate) async fn take_up_to(&self, take: Take<'_>, when: When) -> Result<(u64, Taken)> {
        // As so many calls at cost 1, of which the script grants those that fit.
        let argument = wire::up_to(&take.rule, explicit(when)?, take.cost);
        let (now, before) = Box::pin(self.one_key(Script::take(&take.rule), &take, argument)).await?;
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
        let answer = self.combiner.submit(takes, at).await;
        self.record_outcome(&answer);
        let (verdict, states) = answer?;
        Ok(TakenAll { allowed: verdict.allowed, now: verdict.now, states })
    }

    pub(crate) async fn refund(&self, take: Take<'_>, charged: Option<u64>, when: When) -> Result<Taken> {
        let argument = wire::refund(&take.rule, explicit(when)?, take.cost, charged);
        let (now, before) = Box::pin(self.one_key(Script::Refund, &take, argument)).await?;
        let state = take.rule.refund(take.rule.advance(Some(before), now), take.cost, charged);
        Ok(Taken { allowed: true, now, state })
    }

    pub(crate) async fn allot(
        &self,
        take: Take<'_>,
        request: AllotmentRequest,
        when: When,
    ) -> Result<Allotted> {
        let argument = wire::allot(&take.rule, explicit(when)?, &request);
        let reply = Box::pin(self.ask_one(Script::Allot, &take, argument)).await?;
        wire::read_allotted(&reply).ok_or_else(|| unexpected(self.host.name(), "an allotment"))
    }

    pub(crate) async fn reset(&self, take: Take<'_>, when: When) -> Result<Outstanding> {
        let argument = wire::reset(&take.rule, explicit(when)?);
        // Not sent again when in doubt: that would forget what was charged in between.
        let reply = Box::pin(self.ask_one(Script::Reset, &take, argument)).await?;
        let Value::Array(words) = reply else { return Err(unexpected(self.host.name(), "a reset")) };
        match words[..] {
            [Value::Int(amount), Value::Int(until)] => {
                Ok(Outstanding { amount: amount.cast_unsigned(), until: until.cast_unsigned() })
            }
            _ => Err(unexpected(self.host.name(), "a reset")),
        }
    }

    /// Turns a take away while the host keeps everybody waiting, but for one that tries again.
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
        let argument = wire::lone(&take.rule, at, take.cost);
        let (now, before) = self.one_key(Script::take(&take.rule), &take, argument).await?;
        let advanced = take.rule.advance(Some(before), now);
        let allowed = take.cost <= take.rule.room(advanced);
        let state = if allowed { take.rule.charge(advanced, take.cost) } else { advanced };
        Ok(Taken { allowed, now, state })
    }

    /// Calls a script on the key of a take: the time that decided, and the state before.
    async fn one_key(&self, script: Script, take: &Take<'_>, argument: Vec<u8>) -> Result<(u64, State)> {
        let reply = self.ask_one(script, take, argument).await?;
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

    async fn ask_one(&self, script: Script, take: &Take<'_>, argument: Vec<u8>) -> Result<Value> {
        let mut key = Vec::with_capacity(64);
        self.write_key(&mut key, take);
        let mut call = self.host.call(script, 1, key.len() + argument.len());
        call.command.arg(key).arg(argument);
        self.host.run_one(call).await
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
