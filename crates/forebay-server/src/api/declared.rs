//! The configuration in force, for the dashboard.

use std::collections::BTreeMap;

use forebay::{Limit, Series, limit::CalendarUnit, series::Resolution};
use serde::Serialize;
use utoipa::ToSchema;

use crate::config::{BufferConfig, Config, EventConfig, LimitUse};

/// The configuration in force. The URLs have no credentials.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Declared {
    /// The server's version.
    version: &'static str,
    /// The store.
    store: String,
    /// The database to which buffers flush.
    database: String,
    /// True if callers need a token.
    tokens: bool,
    events: BTreeMap<String, DeclaredEvent>,
    limits: BTreeMap<String, DeclaredLimit>,
    /// The resolutions of each series, from fine to coarse.
    series: BTreeMap<String, Vec<DeclaredStep>>,
    buffers: BTreeMap<String, DeclaredBuffer>,
}

/// The limits, series and buffers of an event.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct DeclaredEvent {
    limits: Vec<DeclaredUse>,
    series: Vec<String>,
    buffers: Vec<String>,
}

/// A limit of an event.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct DeclaredUse {
    name: String,
    /// The fixed key that all hits share; absent if each hit has its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

/// The limit for each key.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct DeclaredLimit {
    /// Null: unlimited. 0: blocked.
    quota: Option<u64>,
    /// The seconds of the quota; null if it has none.
    per: Option<f64>,
    /// The span of the calendar that the quota is for: `day`, `week` or `month`.
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'static str>,
    /// `fixed-window`, `sliding-window`, `calendar-window`, `token-bucket`, or `concurrency`: `quota` leases of `per` seconds.
    kind: &'static str,
    /// The burst, if it is configured.
    burst: Option<u64>,
}

/// A resolution of a series.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct DeclaredStep {
    /// Seconds of a bucket.
    step: u64,
    /// Seconds of its retention.
    retention: u64,
}

/// A write buffer.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct DeclaredBuffer {
    table: String,
    /// Seconds between flushes.
    flush_every: f64,
}

impl From<&Config> for Declared {
    fn from(config: &Config) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            store: config.store.to_string(),
            database: config.database.to_string(),
            tokens: !config.tokens.is_empty(),
            events: each(&config.events),
            limits: each(&config.limits),
            series: config.series.iter().map(|(name, series)| (name.to_string(), steps(series))).collect(),
            buffers: each(&config.buffers),
        }
    }
}

fn each<'a, N: ToString, C, D: From<&'a C>>(configs: &'a BTreeMap<N, C>) -> BTreeMap<String, D> {
    configs.iter().map(|(name, config)| (name.to_string(), config.into())).collect()
}

fn steps(series: &Series) -> Vec<DeclaredStep> {
    let step = |resolution: &Resolution| DeclaredStep {
        step: resolution.step.as_secs(),
        retention: resolution.retention.as_secs(),
    };
    series.steps().iter().map(step).collect()
}

impl From<&EventConfig> for DeclaredEvent {
    fn from(config: &EventConfig) -> Self {
        let limit = |limit: &LimitUse| DeclaredUse { name: limit.name.to_string(), key: limit.key.clone() };
        Self {
            limits: config.limits.iter().map(limit).collect(),
            series: config.series.iter().map(ToString::to_string).collect(),
            buffers: config.buffers.iter().map(|buffer| buffer.name.to_string()).collect(),
        }
    }
}

impl From<&Limit> for DeclaredLimit {
    fn from(limit: &Limit) -> Self {
        let ((quota, per), (kind, burst)) = (limit.rate(), limit.shape());
        let (quota, per) = match limit.fixed_answer() {
            None => (Some(quota), Some(per.as_secs_f64())),
            Some(true) => (None, None),
            Some(false) => (Some(0), None),
        };
        let unit = limit.calendar_unit().map(CalendarUnit::as_str);
        Self { quota, per, unit, kind: kind.as_str(), burst }
    }
}

impl From<&BufferConfig> for DeclaredBuffer {
    fn from(config: &BufferConfig) -> Self {
        Self { table: config.schema.table.to_string(), flush_every: config.flush_every.as_secs_f64() }
    }
}
