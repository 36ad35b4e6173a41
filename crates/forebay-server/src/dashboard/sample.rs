//! The state of the server at one moment.

use std::{collections::BTreeMap, time::Duration};

use forebay::{buffer::Stats, time::secs};
use serde::Serialize;
use utoipa::ToSchema;

use super::declared::Declared;
use crate::{
    app::{App, BufferEntry},
    http::HostBody,
    metrics::EventMetrics,
};

/// How long a buffer may take to say how it is.
const PATIENCE: Duration = secs(1);

/// A line of the stream. Rates are the difference of two lines: of their totals, over that of `elapsed`.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = LiveLine)]
pub(super) struct Sample {
    /// When the server started; totals count from then, and those of lines that differ in it do not compare.
    #[schema(format = DateTime)]
    pub(super) started: String,
    /// Seconds since then, on a clock that does not jump.
    pub(super) elapsed: f64,
    pub(super) events: BTreeMap<String, EventTotals>,
    /// A buffer whose store does not answer is absent.
    pub(super) buffers: BTreeMap<String, BufferState>,
    /// The hosts of the store; absent where it has only one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) hosts: Vec<HostBody>,
    /// In the first line only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) declared: Option<Declared>,
    /// In the first line only: the last two minutes before it, about a second apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) history: Option<Vec<Past>>,
}

/// The totals of a moment that is over.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = LivePast)]
pub(super) struct Past {
    /// Seconds since the server started.
    pub(super) elapsed: f64,
    pub(super) events: BTreeMap<String, EventTotals>,
}

/// What became of the hits of an event.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct EventTotals {
    /// Hits that were charged, counted and buffered.
    accepted: u64,
    /// Hits that a limit denied.
    limited: u64,
    /// Requests and lines of a batch that were refused for what they contain.
    invalid: u64,
    /// Hits that series or buffer could not take.
    failed: u64,
}

/// How much a buffer holds, and what became of the rest.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct BufferState {
    /// Rows that are not in the database yet.
    pending_rows: u64,
    /// Age in seconds of the oldest of them.
    oldest_age: f64,
    /// Batches on their way.
    frozen_batches: u64,
    /// Rows that this process brought to the database.
    flushed_rows: u64,
    /// Rows that this process put among the dead letters.
    dead_rows: u64,
    /// Why the last flush failed, until one succeeds.
    last_error: Option<String>,
}

/// What became of the hits so far, event by event.
pub(super) fn events(app: &App) -> BTreeMap<String, EventTotals> {
    let rules = app.rules();
    rules.events.iter().map(|(name, event)| (name.to_string(), EventTotals::from(&event.metrics))).collect()
}

pub(super) async fn buffers(app: &App) -> BTreeMap<String, BufferState> {
    let state = async |buffer: &BufferEntry| {
        let stats = app.clock().timeout(PATIENCE, buffer.handle.stats()).await;
        stats.and_then(Result::ok).map(BufferState::from)
    };
    let states = futures::future::join_all(app.buffers.iter().map(|(_, buffer)| state(buffer))).await;
    let named = app.buffers.iter().zip(states);
    named.filter_map(|((name, _), state)| Some((name.to_string(), state?))).collect()
}

/// The hosts, where there are several.
pub(super) fn hosts(app: &App) -> Vec<HostBody> {
    let hosts = app.bay().cluster().hosts();
    if hosts.len() > 1 { hosts.into_iter().map(HostBody::from).collect() } else { vec![] }
}

impl From<&EventMetrics> for EventTotals {
    fn from(metrics: &EventMetrics) -> Self {
        Self {
            accepted: metrics.accepted.total(),
            limited: metrics.limited.total(),
            invalid: metrics.invalid.total(),
            failed: metrics.failed.total(),
        }
    }
}

impl From<Stats> for BufferState {
    fn from(stats: Stats) -> Self {
        Self {
            pending_rows: stats.pending_rows,
            oldest_age: stats.oldest_age.as_secs_f64(),
            frozen_batches: stats.frozen_batches,
            flushed_rows: stats.flushed_rows,
            dead_rows: stats.dead_rows,
            last_error: stats.last_error,
        }
    }
}
