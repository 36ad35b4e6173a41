//! Replays a log to a running server, at the log's speed or faster.

use std::time::Duration;

use anyhow::{Result, ensure};
use forebay::{Clock, Name, Timestamp};

use super::{Counts, Event, Feed, Tally, run::shifted};
use crate::{
    api::{
        batch::{LineAnswer, Outcome},
        event::{BatchAnswer, HitRequest},
        fields::{At, Count, Key},
    },
    client::{Client, escaped},
};

/// The lines and the bytes of a request: well below what a server accepts.
const MAX_LINES: usize = 1_000;
const MAX_BYTES: usize = 512 * 1024;

/// Sends a log to a server.
#[derive(Debug)]
pub(crate) struct Remote {
    client: Client,
    path: String,
    clock: Clock,
    /// The outcomes of the hits so far.
    pub(crate) counts: Counts,
    /// Hits with an unknown outcome: a series or a buffer failed.
    pub(crate) failed: u64,
    /// Added to the log's times, in microseconds.
    shift: i64,
    schedule: Schedule,
    /// The next request.
    events: Vec<Event>,
    body: Vec<u8>,
}

/// The schedule of the lines.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    speed: f64,
    /// The log's first time, and the monotonic time at which it was sent.
    start: Option<(Timestamp, Duration)>,
}

impl Schedule {
    /// The time to wait until `at` is due; `None` if it is.
    fn wait(&mut self, at: Timestamp, now: Duration) -> Option<Duration> {
        let (first, begun) = *self.start.get_or_insert((at, now));
        // A wait that exceeds a `Duration` never ends in practice.
        let offset = Duration::try_from_secs_f64(at.since(first).as_secs_f64() / self.speed);
        let due = begun.saturating_add(offset.unwrap_or(Duration::MAX));
        due.checked_sub(now).filter(|wait| !wait.is_zero())
    }
}

impl Remote {
    /// A replay to `event` of a server, `speed` times as fast as the log, with `shift` microseconds added to its times.
    pub(crate) fn new(client: Client, event: &Name, speed: f64, shift: i64) -> Self {
        Self {
            client,
            path: format!("/v1/events/{}", escaped(event.as_str())),
            clock: Clock::system(),
            counts: Counts::new([]),
            failed: 0,
            shift,
            schedule: Schedule { speed, start: None },
            events: vec![],
            body: vec![],
        }
    }

    /// Sends all events of `feed`, and calls `progress` for each batch.
    ///
    /// # Errors
    /// If the log cannot be read, or the server refuses it. The events before that are counted; the last request may have been
    /// accepted.
    pub(crate) async fn all(&mut self, feed: &mut Feed, mut progress: impl FnMut(&Tally)) -> Result<()> {
        loop {
            let Some(mut batch) = feed.next().await? else { return self.send().await };
            self.counts.bad.append(&mut batch.bad);
            for mut event in batch.events {
                event.at = shifted(event.at, self.shift);
                self.push(event).await?;
            }
            self.counts.tally = batch.tally;
            progress(&self.counts.tally);
        }
    }

    async fn push(&mut self, event: Event) -> Result<()> {
        if let Some(wait) = self.schedule.wait(event.at, self.clock.monotonic()) {
            self.send().await?;
            self.clock.sleep(wait).await;
        }
        let (key, at) = (Key(event.key.clone()), Some(At(event.at)));
        let line = serde_json::to_string(&HitRequest { key, labels: None, n: Count::default(), at })?;
        if self.events.len() == MAX_LINES || self.body.len() + line.len() > MAX_BYTES {
            self.send().await?;
        }
        self.body.extend_from_slice(line.as_bytes());
        self.body.push(b'\n');
        self.events.push(event);
        Ok(())
    }

    /// Sends the next request, and counts its results.
    async fn send(&mut self) -> Result<()> {
        if self.events.is_empty() {
            return Ok(());
        }
        let body = std::mem::take(&mut self.body);
        let answer: BatchAnswer = self.client.post_lines(&self.path, body).await?.read(&[])?;
        ensure!(
            answer.results.len() == self.events.len(),
            "the server answered without a result for each line"
        );
        self.failed += answer.failed;
        for (event, result) in self.events.drain(..).zip(answer.results) {
            match result {
                LineAnswer::Outcome(outcome) => self.counts.outcome(&event, outcome == Outcome::Accepted),
                LineAnswer::Error(error) => self.counts.refuse(&event, &error.error),
            }
        }
        // A line that failed has an error too, but the hit is not at fault.
        self.counts.refused -= answer.failed.min(self.counts.refused);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use forebay::time::{millis, secs};

    use super::*;

    #[test]
    fn lines_are_due_at_the_scaled_time() {
        let mut schedule = Schedule { speed: 10.0, start: None };
        let at = |second: i64| Timestamp::from_secs(1_431_857_100 + second);
        assert_eq!(schedule.wait(at(0), secs(5)), None);
        assert_eq!(schedule.wait(at(1), secs(5)), Some(millis(100)));
        assert_eq!(schedule.wait(at(10), secs(5) + millis(700)), Some(millis(300)));
        assert_eq!(schedule.wait(at(10), secs(6)), None);
        assert_eq!(schedule.wait(at(-5), secs(6)), None, "a late line is due at once");
    }
}
