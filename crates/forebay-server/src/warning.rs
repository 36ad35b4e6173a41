//! Warnings for operators about a server that runs.

use std::{collections::BTreeSet, time::Duration};

use forebay::{
    Name,
    buffer::{Parked, Pressure, Stats, StoredBuffer},
};

use crate::{app::App, canary::Canary, text::count};

/// A condition that an operator should look at, while the server continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The kind of condition, for programs and for callers who may not read the text.
    pub code: &'static str,
    /// The condition. It may name hosts, files, buffers and keys.
    pub text: String,
}

/// Collects the warnings of a server. A part of the store that does not answer within `deadline` is left out.
pub async fn warnings(app: &App, deadline: Duration) -> Vec<Warning> {
    let sinks: BTreeSet<String> =
        app.buffers.entries.values().flat_map(|buffer| buffer.handle.sink_warnings()).collect();
    let mut warnings = vec![];
    let mut warn = |code, text| warnings.push(Warning { code, text });
    app.bay.warnings().into_iter().for_each(|text| warn("store", text));
    app.reload_status.warnings().into_iter().for_each(|text| warn("configuration", text));
    app.canary.as_ref().and_then(Canary::warning).into_iter().for_each(|text| warn("canary-late", text));
    for text in sinks {
        warn("database", text);
    }
    for (name, buffer) in &app.buffers.entries {
        if let Some(Ok(stats)) = app.clock.timeout(deadline, buffer.handle.stats()).await {
            of_buffer(name, &stats, &mut warn);
        }
    }
    let stored = app.clock.timeout(deadline, app.bay.stored_buffers()).await;
    for stored in stored.and_then(Result::ok).unwrap_or_default() {
        if stored.pending_rows > 0 && !app.buffers.entries.contains_key(&stored.name) {
            warn("buffer-orphaned", orphaned(&stored));
        }
    }
    warnings
}

fn of_buffer(name: &Name, stats: &Stats, warn: &mut impl FnMut(&'static str, String)) {
    if stats.paused {
        let text =
            format!("buffer {name} is paused: none of its rows reach the database until it is resumed");
        warn("buffer-paused", text);
    }
    if stats.pressure > Pressure::None {
        let refused = if stats.pressure == Pressure::Hard { ", and writes are refused" } else { "" };
        let (rows, age) = (count(stats.pending_rows, "row"), stats.oldest_age.as_secs());
        let text = format!("buffer {name} is filling up: {rows} pending, the oldest for {age} s{refused}");
        warn("buffer-filling", text);
    }
    let (diverged, parked): (Vec<&Parked>, Vec<&Parked>) =
        stats.parked.iter().partition(|parked| parked.diverged);
    let diverged = ("parked with writes that the database does not have", diverged);
    for (kind, parked) in [diverged, ("parked", parked)] {
        if let Some(first) = parked.first() {
            warn("buffer-parked", format!("buffer {name}: {} {kind}: {}", parked.len(), first.reason));
        }
    }
}

fn orphaned(stored: &StoredBuffer) -> String {
    let (name, rows, age) = (&stored.name, stored.pending_rows, stored.oldest_age.as_secs());
    format!(
        "buffer {name} is not in the configuration, and the store holds {rows} of its rows, the oldest for {age} s: they are \
         not flushed until it is declared again, with its table, key and columns"
    )
}
