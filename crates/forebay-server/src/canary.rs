//! The canary: a counter that is written to a buffer, flushed, and read back from the database.
//!
//! Every other metric reports what this program believes. The canary alone detects an acknowledged write that is missing in
//! the table, regardless of the reason.

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
    Clock, Error, ErrorKind,
    buffer::{BufferHandle, RowKey, Value},
    sink::{Sink, SinkError},
    time::secs,
};

use crate::{
    config::{BEATS, Config, LAST},
    metrics::CanaryMetrics,
};

/// The counts in flight that are remembered one by one. The oldest gives the lag.
const MAX_WAITING: usize = 10_000;

/// The number of missing counts that causes a warning.
const MAX_MISSING: u32 = 5;

/// The time in which a count must arrive, unless the interval is longer.
const TIMEOUT: Duration = secs(5);

/// The canary of one server.
#[derive(Debug)]
pub(crate) struct Canary {
    buffer: BufferHandle,
    /// Reads the table, without the buffer.
    sink: Arc<dyn Sink>,
    /// Host and port: a server that is restarted continues its row.
    id: String,
    interval: Duration,
    clock: Clock,
    metrics: CanaryMetrics,
    /// Milliseconds since the oldest count in flight. Nothing else is ordered by it.
    lag: AtomicU64,
}

/// The counts that were sent, and those that have arrived.
#[derive(Debug, Default)]
struct InFlight {
    /// The value of the row without these, once it is known.
    before: Option<i64>,
    sent: u64,
    arrived: u64,
    /// The last count was not acknowledged: it may arrive or not.
    is_unsure: bool,
    /// The number of each count in flight, and when it was acknowledged.
    waiting: VecDeque<(u64, Duration)>,
}

impl Canary {
    pub(crate) fn new(
        config: &Config,
        interval: Duration,
        buffer: BufferHandle,
        sink: Arc<dyn Sink>,
        clock: &Clock,
        metrics: CanaryMetrics,
    ) -> Self {
        let id = format!("{}:{}", host(), config.listen.port());
        Self { buffer, sink, id, interval, clock: clock.clone(), metrics, lag: AtomicU64::new(0) }
    }

    /// Sends a count and reads the table, once per interval. Does not end.
    pub(crate) async fn run(&self) {
        let mut flight = InFlight::default();
        loop {
            // A database that does not answer must not stop the lag from being reported.
            let timeout = self.interval.max(TIMEOUT);
            let beat = self.clock.timeout(timeout, self.beat(&mut flight)).await;
            if !matches!(beat, Some(Ok(()))) {
                self.metrics.failures.increment(1);
                let error = beat.and_then(Result::err).map(|error| error.to_string());
                tracing::debug!(error, "the canary could not be sent or read");
            }
            let lag = flight.lag(self.clock.monotonic());
            self.metrics.lag.set(lag.as_secs_f64());
            self.lag.store(u64::try_from(lag.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
            self.clock.sleep(self.interval).await;
        }
    }

    /// The warning if a count is late.
    pub(crate) fn warning(&self) -> Option<String> {
        let lag = Duration::from_millis(self.lag.load(Ordering::Relaxed));
        (lag >= self.interval * MAX_MISSING).then(|| {
            format!(
                "canary: a counter that was acknowledged {} s ago is not in the database; the stats of the buffers say why, \
                 unless the database has lost it",
                lag.as_secs()
            )
        })
    }

    async fn beat(&self, flight: &mut InFlight) -> forebay::Result<()> {
        let key = [Value::from(self.id.as_str())];
        if flight.is_unsure && flight.waiting.is_empty() {
            *flight = InFlight::default();
        }
        if flight.before.is_none() {
            let value = self.buffer.value(&key).await?;
            if value.partial {
                let text = "canary: a host of the store does not answer, and may hold beats";
                return Err(Error::new(ErrorKind::Unavailable, text));
            }
            flight.before = Some(beats(Some(&value)));
        }
        self.read(&key, flight).await?;
        let now = self.clock.now();
        flight.is_unsure = true;
        self.buffer.row(self.id.as_str()).add(BEATS, 1).max(LAST, now).await?;
        flight.sent(self.clock.monotonic());
        flight.is_unsure = false;
        self.metrics.sent.increment(1);
        Ok(())
    }

    /// Counts the arrivals in the table.
    async fn read(&self, key: &[Value], flight: &mut InFlight) -> forebay::Result<()> {
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

impl InFlight {
    fn sent(&mut self, now: Duration) {
        self.sent += 1;
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push_back((self.sent, now));
        }
    }

    /// Takes the count in the table; returns how many are new.
    fn seen(&mut self, beats: i64) -> u64 {
        let arrived = beats.saturating_sub(self.before.unwrap_or(0));
        let new = u64::try_from(arrived).unwrap_or(0).saturating_sub(self.arrived);
        self.arrived += new;
        while self.waiting.front().is_some_and(|(number, _)| *number <= self.arrived) {
            self.waiting.pop_front();
        }
        new
    }

    /// The time since the oldest count in flight.
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
    fn the_lag_is_the_age_of_the_oldest_count_in_flight() {
        let mut flight = InFlight { before: Some(40), ..InFlight::default() };
        let at = Duration::from_secs;
        for second in 1..=3 {
            flight.sent(at(second));
        }
        assert_eq!(flight.lag(at(5)), at(4));
        // The counts of an earlier run arrive first.
        assert_eq!(flight.seen(39), 0);
        assert_eq!((flight.arrived, flight.lag(at(5))), (0, at(4)));
        assert_eq!(flight.seen(42), 2);
        assert_eq!((flight.arrived, flight.lag(at(5))), (2, at(2)));
        // An older copy of the table has no effect.
        assert_eq!(flight.seen(41), 0);
        assert_eq!(flight.arrived, 2);
        assert_eq!(flight.seen(43), 1);
        assert_eq!((flight.arrived, flight.lag(at(9))), (3, Duration::ZERO));
        flight.sent(at(9));
        assert_eq!(flight.lag(at(10)), at(1));
    }
}
