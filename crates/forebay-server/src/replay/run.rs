//! A log through an event of a store that this process has open.

use std::time::Duration;

use forebay::{
    Error, ErrorKind, ManualClock, Timestamp,
    buffer::BufferHandle,
    event::{EventHandle, Hit, HitError},
    series::SeriesHandle,
    time::secs,
};
use futures::{StreamExt, stream};

use super::{Batch, Counts, Event, Feed, Tally, kept::Kept};
use crate::chart::Timeline;

/// Events between two looks at clock, buffers and progress: enough that these cost nothing per event.
const BLOCK: usize = 16_384;

/// The most events that are read ahead: some 30 MB.
const MOST_BLOCK: usize = 262_144;

/// Events on their way at once, to a store that is not in this process.
const AT_ONCE: usize = 512;

/// How much time a block lets pass at most: less than the minute that a store keeps a charge of a replay beyond its
/// window.
const MOST_PASSED: Duration = secs(50);

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
    /// The clock of a store in this process: its time of day is moved along with the log, and it lets time pass, more
    /// slowly than the log does. `None`: a store elsewhere, which has a clock of its own.
    pub clock: Option<ManualClock>,
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
    /// How much of the log's time the last block took.
    passed: Duration,
    /// What each series should still show.
    kept: Vec<Kept>,
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
        let coarsest = |series: &SeriesHandle| series.resolutions().last().copied().map(Kept::new);
        let kept = target.series.iter().filter_map(coarsest).collect();
        Self {
            target,
            counts,
            tally: Tally::default(),
            timeline: None,
            shift,
            now: None,
            passed: Duration::ZERO,
            kept,
        }
    }

    /// Replays all that `feed` gives. `progress` is called every so often.
    ///
    /// # Errors
    /// When the log cannot be read any further, or store or database do not answer. What came before that is
    /// counted.
    pub async fn all(&mut self, feed: &mut Feed, mut progress: impl FnMut(&Tally)) -> Result<(), Error> {
        loop {
            let (mut block, end) = self.read_ahead(feed).await;
            self.pass_time(&mut block);
            for batch in &mut block {
                self.counts.bad.append(&mut batch.bad);
                self.replay(&batch.events).await?;
                self.tally = batch.tally;
            }
            self.flush_full().await?;
            progress(&self.tally);
            if let Some(end) = end {
                return end;
            }
        }
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
        for (series, kept) in self.target.series.iter().zip(&self.kept) {
            let sum_of = async |(key, _)| series.sum_as_of(key, from, to, now).await;
            let mut each = stream::iter(self.counts.keys()).map(sum_of).buffer_unordered(AT_ONCE);
            let mut sum = 0_u64;
            while let Some(of_key) = each.next().await {
                sum = sum.saturating_add(of_key?);
            }
            sums.push(SeriesSum { sum, expected: kept.sum().into_inner() });
        }
        Ok(sums)
    }

    /// Takes batches until they make a block: the more keys a store holds, the rarer it should look for what has
    /// expired, which it does whenever its clock moves.
    async fn read_ahead(&self, feed: &mut Feed) -> (Vec<Batch>, Option<Result<(), Error>>) {
        let want = (self.counts.keys().len() / 4).clamp(BLOCK, MOST_BLOCK);
        let (mut block, mut events) = (vec![], 0);
        while events < want {
            match feed.next().await {
                Ok(Some(batch)) => {
                    // A block of bad lines only has to end as well.
                    events += batch.events.len().max(1);
                    block.push(batch);
                }
                Ok(None) => return (block, Some(Ok(()))),
                Err(error) => return (block, Some(Err(error))),
            }
        }
        (block, None)
    }

    /// Shifts the events, and moves the store's clock.
    ///
    /// Its time of day is the last event's. The time that it lets pass is what charges expire by, a minute after
    /// their window; that is less than the log's, so that none is forgotten whose window is still open: for each
    /// block what the one before took, and less than that minute, since a window that began at the end of that block
    /// has seen nothing of it.
    fn pass_time(&mut self, block: &mut [Batch]) {
        let events = block.iter_mut().flat_map(|batch| &mut batch.events);
        let mut last = self.now;
        for event in events {
            event.at = shifted(event.at, self.shift);
            last = last.max(Some(event.at));
        }
        let Some(last) = last else { return };
        if let Some(clock) = &self.target.clock {
            clock.advance(self.passed.min(MOST_PASSED));
            clock.step_to(last);
        }
        self.passed = self.now.map_or(Duration::ZERO, |before| last.since(before));
        self.now = Some(last);
        self.kept.iter_mut().for_each(|kept| kept.pass(last));
    }

    async fn replay(&mut self, events: &[Event]) -> Result<(), Error> {
        if self.target.clock.is_some() {
            for event in events {
                let answer = self.target.event.replay(&event.key, 1, event.at).await;
                self.count(event, answer)?;
            }
            return Ok(());
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
            self.kept.iter_mut().for_each(|kept| kept.add(event.at));
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
