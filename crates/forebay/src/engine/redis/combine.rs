//! Combines the takes of many callers into few round trips.
//!
//! While a round trip is under way, requests gather; when it ends, all that gathered go as one pipeline,
//! and every caller gets its own answer. There is no timer: a request that finds the connection idle goes
//! at once and alone, and costs one round trip. Two round trips may be under way, so that the server
//! works on one batch while this process reads and writes the next.

use std::{
    ops::Range,
    pin::pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;
use tokio::{sync::Notify, task::AbortHandle};

use super::{
    across::{self, Across},
    connection::Host,
    keys::Keys,
    plan::{Answers, Gathered, Plan, Request, Verdict},
};
use crate::{
    engine::{
        shared_outcome::SharedOutcome,
        step::{Take, Taken},
    },
    error::{Error, ErrorKind, Result, Retry},
    model::rate::rule::State,
};

/// Round trips under way at most: two keep server and client busy at once; a third only makes batches smaller.
const MAX_IN_FLIGHT: usize = 2;

/// How often at most callers are let ask while the host has another batch to work on: some microseconds, for which a batch
/// becomes half as large again.
const MAX_YIELDS: usize = 4;

/// Gathered that may gather: some hundred times what a fast host answers within the usual deadline of a limit
/// would need this many; beyond it waiting is hopeless.
const MAX_PENDING_REQUESTS: usize = 1 << 16;

/// Interval of checking the waiters' deadlines during a slow round trip. A deadline is kept to within this. One timer for
/// a batch costs far less than one for each request.
const DEADLINE_CHECK_INTERVAL: Duration = Duration::from_millis(5);

/// Nobody waits for a slot that is moving while others wait for the same round trip: see [`Redis::take`](super::Redis).
const NO_PATIENCE: Duration = Duration::ZERO;

/// Bytes of keys that may gather.
const MAX_PENDING_KEY_BYTES: usize = 8 << 20;

/// Combines the takes of all callers in this process on one host.
#[derive(Debug)]
pub(super) struct Combiner {
    shared: Arc<Shared>,
    senders: Vec<AbortHandle>,
}

#[derive(Debug)]
struct Shared {
    host: Arc<Host>,
    keys: Keys,
    across: Across,
    /// Protects the gathered requests and the count of round trips together: a request either sees the connection idle,
    /// or is seen by the round trip that ends. Held for some dozen instructions, never across an await.
    queue: CachePadded<Mutex<Queue>>,
    /// Whether a round trip is under way or requests have gathered. Written with the queue locked and read without, so that
    /// callers need no lock under load. Relaxed: a caller that reads an old value joins the batch, or checks again under the
    /// lock.
    busy: AtomicBool,
    /// Wakes a send loop that has nothing to do.
    wake: Notify,
}

#[derive(Debug)]
struct Queue {
    under_way: usize,
    batch: Arc<Batch>,
    gathered: Gathered,
    wakers: Vec<Waker>,
}

/// The requests of one pipeline, and their shared outcome.
#[derive(Debug)]
struct Batch {
    /// Where it gathers. Only who stops waiting early asks, so that others need not count one more reference.
    at: Weak<Shared>,
    shared: SharedOutcome<Result<Answers>>,
    /// Requests whose time was over before there was an answer, and the error that says so. Held for a few instructions.
    expired: Mutex<Vec<(usize, Error)>>,
}

impl Combiner {
    /// A combiner for `host`. Needs a tokio runtime.
    pub(super) fn new(host: Arc<Host>, keys: Keys) -> Self {
        let shared = Arc::new_cyclic(|at: &Weak<Shared>| {
            let (busy, wake) = (AtomicBool::new(false), Notify::new());
            let queue = CachePadded::new(Mutex::new(Queue {
                under_way: 0,
                batch: Batch::new(at.clone()),
                gathered: Gathered::default(),
                wakers: vec![],
            }));
            Shared { host, keys, across: Across::default(), queue, busy, wake }
        });
        let senders =
            (0..MAX_IN_FLIGHT).map(|_| tokio::spawn(send_loop(shared.clone())).abort_handle()).collect();
        Self { shared, senders }
    }

    /// Whether the host lets one call have keys of several slots.
    pub(super) fn across(&self) -> &Across {
        &self.shared.across
    }

    /// Whether something is under way, so that a request goes with the next.
    pub(super) fn is_busy(&self) -> bool {
        self.shared.busy.load(Ordering::Relaxed)
    }

    /// If nothing is under way: the right to send one request alone, now.
    pub(super) fn try_solo(&self) -> Option<SoloPermit<'_>> {
        if self.is_busy() {
            return None;
        }
        let mut queue = self.shared.queue.lock();
        let is_idle = queue.under_way == 0 && queue.gathered.requests.is_empty();
        is_idle.then(|| {
            self.shared.count(&mut queue, 1);
            SoloPermit(&self.shared)
        })
    }

    /// Charges all of `takes` or none, in the next round trip.
    pub(super) fn submit<'a>(
        &'a self,
        takes: &'a [Take<'a>],
        at: Option<u64>,
    ) -> impl Future<Output = Result<(Verdict, Vec<State>)>> + 'a {
        let mut place: Option<Waiter> = None;
        std::future::poll_fn(move |context| {
            let Some(waiting) = &place else {
                place = Some(self.shared.enqueue(takes, at, context.waker())?);
                return Poll::Pending;
            };
            let answers = ready!(waiting.poll(context))?;
            let verdict = answers.requests[waiting.index].clone()?;
            Poll::Ready(Ok((verdict, answers.states[waiting.charges.clone()].to_vec())))
        })
    }
}

