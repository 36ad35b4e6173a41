//! What the server counts about itself, for Prometheus.
//!
//! Labels are names from the configuration only, never keys: the number of series stays what the operator declared.
//! The recorder belongs to the [`App`](crate::app::App) rather than to the process, so that two servers in one
//! process do not count into each other.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use forebay::{Decision, Name, buffer::Stats};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

/// Bucket bounds in seconds: from what an embedded answer takes to what a stuck database does.
const SECONDS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

const METADATA: Metadata<'_> = Metadata::new("forebay", Level::INFO, None);

const LIMIT_ALLOWED: &str = "forebay_limit_allowed_total";
const LIMIT_DENIED: &str = "forebay_limit_denied_total";
const LIMIT_SHADOWED: &str = "forebay_limit_shadowed_total";
const LIMIT_DEGRADED: &str = "forebay_limit_degraded_total";
const LIMIT_NEAR: &str = "forebay_limit_near_keys";
const EVENT_ACCEPTED: &str = "forebay_event_accepted_total";
const EVENT_LIMITED: &str = "forebay_event_limited_total";
const EVENT_INVALID: &str = "forebay_event_invalid_total";
const EVENT_FAILED: &str = "forebay_event_failed_total";
const SERIES_POINTS: &str = "forebay_series_points_total";
const SERIES_LATE: &str = "forebay_series_late_total";
const SERIES_KEYS: &str = "forebay_series_keys";
const SERIES_REFUSED: &str = "forebay_series_refused_keys_total";
const BUFFER_PENDING: &str = "forebay_buffer_pending_rows";
const BUFFER_FROZEN: &str = "forebay_buffer_frozen_batches";
const BUFFER_AGE: &str = "forebay_buffer_oldest_age_seconds";
const BUFFER_LIVE: &str = "forebay_buffer_live_rows";
const BUFFER_FROZEN_ROWS: &str = "forebay_buffer_frozen_rows";
const BUFFER_PARKED: &str = "forebay_buffer_parked_batches";
const BUFFER_DIVERGED: &str = "forebay_buffer_diverged_batches";
const BUFFER_PAUSED: &str = "forebay_buffer_paused";
const BUFFER_PRESSURE: &str = "forebay_buffer_pressure";
const BUFFER_DEAD: &str = "forebay_buffer_dead_letters";
const BUFFER_WRITES: &str = "forebay_buffer_writes_total";
const FLUSH_SECONDS: &str = "forebay_flush_duration_seconds";
const FLUSH_ROWS: &str = "forebay_flush_rows_total";
const FLUSH_DEAD: &str = "forebay_flush_dead_rows_total";
const FLUSH_REPLAYS: &str = "forebay_flush_replays_total";
const FLUSH_FAILURES: &str = "forebay_flush_failures_total";
const CANARY_SENT: &str = "forebay_canary_sent_total";
const CANARY_ARRIVED: &str = "forebay_canary_arrived_total";
const CANARY_FAILURES: &str = "forebay_canary_failures_total";
const CANARY_LAG: &str = "forebay_canary_lag_seconds";
const ONCE_BYTES: &str = "forebay_idempotency_bytes";
const ONCE_REFUSED: &str = "forebay_idempotency_refused_total";
const HTTP_SECONDS: &str = "forebay_http_request_duration_seconds";
const HTTP_CLOSED: &str = "forebay_http_connections_closed_total";
const RELOADS: &str = "forebay_config_reloads_total";
const RELOADS_REFUSED: &str = "forebay_config_refused_total";
const CONFIG_CURRENT: &str = "forebay_config_current";
const BUILD_INFO: &str = "forebay_build_info";

