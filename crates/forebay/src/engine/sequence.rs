//! Writes that are applied once, although a connection may end at any moment.
//!
//! The writes of one process to one partition carry a client id and a sequence number. One batch is in
//! flight at a time, and it stays what it is until the store has applied it, says that it had it already, or
//! nobody can tell any more. (With a window of several, batch 8 applied before 7 would make 7 a
//! "duplicate": acknowledged, and lost.) The store remembers the last sequence of each client, and
//! refuses what it has seen; so a batch whose answer was lost is simply sent again.
//!
//! Not across a store that may have gone back in time, though: the memory of the sequence went back with
//! it, and the batch would count twice. Each store has an *epoch* that changes then; a batch in doubt is
//! sent again in its own epoch only, and is [`Unknown`](crate::Retry::Unknown) in another.

use std::{
    fmt::Debug,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;
use uuid::Uuid;

use crate::{
    clock::Clock,
    error::{Error, ErrorKind, Result, Retry},
};

/// How long a batch in doubt is sent again before it is given up as unknown.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two attempts to reach a store that is down, for a batch in doubt.
const PAUSE: Duration = Duration::from_millis(50);

/// Weight that may wait behind the batch in flight; beyond it: overloaded.
const MOST_WAITING: usize = 1 << 16;

/// What a batch is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub client: Uuid,
    pub sequence: u64,
}

/// What one transmission of a batch came to.
#[derive(Debug)]
pub(crate) enum Sent<O> {
    /// It was applied by this transmission.
    Applied(O),
    /// It had been applied before.
    Duplicate(O),
    /// It certainly was not applied, and is not worth sending again.
    Refused(Error),
    /// It was not sent: no connection.
    Unsent(Error),
    /// Not sent, or refused: the store is in another epoch, or has forgotten what it needs to tell.
    TooLate,
    /// It may have been applied.
    InDoubt(Doubt),
}

/// A transmission without an answer.
#[derive(Clone, Debug)]
pub(crate) struct Doubt {
    /// The epoch of the store then.
    pub epoch: Box<str>,
    /// The store's time then, in microseconds, or before.
    pub time: u64,
    pub error: Error,
}

/// One partition, and how to write to it.
pub(crate) trait Channel: Debug + Send + Sync + 'static {
    /// What a caller brings.
    type Write: Send + 'static;
    /// What a caller gets.
    type Answer: Send + 'static;
    /// Writes merged into one.
    type Batch: Send + Sync;
    /// What the store says of a batch that it applied.
    type Outcome: Send;

    /// How much of a batch a write takes; at least 1.
    fn weight(write: &Self::Write) -> usize;

    /// The weight of a full batch. A single write may exceed it.
    const FULL: usize;

    /// Merges writes, in their order.
    fn merge<'a>(&self, writes: impl Iterator<Item = &'a Self::Write>) -> Self::Batch;

    /// Sends a batch once. `doubt` is that of the first transmission in doubt: it must not be sent in another epoch.
    fn transmit(
        &self,
        batch: &Self::Batch,
        stamp: Stamp,
        doubt: Option<&Doubt>,
    ) -> impl Future<Output = Sent<Self::Outcome>> + Send;

    /// The answers to the writes of a batch, in order; `Err`: this write must be sent again, as the returned one.
    fn answers(
        &self,
        batch: &Self::Batch,
        writes: Vec<Self::Write>,
        outcome: Self::Outcome,
    ) -> Vec<Result<Self::Answer, Self::Write>>;
}

/// The writes of this process to one partition.
#[derive(Debug)]
pub(crate) struct Sequencer<C: Channel> {
    channel: C,
    clock: Clock,
    client: Uuid,
    /// What waits, and whether somebody is sending. Held for a few instructions, never across an await.
    queue: Mutex<Queue<C>>,
}

#[derive(Debug)]
struct Queue<C: Channel> {
    waiting: Vec<Waiting<C>>,
    weight: usize,
    sequence: u64,
    /// A batch is in flight, or about to be.
    flying: bool,
}

type Reply<C> = oneshot::Sender<Result<<C as Channel>::Answer>>;

