//! The names that callers send are taken exactly as written, or refused. They are never replaced by something similar.

use serde_json::json;

use crate::support::{Client, Server};

/// Parameters that are not UTF-8 text, or not valid percent-encoding. A lenient decoder turns them into U+FFFD or a
/// literal `%`.
const NO_TEXT: [&str; 10] =
    ["%ff", "a%ff", "%c3", "%c3%28", "%ed%a0%80", "%f8%88%80%80%80", "%", "%2", "%zz", "a%00%ff"];

/// The key that a lenient decoder would make of `%ff`.
const REPLACEMENT: &str = "%ef%bf%bd";

#[test]
fn a_query_that_is_no_text_is_refused_and_no_other_key_touched() {
    let server = Server::example();
    let client = server.client();
    let body = json!({"key": "\u{fffd}", "cost": 5}).to_string();
    client.post("/v1/limits/hits", body).expect(200);
    client.post("/v1/series/hits", json!({"key": "\u{fffd}"}).to_string()).expect(202);
    let allow = json!({"allow": "blocked"}).to_string();
    let requests = [
        ("GET", "/v1/limits/hits?key="),
        ("DELETE", "/v1/limits/hits?key="),
        ("PUT", "/v1/limits/hits/overrides?key="),
        ("DELETE", "/v1/limits/hits/overrides?key="),
        ("GET", "/v1/limits/hits/overrides?limit=1&after="),
        ("GET", "/v1/series/hits?key="),
        ("GET", "/v1/series/hits?key=a&step="),
        ("GET", "/v1/series/hits/sum?key="),
        ("GET", "/v1/series/hits/chart.svg?key="),
        ("DELETE", "/v1/series/hits?key="),
        ("GET", "/v1/buffers/projects?id="),
        ("GET", "/v1/cluster/route?key="),
    ];
    for (method, path) in requests {
        let name = path.split(['?', '&']).next_back().expect("a parameter").trim_end_matches('=');
        for bad in NO_TEXT {
            let answer = client.request(method, &format!("{path}{bad}"), allow.as_bytes());
            let detail = answer.problem(400);
            assert!(
                detail.contains(&format!("query parameter \"{name}\"")),
                "{method} {path}{bad}: {detail}"
            );
            assert_eq!(answer.json()["field"], name);
        }
        client.request(method, &format!("{path}a&%ff=b"), allow.as_bytes()).problem(400);
    }
    // The bytes are not percent-encoded.
    let raw = b"DELETE /v1/limits/hits?key=\xff HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(client.raw(raw).status, 400);
    assert_eq!(client.get(&format!("/v1/limits/hits?key={REPLACEMENT}")).expect(200)["used"], 5);
    assert_eq!(client.get(&format!("/v1/series/hits/sum?key={REPLACEMENT}")).expect(200)["sum"], 1);
    assert_eq!(client.get("/v1/limits/hits/overrides").expect(200), json!([]));
    // Valid text stays as it was written.
    for (query, key) in [("a%2Fb", "a/b"), ("a+b", "a b"), ("%C3%A4%00", "ä\0"), ("100%25", "100%")] {
        client.post("/v1/limits/hits", json!({"key": key}).to_string()).expect(200);
        assert_eq!(client.get(&format!("/v1/limits/hits?key={query}")).expect(200)["used"], 1, "{query}");
    }
}

#[test]
fn a_path_that_is_no_text_is_refused_on_every_route() {
    let server = Server::example();
    let client = server.client();
    client.post("/v1/locks/%ef%bf%bd", "{}").expect(201);
    let document = client.get("/openapi.json").expect(200);
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        let Some(name) = path.split(['{', '}']).nth(1) else { continue };
        for method in item.as_object().expect("operations").keys() {
            for bad in NO_TEXT {
                let path = path.replacen(&format!("{{{name}}}"), bad, 1);
                let path = path.replace("{lease}", "a").replace("{reservation}", "a");
                let detail = client.request(&method.to_uppercase(), &path, b"{}").problem(400);
                assert!(detail.contains(&format!("path parameter \"{name}\"")), "{method} {path}: {detail}");
                asked += 1;
            }
        }
    }
    assert!(asked > 200, "{asked}");
    for path in ["leases/%ff", "reservations/%ff/release"] {
        let method = if path.contains("release") { "POST" } else { "DELETE" };
        client.request(method, &format!("/v1/limits/hits/{path}"), b"").problem(400);
    }
    let state = client.get("/v1/locks/%ef%bf%bd").expect(200);
    assert!(state["holder"].is_string(), "{state}");
}

