//! A log through an event of a store that this process has open.

use std::time::Duration;

use forebay::{
    Error, ErrorKind, ManualClock, Timestamp,
    buffer::BufferHandle,
    event::{EventHandle, Hit, HitError},
    series::SeriesHandle,
};
use futures::{StreamExt, stream};

use super::{Counts, Event, Feed, Tally, retained::Retained};
use crate::chart::Timeline;

/// Events between two looks at buffers and progress: enough that these cost nothing per event.
const BLOCK: usize = 16_384;

/// Events on their way at once, to a store that is not in this process.
const AT_ONCE: usize = 512;

/// Rows that gather in a buffer before it is flushed.
const FLUSH_AT: u64 = 50_000;

/// What a log is replayed into.
#[derive(Debug)]
pub struct Target {
    /// The event that every line is.
    pub event: EventHandle,
    /// The buffers that it writes to, ready to be flushed.
    pub buffers: Vec<BufferHandle>,
    /// The series that it is counted in.
    pub series: Vec<SeriesHandle>,
    /// The clock of a store in this process, which is moved along with the log. `None`: a store elsewhere, which has a
    /// clock of its own.
    pub clock: Option<ManualClock>,
    /// For how much of the log's time hits may wait in the buffers: less than the database remembers batches.
    pub flush_every: Duration,
}

/// Replays a log.
#[derive(Debug)]
pub struct Run {
    target: Target,
    /// What became of the hits so far.
    pub counts: Counts,
    /// What has been read so far.
    pub tally: Tally,
    /// The picture, if one is wanted.
    pub timeline: Option<Timeline>,
    /// Added to the log's times, in microseconds.
    shift: i64,
    /// The latest time of a hit, shifted.
    now: Option<Timestamp>,
    /// Since when hits may be in the buffers, by the log's time.
    unflushed: Option<Timestamp>,
    /// What each series should still show.
    retained: Vec<Retained>,
}

/// A series after a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesSum {
    /// What it sums up to, over all keys of the log and the log's time.
    pub sum: u64,
    /// What it should, at least and at most.
    pub expected: (u64, u64),
}

impl Run {
    /// Gets ready to replay into `target`, with `shift` microseconds added to the log's times.
    pub fn new(target: Target, counts: Counts, shift: i64) -> Self {
        let coarsest = |series: &SeriesHandle| series.resolutions().last().copied().map(Retained::new);
        let retained = target.series.iter().filter_map(coarsest).collect();
        let (tally, timeline, now, unflushed) = (Tally::default(), None, None, None);
        Self { target, counts, tally, timeline, shift, now, unflushed, retained }
    }

    /// Replays all that `feed` gives. `progress` is called every so often.
    ///
    /// # Errors
    /// When the log cannot be read any further, or store or database do not answer. What came before that is
    /// counted.
    pub async fn all(&mut self, feed: &mut Feed, mut progress: impl FnMut(&Tally)) -> Result<(), Error> {
        let mut unseen = 0;
        while let Some(mut batch) = feed.next().await? {
            self.counts.bad.append(&mut batch.bad);
            for event in &mut batch.events {
                event.at = shifted(event.at, self.shift);
            }
            self.replay(&batch.events).await?;
            self.tally = batch.tally;
            unseen += batch.events.len();
            if unseen >= BLOCK {
                unseen = 0;
                self.flush_full().await?;
            }
            progress(&self.tally);
        }
        Ok(())
    }

    /// Flushes all buffers; returns the rows.
    ///
    /// # Errors
    /// What store or database answered.
    pub async fn flush(&self) -> Result<u64, Error> {
        let mut rows = 0;
        for buffer in &self.target.buffers {
            rows += buffer.flush().await?;
        }
        Ok(rows)
    }

