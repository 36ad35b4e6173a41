//! The table of `forebay cluster show`.

use std::time::Duration;

use forebay::time::{hours, mins, secs};

use crate::{
    api::{cluster::ClusterBody, host::Host},
    text::{Span, shown},
};

const COLUMNS: [&str; 10] =
    ["HOST", "HEALTH", "SINCE", "FOR", "SLOTS", "IN FLIGHT", "P50", "P99", "MEMORY", "SKEW"];

/// The hosts as lines of text: a table, and below a host what is wrong with it.
pub(super) fn describe(cluster: &ClusterBody) -> String {
    let router = cluster.router.as_ref().zip(cluster.epoch);
    let router = router.map(|(router, epoch)| format!("router {}, epoch {epoch}", shown(router)));
    let head = COLUMNS.map(str::to_owned);
    let rows: Vec<[String; COLUMNS.len()]> =
        std::iter::once(head).chain(cluster.hosts.iter().map(row)).collect();
    let widths: [usize; COLUMNS.len()] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let line = |row: &[String; COLUMNS.len()]| {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    let mut lines = Vec::from_iter(router);
    lines.push(line(&rows[0]));
    for (host, row) in cluster.hosts.iter().zip(&rows[1..]) {
        lines.push(line(row));
        lines.extend(notes(host).map(|note| format!("  {note}")));
    }
    lines.join("\n")
}

fn row(host: &Host) -> [String; COLUMNS.len()] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let memory = host.memory.as_ref().map(|memory| match memory.max {
        Some(max) => format!("{} of {}", bytes(memory.used), bytes(max)),
        None => bytes(memory.used),
    });
    [
        shown(&host.name).into_owned(),
        shown(&host.health).into_owned(),
        or_dash(host.since.as_deref().map(to_the_second)),
        or_dash(host.lasted.map(rough)),
        or_dash(host.slots.map(|slots| slots.to_string())),
        or_dash(host.calls.as_ref().map(|calls| calls.in_flight.to_string())),
        or_dash(host.latency.p50.map(millis)),
        or_dash(host.latency.p99.map(millis)),
        or_dash(memory),
        or_dash(host.skew.as_ref().and_then(|skew| skew.calls).map(|skew| format!("{skew:.2}"))),
    ]
}

/// A time without its fraction of a second.
fn to_the_second(time: &str) -> String {
    let whole = time.split_once('.').map(|(whole, _)| format!("{whole}Z"));
    shown(&whole.unwrap_or_else(|| time.to_owned())).into_owned()
}

/// The lines below a host: the reason why it is not well, and what does not fit into the table.
fn notes(host: &Host) -> impl Iterator<Item = String> {
    let redirects = &host.redirects;
    let total = redirects.moved + redirects.ask + redirects.try_again;
    let redirects = (total > 0).then(|| {
        format!(
            "redirects: {} MOVED, {} ASK, {} TRYAGAIN",
            redirects.moved, redirects.ask, redirects.try_again
        )
    });
    let breaker = host.breaker_open.then(|| "circuit breaker open: most takes are not sent".to_owned());
    let reason = host.reason.as_ref().map(|reason| shown(reason).into_owned());
    reason.into_iter().chain(breaker).chain(redirects)
}

/// A span in one unit, exact enough to be read.
fn rough(lasted: f64) -> String {
    let lasted = Duration::try_from_secs_f64(lasted).unwrap_or_default();
    let unit = [hours(24), hours(1), mins(1), secs(1)].into_iter().find(|unit| lasted >= *unit * 2);
    let unit = unit.unwrap_or(secs(1));
    Span(unit * u32::try_from(lasted.as_secs() / unit.as_secs()).unwrap_or(u32::MAX)).to_string()
}

fn millis(seconds: f64) -> String {
    format!("{:.2}ms", seconds * 1e3)
}

fn bytes(bytes: u64) -> String {
    format!("{:.1}MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_rounded_down_to_a_unit_of_which_there_are_two() {
        for (seconds, text) in [(0.4, "0s"), (119.0, "119s"), (125.0, "2m"), (7_300.0, "2h"), (2e5, "2d")] {
            assert_eq!(rough(seconds), text);
        }
    }
}
