//! The server's own metrics, for Prometheus.
//!
//! Labels are names from the configuration, never keys: the number of time series is what the operator declares.
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

use forebay::{Decision, buffer::Stats};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::api::live::EventTotals;

/// Bucket bounds in seconds: from the time of an embedded answer to that of a stuck database.
const SECONDS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

const METADATA: Metadata<'_> = Metadata::new("forebay", Level::INFO, None);

/// A type of metric.
trait Metric {
    fn register(recorder: &PrometheusRecorder, key: &Key) -> Self;
}

impl Metric for Counter {
    fn register(recorder: &PrometheusRecorder, key: &Key) -> Self {
        recorder.register_counter(key, &METADATA)
    }
}

impl Metric for Gauge {
    fn register(recorder: &PrometheusRecorder, key: &Key) -> Self {
        recorder.register_gauge(key, &METADATA)
    }
}

impl Metric for Histogram {
    fn register(recorder: &PrometheusRecorder, key: &Key) -> Self {
        recorder.register_histogram(key, &METADATA)
    }
}

impl Metric for Tally {
    fn register(recorder: &PrometheusRecorder, key: &Key) -> Self {
        Self { counter: Counter::register(recorder, key), total: Arc::default() }
    }
}

/// Metrics that have the same labels.
pub(crate) trait Group {
    fn register(recorder: &PrometheusRecorder, labels: &[Label]) -> Self;
}

