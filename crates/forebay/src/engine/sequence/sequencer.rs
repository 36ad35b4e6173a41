//! Gathering writes, and carrying them flight by flight.

use std::{
    fmt::Debug,
    ops::Range,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use parking_lot::Mutex;
use uuid::Uuid;

use super::{Channel, InFlight, Refusals, Sent, Stamp, Waiting, unknown};
use crate::{
    clock::Clock,
    engine::shared_outcome::SharedOutcome,
    error::{Error, ErrorKind, Result, Retry},
};

/// How long a batch in doubt is sent again before it is given up as unknown.
const MAX_DOUBT: Duration = Duration::from_secs(10);

/// Between two attempts to reach a store that is down, for a batch in doubt.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Items that may wait behind the flight under way; beyond it: overloaded.
pub(super) const MAX_WAITING: usize = 1 << 18;

/// Bytes of the items that may wait, before the last write. The count alone would let large rows fill the memory while a host
/// is slow.
pub(super) const MAX_WAITING_BYTES: usize = 64 << 20;

/// A few of the [`Refusals`].
type RefusalSlice = [(usize, Error)];

/// Result of a flight: items in neither list were applied. Both lists are sorted by place.
#[derive(Debug, Default)]
struct Outcome {
    refused: Refusals,
    /// Items whose whole batch was not applied, or may have been.
    lost: Refusals,
}

/// The writes of this process to some partitions.
#[derive(Debug)]
pub(crate) struct Sequencer<C: Channel> {
    channel: C,
    clock: Clock,
    client: Uuid,
    /// The last batch's number. Only one flight at a time increments it, so any memory order will do.
    sequence: AtomicU64,
    /// The items for the next flight, and whether one is under way. Held for a few instructions, never across an await.
    queue: Mutex<Queue<C::Item>>,
}

struct Queue<I> {
    gathered: Gathered<I>,
    /// A flight is under way, or about to be.
    in_flight: bool,
}

/// The items of one flight, and its waiters.
struct Gathered<I> {
    /// Each with its partition.
    items: Vec<(u16, I)>,
    /// The bytes of the items, about.
    bytes: usize,
    wakers: Vec<Waker>,
    shared: Arc<SharedOutcome<Outcome>>,
}

/// Where a caller finds its answers.
#[derive(Debug)]
struct Waiter {
    shared: Arc<SharedOutcome<Outcome>>,
    number: usize,
    items: Range<usize>,
}

impl<C: Channel> Sequencer<C> {
    pub(crate) fn new(channel: C, clock: Clock) -> Arc<Self> {
        let queue = Queue { gathered: Gathered::with_capacity(0, 0), in_flight: false };
        let (client, sequence) = (Uuid::now_v7(), AtomicU64::new(0));
        Arc::new(Self { channel, clock, client, sequence, queue: Mutex::new(queue) })
    }

    /// Writes to one partition, once; an answer for each item, in order.
    ///
    /// # Errors
    /// Why nothing of it was applied, if nothing was. With [`Retry::Unknown`] nobody can tell whether it was
    /// applied; with any other error it was not.
    ///
    /// # Cancellation
    /// Dropping the future leaves the write under way.
    pub(crate) async fn write(
        self: &Arc<Self>,
        part: u16,
        items: impl IntoIterator<Item = C::Item>,
    ) -> Result<Vec<Result<()>>> {
        let waiter = self.wait(part, items).await?;
        let (refused, lost) = waiter.refusals()?;
        let mut answers = vec![Ok(()); waiter.items.len()];
        match lost {
            // In several batches some may have been applied and others not.
            [(_, error), rest @ ..]
                if lost.len() == answers.len()
                    && rest.iter().all(|(_, other)| other.retry() == error.retry()) =>
            {
                return Err(error.clone());
            }
            _ => {}
        }
        for (place, error) in refused.iter().chain(lost) {
            answers[place - waiter.items.start] = Err(error.clone());
        }
        Ok(answers)
    }

    /// [`write`](Self::write) of one item, which joins the next flight at once; `waker` is told when that has landed.
    pub(crate) fn write_one(
        self: &Arc<Self>,
        part: u16,
        item: C::Item,
        waker: &Waker,
    ) -> Result<WriteFuture> {
        Ok(WriteFuture(self.enqueue(part, [item], waker)?))
    }

    /// Refuses the items that wait for the next flight. They were not sent, and their callers may send them elsewhere. The
    /// flight under way goes on until its fate is known.
    pub(crate) fn refuse_waiting(&self, why: &Error) {
        let mut waiting = std::mem::replace(&mut self.queue.lock().gathered, Gathered::with_capacity(0, 0));
        let lost = (0..waiting.items.len()).map(|place| (place, why.clone())).collect();
        waiting.tell(Outcome { refused: vec![], lost });
    }

    /// Lets items join the next flight, and waits until it has landed.
    async fn wait(self: &Arc<Self>, part: u16, items: impl IntoIterator<Item = C::Item>) -> Result<Waiter> {
        let mut items = Some(items);
        let mut waiter: Option<Waiter> = None;
        std::future::poll_fn(move |context| {
            if let Some(items) = items.take() {
                waiter = Some(self.enqueue(part, items, context.waker())?);
                return Poll::Pending;
            }
            let ready = waiter.take_if(|waiter| waiter.shared.is_ready(waiter.number, context));
            ready.map_or(Poll::Pending, |waiter| Poll::Ready(Ok(waiter)))
        })
        .await
    }

    fn enqueue(
        self: &Arc<Self>,
        part: u16,
        items: impl IntoIterator<Item = C::Item>,
        waker: &Waker,
    ) -> Result<Waiter> {
        let mut queue = self.queue.lock();
        let Gathered { items: gathered, bytes, wakers, shared } = &mut queue.gathered;
        let start = gathered.len();
        if start >= MAX_WAITING || *bytes >= MAX_WAITING_BYTES {
            let text = format!("{start} writes wait already, of {bytes} bytes");
            return Err(Error::new(ErrorKind::Overloaded, text));
        }
        gathered.extend(items.into_iter().map(|item| (part, item)));
        let size = |(_, item): &(u16, C::Item)| size_of::<(u16, C::Item)>() + C::heap_bytes(item);
        *bytes += gathered[start..].iter().map(size).sum::<usize>();
        let waiter = Waiter { shared: shared.clone(), number: wakers.len(), items: start..gathered.len() };
        wakers.push(waker.clone());
        let begin = !std::mem::replace(&mut queue.in_flight, true);
        drop(queue);
        if begin {
            tokio::spawn(self.clone().send_batches());
        }
        Ok(waiter)
    }

    /// Flight after flight, until nothing waits.
    async fn send_batches(self: Arc<Self>) {
        loop {
            self.coalesce().await;
            let Some(mut gathered) = self.next() else { return };
            let outcome = self.send_all(&gathered.items).await;
            gathered.tell(outcome);
        }
    }

    /// Yields while more callers join, so that those who were just answered share the flight.
    async fn coalesce(&self) {
        let mut known = 0;
        for _ in 0..C::MAX_YIELDS {
            tokio::task::yield_now().await;
            let waiting = self.queue.lock().gathered.wakers.len();
            if waiting <= known {
                break;
            }
            known = waiting;
        }
    }

    /// Takes the items of the next flight; `None`: nothing waits.
    fn next(&self) -> Option<Gathered<C::Item>> {
        let mut queue = self.queue.lock();
        let (items, wakers) = (queue.gathered.items.len(), queue.gathered.wakers.len());
        queue.in_flight = wakers > 0;
        // The next flight will be about as large as this one.
        let next = || std::mem::replace(&mut queue.gathered, Gathered::with_capacity(items, wakers));
        (wakers > 0).then(next)
    }

    /// Sends items until the fate of each is known.
    async fn send_all(&self, items: &[(u16, C::Item)]) -> Outcome {
        let Outcome { mut refused, mut lost } = Outcome::default();
        let mut parts: Vec<Waiting> = vec![];
        for (place, (part, _)) in items.iter().enumerate() {
            let part = usize::from(*part);
            if parts.len() <= part {
                parts.resize_with(part + 1, Waiting::default);
            }
            parts[part].places.push_back(place);
        }
        loop {
            let mut in_flight = vec![];
            for (part, waiting) in (0..).zip(&mut parts) {
                if !waiting.is_empty() {
                    let batch = self.channel.merge(part, items, waiting);
                    in_flight.push(InFlight { part, stamp: self.stamp(), batch, doubt: None, repeats: 0 });
                }
            }
            if in_flight.is_empty() {
                refused.sort_unstable_by_key(|(place, _)| *place);
                lost.sort_unstable_by_key(|(place, _)| *place);
                return Outcome { refused, lost };
            }
            let outcomes = self.retry_until_known(&mut in_flight).await;
            for (InFlight { part, batch, .. }, outcome) in in_flight.iter().zip(outcomes) {
                let waiting = &mut parts[usize::from(*part)];
                match outcome {
                    Ok(outcome) => self.channel.settle(batch, outcome, waiting, &mut refused),
                    Err(error) => lost.extend(C::places(batch).map(|place| (place, error.clone()))),
                }
            }
        }
    }

    /// Sends batches until the fate of each is known; an outcome for each, in order.
    async fn retry_until_known(&self, in_flight: &mut [InFlight<C::Batch>]) -> Vec<Result<C::Outcome>> {
        let mut outcomes: Vec<Option<Result<C::Outcome>>> = in_flight.iter().map(|_| None).collect();
        let mut give_up = None;
        loop {
            let open: Vec<usize> = (0..in_flight.len()).filter(|&i| outcomes[i].is_none()).collect();
            if open.is_empty() {
                return outcomes.into_iter().flatten().collect();
            }
            let batches: Vec<&InFlight<C::Batch>> = open.iter().map(|&i| &in_flight[i]).collect();
            let sent = self.channel.transmit(&batches).await;
            let mut down = false;
            for (i, sent) in open.into_iter().zip(sent) {
                // A batch in doubt has time.
                down |= match sent {
                    Sent::Unsent(_) => true,
                    Sent::Again(_) => in_flight[i].doubt.is_some(),
                    _ => false,
                };
                outcomes[i] = in_flight[i].resolve(sent);
            }
            if outcomes.iter().all(Option::is_some) {
                continue;
            }
            if down {
                self.clock.sleep(RETRY_PAUSE).await;
            }
            let now = self.clock.monotonic();
            if now > *give_up.get_or_insert(now + MAX_DOUBT) {
                for (outcome, in_flight) in outcomes.iter_mut().zip(&*in_flight) {
                    if let (None, Some(doubt)) = (&outcome, &in_flight.doubt) {
                        *outcome = Some(Err(unknown(doubt)));
                    }
                }
            }
        }
    }

    fn stamp(&self) -> Stamp {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        Stamp { client: self.client, sequence }
    }
}

/// One item on its way: a future with a name, so that a caller can keep it without a box.
#[derive(Debug)]
pub(crate) struct WriteFuture(Waiter);

impl Future for WriteFuture {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self(waiter) = &*self;
        if !waiter.shared.is_ready(waiter.number, context) {
            return Poll::Pending;
        }
        Poll::Ready(match waiter.refusals()? {
            (_, [(_, lost), ..]) => Err(lost.clone()),
            ([(_, refused), ..], _) => Err(refused.clone()),
            _ => Ok(()),
        })
    }
}

