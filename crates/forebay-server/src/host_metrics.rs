//! The metrics of the store's hosts, in Prometheus' text format.
//!
//! They are written from the hosts' status, not kept in the recorder: a host that has left is not shown any more, and the
//! library has counted the histogram already.

use std::fmt::{Display, Write as _};

use forebay::cluster::{Health, HostStatus};

use crate::text::seconds;

/// The time of round trips, which is a histogram.
const ROUND_TRIPS: (&str, &str) = (
    "forebay_host_round_trip_seconds",
    "Time of the round trips to a host; one carries the calls of many callers.",
);

/// A metric: its name, help and type, and its values for a host, each with a further label.
type Family = (&'static str, &'static str, &'static str, fn(&HostStatus) -> Vec<(String, f64)>);

const FAMILIES: [Family; 13] = [
    ("forebay_host_state", "1 for the state that a host is in, 0 for the others.", "gauge", states),
    ("forebay_host_state_seconds", "How long a host has been in its state.", "gauge", |host| {
        one(host.since.map(|since| seconds(since.lasted)))
    }),
    ("forebay_host_state_changes_total", "How often the state of a host changed.", "counter", |host| {
        one(Some(host.changes as f64))
    }),
    (
        "forebay_host_breaker_open",
        "1 while takes are refused at once, because the last ones had no answer before their deadlines.",
        "gauge",
        |host| one(Some(f64::from(u8::from(host.breaker_open)))),
    ),
    ("forebay_host_calls_total", "Calls of this server to a host of several.", "counter", |host| {
        one(host.calls.map(|calls| calls.begun as f64))
    }),
    (
        "forebay_host_unanswered_calls_total",
        "Calls to a host of several that had no answer, or were given up by their caller.",
        "counter",
        |host| one(host.calls.map(|calls| calls.unanswered as f64)),
    ),
    ("forebay_host_calls_in_flight", "Calls that wait for a host of several now.", "gauge", |host| {
        one(host.calls.map(|calls| calls.in_flight as f64))
    }),
    (
        "forebay_host_redirects_total",
        "Calls that a node of a Redis Cluster sent elsewhere.",
        "counter",
        redirects,
    ),
    ("forebay_host_memory_used_bytes", "Memory that a host uses, as it reported last.", "gauge", |host| {
        one(host.memory.map(|memory| memory.used as f64))
    }),
    (
        "forebay_host_memory_max_bytes",
        "Memory that a host may use; absent without a bound.",
        "gauge",
        |host| one(host.memory.and_then(|memory| memory.max).map(|max| max as f64)),
    ),
    ("forebay_host_slots", "Slots that a host owns.", "gauge", |host| one(host.slots.map(f64::from))),
    (
        "forebay_host_call_skew",
        "Calls to a host in about the last minute, divided by the mean of the hosts that are not down.",
        "gauge",
        |host| one(host.skew.and_then(|skew| skew.calls)),
    ),
    ("forebay_host_slot_skew", "Slots of a host, divided by the mean of all hosts.", "gauge", |host| {
        one(host.skew.and_then(|skew| skew.slots))
    }),
];

fn one(value: Option<f64>) -> Vec<(String, f64)> {
    value.map(|value| (String::new(), value)).into_iter().collect()
}

fn states(host: &HostStatus) -> Vec<(String, f64)> {
    let states = [Health::Up, Health::Suspect, Health::Down, Health::HalfOpen];
    let state = |state: Health| (format!(",state=\"{state}\""), f64::from(u8::from(host.health == state)));
    states.map(state).into()
}

fn redirects(host: &HostStatus) -> Vec<(String, f64)> {
    let counts = &host.redirects;
    let kinds = [("moved", counts.moved), ("ask", counts.ask), ("tryagain", counts.try_again)];
    kinds.map(|(kind, count)| (format!(",kind=\"{kind}\""), count as f64)).into()
}

/// The metrics of hosts; none for a store in this process.
pub(crate) fn render(hosts: &[HostStatus]) -> String {
    let hosts: Vec<(String, &HostStatus)> =
        hosts.iter().filter(|host| host.since.is_some()).map(|host| (label(&host.name), host)).collect();
    let mut text = String::new();
    if hosts.is_empty() {
        return text;
    }
    for (name, help, kind, values) in FAMILIES {
        head(&mut text, name, help, kind);
        for (label, host) in &hosts {
            for (more, value) in values(host) {
                line(&mut text, name, format_args!("{label}{more}"), value);
            }
        }
    }
    let (name, help) = ROUND_TRIPS;
    head(&mut text, name, help, "histogram");
    for (label, host) in &hosts {
        for (bound, count) in host.latency.buckets() {
            let bound = bound.map_or_else(|| "+Inf".to_owned(), |bound| seconds(bound).to_string());
            line(&mut text, &format!("{name}_bucket"), format_args!("{label},le=\"{bound}\""), count);
        }
        line(&mut text, &format!("{name}_sum"), label, seconds(host.latency.sum()));
        line(&mut text, &format!("{name}_count"), label, host.latency.count());
    }
    text
}

fn head(text: &mut String, name: &str, help: &str, kind: &str) {
    let _ = write!(text, "\n# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn line(text: &mut String, name: &str, labels: impl Display, value: impl Display) {
    let _ = writeln!(text, "{name}{{{labels}}} {value}");
}

/// The label of a host, whose name has no line end.
fn label(name: &str) -> String {
    format!("host=\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_documented() {
        let guide = include_str!("../../../docs/operations.md");
        for name in FAMILIES.iter().map(|(name, ..)| *name).chain([ROUND_TRIPS.0]) {
            assert!(guide.contains(&format!("`{name}`")), "docs/operations.md does not name {name}");
        }
    }

    #[tokio::test]
    async fn a_store_in_this_process_has_no_hosts_to_measure() {
        let bay = forebay::Forebay::open("memory:").await.expect("opens");
        assert_eq!(render(&bay.cluster().hosts()), "");
    }

    #[test]
    fn a_name_cannot_end_its_label() {
        assert_eq!(label("a\"b\\"), r#"host="a\"b\\""#);
    }
}