/// Defines each metric once, with its field, type, name and help: a struct for each group that has the same labels, and
/// [`METRICS`].
macro_rules! metrics {
    ($($(#[$doc:meta])* $group:ident { $($field:ident: $kind:ident = $name:literal, $help:literal;)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug)]
            pub struct $group {
                $(#[doc = $help] pub $field: $kind,)*
            }

            impl Group for $group {
                fn register(recorder: &PrometheusRecorder, labels: &[Label]) -> Self {
                    $(let $field = Metric::register(recorder, &Key::from_parts($name, labels.to_vec()));)*
                    Self { $($field),* }
                }
            }
        )*

        /// The name, help and type of every metric.
        const METRICS: &[(&str, &str, &str)] = &[$($(($name, $help, stringify!($kind)),)*)*];
    };
}

metrics! {
    /// The counters of a limit. Clones share them.
    LimitMetrics {
        allowed: Counter = "forebay_limit_allowed_total", "Takes that a limit admitted.";
        denied: Counter = "forebay_limit_denied_total", "Takes that a limit denied.";
        shadowed: Counter = "forebay_limit_shadowed_total",
            "Takes that a shadow admitted and would have denied; they are among the allowed, too.";
        degraded: Counter = "forebay_limit_degraded_total",
            "Decisions made without the store; they are among the allowed or denied, too.";
        near: Gauge = "forebay_limit_near_keys",
            "Keys of which this server knows that they have used 80 % of a limit or more; at most 256.";
    }
    /// The counters of an event.
    EventMetrics {
        accepted: Tally = "forebay_event_accepted_total", "Hits that were charged, counted and buffered.";
        limited: Tally = "forebay_event_limited_total", "Hits that a limit denied.";
        invalid: Tally = "forebay_event_invalid_total",
            "Requests, or lines of a batch, that were refused as invalid.";
        failed: Tally = "forebay_event_failed_total", "Hits that a series or a buffer could not take.";
    }
    /// The counters of a series.
    SeriesMetrics {
        points: Counter = "forebay_series_points_total",
            "Points added to a series directly, not by an event.";
        late: Counter = "forebay_series_late_total",
            "Counts refused because they are older than the longest retention.";
        keys: Gauge = "forebay_series_keys",
            "Keys of a series in a store of this process; a shared store does not count them.";
        refused_keys: Counter = "forebay_series_refused_keys_total",
            "Times that a new key was refused because of max_keys.";
    }
    /// The gauges of a buffer, set by [`show`](BufferMetrics::show).
    BufferMetrics {
        pending: Gauge = "forebay_buffer_pending_rows", "Rows that are not in the database yet.";
        frozen: Gauge = "forebay_buffer_frozen_batches", "Batches that are being flushed.";
        oldest: Gauge = "forebay_buffer_oldest_age_seconds",
            "Age of the oldest write that is not in the database yet.";
        live: Gauge = "forebay_buffer_live_rows", "Pending rows that are not in a batch yet.";
        frozen_rows: Gauge = "forebay_buffer_frozen_rows", "Rows in batches that are being flushed.";
        parked: Gauge = "forebay_buffer_parked_batches",
            "Batches parked, because a retry does not change why they cannot be applied.";
        diverged: Gauge = "forebay_buffer_diverged_batches",
            "Parked batches with acknowledged writes that the commit in the database does not have.";
        dead: Gauge = "forebay_buffer_dead_letters", "Dead letters in the database, from any server.";
        paused: Gauge = "forebay_buffer_paused", "1 while flushing is paused.";
        pressure: Gauge = "forebay_buffer_pressure",
            "Pending rows compared with the bounds: 0 below, 1 above a soft one, 2 writes are refused.";
        writes: Counter = "forebay_buffer_writes_total",
            "Writes to rows; divided by forebay_flush_rows_total it is how many writes become one row of SQL.";
    }
    /// The counters of a buffer's flushes.
    FlushMetrics {
        seconds: Histogram = "forebay_flush_duration_seconds",
            "Time to apply one batch to the database, failures included.";
        rows: Counter = "forebay_flush_rows_total", "Rows that were committed to the database.";
        dead: Counter = "forebay_flush_dead_rows_total", "Rows stored as dead letters.";
        replays: Counter = "forebay_flush_replays_total",
            "Batches that the ledger knew already: replays that were stopped.";
        failures: Counter = "forebay_flush_failures_total",
            "Batches that could not be applied; they are kept and retried.";
    }
    /// The counters of the canary.
    CanaryMetrics {
        sent: Counter = "forebay_canary_sent_total", "Counts of the canary that were acknowledged.";
        arrived: Counter = "forebay_canary_arrived_total",
            "Counts of the canary that were found in its table.";
        failures: Counter = "forebay_canary_failures_total",
            "Times that the canary was not acknowledged, or its table could not be read.";
        lag: Gauge = "forebay_canary_lag_seconds",
            "Age of the oldest count of the canary that is not in its table; 0: it has all.";
    }
    /// The size of the idempotency records on one host.
    IdempotencyMetrics {
        bytes: Gauge = "forebay_idempotency_bytes",
            "Approximate bytes that a host keeps for requests with an Idempotency-Key, as of the last new one.";
    }
    /// The counter of refused idempotency keys.
    RefusedKeyMetrics {
        refused: Counter = "forebay_idempotency_refused_total",
            "Requests with a new Idempotency-Key that were refused, because the store keeps as many as it may.";
    }
    /// The time of the requests with one method, route and status.
    RequestMetrics {
        seconds: Histogram = "forebay_http_request_duration_seconds", "Time to answer a request.";
    }
    /// The counter of connections that were closed for one reason.
    ClosedMetrics {
        closed: Counter = "forebay_http_connections_closed_total",
            "Connections closed by the server: the peer read nothing of an answer (stalled), or it was the longest stalled \
             when there was no room (slots, bodies).";
    }
    /// The counters of the listener for statsd.
    StatsdMetrics {
        datagrams: Counter = "forebay_statsd_datagrams_total", "Datagrams that were read.";
        lines: Counter = "forebay_statsd_lines_total", "Lines of datagrams that were taken.";
        kernel_dropped: Counter = "forebay_statsd_kernel_dropped_total",
            "Datagrams that the system dropped before they were read, mostly because the receive buffer was full.";
        pending: Gauge = "forebay_statsd_pending_counts",
            "Counts, values and elements of sets of statsd that are not in the store yet.";
    }
    /// The counter of the lines or datagrams of statsd that were refused for one reason.
    StatsdRefusedMetrics {
        refused: Counter = "forebay_statsd_refused_total",
            "Lines of statsd that do not count: malformed (name, value, type, rate, field, encoding), of no pattern \
             (unmapped), events and service checks (unsupported), without a key (key), refused by the series (refused), no \
             room (overflow), a store that failed and may have counted them (unknown); datagrams from elsewhere (source).";
    }
    /// The counters of reloads.
    ReloadMetrics {
        applied: Counter = "forebay_config_reloads_total",
            "Reloads of the configuration that changed something.";
        refused: Counter = "forebay_config_refused_total",
            "Reloads that found an invalid configuration and kept the previous one.";
        current: Gauge = "forebay_config_current",
            "1 while the configuration file is in force, 0 while it is invalid or has changes that need a restart.";
    }
    /// The version.
    BuildMetrics {
        info: Gauge = "forebay_build_info", "1, labelled with the version.";
    }
}

/// A counter that can be read, too; the recorder's own cannot.
#[derive(Clone, Debug)]
pub struct Tally {
    counter: Counter,
    /// The total. It orders no other memory: readers see a recent value.
    total: Arc<AtomicU64>,
}

impl Tally {
    /// Adds `n`.
    pub fn increment(&self, n: u64) {
        self.counter.increment(n);
        self.total.fetch_add(n, Ordering::Relaxed);
    }

    fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}

/// The counters of closed connections. The default counts into nothing.
#[derive(Clone, Debug)]
pub struct Closed {
    /// The peer read nothing of an answer.
    pub stalled: Counter,
    /// All connections were in use.
    pub slots: Counter,
    /// Bodies used all the memory that they may.
    pub bodies: Counter,
}

impl Default for Closed {
    fn default() -> Self {
        Self { stalled: Counter::noop(), slots: Counter::noop(), bodies: Counter::noop() }
    }
}

/// The recorder, and the renderer of its metrics.
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
        for (name, help, kind) in METRICS {
            let (key, help) = (KeyName::from_const_str(name), (*help).into());
            let unit = name.ends_with("_seconds").then_some(Unit::Seconds);
            match *kind {
                "Gauge" => recorder.describe_gauge(key, unit, help),
                "Histogram" => recorder.describe_histogram(key, unit, help),
                _ => recorder.describe_counter(key, unit, help),
            }
        }
        BuildMetrics::register(&recorder, &[Label::new("version", env!("CARGO_PKG_VERSION"))]).info.set(1.0);
        Self { handle: recorder.handle(), recorder }
    }
}