struct Waiting<C: Channel> {
    write: C::Write,
    reply: Reply<C>,
}

impl<C: Channel> Debug for Waiting<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waiting")
    }
}

impl<C: Channel> Sequencer<C> {
    pub(crate) fn new(channel: C, clock: Clock) -> Arc<Self> {
        let queue = Queue { waiting: vec![], weight: 0, sequence: 0, flying: false };
        Arc::new(Self { channel, clock, client: Uuid::now_v7(), queue: Mutex::new(queue) })
    }

    /// Writes, once.
    ///
    /// # Errors
    /// With [`Retry::Unknown`]: nobody can tell whether it was applied. Else it was not.
    ///
    /// # Cancellation
    /// Dropping the future leaves the write under way.
    pub(crate) async fn write(self: &Arc<Self>, write: C::Write) -> Result<C::Answer> {
        let (reply, answer) = oneshot::channel();
        if self.enqueue(Waiting { write, reply })? {
            tokio::spawn(self.clone().fly());
        }
        answer.await.unwrap_or_else(|_| {
            let error = Error::new(ErrorKind::Closed, "the store was closed in the middle of a write");
            Err(error.with_retry(Retry::Unknown))
        })
    }

    /// Whether somebody must begin to send.
    fn enqueue(&self, waiting: Waiting<C>) -> Result<bool> {
        let mut queue = self.queue();
        let weight = C::weight(&waiting.write);
        if queue.weight > 0 && queue.weight + weight > MOST_WAITING {
            let text = format!("{} writes wait already", queue.waiting.len());
            return Err(Error::new(ErrorKind::Overloaded, text));
        }
        queue.weight += weight;
        queue.waiting.push(waiting);
        Ok(!std::mem::replace(&mut queue.flying, true))
    }

    /// Sends batch after batch until nothing waits.
    async fn fly(self: Arc<Self>) {
        loop {
            // Let callers who were just answered join.
            tokio::task::yield_now().await;
            let Some((waiting, stamp)) = self.next() else { return };
            let again = self.settle(waiting, stamp).await;
            let mut queue = self.queue();
            queue.weight += again.iter().map(|waiting| C::weight(&waiting.write)).sum::<usize>();
            queue.waiting.splice(..0, again);
        }
    }

    /// The next batch's writes; `None` ends the flight.
    fn next(&self) -> Option<(Vec<Waiting<C>>, Stamp)> {
        let mut queue = self.queue();
        let mut weight = 0;
        let fits = queue.waiting.iter().take_while(|waiting| {
            let before = weight;
            weight += C::weight(&waiting.write);
            before == 0 || weight <= C::FULL
        });
        let count = fits.count();
        if count == 0 {
            queue.flying = false;
            return None;
        }
        let waiting: Vec<Waiting<C>> = queue.waiting.drain(..count).collect();
        queue.weight -= waiting.iter().map(|waiting| C::weight(&waiting.write)).sum::<usize>();
        queue.sequence += 1;
        Some((waiting, Stamp { client: self.client, sequence: queue.sequence }))
    }

    /// Sends one batch until its fate is known; returns what must be sent again in another batch.
    async fn settle(&self, waiting: Vec<Waiting<C>>, stamp: Stamp) -> Vec<Waiting<C>> {
        let (writes, replies): (Vec<C::Write>, Vec<Reply<C>>) =
            waiting.into_iter().map(|waiting| (waiting.write, waiting.reply)).unzip();
        let batch = self.channel.merge(writes.iter());
        match self.deliver(&batch, stamp).await {
            Ok(outcome) => {
                let answers = self.channel.answers(&batch, writes, outcome);
                let mut again = vec![];
                for (answer, reply) in answers.into_iter().zip(replies) {
                    match answer {
                        // Whoever asked may have gone.
                        Ok(answer) => drop(reply.send(Ok(answer))),
                        Err(write) => again.push(Waiting { write, reply }),
                    }
                }
                again
            }
            Err(error) => {
                for reply in replies {
                    drop(reply.send(Err(error.clone())));
                }
                vec![]
            }
        }
    }