    /// Adds up each series over all keys of the log.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn series_sums(&self) -> Result<Vec<SeriesSum>, Error> {
        let Some((from, now)) = self.tally.first.map(|at| self.shifted(at)).zip(self.now) else {
            return Ok(vec![SeriesSum { sum: 0, expected: (0, 0) }; self.target.series.len()]);
        };
        let to = now.plus(Duration::from_micros(1));
        let mut sums = vec![];
        for (series, retained) in self.target.series.iter().zip(&self.retained) {
            let sum_of = async |(key, _)| series.total_as_of(key, from, to, now).await;
            let mut each = stream::iter(self.counts.keys()).map(sum_of).buffer_unordered(AT_ONCE);
            let mut sum = 0_u64;
            while let Some(of_key) = each.next().await {
                sum = sum.saturating_add(of_key?.sum);
            }
            sums.push(SeriesSum { sum, expected: retained.sum().into_inner() });
        }
        Ok(sums)
    }

    async fn replay(&mut self, events: &[Event]) -> Result<(), Error> {
        if let Some(clock) = self.target.clock.clone() {
            for event in events {
                // Before the log's time leaps: a batch that is older than the database's memory is not applied.
                let since = *self.unflushed.get_or_insert(event.at);
                if event.at.since(since) >= self.target.flush_every {
                    self.flush().await?;
                    self.unflushed = Some(event.at);
                }
                self.pass_time(event.at, Some(&clock));
                let answer = self.target.event.replay(&event.key, 1, event.at).await;
                self.count(event, answer)?;
            }
            return Ok(());
        }
        if let Some(last) = events.iter().map(|event| event.at).max() {
            self.pass_time(last, None);
        }
        let handle = self.target.event.clone();
        let replay = async |event: &Event| handle.replay(&event.key, 1, event.at).await;
        let mut answers = stream::iter(events).map(replay).buffered(AT_ONCE);
        for event in events {
            let Some(answer) = answers.next().await else { break };
            self.count(event, answer)?;
        }
        Ok(())
    }

    /// Moves the store's clock to an event that is later than all before: what expires does so by the log's time.
    fn pass_time(&mut self, at: Timestamp, clock: Option<&ManualClock>) {
        if self.now.is_some_and(|now| at <= now) {
            return;
        }
        if let Some(clock) = clock {
            match self.now {
                Some(now) => clock.advance(at.since(now)),
                None => clock.step_to(at),
            }
        }
        self.now = Some(at);
        self.retained.iter_mut().for_each(|retained| retained.pass(at));
    }

    fn count(&mut self, event: &Event, answer: Result<Hit, HitError>) -> Result<(), Error> {
        let hit = match answer {
            Ok(hit) => hit,
            Err(HitError { error, .. }) if is_refusal(&error) => {
                self.counts.refuse(event, &error.to_string());
                return Ok(());
            }
            Err(failed) => return Err(failed.error),
        };
        self.counts.hit(event, &hit);
        if hit.is_accepted() {
            self.retained.iter_mut().for_each(|retained| retained.add(event.at));
        }
        if let Some(timeline) = &mut self.timeline {
            match hit {
                Hit::Accepted { .. } => timeline.allowed(event.at, 1),
                Hit::Limited { .. } => timeline.limited(event.at, 1),
            }
        }
        Ok(())
    }

    /// Flushes the buffers that hold many rows, so that memory does not follow the log.
    async fn flush_full(&self) -> Result<(), Error> {
        for buffer in &self.target.buffers {
            if buffer.stats().await?.pending_rows >= FLUSH_AT {
                buffer.flush().await?;
            }
        }
        Ok(())
    }

    fn shifted(&self, at: Timestamp) -> Timestamp {
        shifted(at, self.shift)
    }
}

/// A time of the log, shifted by so many microseconds.
pub(super) fn shifted(at: Timestamp, shift: i64) -> Timestamp {
    Timestamp::from_micros(at.as_micros().saturating_add(shift))
}

/// Whether the hit is at fault, and not what should take it.
fn is_refusal(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Invalid | ErrorKind::OutOfRange)
}
