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

use parking_lot::{Mutex, MutexGuard};
use uuid::Uuid;

use super::{Channel, Flying, Refusals, Sent, Stamp, Waiting, unknown};
use crate::{
    clock::Clock,
    engine::meeting::Meeting,
    error::{Error, ErrorKind, Result, Retry},
};

/// How long a batch in doubt is sent again before it is given up as unknown.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two attempts to reach a store that is down, for a batch in doubt.
const PAUSE: Duration = Duration::from_millis(50);

/// Items that may wait behind the flight under way; beyond it: overloaded.
pub(super) const MOST_WAITING: usize = 1 << 18;

/// A few of the [`Refusals`].
type Few = [(usize, Error)];

/// What became of a flight: all items that are not named were applied. Both in the order of their places.
#[derive(Debug, Default)]
struct Outcome {
    refused: Refusals,
    /// Those whose whole batch was not applied, or perhaps was.
    lost: Refusals,
}

/// The writes of this process to some partitions.
#[derive(Debug)]
pub(crate) struct Sequencer<C: Channel> {
    channel: C,
    clock: Clock,
    client: Uuid,
    /// Of the last batch. Only the flight counts, one at a time, so any memory order will do.
    sequence: AtomicU64,
    /// What gathers, and whether somebody is sending. Held for a few instructions, never across an await.
    queue: Mutex<Queue<C::Item>>,
}

struct Queue<I> {
    gathered: Gathered<I>,
    /// A flight is under way, or about to be.
    flying: bool,
}

/// What goes in one flight, and those who are told what became of it.
struct Gathered<I> {
    /// Each with its partition.
    items: Vec<(u16, I)>,
    wakers: Vec<Waker>,
    meeting: Arc<Meeting<Outcome>>,
}

/// Where a caller finds its answers.
#[derive(Debug)]
struct Seat {
    meeting: Arc<Meeting<Outcome>>,
    number: usize,
    items: Range<usize>,
}

impl<C: Channel> Sequencer<C> {
    pub(crate) fn new(channel: C, clock: Clock) -> Arc<Self> {
        let queue = Queue { gathered: Gathered::with_capacity(0, 0), flying: false };
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
        let seat = self.land(part, items).await?;
        let (refused, lost) = seat.refusals()?;
        let mut answers = vec![Ok(()); seat.items.len()];
        match lost {
            [(_, error), ..] if lost.len() == answers.len() => return Err(error.clone()),
            _ => {}
        }
        for (place, error) in refused.iter().chain(lost) {
            answers[place - seat.items.start] = Err(error.clone());
        }
        Ok(answers)
    }

    /// [`write`](Self::write) of one item, which joins the next flight at once; `waker` is told when that has landed.
    pub(crate) fn write_one(self: &Arc<Self>, part: u16, item: C::Item, waker: &Waker) -> Result<Seated> {
        Ok(Seated(self.enqueue(part, [item], waker)?))
    }

    /// Lets items join the next flight, and waits until it has landed.
    async fn land(self: &Arc<Self>, part: u16, items: impl IntoIterator<Item = C::Item>) -> Result<Seat> {
        let mut items = Some(items);
        let mut seat: Option<Seat> = None;
        std::future::poll_fn(move |context| {
            if let Some(items) = items.take() {
                match self.enqueue(part, items, context.waker()) {
                    Ok(taken) => seat = Some(taken),
                    Err(error) => return Poll::Ready(Err(error)),
                }
                return Poll::Pending;
            }
            match seat.take_if(|seat| seat.meeting.is_settled(seat.number, context)) {
                Some(seat) => Poll::Ready(Ok(seat)),
                None => Poll::Pending,
            }
        })
        .await
    }

    fn enqueue(
        self: &Arc<Self>,
        part: u16,
        items: impl IntoIterator<Item = C::Item>,
        waker: &Waker,
    ) -> Result<Seat> {
        let mut queue = self.queue();
        let Gathered { items: gathered, wakers, meeting } = &mut queue.gathered;
        let start = gathered.len();
        if start >= MOST_WAITING {
            return Err(Error::new(ErrorKind::Overloaded, format!("{start} writes wait already")));
        }
        gathered.extend(items.into_iter().map(|item| (part, item)));
        let seat = Seat { meeting: meeting.clone(), number: wakers.len(), items: start..gathered.len() };
        wakers.push(waker.clone());
        let begin = !std::mem::replace(&mut queue.flying, true);
        drop(queue);
        if begin {
            tokio::spawn(self.clone().fly());
        }
        Ok(seat)
    }

    /// Flight after flight, until nothing waits.
    async fn fly(self: Arc<Self>) {
        loop {
            self.let_join().await;
            let Some(mut gathered) = self.next() else { return };
            let outcome = self.carry(&gathered.items).await;
            gathered.tell(outcome);
        }
    }