    async fn deliver(&self, batch: &C::Batch, stamp: Stamp) -> Result<C::Outcome> {
        let mut doubt: Option<Doubt> = None;
        let mut give_up = None;
        loop {
            let sent = self.channel.transmit(batch, stamp, doubt.as_ref()).await;
            match (sent, &doubt) {
                (Sent::Applied(outcome), _) | (Sent::Duplicate(outcome), Some(_)) => return Ok(outcome),
                (Sent::Refused(error) | Sent::Unsent(error), None) => return Err(error),
                // Of this transmission it is known, of an earlier one it is not.
                (Sent::Refused(_) | Sent::TooLate, Some(doubt)) => return Err(unknown(&doubt.error)),
                (Sent::Duplicate(_) | Sent::TooLate, None) => return Err(stolen(stamp)),
                (Sent::InDoubt(first), None) => doubt = Some(first),
                (Sent::InDoubt(_), Some(_)) => {}
                (Sent::Unsent(_), Some(_)) => self.clock.sleep(PAUSE).await,
            }
            let now = self.clock.monotonic();
            let until = *give_up.get_or_insert(now + PATIENCE);
            if let Some(doubt) = doubt.as_ref().filter(|_| now > until) {
                return Err(unknown(&doubt.error));
            }
        }
    }

    /// Sections do not panic half-way through a change, so a poisoned queue is whole.
    fn queue(&self) -> MutexGuard<'_, Queue<C>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unknown(cause: &Error) -> Error {
    let text = "write: the store did not say whether it was applied, and cannot tell any more";
    Error::new(ErrorKind::Ambiguous, text).with_source(cause.clone())
}