impl Drop for Combiner {
    fn drop(&mut self) {
        self.senders.iter().for_each(AbortHandle::abort);
    }
}

impl Shared {
    fn enqueue(&self, takes: &[Take<'_>], at: Option<u64>, waker: &Waker) -> Result<Waiter> {
        let now = self.host.clock().coarse();
        let within = takes.iter().map(|take| take.within).min().unwrap_or(DEADLINE_CHECK_INTERVAL);
        let mut queue = self.queue.lock();
        let Queue { under_way, batch, gathered, wakers } = &mut *queue;
        let index = gathered.requests.len();
        if index >= MAX_PENDING_REQUESTS || gathered.keys.len() >= MAX_PENDING_KEY_BYTES {
            let text = format!("redis {}: {index} requests wait already", self.host.name());
            return Err(Error::new(ErrorKind::Overloaded, text));
        }
        let charges = gathered.add(takes, at, now.saturating_add(within));
        wakers.push(waker.clone());
        let waiting = Waiter { batch: batch.clone(), index, charges };
        if index == 0 {
            self.busy.store(true, Ordering::Relaxed);
        }
        let wake = index == 0 && *under_way < MAX_IN_FLIGHT;
        drop(queue);
        if wake {
            self.wake.notify_one();
        }
        Ok(waiting)
    }

    /// Counts a round trip that begins, or ends.
    fn count(&self, queue: &mut Queue, one: isize) {
        queue.under_way = queue.under_way.saturating_add_signed(one);
        let busy = queue.under_way > 0 || !queue.gathered.requests.is_empty();
        self.busy.store(busy, Ordering::Relaxed);
    }

    /// Takes what has gathered, if a round trip may begin.
    fn begin(&self) -> Option<(Arc<Batch>, Gathered, Vec<Waker>)> {
        let mut queue = self.queue.lock();
        let requests = queue.gathered.requests.len();
        if requests == 0 || queue.under_way >= MAX_IN_FLIGHT {
            return None;
        }
        self.count(&mut queue, 1);
        let (keys, charges) = (queue.gathered.keys.len(), queue.gathered.charges.len());
        // The next batch will be about as large as this one.
        let next = Gathered {
            limits: vec![],
            keys: String::with_capacity(keys),
            charges: Vec::with_capacity(charges),
            requests: Vec::with_capacity(requests),
        };
        let next_batch = Batch::new(queue.batch.at.clone());
        let batch = std::mem::replace(&mut queue.batch, next_batch);
        let gathered = std::mem::replace(&mut queue.gathered, next);
        let room = Vec::with_capacity(queue.wakers.len());
        let wakers = std::mem::replace(&mut queue.wakers, room);
        Some((batch, gathered, wakers))
    }

    /// A round trip ended; says whether requests gathered meanwhile.
    fn end(&self) -> bool {
        let mut queue = self.queue.lock();
        self.count(&mut queue, -1);
        !queue.gathered.requests.is_empty()
    }

    /// Sends a batch and checks the deadlines of all waiters meanwhile.
    async fn send_batch(&self, batch: &Batch, gathered: &Gathered, wakers: &[Waker]) -> Result<Answers> {
        let mut answers = pin!(self.answers(gathered));
        loop {
            if let Some(answers) = self.host.clock().timeout(DEADLINE_CHECK_INTERVAL, &mut answers).await {
                return answers;
            }
            let now = self.host.clock().coarse();
            batch.expire(now, &gathered.requests, wakers, || late(self.host.name(), Retry::Unknown));
            let mut queue = self.queue.lock();
            let Queue { batch, gathered, wakers, .. } = &mut *queue;
            batch.expire(now, &gathered.requests, wakers, || late(self.host.name(), Retry::Later));
            for request in &mut gathered.requests {
                request.cancelled |= request.until <= now;
            }
        }
    }

    async fn answers(&self, gathered: &Gathered) -> Result<Answers> {
        let plan = Plan::new(gathered, self.keys.layout);
        let sent = self.host.clock().monotonic();
        let planned = (&plan, gathered, &self.keys);
        let replies = across::run(&self.host, &self.across, planned, NO_PATIENCE).await?;
        Ok(plan.answers(gathered, sent, replies, (self.host.name(), &self.keys)))
    }
}

/// Sends batch after batch.
async fn send_loop(shared: Arc<Shared>) {
    loop {
        shared.wake.notified().await;
        loop {
            // Callers that were just answered ask again at once: let them, so that they share a batch; and for longer while
            // the host has another one to work on.
            tokio::task::yield_now().await;
            for _ in 0..MAX_YIELDS {
                if shared.queue.lock().under_way == 0 {
                    break;
                }
                tokio::task::yield_now().await;
            }
            let Some((batch, gathered, wakers)) = shared.begin() else { break };
            let answers = shared.send_batch(&batch, &gathered, &wakers).await;
            shared.end();
            batch.shared.set(answers, wakers);
        }
    }
}

impl Batch {
    fn new(at: Weak<Shared>) -> Arc<Self> {
        Arc::new(Self { at, shared: SharedOutcome::default(), expired: Mutex::default() })
    }