    /// Lets callers who were just answered join, as long as more come.
    async fn let_join(&self) {
        let mut known = 0;
        for _ in 0..C::TURNS {
            tokio::task::yield_now().await;
            let waiting = self.queue().gathered.wakers.len();
            if waiting <= known {
                break;
            }
            known = waiting;
        }
    }

    /// What goes in the next flight; `None` ends them.
    fn next(&self) -> Option<Gathered<C::Item>> {
        let mut queue = self.queue();
        let (items, wakers) = (queue.gathered.items.len(), queue.gathered.wakers.len());
        queue.flying = wakers > 0;
        // The next flight will be about as large as this one.
        queue.flying.then(|| std::mem::replace(&mut queue.gathered, Gathered::with_capacity(items, wakers)))
    }

    /// Sends items until the fate of each is known.
    async fn carry(&self, items: &[(u16, C::Item)]) -> Outcome {
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
            let mut flying = vec![];
            for (part, waiting) in (0..).zip(&mut parts) {
                if !waiting.is_empty() {
                    let batch = self.channel.merge(part, items, waiting);
                    flying.push(Flying { part, stamp: self.stamp(), batch, doubt: None });
                }
            }
            if flying.is_empty() {
                refused.sort_unstable_by_key(|(place, _)| *place);
                lost.sort_unstable_by_key(|(place, _)| *place);
                return Outcome { refused, lost };
            }
            let outcomes = self.deliver(&mut flying).await;
            for (Flying { part, batch, .. }, outcome) in flying.iter().zip(outcomes) {
                let waiting = &mut parts[usize::from(*part)];
                match outcome {
                    Ok(outcome) => self.channel.settle(batch, outcome, waiting, &mut refused),
                    Err(error) => lost.extend(C::places(batch).map(|place| (place, error.clone()))),
                }
            }
        }
    }

    /// Sends batches until the fate of each is known; an outcome for each, in order.
    async fn deliver(&self, flying: &mut [Flying<C::Batch>]) -> Vec<Result<C::Outcome>> {
        let mut outcomes: Vec<Option<Result<C::Outcome>>> = flying.iter().map(|_| None).collect();
        let mut give_up = None;
        loop {
            let open: Vec<usize> = (0..flying.len()).filter(|&i| outcomes[i].is_none()).collect();
            if open.is_empty() {
                return outcomes.into_iter().flatten().collect();
            }
            let batches: Vec<&Flying<C::Batch>> = open.iter().map(|&i| &flying[i]).collect();
            let sent = self.channel.transmit(&batches).await;
            let mut down = false;
            for (i, sent) in open.into_iter().zip(sent) {
                down |= matches!(sent, Sent::Unsent(_));
                outcomes[i] = flying[i].learn(sent);
            }
            if outcomes.iter().all(Option::is_some) {
                continue;
            }
            if down {
                self.clock.sleep(PAUSE).await;
            }
            let now = self.clock.monotonic();
            if now > *give_up.get_or_insert(now + PATIENCE) {
                for (outcome, flying) in outcomes.iter_mut().zip(&*flying) {
                    outcome.get_or_insert_with(|| Err(flying.doubt.as_ref().map_or_else(closed, unknown)));
                }
            }
        }
    }

    fn stamp(&self) -> Stamp {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        Stamp { client: self.client, sequence }
    }

    fn queue(&self) -> MutexGuard<'_, Queue<C::Item>> {
        self.queue.lock()
    }
}

/// One item on its way: a future with a name, so that a caller can keep it without a box.
#[derive(Debug)]
pub(crate) struct Seated(Seat);

impl Future for Seated {
    /// As [`Sequencer::write`] answers.
    type Output = Result<Result<()>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self(seat) = &*self;
        if !seat.meeting.is_settled(seat.number, context) {
            return Poll::Pending;
        }
        Poll::Ready(match seat.refusals()? {
            (_, [(_, lost), ..]) => Err(lost.clone()),
            ([(_, refused), ..], _) => Ok(Err(refused.clone())),
            _ => Ok(Ok(())),
        })
    }
}

impl<I> Gathered<I> {
    fn with_capacity(items: usize, wakers: usize) -> Self {
        let meeting = Arc::default();
        Self { items: Vec::with_capacity(items), wakers: Vec::with_capacity(wakers), meeting }
    }

    fn tell(&mut self, outcome: Outcome) {
        self.meeting.settle(outcome, std::mem::take(&mut self.wakers));
    }
}

impl Seat {
    /// Of the seat's items those that were refused, and those that were lost.
    fn refusals(&self) -> Result<(&Few, &Few)> {
        let Outcome { refused, lost } = self.meeting.outcome().ok_or_else(closed)?;
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
        f.debug_struct("Queue").field("gathered", &gathered).field("flying", &self.flying).finish()
    }
}

impl<I> Drop for Gathered<I> {
    /// Nobody waits for ever: the runtime was shut down in the middle of a flight.
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
