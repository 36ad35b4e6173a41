//! A counter that goes the whole way, from the store to the database, and is looked for at its end.
//!
//! Every other metric says what this program believes. A counter that was acknowledged, and that the table does not show, is
//! seen by this one alone, whatever the reason.

use std::{
    collections::VecDeque,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use forebay::{
    Clock,
    buffer::{BufferHandle, RowKey, Value},
    sink::{Sink, SinkError},
    time::secs,
};

use crate::{
    config::{BEATS, Config, LAST},
    metrics::CanaryMetrics,
};

/// How many that have not arrived are remembered one by one. The oldest says how late it is.
const MOST_WAITING: usize = 10_000;

/// After how many beats that are missing an operator is told.
const LATE: u32 = 5;

/// How long sending and looking may take, unless beats are further apart.
const PATIENCE: Duration = secs(5);

/// The counter of one server.
#[derive(Debug)]
pub(crate) struct Canary {
    buffer: BufferHandle,
    /// Where it arrives, past the buffer.
    sink: Arc<dyn Sink>,
    /// Host and port: a server that is started again goes on with its row.
    id: String,
    every: Duration,
    clock: Clock,
    metrics: CanaryMetrics,
    /// For how many milliseconds the oldest is on its way. Read by whoever asks; nothing is ordered by it.
    lag: AtomicU64,
}

/// What was sent, and what of it has arrived.
#[derive(Debug, Default)]
struct Flight {
    /// What the row will have without these, once it is known.
    before: Option<i64>,
    sent: u64,
    arrived: u64,
    /// One was sent whose acknowledgement is missing: it may arrive or not.
    is_unsure: bool,
    /// The number of each that has not arrived, and when it was acknowledged.
    waiting: VecDeque<(u64, Duration)>,
}

impl Canary {
    pub(crate) fn new(
        config: &Config,
        every: Duration,
        buffer: BufferHandle,
        sink: Arc<dyn Sink>,
        clock: &Clock,
        metrics: CanaryMetrics,
    ) -> Self {
        let id = format!("{}:{}", host(), config.listen.port());
        Self { buffer, sink, id, every, clock: clock.clone(), metrics, lag: AtomicU64::new(0) }
    }

    /// Sends and looks, every so often. Does not end.
    pub(crate) async fn run(&self) {
        let mut flight = Flight::default();
        loop {
            // A database that is gone without a word must not keep this from being told.
            let patience = self.every.max(PATIENCE);
            let beat = self.clock.timeout(patience, self.beat(&mut flight)).await;
            if !matches!(beat, Some(Ok(()))) {
                self.metrics.failures.increment(1);
                let error = beat.and_then(Result::err).map(|error| error.to_string());
                tracing::debug!(error, "the canary could not be sent or looked for");
            }
            let lag = flight.lag(self.clock.monotonic());
            self.metrics.lag.set(lag.as_secs_f64());
            self.lag.store(u64::try_from(lag.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
            self.clock.sleep(self.every).await;
        }
    }

    /// What an operator should know.
    pub(crate) fn warning(&self) -> Option<String> {
        let lag = Duration::from_millis(self.lag.load(Ordering::Relaxed));
        (lag >= self.every * LATE).then(|| {
            format!(
                "canary: a counter that was acknowledged {} s ago is not in the database; the stats of the buffers say why, \
                 unless the database has lost it",
                lag.as_secs()
            )
        })
    }

    async fn beat(&self, flight: &mut Flight) -> forebay::Result<()> {
        let key = [Value::from(self.id.as_str())];
        if flight.is_unsure && flight.waiting.is_empty() {
            *flight = Flight::default();
        }
        if flight.before.is_none() {
            flight.before = Some(beats(Some(&self.buffer.value(&key).await?)));
        }
        self.look(&key, flight).await?;
        let now = self.clock.now();
        flight.is_unsure = true;
        self.buffer.row(self.id.as_str()).add(BEATS, 1).max(LAST, now).await?;
        flight.sent(self.clock.monotonic());
        flight.is_unsure = false;
        self.metrics.sent.increment(1);
        Ok(())
    }

    /// Counts what the table has.
    async fn look(&self, key: &[Value], flight: &mut Flight) -> forebay::Result<()> {
        let schema = self.buffer.schema();
        let read = self.sink.read(schema, &RowKey::new(schema, key)?, &[]).await;
        let read = read.map_err(|error| match error {
            SinkError::Transient(error) | SinkError::Permanent(error) => error,
            other => forebay::Error::new(forebay::ErrorKind::Unavailable, other.to_string()),
        })?;
        self.metrics.arrived.increment(flight.seen(beats(read.row.as_deref())));
        Ok(())
    }
}

impl Flight {
    fn sent(&mut self, now: Duration) {
        self.sent += 1;
        if self.waiting.len() < MOST_WAITING {
            self.waiting.push_back((self.sent, now));
        }
    }

    /// The table has so many; returns how many are new.
    fn seen(&mut self, beats: i64) -> u64 {
        let arrived = beats.saturating_sub(self.before.unwrap_or(0));
        let new = u64::try_from(arrived).unwrap_or(0).saturating_sub(self.arrived);
        self.arrived += new;
        while self.waiting.front().is_some_and(|(number, _)| *number <= self.arrived) {
            self.waiting.pop_front();
        }
        new
    }

    /// For how long the oldest is on its way.
    fn lag(&self, now: Duration) -> Duration {
        self.waiting.front().map_or(Duration::ZERO, |(_, since)| now.saturating_sub(*since))
    }
}

/// The counter in a row.
fn beats(cells: Option<&[Option<Value>]>) -> i64 {
    match cells.and_then(<[_]>::first) {
        Some(Some(Value::Integer(beats))) => *beats,
        _ => 0,
    }
}

/// The name of this machine, or container.
fn host() -> String {
    let name = std::fs::read_to_string(Path::new("/proc/sys/kernel/hostname")).ok();
    let name = name.or_else(|| std::env::var("HOSTNAME").ok()).map(|name| name.trim().to_owned());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_that_has_not_arrived_says_how_late_it_is() {
        let mut flight = Flight { before: Some(40), ..Flight::default() };
        let at = Duration::from_secs;
        for second in 1..=3 {
            flight.sent(at(second));
        }
        assert_eq!(flight.lag(at(5)), at(4));
        // What an earlier run has sent arrives first.
        assert_eq!(flight.seen(39), 0);
        assert_eq!((flight.arrived, flight.lag(at(5))), (0, at(4)));
        assert_eq!(flight.seen(42), 2);
        assert_eq!((flight.arrived, flight.lag(at(5))), (2, at(2)));
        // A copy of the table from before brings nothing back.
        assert_eq!(flight.seen(41), 0);
        assert_eq!(flight.arrived, 2);
        assert_eq!(flight.seen(43), 1);
        assert_eq!((flight.arrived, flight.lag(at(9))), (3, Duration::ZERO));
        flight.sent(at(9));
        assert_eq!(flight.lag(at(10)), at(1));
    }
}