impl<I> Gathered<I> {
    fn with_capacity(items: usize, wakers: usize) -> Self {
        let (items, wakers) = (Vec::with_capacity(items), Vec::with_capacity(wakers));
        Self { items, bytes: 0, wakers, shared: Arc::default() }
    }

    fn tell(&mut self, outcome: Outcome) {
        self.shared.set(outcome, std::mem::take(&mut self.wakers));
    }
}

impl Waiter {
    /// The waiter's items that were refused, and those whose batch was lost.
    fn refusals(&self) -> Result<(&RefusalSlice, &RefusalSlice)> {
        let Outcome { refused, lost } = self.shared.get().ok_or_else(closed)?;
        let within = |all: &'_ Refusals| -> Range<usize> {
            let before = |end: usize| all.partition_point(|(place, _)| *place < end);
            before(self.items.start)..before(self.items.end)
        };
        Ok((&refused[within(refused)], &lost[within(lost)]))
    }
}

impl<I> Debug for Queue<I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let gathered = self.gathered.items.len();
        f.debug_struct("Queue").field("gathered", &gathered).field("in_flight", &self.in_flight).finish()
    }
}

impl<I> Drop for Gathered<I> {
    /// Answers the waiters if the runtime was shut down in the middle of a flight.
    fn drop(&mut self) {
        if !self.wakers.is_empty() {
            let lost = (0..self.items.len()).map(|place| (place, closed())).collect();
            self.tell(Outcome { refused: vec![], lost });
        }
    }
}

fn closed() -> Error {
    let error = Error::new(ErrorKind::Closed, "the store was closed in the middle of a write");
    error.with_retry(Retry::Unknown)
}