/// All metrics with their help texts.
const HELP: [(&str, &str); 41] = [
    (LIMIT_ALLOWED, "Takes that a limit admitted."),
    (LIMIT_DENIED, "Takes that a limit denied."),
    (LIMIT_SHADOWED, "Takes that a shadow admitted and would have denied; they are among the allowed, too."),
    (LIMIT_DEGRADED, "Decisions made without the store; they are among the allowed or denied, too."),
    (LIMIT_NEAR, "Keys of which this server knows that they have used 80 % of a limit or more; at most 256."),
    (EVENT_ACCEPTED, "Hits that were charged, counted and buffered."),
    (EVENT_LIMITED, "Hits that a limit denied."),
    (EVENT_INVALID, "Requests or lines of a batch that were refused for what they contain."),
    (EVENT_FAILED, "Hits that series or buffer could not take."),
    (SERIES_POINTS, "Points added to a series directly, not by an event."),
    (SERIES_LATE, "Counts refused because no resolution keeps their time any more."),
    (SERIES_KEYS, "Keys of a series in a store of this process; a shared store does not count them."),
    (SERIES_REFUSED, "Times that a new key was refused because of max_keys."),
    (BUFFER_PENDING, "Rows that are not in the database yet."),
    (BUFFER_FROZEN, "Batches on their way to the database."),
    (BUFFER_AGE, "Age of the oldest write that is not in the database yet."),
    (BUFFER_LIVE, "Rows that still gather."),
    (BUFFER_FROZEN_ROWS, "Rows in batches on their way to the database."),
    (BUFFER_PARKED, "Batches put aside, because no repetition mends why they cannot be applied."),
    (
        BUFFER_DIVERGED,
        "Of the parked batches those that hold acknowledged writes which the database's commit of them does not.",
    ),
    (BUFFER_DEAD, "Rows that wait among the dead letters, whoever put them there."),
    (BUFFER_PAUSED, "1 while the flushing is paused."),
    (
        BUFFER_PRESSURE,
        "What waits, compared with the bounds: 0 less, 1 more than a soft one, 2 writes are refused.",
    ),
    (
        BUFFER_WRITES,
        "Writes to rows; over forebay_flush_rows_total it is how many hits become one row of SQL.",
    ),
    (FLUSH_SECONDS, "Time to apply one batch to the database, failures included."),
    (FLUSH_ROWS, "Rows that reached the database."),
    (FLUSH_DEAD, "Rows put among the dead letters."),
    (FLUSH_REPLAYS, "Batches that the ledger had already: replays stopped."),
    (FLUSH_FAILURES, "Batches that could not be applied; they are kept and tried again."),
    (CANARY_SENT, "Counts of the canary that were acknowledged."),
    (CANARY_ARRIVED, "Of those, the ones that its table was seen to have."),
    (CANARY_FAILURES, "Times that the canary was not acknowledged, or its table could not be read."),
    (
        CANARY_LAG,
        "For how long the oldest count of the canary is on its way that the table does not have; 0: it has all.",
    ),
    (
        ONCE_BYTES,
        "About how many bytes a host keeps for requests with an Idempotency-Key, as of the last new one.",
    ),
    (
        ONCE_REFUSED,
        "Requests with a new Idempotency-Key that were refused, because the store keeps as many as it may.",
    ),
    (HTTP_SECONDS, "Time to answer a request."),
    (
        HTTP_CLOSED,
        "Connections given up: the peer took nothing of an answer (stalled), or it was the longest stalled when there was no \
         room (slots, bodies).",
    ),
    (RELOADS, "Times that the configuration was read again and changed something."),
    (RELOADS_REFUSED, "Times that it was read again and had mistakes, so that the one before went on."),
    (
        CONFIG_CURRENT,
        "1 while the configuration file is in force, 0 while it has mistakes or says what takes a restart.",
    ),
    (BUILD_INFO, "1, labelled with the version."),
];

