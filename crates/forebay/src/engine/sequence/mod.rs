//! Writes that are applied once, although a connection may end at any moment.
//!
//! The writes of one process to one partition carry a client id and a sequence number. One batch is in
//! flight at a time. It does not change until the store has applied it, answers that it was applied before, or its
//! fate can no longer be known. (With several batches in flight, batch 8 applied before 7 would make 7 a "duplicate":
//! acknowledged, and lost.) The store remembers the last sequence of each client and refuses older ones, so a batch
//! whose answer was lost is sent again.
//!
//! This does not hold for a store that went back in time: its memory of the sequence went back with it, and the batch
//! would count twice. The *epoch* of a store changes then. A batch in doubt is sent again in its own epoch only, and is
//! [`Unknown`](crate::Retry::Unknown) in another.
//!
//! A [`Sequencer`] writes to several partitions of one host. While one flight is under way, writes to any of them
//! gather. The next flight sends them in one pipeline, with a batch for each partition.

mod sequencer;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, fmt::Debug, future::Future, sync::Arc};

use uuid::Uuid;

pub(crate) use sequencer::{Sequencer, WriteFuture};

use crate::error::{Error, ErrorKind, Result, Retry};

/// How many times a batch is sent of which the store does nothing, for reasons that should be gone the next time.
const MAX_REPEATS: u8 = 6;

/// Identifies a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub client: Uuid,
    pub sequence: u64,
}

/// The result of one transmission of a batch.
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
    /// The store did nothing of it, now or earlier, and never will: its partition is about to be on another host.
    Moved(Error),
    /// The store did nothing of it, and may apply it when it is sent again at once. The error says what is wrong if it does
    /// not.
    Again(Error),
    /// Not sent, or refused: the store is in another epoch, or has forgotten what it needs to tell.
    TooLate,
    /// It may have been applied.
    InDoubt(Doubt),
}

/// A transmission without an answer.
#[derive(Clone, Debug)]
pub(crate) struct Doubt {
    /// The epoch that the store was believed to be in. It did nothing if it was in another one. Empty: the store does not tell
    /// its epoch, and the batch is not sent again.
    pub epoch: Arc<str>,
    /// The store's time then, in microseconds, or before.
    pub time: u64,
    pub error: Error,
}

/// A batch on its way to one partition.
#[derive(Debug)]
pub(crate) struct InFlight<B> {
    pub part: u16,
    pub stamp: Stamp,
    pub batch: B,
    /// The first transmission in doubt: the batch must not be sent in another epoch.
    pub doubt: Option<Doubt>,
    /// How many times it was to be sent [again](Sent::Again).
    repeats: u8,
}

/// The items of a flight that wait for a partition, as places in order.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pub places: VecDeque<usize>,
    /// Refused when they were merged with others: these go first, and nothing is merged with them.
    pub solo: VecDeque<usize>,
}

/// Items that an applied batch left out, and why.
pub(crate) type Refusals = Vec<(usize, Error)>;

/// Several partitions, and how to write to them.
pub(crate) trait Channel: Debug + Send + Sync + 'static {
    /// The least that can be written: a row, a count.
    type Item: Send + Sync + 'static;
    /// Items for one partition, merged: what a transmission carries.
    type Batch: Send + Sync;
    /// The store's answer to an applied batch.
    type Outcome: Send;
    /// What a transmission needs before it begins: a connection.
    type Session: Send;

    /// How often a flight yields at most, as long as each yield brings more writes. One yield lets callers that were just
    /// answered write again. More make the flight larger, which pays where a flight costs more than its writes.
    const MAX_YIELDS: usize;

    /// The bytes that an item holds beside its own size, about.
    fn heap_bytes(item: &Self::Item) -> usize;

    /// Takes the waiting items of a partition that fit into one batch, and merges them. `items` are those of the flight.
    fn merge(&self, part: u16, items: &[(u16, Self::Item)], waiting: &mut Waiting) -> Self::Batch;

    /// Gets ready to send batches. Nothing of them is sent before it is, so that the future may be dropped.
    fn ready(
        &self,
        in_flight: &[&InFlight<Self::Batch>],
    ) -> impl Future<Output = Result<Self::Session>> + Send;

    /// Sends batches once, no two to one partition; without a session it finds out by other ways, if there are any, what became of
    /// those in doubt. Answers each, in their order.
    fn transmit(
        &self,
        session: Result<Self::Session>,
        in_flight: &[&InFlight<Self::Batch>],
    ) -> impl Future<Output = Vec<Sent<Self::Outcome>>> + Send;

    /// The places of the items in a batch.
    fn places(batch: &Self::Batch) -> impl DoubleEndedIterator<Item = usize>;

    /// Collects the refused items of an applied batch, or lets them wait to be sent again.
    fn settle(
        &self,
        batch: &Self::Batch,
        outcome: Self::Outcome,
        waiting: &mut Waiting,
        refusals: &mut Refusals,
    );
}

impl<B> InFlight<B> {
    /// The fate of the batch after a transmission, if it is known.
    fn resolve<O>(&mut self, sent: Sent<O>) -> Option<Result<O>> {
        match (sent, &self.doubt) {
            (Sent::Applied(outcome), _) | (Sent::Duplicate(outcome), Some(_)) => Some(Ok(outcome)),
            (Sent::Refused(error) | Sent::Unsent(error), None) | (Sent::Moved(error), _) => Some(Err(error)),
            // The fate of this transmission is known, that of an earlier one is not.
            (Sent::Refused(_) | Sent::TooLate, Some(doubt)) => Some(Err(unknown(doubt))),
            (Sent::Duplicate(_) | Sent::TooLate, None) => Some(Err(sequence_conflict(self.stamp))),
            (Sent::InDoubt(first), None) if first.epoch.is_empty() => Some(Err(unknown(&first))),
            (Sent::InDoubt(first), None) => {
                self.doubt = Some(first);
                None
            }
            (Sent::Again(error), None) => {
                self.repeats += 1;
                (self.repeats >= MAX_REPEATS).then_some(Err(error))
            }
            (Sent::InDoubt(_) | Sent::Unsent(_) | Sent::Again(_), Some(_)) => None,
        }
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.places.is_empty() && self.solo.is_empty()
    }
}

fn unknown(doubt: &Doubt) -> Error {
    let text = "write: the store did not say whether it was applied, and cannot tell any more";
    Error::new(ErrorKind::Ambiguous, text).with_source(doubt.error.clone())
}

/// The error of a batch that the store knows although it was never sent: its number was used twice, and writes are lost.
fn sequence_conflict(stamp: Stamp) -> Error {
    let Stamp { client, sequence } = stamp;
    tracing::error!(%client, sequence, "the store knows a write that was never sent");
    let text =
        format!("write {sequence} of client {client}: the store knows it, though it was never sent before");
    Error::new(ErrorKind::Corrupt, text).with_retry(Retry::Never)
}