impl Metrics {
    /// The metrics of a group with these labels.
    pub(crate) fn group<G: Group>(&self, labels: &[Label]) -> G {
        G::register(&self.recorder, labels)
    }

    /// The metrics of a group with one label, such as the name of a limit.
    pub(crate) fn named<G: Group>(&self, kind: &'static str, name: &(impl ToString + ?Sized)) -> G {
        self.group(&[Label::new(kind, name.to_string())])
    }

    /// The counters of closed connections.
    pub fn closed(&self) -> Closed {
        let counter = |why| self.named::<ClosedMetrics>("why", why).closed;
        Closed { stalled: counter("stalled"), slots: counter("slots"), bodies: counter("bodies") }
    }

    /// Counts an answered request. `route` is the pattern, not the path.
    pub fn request(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        let labels = [
            Label::new("method", method),
            Label::new("route", route.to_owned()),
            Label::new("status", status.to_string()),
        ];
        self.group::<RequestMetrics>(&labels).seconds.record(took);
    }

    /// All metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Moves samples into their histograms; without it they gather until the next scrape.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
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

impl EventMetrics {
    /// The totals since the server started.
    pub(crate) fn totals(&self) -> EventTotals {
        EventTotals {
            accepted: self.accepted.total(),
            limited: self.limited.total(),
            invalid: self.invalid.total(),
            failed: self.failed.total(),
        }
    }
}

impl SeriesMetrics {
    /// Shows what was refused of a series, and its keys, if they are known.
    pub fn show(&self, late: u64, refused_keys: u64, keys: Option<u64>) {
        self.late.absolute(late);
        self.refused_keys.absolute(refused_keys);
        if let Some(keys) = keys {
            self.keys.set(keys as f64);
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
}

#[cfg(test)]
mod tests {
    use forebay::Name;

    use super::*;

    #[test]
    fn every_metric_is_documented() {
        let guide = include_str!("../../../docs/operations.md");
        for (name, ..) in METRICS {
            assert!(guide.contains(&format!("`{name}`")), "docs/operations.md does not name {name}");
        }
    }

    #[test]
    fn counters_are_rendered_with_their_help() {
        let metrics = Metrics::default();
        let name = Name::new("hit").expect("a name");
        metrics.named::<EventMetrics>("event", &name).accepted.increment(3);
        metrics.request("GET", "/v1/series/{series}", 200, Duration::from_millis(3));
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
