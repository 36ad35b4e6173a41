//! A take that shares a round trip to one of several hosts.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use super::{
    Access, Cluster,
    member::{CallGuard, Member},
};
use crate::{
    engine::{
        redis::QueuedTake,
        step::{Place, Take, Taken},
    },
    error::{Result, Retry},
    time::When,
};

/// A take in a batch with others.
pub(crate) struct BatchedTake<'a> {
    cluster: &'a Cluster,
    take: Take<'a>,
    state: State<'a>,
}

enum State<'a> {
    Queued(QueuedTake<'a>, CallGuard<Arc<Member>>),
    /// By itself, since a time on the monotonic clock: the batch did not wait for the key's slot, which is moving.
    Alone(Pin<Box<dyn Future<Output = Result<Taken>> + Send + 'a>>, Duration),
}

impl Cluster {
    /// A take in a batch with others. `None`: its host has no batch under way, or is not well.
    pub(crate) fn take_batched<'a>(&'a self, take: Take<'a>) -> Option<BatchedTake<'a>> {
        let member = self.ready_member(Access::Write, Place::Key(take.key))?;
        let queued = member.engine.queue_take(take)?;
        let guard = member.begin_owned().ok()?;
        Some(BatchedTake { cluster: self, take, state: State::Queued(queued, guard) })
    }
}

impl Future for BatchedTake<'_> {
    /// The outcome, and a time on the monotonic clock before it was sent.
    type Output = Result<(Taken, Duration)>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { cluster, take, state } = &mut *self;
        loop {
            match state {
                State::Queued(queued, guard) => {
                    let answer = ready!(guard.engine().poll_queued(queued, context));
                    if !answer.as_ref().is_err_and(|error| error.retry() == Retry::Now) {
                        return Poll::Ready(guard.end(answer));
                    }
                    // The host has answered: the take has to wait, and others do not wait for it.
                    let _ = guard.end(Ok(()));
                    let (cluster, take, sent) = (*cluster, *take, guard.engine().clock().monotonic());
                    *state = State::Alone(Box::pin(cluster.take(take, When::EngineClock)), sent);
                }
                State::Alone(alone, sent) => {
                    let taken = ready!(alone.as_mut().poll(context))?;
                    return Poll::Ready(Ok((taken, *sent)));
                }
            }
        }
    }
}

impl std::fmt::Debug for BatchedTake<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchedTake").field("take", &self.take).finish_non_exhaustive()
    }
}
