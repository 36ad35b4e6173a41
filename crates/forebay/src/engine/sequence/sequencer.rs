//! Gathering writes, and carrying them flight by flight.

use std::{
    fmt::Debug,
    ops::Range,
    pin::{Pin, pin},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::Notify;
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

/// The result of a flight, for all who wait for it.
#[derive(Debug, Default)]
struct Shared {
    whole: SharedOutcome<Outcome>,
    /// The result but for some items, once the host was found down: nobody else has to wait for these.
    early: OnceLock<Early>,
}

/// The result of a flight whose host was found down, before the fate of each item is known.
#[derive(Debug)]
struct Early {
    outcome: Outcome,
    /// The places of the items that may have been sent, sorted.
    open: Vec<usize>,
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
    /// Notified when the host is found down while a flight is under way.
    found_down: Notify,
}

struct Queue<I> {
    gathered: Gathered<I>,
    /// A flight is under way, or about to be.
    in_flight: bool,
    /// The host was found down while this flight was under way, and was not found back: nothing waits behind it.
    down: Option<Error>,
}

/// The items of one flight, and its waiters.
struct Gathered<I> {
    /// Each with its partition.
    items: Vec<(u16, I)>,
    /// The bytes of the items, about.
    bytes: usize,
    wakers: Vec<Waker>,
    shared: Arc<Shared>,
}

/// A flight under way: the batches whose fate is not known, and the rest.
struct Flight<'a, C: Channel> {
    in_flight: Vec<InFlight<C::Batch>>,
    rest: Rest<'a, C>,
}

/// The items of a flight that are not on their way.
struct Rest<'a, C: Channel> {
    gathered: &'a Gathered<C::Item>,
    /// Those that wait, of each partition.
    parts: Vec<Waiting>,
    /// The fate of the others, as far as it is known.
    outcome: Outcome,
    /// The host was found down meanwhile.
    is_down: bool,
}

/// Where a caller finds its answers.
#[derive(Debug)]
struct Waiter {
    shared: Arc<Shared>,
    number: usize,
    items: Range<usize>,
}