/// The registry, and what is rendered from it.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let builder = PrometheusBuilder::new().set_buckets(&SECONDS).expect("there are buckets");
        let recorder = builder.build_recorder();
        for (name, help) in HELP {
            let unit = name.ends_with("_seconds").then_some(Unit::Seconds);
            recorder.describe_counter(KeyName::from_const_str(name), unit, help.into());
        }
        let metrics = Self { handle: recorder.handle(), recorder };
        let version = Label::new("version", env!("CARGO_PKG_VERSION"));
        metrics.recorder.register_gauge(&Key::from_parts(BUILD_INFO, vec![version]), &METADATA).set(1.0);
        metrics
    }
}

/// The counters of a limit. Clones count into the same.
#[derive(Clone, Debug)]
pub struct LimitMetrics {
    allowed: Counter,
    denied: Counter,
    degraded: Counter,
    shadowed: Counter,
    /// Keys near the limit.
    pub near: Gauge,
}

/// The counters of an event.
#[derive(Clone, Debug)]
pub struct EventMetrics {
    /// Hits accepted.
    pub accepted: Tally,
    /// Hits limited.
    pub limited: Tally,
    /// Requests and lines refused for what they contain.
    pub invalid: Tally,
    /// Hits that could not be taken.
    pub failed: Tally,
}

/// A counter that can be read, too; Prometheus' own cannot.
#[derive(Clone, Debug)]
pub struct Tally {
    counter: Counter,
    /// Nothing else is ordered by it: readers see a recent total.
    total: Arc<AtomicU64>,
}

impl Tally {
    fn new(counter: Counter) -> Self {
        Self { counter, total: Arc::default() }
    }

    /// Counts `n` more.
    pub fn increment(&self, n: u64) {
        self.counter.increment(n);
        self.total.fetch_add(n, Ordering::Relaxed);
    }

    /// What was counted since the server started.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}

/// The counters of a series.
#[derive(Clone, Debug)]
pub struct SeriesMetrics {
    /// Points added over HTTP.
    pub points: Counter,
    /// Counts that came too late.
    pub late: Counter,
    /// Keys that there are.
    pub keys: Gauge,
    /// New keys that were refused.
    pub refused_keys: Counter,
}

/// The gauges of a buffer, set when somebody asks.
#[derive(Clone, Debug)]
pub struct BufferMetrics {
    pending: Gauge,
    frozen: Gauge,
    oldest: Gauge,
    live: Gauge,
    frozen_rows: Gauge,
    parked: Gauge,
    diverged: Gauge,
    paused: Gauge,
    pressure: Gauge,
    dead: Gauge,
    writes: Counter,
}

/// The counters of the canary.
#[derive(Clone, Debug)]
pub struct CanaryMetrics {
    /// Counts that were acknowledged.
    pub sent: Counter,
    /// Counts that the table has.
    pub arrived: Counter,
    /// Times that it was not acknowledged, or not looked for.
    pub failures: Counter,
    /// For how long the oldest is on its way, in seconds.
    pub lag: Gauge,
}

/// The counters of connections that were given up; those of the default nobody reads.
#[derive(Clone)]
pub struct ClosedMetrics {
    /// The peer took nothing of an answer.
    pub stalled: Counter,
    /// All connections were taken.
    pub slots: Counter,
    /// Bodies held all that they may.
    pub bodies: Counter,
}

impl Default for ClosedMetrics {
    fn default() -> Self {
        Self { stalled: Counter::noop(), slots: Counter::noop(), bodies: Counter::noop() }
    }
}

impl fmt::Debug for ClosedMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClosedMetrics").finish_non_exhaustive()
    }
}

/// The counters of a buffer's flushes.
#[derive(Clone, Debug)]
pub struct FlushMetrics {
    /// How long each batch took.
    pub seconds: Histogram,
    /// Rows that reached the database.
    pub rows: Counter,
    /// Rows that it refused.
    pub dead: Counter,
    /// Batches that it had before.
    pub replays: Counter,
    /// Batches that could not be applied.
    pub failures: Counter,
}