/// A batch that nobody has sent is known already: its number was given twice, and writes are lost.
fn stolen(stamp: Stamp) -> Error {
    let Stamp { client, sequence } = stamp;
    tracing::error!(%client, sequence, "the store knows a write that was never sent");
    let text =
        format!("write {sequence} of client {client}: the store knows it, though it was never sent before");
    Error::new(ErrorKind::Corrupt, text).with_retry(Retry::Never)
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;
    use crate::{ManualClock, Timestamp};

    /// Sums numbers; does with each transmission what the script says, then applies.
    #[derive(Debug, Default)]
    struct Fake {
        script: Mutex<Vec<Fault>>,
        store: Mutex<(u64, Vec<u64>)>,
        stamps: Mutex<Vec<Stamp>>,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Fault {
        /// Not applied, no answer.
        LostBefore,
        /// Applied, no answer.
        LostAfter,
        /// No connection.
        Down,
        /// The store has changed its epoch.
        Rollback,
        /// Not applied, and said so.
        Refuse,
    }

    impl Channel for Arc<Fake> {
        type Write = u64;
        type Answer = u64;
        type Batch = u64;
        type Outcome = ();

        const FULL: usize = 3;

        fn weight(_: &u64) -> usize {
            1
        }

        fn merge<'a>(&self, writes: impl Iterator<Item = &'a u64>) -> u64 {
            writes.sum()
        }

        async fn transmit(&self, batch: &u64, stamp: Stamp, doubt: Option<&Doubt>) -> Sent<()> {
            tokio::task::yield_now().await;
            let error = || Error::new(ErrorKind::Ambiguous, "lost");
            let fault = self.script.lock().unwrap().pop();
            self.stamps.lock().unwrap().push(stamp);
            let mut store = self.store.lock().unwrap();
            let in_doubt = || Sent::InDoubt(Doubt { epoch: "1".into(), time: 1, error: error() });
            match fault {
                Some(Fault::Down) => return Sent::Unsent(error()),
                Some(Fault::LostBefore) => return in_doubt(),
                Some(Fault::Refuse) => return Sent::Refused(error()),
                Some(Fault::Rollback) if doubt.is_some() => return Sent::TooLate,
                _ => {}
            }
            if stamp.sequence <= store.0 {
                return Sent::Duplicate(());
            }
            store.0 = stamp.sequence;
            store.1.push(*batch);
            if fault == Some(Fault::LostAfter) { in_doubt() } else { Sent::Applied(()) }
        }

        fn answers(&self, batch: &u64, writes: Vec<u64>, (): ()) -> Vec<Result<u64, u64>> {
            writes.iter().map(|_| Ok(*batch)).collect()
        }
    }

    fn faulty(script: &[Fault]) -> (Arc<Fake>, Arc<Sequencer<Arc<Fake>>>) {
        let fake = Arc::new(Fake::default());
        *fake.script.lock().unwrap() = script.iter().rev().copied().collect();
        let sequencer = Sequencer::new(fake.clone(), Clock::system());
        (fake, sequencer)
    }

    fn applied(fake: &Fake) -> Vec<u64> {
        fake.store.lock().unwrap().1.clone()
    }

    #[tokio::test]
    async fn what_waits_goes_together_and_each_batch_once() {
        let (fake, sequencer) = faulty(&[]);
        let answers = join_all((1..=5).map(|n| sequencer.write(n))).await;
        let answers: Vec<u64> = answers.into_iter().map(|answer| answer.expect("applied")).collect();
        assert_eq!(answers, [6, 6, 6, 9, 9], "a full batch and the rest");
        assert_eq!(applied(&fake), [6, 9]);
    }

    #[tokio::test]
    async fn a_lost_answer_is_asked_for_again_under_the_same_number() {
        let (fake, sequencer) = faulty(&[Fault::LostBefore, Fault::Down, Fault::LostAfter, Fault::LostAfter]);
        assert_eq!(sequencer.write(7).await.expect("applied"), 7);
        assert_eq!(applied(&fake), [7]);
        assert_eq!(sequencer.write(8).await.expect("applied"), 8);
        assert_eq!(applied(&fake), [7, 8]);
        let sequences: Vec<u64> = fake.stamps.lock().unwrap().iter().map(|stamp| stamp.sequence).collect();
        assert_eq!(sequences, [1, 1, 1, 1, 2]);
    }

    #[tokio::test]
    async fn what_was_never_sent_may_be_repeated_and_what_is_in_doubt_may_not() {
        let (fake, sequencer) = faulty(&[
            Fault::Down,
            Fault::Refuse,
            Fault::LostAfter,
            Fault::Rollback,
            Fault::LostBefore,
            Fault::Refuse,
        ]);
        for _ in ["down", "refused"] {
            assert!(sequencer.write(1).await.is_err());
            assert_eq!(applied(&fake), []);
        }
        for _ in ["rolled back", "refused later"] {
            let error = sequencer.write(1).await.expect_err("nobody knows");
            assert_eq!(error.retry(), Retry::Unknown);
        }
        sequencer.write(9).await.expect("the next one goes its way");
    }

    #[tokio::test]
    async fn a_number_that_was_given_twice_is_said_loudly() {
        let (fake, sequencer) = faulty(&[]);
        fake.store.lock().unwrap().0 = 1;
        let error = sequencer.write(1).await.expect_err("a thief");
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Corrupt, Retry::Never));
    }

    #[tokio::test]
    async fn a_store_that_stays_away_is_given_up() {
        let fake = Arc::new(Fake::default());
        *fake.script.lock().unwrap() = [vec![Fault::Down; 10_000], vec![Fault::LostAfter]].concat();
        let hand = ManualClock::at(Timestamp::from_secs(1_000));
        let sequencer = Sequencer::new(fake.clone(), Clock::from(hand.clone()));
        let write = tokio::spawn(async move { sequencer.write(1).await });
        while !write.is_finished() {
            hand.advance(Duration::from_millis(50));
            tokio::task::yield_now().await;
        }
        let error = write.await.expect("ends").expect_err("nobody knows");
        assert_eq!(error.retry(), Retry::Unknown);
    }

    #[tokio::test]
    async fn too_much_waiting_is_refused() {
        let (fake, sequencer) = faulty(&[]);
        let answers = join_all((0..=MOST_WAITING as u64).map(|n| sequencer.write(n))).await;
        let refused = answers.iter().filter_map(|answer| answer.as_ref().err());
        assert!(refused.clone().all(|error| error.kind() == ErrorKind::Overloaded));
        assert_eq!(refused.count(), 1);
        assert_eq!(applied(&fake).len(), MOST_WAITING.div_ceil(3));
    }
}
