//! The HTTP interface of Prometheus: `/api/v1`.

mod api;
mod compare;
mod dashboard;
mod export;
mod labels;
mod lists;
mod model;
mod store;

use forebay::{Clock, ManualClock, Timestamp};
use serde_json::{Value, json};

use crate::support::{Answer, Client, Server};

/// 2026-11-20T12:00:03.250Z: at no edge of a bucket.
const NOW: Timestamp = Timestamp::from_millis(1_795_176_003_250);

/// A server whose store stays at [`NOW`], with further series.
fn server(series: &str) -> Server {
    server_on(&ManualClock::at(NOW), series)
}

/// A server whose store has another clock.
fn server_on(clock: &ManualClock, series: &str) -> Server {
    Server::on(Clock::from(clock.clone()), |config| {
        let line = config.lines().find(|line| line.starts_with("store = ")).expect("a store").to_owned();
        // A store in memory waits for no disk, and so for no clock.
        config.replace(&line, "store = \"memory:\"") + series
    })
}

/// Counts points: key, count, and seconds before [`NOW`].
fn count(client: &Client, series: &str, points: &[(&str, u64, u64)]) {
    let point = |(key, n, ago): &(&str, u64, u64)| {
        let at = NOW.minus(std::time::Duration::from_secs(*ago));
        json!({"key": key, "n": n, "at": at.to_string()})
    };
    for points in points.chunks(5_000) {
        let points: Vec<Value> = points.iter().map(point).collect();
        client.post(&format!("/v1/series/{series}"), Value::from(points).to_string()).expect(202);
    }
}

/// A query, percent-encoded, at seconds before [`NOW`].
fn ask(client: &Client, query: &str, ago: u64) -> Answer {
    let time = NOW.as_millis() as f64 / 1_000.0 - ago as f64;
    client.get(&format!("/api/v1/query?query={}&time={time}", encoded(query)))
}

fn encoded(text: &str) -> String {
    let letter = |byte: u8| {
        if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(letter).collect()
}

/// The keys and values of a vector.
#[track_caller]
fn vector(answer: &Answer) -> Vec<(String, String)> {
    let body = answer.expect(200);
    assert_eq!(
        (&body["status"], &body["data"]["resultType"]),
        (&json!("success"), &json!("vector")),
        "{body}"
    );
    let rows = body["data"]["result"].as_array().expect("rows");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    rows.iter().map(|row| (text(&row["metric"]["key"]), text(&row["value"][1]))).collect()
}

/// Checks that this is an error in the form of Prometheus, and returns its text.
#[track_caller]
fn refusal(answer: &Answer, status: u16, error_type: &str) -> String {
    let body = answer.expect(status);
    assert_eq!((&body["status"], &body["errorType"]), (&json!("error"), &json!(error_type)), "{body}");
    body["error"].as_str().expect("a text").to_owned()
}
