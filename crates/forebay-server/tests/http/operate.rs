use serde_json::json;

use crate::support::Server;

/// The committed document, from which other programs are generated.
const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");

#[test]
fn the_committed_openapi_document_is_what_the_handlers_say() {
    let document = forebay_server::router::document();
    if std::env::var_os("FOREBAY_UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(SNAPSHOT, &document).expect("the snapshot");
    }
    let committed = std::fs::read_to_string(SNAPSHOT).expect("the snapshot");
    assert!(
        document == committed,
        "openapi.json is out of date: run this test with FOREBAY_UPDATE_SNAPSHOTS=1"
    );
}

#[test]
fn the_served_document_is_openapi_3_1_and_complete() {
    let server = Server::example();
    let answer = server.client().get("/openapi.json");
    assert_eq!(answer.body, forebay_server::router::document());
    let document = answer.expect(200);
    assert!(
        document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")),
        "{}",
        document["openapi"]
    );
    let ids: Vec<&str> = text_after(&answer.body, "\"operationId\": \"");
    assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), ids.len(), "{ids:?}");
    // Every reference has a target.
    for name in text_after(&answer.body, "\"$ref\": \"#/components/schemas/") {
        assert!(document["components"]["schemas"][name].is_object(), "{name} is not described");
    }
}

/// The texts between each `start` and the next quotation mark.
fn text_after<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    text.split(start).skip(1).map(|rest| rest.split('"').next().expect("a part")).collect()
}

#[test]
fn alive_and_ready() {
    let server = Server::example();
    let client = server.client();
    assert_eq!(client.get("/healthz").expect(200), json!({"status": "alive"}));
    assert_eq!(client.get("/readyz").expect(200), json!({"store": "ok", "database": "ok", "warnings": []}));
    assert_eq!(client.request("HEAD", "/healthz", b"").status, 200);
}

#[test]
fn metrics_count_what_happened_and_name_no_key() {
    let server = Server::with(|example| example.replace("20/1m", "20/1d"));
    let client = server.client();
    for n in 0..22 {
        let answer = client.post("/v1/events/hit", r#"{"key":"s3cret"}"#);
        assert_eq!(answer.status, if n < 20 { 202 } else { 429 });
    }
    client.post("/v1/events/hit", r#"{"kez":"s3cret"}"#).problem(422);
    client.post("/v1/series/hits", r#"{"key":"s3cret"}"#).expect(202);
    let before = client.get("/metrics");
    client.post("/v1/buffers/projects/flush", "").expect(200);
    let after = client.get("/metrics");
    assert_eq!(after.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let has = |text: &str, line: &str| assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    for line in [
        "forebay_limit_allowed_total{limit=\"hits\"} 20",
        "forebay_limit_denied_total{limit=\"hits\"} 2",
        "forebay_limit_degraded_total{limit=\"hits\"} 0",
        "forebay_event_accepted_total{event=\"hit\"} 20",
        "forebay_event_limited_total{event=\"hit\"} 2",
        "forebay_event_invalid_total{event=\"hit\"} 1",
        "forebay_event_failed_total{event=\"hit\"} 0",
        "forebay_series_points_total{series=\"hits\"} 1",
        "forebay_http_request_duration_seconds_count{method=\"POST\",route=\"/v1/events/{event}\",status=\"202\"} 20",
    ] {
        has(&before.body, line);
    }
    has(&before.body, "forebay_buffer_pending_rows{buffer=\"projects\"} 1");
    has(&after.body, "forebay_buffer_pending_rows{buffer=\"projects\"} 0");
    has(&after.body, "forebay_flush_rows_total{buffer=\"projects\"} 1");
    has(&after.body, "forebay_flush_duration_seconds_count{buffer=\"projects\"} 1");
    assert!(!after.body.contains("s3cret"), "{}", after.body);
}