impl<C: Channel> Sequencer<C> {
    pub(crate) fn new(channel: C, clock: Clock) -> Arc<Self> {
        let queue = Queue { gathered: Gathered::with_capacity(0, 0), in_flight: false, down: None };
        let (client, sequence, found_down) = (Uuid::now_v7(), AtomicU64::new(0), Notify::new());
        Arc::new(Self { channel, clock, client, sequence, queue: Mutex::new(queue), found_down })
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

    /// Refuses the items that were not sent, because the host is down: their callers may send them elsewhere. Until the host is
    /// [back](Self::admit_waiting) nothing waits behind the flight under way, which goes on until its fate is known.
    pub(crate) fn refuse_waiting(&self, why: &Error) {
        let mut queue = self.queue.lock();
        let mut waiting = std::mem::replace(&mut queue.gathered, Gathered::with_capacity(0, 0));
        if queue.in_flight {
            queue.down = Some(why.clone());
            self.found_down.notify_one();
        }
        drop(queue);
        let lost = (0..waiting.items.len()).map(|place| (place, why.clone())).collect();
        waiting.tell(Outcome { refused: vec![], lost });
    }

    /// Lets items wait behind the flight under way again, because the host is back.
    pub(crate) fn admit_waiting(&self) {
        self.queue.lock().down = None;
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
            let ready = waiter.take_if(|waiter| waiter.is_ready(context));
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
        if let Some(why) = &queue.down {
            return Err(why.clone());
        }
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
            let outcome = self.send_all(&gathered).await;
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
        (queue.in_flight, queue.down) = (wakers > 0, None);
        // The next flight will be about as large as this one.
        let next = || std::mem::replace(&mut queue.gathered, Gathered::with_capacity(items, wakers));
        (wakers > 0).then(next)
    }

    /// Sends items until the fate of each is known.
    async fn send_all(&self, gathered: &Gathered<C::Item>) -> Outcome {
        let mut flight = Flight::<C> { in_flight: vec![], rest: Rest::new(gathered) };
        loop {
            for (part, waiting) in (0..).zip(&mut flight.rest.parts) {
                if !waiting.is_empty() {
                    let batch = self.channel.merge(part, &gathered.items, waiting);
                    let stamp = self.stamp();
                    flight.in_flight.push(InFlight { part, stamp, batch, doubt: None, repeats: 0 });
                }
            }
            if flight.in_flight.is_empty() {
                if flight.rest.is_down {
                    // The next flight finds out by itself.
                    self.admit_waiting();
                }
                let mut outcome = flight.rest.outcome;
                outcome.sort();
                return outcome;
            }
            self.retry_until_known(&mut flight).await;
        }
    }

    /// Sends batches until the fate of each is known.
    async fn retry_until_known(&self, flight: &mut Flight<'_, C>) {
        let mut give_up = None;
        while !flight.in_flight.is_empty() {
            let sent = self.transmit(flight).await;
            let mut pauses = false;
            for (mut in_flight, sent) in std::mem::take(&mut flight.in_flight).into_iter().zip(sent) {
                // A batch in doubt has time.
                pauses |= match sent {
                    Sent::Unsent(_) => true,
                    Sent::Again(_) => in_flight.doubt.is_some(),
                    _ => false,
                };
                match in_flight.resolve(sent) {
                    Some(fate) => flight.rest.note(&self.channel, &in_flight, fate),
                    None => flight.in_flight.push(in_flight),
                }
            }
            if flight.in_flight.is_empty() {
                return;
            }
            if flight.rest.is_down {
                flight.rest.tell_early(flight.in_flight.iter());
            }
            if pauses {
                self.clock.sleep(RETRY_PAUSE).await;
            }
            let now = self.clock.monotonic();
            if now > *give_up.get_or_insert(now + MAX_DOUBT) {
                for in_flight in std::mem::take(&mut flight.in_flight) {
                    match &in_flight.doubt {
                        Some(doubt) => flight.rest.note(&self.channel, &in_flight, Err(unknown(doubt))),
                        None => flight.in_flight.push(in_flight),
                    }
                }
            }
        }
    }

    /// Sends the batches of a flight once. If the host is found down meanwhile, nothing else waits for them.
    async fn transmit(&self, flight: &mut Flight<'_, C>) -> Vec<Sent<C::Outcome>> {
        let Flight { in_flight, rest } = flight;
        let batches: Vec<&InFlight<C::Batch>> = in_flight.iter().collect();
        let session = tokio::select! {
            biased;
            why = self.down() => {
                rest.refuse(&why);
                Err(why)
            }
            session = self.channel.ready(&batches) => session,
        };
        let mut sent = pin!(self.channel.transmit(session, &batches));
        loop {
            tokio::select! {
                biased;
                sent = &mut sent => return sent,
                why = self.down() => {
                    rest.refuse(&why);
                    rest.tell_early(batches.iter().copied());
                }
            }
        }
    }

    /// Ends when the host is found down. It may be dropped before.
    async fn down(&self) -> Error {
        loop {
            self.found_down.notified().await;
            // It may have been said of an earlier flight.
            if let Some(why) = self.queue.lock().down.clone() {
                return why;
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
        if !waiter.is_ready(context) {
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
        self.shared.whole.set(outcome, std::mem::take(&mut self.wakers));
    }
}

impl Outcome {
    fn sort(&mut self) {
        self.refused.sort_unstable_by_key(|(place, _)| *place);
        self.lost.sort_unstable_by_key(|(place, _)| *place);
    }
}

impl<'a, C: Channel> Rest<'a, C> {
    /// All items of a flight.
    fn new(gathered: &'a Gathered<C::Item>) -> Self {
        let mut parts: Vec<Waiting> = vec![];
        for (place, (part, _)) in gathered.items.iter().enumerate() {
            let part = usize::from(*part);
            if parts.len() <= part {
                parts.resize_with(part + 1, Waiting::default);
            }
            parts[part].places.push_back(place);
        }
        Self { gathered, parts, outcome: Outcome::default(), is_down: false }
    }

    /// Notes the fate of a batch.
    fn note(
        &mut self,
        channel: &C,
        InFlight { part, batch, .. }: &InFlight<C::Batch>,
        fate: Result<C::Outcome>,
    ) {
        let Outcome { refused, lost } = &mut self.outcome;
        match fate {
            Ok(outcome) => channel.settle(batch, outcome, &mut self.parts[usize::from(*part)], refused),
            Err(error) => lost.extend(C::places(batch).map(|place| (place, error.clone()))),
        }
    }

    /// Refuses the items that wait, because the host is down.
    fn refuse(&mut self, why: &Error) {
        self.is_down = true;
        for Waiting { places, solo } in &mut self.parts {
            let waiting = places.drain(..).chain(solo.drain(..));
            self.outcome.lost.extend(waiting.map(|place| (place, why.clone())));
        }
    }

    /// Answers those who wait for none of these batches.
    fn tell_early<'b>(&self, in_flight: impl Iterator<Item = &'b InFlight<C::Batch>>)
    where
        C::Batch: 'b,
    {
        let Outcome { refused, lost } = &self.outcome;
        let mut outcome = Outcome { refused: refused.clone(), lost: lost.clone() };
        outcome.sort();
        let mut open: Vec<usize> = in_flight.flat_map(|in_flight| C::places(&in_flight.batch)).collect();
        open.sort_unstable();
        let Shared { whole, early } = &*self.gathered.shared;
        if early.set(Early { outcome, open }).is_ok() {
            whole.wake_all(&self.gathered.wakers);
        }
    }
}

impl Waiter {
    /// Whether its answers are there; if not, the task is woken when they are.
    fn is_ready(&self, context: &Context<'_>) -> bool {
        // In this order: whoever sets the early ones wakes the waiters that are noted by then.
        self.shared.whole.is_ready(self.number, context) || self.early().is_some()
    }

    /// The result of a flight that is not over, if the fate of each item of this waiter is known.
    fn early(&self) -> Option<&Outcome> {
        let Early { outcome, open } = self.shared.early.get()?;
        let next = open.get(open.partition_point(|place| *place < self.items.start));
        next.is_none_or(|place| *place >= self.items.end).then_some(outcome)
    }

    /// The waiter's items that were refused, and those whose batch was lost.
    fn refusals(&self) -> Result<(&RefusalSlice, &RefusalSlice)> {
        let outcome = self.shared.whole.get().or_else(|| self.early());
        let Outcome { refused, lost } = outcome.ok_or_else(closed)?;
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
        let mut shown = f.debug_struct("Queue");
        shown
            .field("gathered", &gathered)
            .field("in_flight", &self.in_flight)
            .field("down", &self.down)
            .finish()
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