/// Encoders that have only floats write `2.0`; `"2"` may be a mistake.
#[test]
fn a_number_without_a_fraction_is_accepted_wherever_an_integer_is() {
    let server = Server::example();
    let client = server.client();
    let used = |key: &str| client.get(&format!("/v1/limits/hits?key={key}")).expect(200)["used"].clone();
    client.post("/v1/limits/hits", r#"{"key":"a","cost":2.0}"#).expect(200);
    client.post("/v1/limits", r#"{"take":[{"limit":"hits","key":"a","cost":0.3e1}]}"#).expect(200);
    client.post("/v1/limits/hits/refund", r#"{"key":"a","cost":1.0}"#).expect(200);
    assert_eq!(used("a"), 4);
    client.post("/v1/limits/hits", r#"{"key":42.0}"#).expect(200);
    client.post("/v1/limits/hits", r#"{"key":42}"#).expect(200);
    client.post("/v1/limits/hits", r#"{"key":"42"}"#).expect(200);
    assert_eq!(used("42"), 3);
    let reserved = client.post("/v1/limits/hits/reservations", r#"{"key":"r","cost":5.0}"#).expect(201);
    let id = reserved["reservation"].as_str().expect("an id");
    let commit = client.post(&format!("/v1/limits/hits/reservations/{id}/commit"), r#"{"cost":7e0}"#);
    assert_eq!(commit.expect(200)["used"], 7);
    client.post("/v1/events/hit", r#"{"key":"b","n":2.0}"#).expect(202);
    let lines = "{\"key\":\"b\",\"n\":1e0}\n{\"key\":\"b\",\"n\":1.5}\n{\"key\":\"b\",\"n\":\"1\"}\n";
    let batch = client.header("Content-Type", "application/x-ndjson").post("/v1/events/hit", lines);
    let batch = batch.expect(200);
    assert_eq!((&batch["accepted"], &batch["invalid"]), (&json!(1), &json!(2)), "{batch}");
    client.post("/v1/series/hits", r#"{"key":"s","n":1e3}"#).expect(202);
    assert_eq!(client.get("/v1/series/hits/sum?key=s").expect(200)["sum"], 1000);
    client.post("/v1/buffers/projects", r#"{"row":{"id":7.0},"columns":{"hits":2.0}}"#).expect(202);
    client.post("/v1/buffers/projects", r#"{"row":{"id":"7"},"columns":{"hits":1}}"#).expect(202);
    assert_eq!(client.get("/v1/buffers/projects?id=7").expect(200)["value"]["hits"], 3);
    client.post("/v1/buffers/projects/dead", r#"{"ids":[1.0, 2e0]}"#).expect(200);
}

#[test]
fn a_number_that_is_no_integer_or_may_be_rounded_is_refused() {
    let server = Server::example();
    let client = server.client();
    for n in ["2.5", "\"2\"", "\"2.0\"", "-1.0", "0.1", "1e-1", "9007199254740993.0", "1e16", "1e300", "true"]
    {
        for (path, body) in [
            ("/v1/limits/hits", format!(r#"{{"key":"a","cost":{n}}}"#)),
            ("/v1/limits/hits/refund", format!(r#"{{"key":"a","cost":{n}}}"#)),
            ("/v1/limits", format!(r#"{{"take":[{{"limit":"hits","key":"a","cost":{n}}}]}}"#)),
            ("/v1/events/hit", format!(r#"{{"key":"a","n":{n}}}"#)),
            ("/v1/series/hits", format!(r#"{{"key":"a","n":{n}}}"#)),
            ("/v1/limits/hits/reservations", format!(r#"{{"key":"a","cost":{n}}}"#)),
            ("/v1/buffers/projects/dead", format!(r#"{{"ids":[{n}]}}"#)),
        ] {
            let detail = client.post(path, &body).problem(422);
            assert!(detail.contains("an integer from"), "{path} {body}: {detail}");
        }
    }
    for n in ["2.5", "9007199254740992.0", "9007199254740993.0", "1e16", "18446744073709551616", "1e300"] {
        client.post("/v1/limits/hits", format!(r#"{{"key":{n}}}"#)).problem(422);
        let row = format!(r#"{{"row":{{"id":{n}}},"columns":{{"hits":1}}}}"#);
        client.post("/v1/buffers/projects", row).problem(422);
        let cell = format!(r#"{{"row":{{"id":"a"}},"columns":{{"hits":{n}}}}}"#);
        client.post("/v1/buffers/projects", cell).problem(422);
    }
    assert_eq!(client.get("/v1/limits/hits?key=a").expect(200)["used"], 0);
    assert_eq!(client.get("/v1/buffers/projects/stats").expect(200)["pending_rows"], 0);
}

fn metric(client: &Client, line: &str) -> bool {
    client.get("/metrics").body.lines().any(|found| found == line)
}

#[test]
fn a_cost_of_0_peeks_and_charges_nothing() {
    let server =
        Server::with(|example| example.replace("20/1m", "20/1d") + "\n[limits.small]\nrate = \"5/1d\"\n");
    let client = server.client();
    let zero = r#"{"key":"a","cost":0}"#;
    for _ in 0..3 {
        let look = client.post("/v1/limits/hits", zero);
        assert_eq!(look.expect(200)["used"], 0);
        assert!(look.header("ratelimit").is_some());
    }
    client.post("/v1/limits/hits", r#"{"key":"a","cost":20}"#).expect(200);
    let look = client.post("/v1/limits/hits", zero);
    look.problem(429);
    assert!(look.header("retry-after").is_some());
    assert_eq!(look.json()["used"], 20);
    assert_eq!(client.post("/v1/limits/hits/refund", zero).expect(200)["used"], 20);
    // A full limit blocks the charge of the others even if its cost is 0.
    let both = r#"{"take":[{"limit":"hits","key":"a","cost":0},{"limit":"small","key":"a"}]}"#;
    client.post("/v1/limits", both).problem(429);
    client.post("/v1/limits", both.replace(r#""a","cost""#, r#""b","cost""#)).expect(200);
    assert_eq!(client.get("/v1/limits/small?key=a").expect(200)["used"], 1);
    assert_eq!(client.get("/v1/limits/hits?key=b").expect(200)["used"], 0);
    for line in [
        "forebay_limit_allowed_total{limit=\"hits\"} 1",
        "forebay_limit_denied_total{limit=\"hits\"} 0",
        "forebay_limit_allowed_total{limit=\"small\"} 1",
    ] {
        assert!(metric(&client, line), "{line}");
    }
    assert_eq!(client.get("/v1/limits/hits/top").expect(200), json!([]));
}