impl Metrics {
    /// The counters of a limit.
    pub fn limit(&self, name: &Name) -> LimitMetrics {
        let counter = |metric| self.counter(metric, "limit", name);
        LimitMetrics {
            allowed: counter(LIMIT_ALLOWED),
            denied: counter(LIMIT_DENIED),
            degraded: counter(LIMIT_DEGRADED),
            shadowed: counter(LIMIT_SHADOWED),
            near: self.recorder.register_gauge(&labelled(LIMIT_NEAR, "limit", name), &METADATA),
        }
    }

    /// Configurations taken, and refused; and whether the last one is in force.
    pub(crate) fn reloads(&self) -> (Counter, Counter, Gauge) {
        let counter = |metric| self.recorder.register_counter(&Key::from_static_name(metric), &METADATA);
        let current = self.recorder.register_gauge(&Key::from_static_name(CONFIG_CURRENT), &METADATA);
        (counter(RELOADS), counter(RELOADS_REFUSED), current)
    }

    /// The counters of an event.
    pub fn event(&self, name: &Name) -> EventMetrics {
        let counter = |metric| Tally::new(self.counter(metric, "event", name));
        EventMetrics {
            accepted: counter(EVENT_ACCEPTED),
            limited: counter(EVENT_LIMITED),
            invalid: counter(EVENT_INVALID),
            failed: counter(EVENT_FAILED),
        }
    }

    /// The counters of a series.
    pub fn series(&self, name: &Name) -> SeriesMetrics {
        let counter = |metric| self.counter(metric, "series", name);
        SeriesMetrics {
            points: counter(SERIES_POINTS),
            late: counter(SERIES_LATE),
            keys: self.recorder.register_gauge(&labelled(SERIES_KEYS, "series", name), &METADATA),
            refused_keys: counter(SERIES_REFUSED),
        }
    }

    /// The gauges of a buffer.
    pub fn buffer(&self, name: &Name) -> BufferMetrics {
        let gauge = |metric| self.recorder.register_gauge(&labelled(metric, "buffer", name), &METADATA);
        BufferMetrics {
            pending: gauge(BUFFER_PENDING),
            frozen: gauge(BUFFER_FROZEN),
            oldest: gauge(BUFFER_AGE),
            live: gauge(BUFFER_LIVE),
            frozen_rows: gauge(BUFFER_FROZEN_ROWS),
            parked: gauge(BUFFER_PARKED),
            diverged: gauge(BUFFER_DIVERGED),
            paused: gauge(BUFFER_PAUSED),
            pressure: gauge(BUFFER_PRESSURE),
            dead: gauge(BUFFER_DEAD),
            writes: self.counter(BUFFER_WRITES, "buffer", name),
        }
    }

    /// The counters of a buffer's flushes.
    pub fn flush(&self, name: &Name) -> FlushMetrics {
        let counter = |metric| self.counter(metric, "buffer", name);
        FlushMetrics {
            seconds: self.recorder.register_histogram(&labelled(FLUSH_SECONDS, "buffer", name), &METADATA),
            rows: counter(FLUSH_ROWS),
            dead: counter(FLUSH_DEAD),
            replays: counter(FLUSH_REPLAYS),
            failures: counter(FLUSH_FAILURES),
        }
    }

    /// Requests that were refused because their key was one too many.
    pub(crate) fn refused_keys(&self) -> Counter {
        self.recorder.register_counter(&Key::from_static_name(ONCE_REFUSED), &METADATA)
    }

    /// Notes how many bytes a host keeps for requests with a key.
    pub(crate) fn once_bytes(&self, host: &str, bytes: u64) {
        let key = Key::from_parts(ONCE_BYTES, vec![Label::new("host", host.to_owned())]);
        self.recorder.register_gauge(&key, &METADATA).set(bytes as f64);
    }