    /// Ends the wait of requests whose deadline has passed.
    fn expire(&self, now: Duration, requests: &[Request], wakers: &[Waker], error: impl Fn() -> Error) {
        let over = (0..requests.len()).filter(|&i| requests[i].until <= now && !requests[i].cancelled);
        for index in over {
            let mut expired = self.expired.lock();
            if expired.iter().any(|(known, _)| *known == index) {
                continue;
            }
            expired.push((index, error()));
            drop(expired);
            wakers[index].wake_by_ref();
            self.shared.wake(index);
        }
    }
}

/// No answer before the deadline.
pub(super) fn late(host: &str, retry: Retry) -> Error {
    let text = format!("redis {host}: no answer before the deadline");
    Error::new(ErrorKind::Timeout, text).with_retry(retry)
}

/// A take that shares a round trip; queued when it is polled first.
#[derive(Debug)]
pub(crate) struct QueuedTake<'a> {
    take: Take<'a>,
    at: Option<u64>,
    waiting: Option<Waiter>,
}

impl<'a> QueuedTake<'a> {
    pub(super) fn new(take: Take<'a>, at: Option<u64>) -> Self {
        Self { take, at, waiting: None }
    }

    /// The outcome, and a time on the monotonic clock before it was sent. Always by the same combiner.
    #[inline]
    pub(super) fn poll(
        &mut self,
        combiner: &Combiner,
        context: &mut Context<'_>,
    ) -> Poll<Result<(Taken, Duration)>> {
        let Some(waiting) = &self.waiting else {
            let takes = std::slice::from_ref(&self.take);
            self.waiting = Some(combiner.shared.enqueue(takes, self.at, context.waker())?);
            return Poll::Pending;
        };
        let answers = ready!(waiting.poll(context))?;
        let Verdict { allowed, now } = answers.requests[waiting.index].clone()?;
        let taken = Taken { allowed, now, state: answers.states[waiting.charges.start] };
        Poll::Ready(Ok((taken, answers.sent)))
    }
}

/// A request that has been queued or sent.
#[derive(Debug)]
struct Waiter {
    batch: Arc<Batch>,
    index: usize,
    /// Its charges in the batch.
    charges: Range<usize>,
}

impl Waiter {
    #[inline]
    fn poll(&self, context: &mut Context<'_>) -> Poll<Result<&Answers>> {
        // The outcome is checked before the expired requests: whoever expires a request afterwards finds this task's waker.
        if !self.batch.shared.is_ready(self.index, context) {
            let expired = self.batch.expired.lock();
            let ours = expired.iter().find(|(index, _)| *index == self.index);
            return ours.map_or(Poll::Pending, |(_, error)| Poll::Ready(Err(error.clone())));
        }
        match self.batch.shared.get() {
            Some(answers) => Poll::Ready(answers.as_ref().map_err(Clone::clone)),
            None => Poll::Pending,
        }
    }
}

impl Drop for Waiter {
    /// Cancels a request that has not been sent.
    fn drop(&mut self) {
        if self.batch.shared.get().is_none()
            && let Some(shared) = self.batch.at.upgrade()
        {
            let mut queue = shared.queue.lock();
            if Arc::ptr_eq(&queue.batch, &self.batch) {
                queue.gathered.requests[self.index].cancelled = true;
            }
        }
    }
}

/// Permits one request to be sent alone. Dropping it lets the gathered requests go.
#[derive(Debug)]
pub(super) struct SoloPermit<'a>(&'a Shared);

impl Drop for SoloPermit<'_> {
    fn drop(&mut self) {
        if self.0.end() {
            self.0.wake.notify_one();
        }
    }
}
