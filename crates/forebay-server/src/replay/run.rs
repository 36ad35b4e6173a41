//! Replays a log to an event of a store that this process has open.

use std::time::Duration;

use forebay::{
    Error, ErrorKind, ManualClock, Timestamp,
    buffer::BufferHandle,
    event::{EventHandle, Hit, HitError},
    series::SeriesHandle,
};
use futures::{StreamExt, stream};

use super::{Counts, Event, Feed, Tally, retained::Retained};

/// Events between two checks of the buffers: enough that a check costs nothing per event.
const CHECK_INTERVAL: usize = 16_384;

/// Events in flight at once, to a store outside this process.
const MAX_IN_FLIGHT: usize = 512;

/// Pending rows at which a buffer is flushed.
const FLUSH_AT: u64 = 50_000;

/// The event, buffers and series of a replay.
#[derive(Debug)]
pub struct Target {
    /// The event of every line.
    pub event: EventHandle,
    /// The buffers of the event, connected to the database.
    pub buffers: Vec<BufferHandle>,
    /// The series of the event.
    pub series: Vec<SeriesHandle>,
    /// The clock of a store in this process, which follows the log. `None`: another store, with its own clock.
    pub clock: Option<ManualClock>,
    /// The time that hits may stay in the buffers, in the log's time: less than the ledger's retention.
    pub flush_every: Duration,
}

/// Replays a log.
#[derive(Debug)]
pub struct Run {
    target: Target,
    /// The outcomes of the hits so far.
    pub counts: Counts,
    /// Added to the log's times, in microseconds.
    shift: i64,
    /// The latest time of a hit, shifted.
    now: Option<Timestamp>,
    /// The time of the oldest hit that may be in a buffer.
    unflushed: Option<Timestamp>,
    /// The points that each series should still have.
    retained: Vec<Retained>,
}

/// A series after a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesSum {
    /// The sum over all keys and the time of the log.
    pub sum: u64,
    /// The least and the largest expected sum.
    pub expected: (u64, u64),
}

impl Run {
    /// A replay to `target`, with `shift` microseconds added to the log's times.
    pub fn new(target: Target, counts: Counts, shift: i64) -> Self {
        let coarsest = |series: &SeriesHandle| series.resolutions().last().copied().map(Retained::new);
        let retained = target.series.iter().filter_map(coarsest).collect();
        Self { target, counts, shift, now: None, unflushed: None, retained }
    }

    /// Replays all events of `feed`, and calls `progress` for each batch.
    ///
    /// # Errors
    /// If the log cannot be read, or the store or the database does not answer. The events before that are counted.
    pub async fn all(&mut self, feed: &mut Feed, mut progress: impl FnMut(&Tally)) -> Result<(), Error> {
        let mut unchecked = 0;
        while let Some(mut batch) = feed.next().await? {
            self.counts.bad.append(&mut batch.bad);
            for event in &mut batch.events {
                event.at = shifted(event.at, self.shift);
            }
            self.replay(&batch.events).await?;
            self.counts.tally = batch.tally;
            unchecked += batch.events.len();
            if unchecked >= CHECK_INTERVAL {
                unchecked = 0;
                self.flush_full().await?;
            }
            progress(&self.counts.tally);
        }
        Ok(())
    }

    /// Flushes all buffers; returns the number of rows.
    ///
    /// # Errors
    /// If the store or the database does not answer.
    pub async fn flush(&self) -> Result<u64, Error> {
        let mut rows = 0;
        for buffer in &self.target.buffers {
            rows += buffer.flush().await?;
        }
        Ok(rows)
    }

    /// Sums up each series over all keys of the log.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn series_sums(&self) -> Result<Vec<SeriesSum>, Error> {
        let first = self.counts.tally.first.map(|at| shifted(at, self.shift));
        let Some((from, now)) = first.zip(self.now) else {
            return Ok(vec![SeriesSum { sum: 0, expected: (0, 0) }; self.target.series.len()]);
        };
        let to = now.plus(Duration::from_micros(1));
        let mut sums = vec![];
        for (series, retained) in self.target.series.iter().zip(&self.retained) {
            let sum_of = async |(key, _)| series.total_as_of(key, from, to, now).await;
            let mut each = stream::iter(self.counts.keys()).map(sum_of).buffer_unordered(MAX_IN_FLIGHT);
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
                // The flush comes before the time jumps, because a batch older than the ledger's retention is not applied.
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
        let mut answers = stream::iter(events).map(replay).buffered(MAX_IN_FLIGHT);
        for event in events {
            let Some(answer) = answers.next().await else { break };
            self.count(event, answer)?;
        }
        Ok(())
    }

    /// Moves the store's clock to an event that is later than all before, so that expiry follows the log's time.
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
            Err(HitError { error, .. })
                if matches!(error.kind(), ErrorKind::Invalid | ErrorKind::OutOfRange) =>
            {
                self.counts.refuse(event, &error.to_string());
                return Ok(());
            }
            Err(failed) => return Err(failed.error),
        };
        self.counts.hit(event, &hit);
        if hit.is_accepted() {
            self.retained.iter_mut().for_each(|retained| retained.add(event.at));
        }
        Ok(())
    }

    /// Flushes the buffers with many pending rows, so that memory does not grow with the log.
    async fn flush_full(&self) -> Result<(), Error> {
        for buffer in &self.target.buffers {
            if buffer.stats().await?.pending_rows >= FLUSH_AT {
                buffer.flush().await?;
            }
        }
        Ok(())
    }
}

/// A time of the log, shifted by microseconds.
pub(super) fn shifted(at: Timestamp, shift: i64) -> Timestamp {
    Timestamp::from_micros(at.as_micros().saturating_add(shift))
}