    /// The counters of the canary.
    pub fn canary(&self) -> CanaryMetrics {
        let counter = |metric| self.recorder.register_counter(&Key::from_static_name(metric), &METADATA);
        CanaryMetrics {
            sent: counter(CANARY_SENT),
            arrived: counter(CANARY_ARRIVED),
            failures: counter(CANARY_FAILURES),
            lag: self.recorder.register_gauge(&Key::from_static_name(CANARY_LAG), &METADATA),
        }
    }

    /// The counters of connections that were given up.
    pub fn closed(&self) -> ClosedMetrics {
        let counter = |why| {
            let key = Key::from_parts(HTTP_CLOSED, vec![Label::new("why", why)]);
            self.recorder.register_counter(&key, &METADATA)
        };
        ClosedMetrics { stalled: counter("stalled"), slots: counter("slots"), bodies: counter("bodies") }
    }

    /// Notes an answered request. `route` is the pattern, not the path.
    pub fn http(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        let labels = vec![
            Label::new("method", method),
            Label::new("route", route.to_owned()),
            Label::new("status", status.to_string()),
        ];
        self.recorder.register_histogram(&Key::from_parts(HTTP_SECONDS, labels), &METADATA).record(took);
    }

    /// Everything in Prometheus' text format.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Moves samples into their histograms; without it they gather until somebody scrapes.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    fn counter(&self, metric: &'static str, label: &'static str, name: &Name) -> Counter {
        self.recorder.register_counter(&labelled(metric, label, name), &METADATA)
    }
}

fn labelled(metric: &'static str, label: &'static str, name: &Name) -> Key {
    Key::from_parts(metric, vec![Label::new(label, name.to_string())])
}

impl LimitMetrics {
    /// Counts a decision.
    pub fn count(&self, decision: &Decision) {
        let outcome = if decision.is_allowed() { &self.allowed } else { &self.denied };
        outcome.increment(1);
        if decision.is_degraded() {
            self.degraded.increment(1);
        }
        if decision.is_shadowed() {
            self.shadowed.increment(1);
        }
    }
}

impl BufferMetrics {
    /// Shows the state of a buffer.
    pub fn show(&self, stats: &Stats) {
        self.pending.set(stats.pending_rows as f64);
        self.frozen.set(stats.frozen_batches as f64);
        self.oldest.set(stats.oldest_age.as_secs_f64());
        self.live.set((stats.pending_rows - stats.frozen_rows) as f64);
        self.frozen_rows.set(stats.frozen_rows as f64);
        self.parked.set(stats.parked.len() as f64);
        self.diverged.set(stats.parked.iter().filter(|parked| parked.diverged).count() as f64);
        self.paused.set(f64::from(u8::from(stats.paused)));
        self.pressure.set(f64::from(stats.pressure as u8));
        self.writes.absolute(stats.written);
    }

    /// Shows how many dead letters it has.
    pub fn show_dead(&self, letters: u64) {
        self.dead.set(letters as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_told_of_every_metric() {
        let guide = include_str!("../../../docs/operations.md");
        for (name, _) in HELP {
            assert!(guide.contains(&format!("`{name}`")), "docs/operations.md does not name {name}");
        }
    }

    #[test]
    fn what_is_counted_is_rendered_with_its_help() {
        let metrics = Metrics::default();
        let name = Name::new("hit").expect("a name");
        metrics.event(&name).accepted.increment(3);
        metrics.http("GET", "/v1/series/{series}", 200, Duration::from_millis(3));
        let text = metrics.render();
        for line in [
            "# HELP forebay_event_accepted_total Hits that were charged, counted and buffered.",
            "# TYPE forebay_event_accepted_total counter",
            "forebay_event_accepted_total{event=\"hit\"} 3",
            "# TYPE forebay_http_request_duration_seconds histogram",
            "forebay_http_request_duration_seconds_count{method=\"GET\",route=\"/v1/series/{series}\",status=\"200\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(text.contains("forebay_build_info{version="), "{text}");
    }
}
