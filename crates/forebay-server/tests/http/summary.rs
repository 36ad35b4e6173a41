//! Series of other kinds than hits.

use serde_json::{Value, json};

use crate::support::Server;

const VISITORS: &str =
    "\n[series.visitors]\nkind = \"distinct\"\nresolutions = [\"1h/5y\", \"1d/20y\"]\nmax_keys = 3\n";

const VALUES: &str = "\n[series.temperature]\nkind = \"gauge\"\nresolutions = [\"1m/5y\", \"1d/20y\"]\n\
    [series.latency]\nkind = \"percentiles\"\nresolutions = [\"1h/5y\", \"1d/20y\"]\n";

fn server() -> Server {
    Server::with(|config| config + VISITORS + VALUES)
}

#[test]
fn different_elements_are_counted_over_points_spans_and_keys() {
    let server = server();
    let client = server.client();
    let batch = json!([
        {"key": "home", "element": "ada", "at": "2026-01-05T09:05:00Z"},
        {"key": "home", "element": "bob", "at": "2026-01-05T09:50:00Z"},
        {"key": "home", "element": "ada", "at": "2026-01-05T09:51:00Z"},
        {"key": "home", "element": "ada", "at": "2026-01-05T11:20:00Z"},
        {"key": "about", "element": "ada", "at": "2026-01-05T09:10:00Z"},
        {"key": "about", "element": 17, "at": "2026-01-05T11:10:00Z"},
        {"key": "home"},
    ]);
    let answer = client.post("/v1/series/visitors", batch.to_string()).expect(202);
    assert_eq!((&answer["accepted"], &answer["invalid"]), (&json!(6), &json!(1)), "{answer}");
    let span = "from=2026-01-05T09:00:00Z&to=2026-01-05T12:00:00Z&step=1h";
    let home = client.get(&format!("/v1/series/visitors?key=home&{span}")).expect(200);
    assert_eq!(
        home,
        json!({"kind": "distinct", "keys": ["home"], "start": "2026-01-05T09:00:00Z", "step": 3600, "coarsened": false,
            "values": [2, 0, 1], "total": 2, "from": "2026-01-05T09:00:00Z", "to": "2026-01-05T12:00:00Z"})
    );
    let both = client.get(&format!("/v1/series/visitors?key=home&key=about&{span}")).expect(200);
    assert_eq!((&both["values"], &both["total"]), (&json!([2, 0, 2]), &json!(3)), "{both}");
    let days =
        client.get("/v1/series/visitors?key=home&from=2026-01-05T00:00:00Z&to=2026-01-06T00:00:00Z&step=day");
    let days = days.expect(200);
    assert_eq!(
        (&days["step"], &days["starts"], &days["values"]),
        (&json!("day"), &json!(["2026-01-05T00:00:00Z"]), &json!([2]))
    );
    client.post("/v1/series/visitors", r#"{"key":"now","element":"x"}"#).expect(202);
    assert_eq!(client.get("/v1/series/visitors?key=now&last=1&step=1h").expect(200)["values"], json!([1]));
}

#[test]
fn a_gauge_has_the_last_value_by_time_the_bounds_and_the_average() {
    let server = server();
    let client = server.client();
    let at = |time: &str| format!("2026-01-05T{time}Z");
    let batch = json!([
        {"key": "attic", "value": 21.5, "at": at("09:00:01")},
        {"key": "attic", "value": -3, "at": at("09:00:02")},
        {"key": "attic", "value": 20.5, "at": at("09:00:02")},
        {"key": "attic", "value": -0.0, "at": at("09:02:00")},
        {"key": "cellar", "value": 1e290, "at": at("09:02:00")},
        {"key": "attic", "value": 1e291},
        {"key": "attic", "value": "warm"},
        {"key": "attic", "value": null},
    ]);
    let answer = client.post("/v1/series/temperature", batch.to_string()).expect(202);
    assert_eq!((&answer["accepted"], &answer["invalid"]), (&json!(5), &json!(3)), "{answer}");
    let span = "from=2026-01-05T09:00:00Z&to=2026-01-05T09:03:00Z&step=1m";
    let attic = client.get(&format!("/v1/series/temperature?key=attic&{span}")).expect(200);
    let first = json!({"last": 20.5, "last_at": "2026-01-05T09:00:02Z", "min": -3.0, "max": 21.5, "avg": 13.0,
        "sum": 39.0, "count": 3});
    let last = json!({"last": 0.0, "last_at": "2026-01-05T09:02:00Z", "min": 0.0, "max": 0.0, "avg": 0.0, "sum": 0.0,
        "count": 1});
    assert_eq!((&attic["kind"], &attic["values"]), (&json!("gauge"), &json!([first, null, last])), "{attic}");
    assert_eq!((&attic["total"]["avg"], &attic["total"]["last"]), (&json!(9.75), &json!(0.0)), "{attic}");
    let both = client.get(&format!("/v1/series/temperature?key=attic&key=cellar&{span}")).expect(200);
    assert_eq!((&both["total"]["max"], &both["total"]["count"]), (&json!(1e290), &json!(5)), "{both}");
    client.get(&format!("/v1/series/temperature?key=attic&{span}&quantiles=0.5")).problem(422);
    client.post("/v1/series/temperature", r#"{"key":"a","element":"x"}"#).problem(422);
}

#[test]
fn percentiles_are_values_by_rank() {
    let server = server();
    let client = server.client();
    let batch: Vec<_> =
        (1..=100).map(|n| json!({"key": "home", "value": n, "at": "2026-01-05T09:00:01Z"})).collect();
    client.post("/v1/series/latency", json!(batch).to_string()).expect(202);
    let span = "from=2026-01-05T09:00:00Z&to=2026-01-05T11:00:00Z&step=1h";
    let home = client.get(&format!("/v1/series/latency?key=home&{span}&quantiles=0,0.5,0.95,1")).expect(200);
    assert_eq!(home["values"][1], json!(null), "{home}");
    assert_eq!(home["values"][0], home["total"], "{home}");
    let total = &home["total"];
    assert_eq!(
        (&total["count"], &total["min"], &total["max"]),
        (&json!(100), &json!(1.0), &json!(100.0)),
        "{total}"
    );
    for (q, exact) in [("0", 1.0), ("0.5", 50.0), ("0.95", 95.0), ("1", 100.0)] {
        let found = total["quantiles"][q].as_f64().expect("a number");
        assert!((found - exact).abs() <= 0.01 * exact, "{q}: {found}");
    }
    let usual = client.get(&format!("/v1/series/latency?key=home&{span}")).expect(200);
    assert_eq!(usual["total"]["quantiles"].as_object().expect("some").len(), 3, "{usual}");
    for wrong in ["1.5", "x", "", "NaN", "0.1,,0.2"] {
        let detail =
            client.get(&format!("/v1/series/latency?key=home&{span}&quantiles={wrong}")).problem(422);
        assert!(detail.starts_with("quantiles: "), "{detail}");
    }
    client.get(&format!("/v1/series/hits?key=home&{span}&quantiles=0.5")).problem(422);
}

#[test]
fn keys_are_listed_deleted_and_bounded() {
    let server = server();
    let client = server.client();
    for key in ["a", "b", "c"] {
        client.post("/v1/series/visitors", json!({"key": key, "element": "x"}).to_string()).expect(202);
    }
    let detail = client.post("/v1/series/visitors", r#"{"key":"d","element":"x"}"#).problem(503);
    assert!(detail.contains("max_keys"), "{detail}");
    assert_eq!(
        client.get("/v1/series/visitors/keys").expect(200),
        json!({"keys": ["a", "b", "c"], "more": false})
    );
    client.delete("/v1/series/visitors?key=b").expect(204);
    assert_eq!(client.get("/v1/series/visitors/keys").expect(200)["keys"], json!(["a", "c"]));
    assert_eq!(client.get("/v1/series/visitors?key=b&last=2&step=1h").expect(200)["total"], json!(0));
    let metrics = client.get("/metrics").body;
    assert!(metrics.contains("forebay_series_points_total{series=\"visitors\"} 3"), "{metrics}");
    assert!(metrics.contains("forebay_series_keys{series=\"visitors\"} 2"), "{metrics}");
}

#[test]
fn what_is_of_another_kind_is_refused_with_what_is_accepted() {
    let server = server();
    let client = server.client();
    for (path, body, part) in [
        ("visitors", r#"{"key":"a","n":1}"#, "element"),
        ("visitors", r#"{"key":"a","element":""}"#, "1 to 512 bytes"),
        ("visitors", r#"{"key":"a","element":"x","at":"2001-01-01T00:00:00Z"}"#, "the longest retention"),
        ("hits", r#"{"key":"a","element":"x"}"#, "element"),
    ] {
        let detail = client.post(&format!("/v1/series/{path}"), body).problem(422);
        assert!(detail.contains(part), "{detail}");
    }
    for path in [
        "/sum?key=a",
        "/chart.svg?key=a",
        "/export?key=a",
        "?key=a&show=rate",
        "?key=a&fill=null",
        "?key=a&previous=span",
        "?key=a&order=newest",
        "?key=a&limit=3",
        "?key=a&total=true",
        "?key=a&step=10m",
        "?key=a&key=a",
    ] {
        let detail = client.get(&format!("/v1/series/visitors{path}")).problem(422);
        assert!(!detail.is_empty(), "{path}");
    }
    let detail = client.get("/v1/series/visitors/sum?key=a").problem(422);
    assert!(detail.starts_with("series visitors: it is of the kind distinct"), "{detail}");
    for path in ["merge", "rename"] {
        client.post(&format!("/v1/series/visitors/{path}"), r#"{"from":"a","to":"b"}"#).problem(422);
    }
    client.delete("/v1/series/visitors?key=a&from=-1d").problem(422);
    client.get("/v1/series/visitors.limited?key=a").problem(404);
}

/// A request with a key counts once, also in a batch that is repeated.
#[test]
fn a_keyed_batch_is_added_once() {
    let server = server();
    let client = server.client();
    let body = json!([{"key": "a", "element": "x"}, {"key": "a", "element": "y"}]).to_string();
    for _ in 0..3 {
        let answer = client.header("Idempotency-Key", "k").post("/v1/series/visitors", &body).expect(202);
        assert_eq!(answer["accepted"], json!(2));
    }
    assert_eq!(client.get("/v1/series/visitors?key=a&last=1&step=1d").expect(200)["total"], json!(2));
}

#[test]
fn the_guide_s_examples_are_answered_as_it_says() {
    let server = Server::with(|config| config + &VISITORS.replace("max_keys = 3\n", "") + VALUES);
    let client = server.client();
    let guide = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/kinds.md");
    let guide = std::fs::read_to_string(guide).expect("the guide");
    let mut lines = guide.lines();
    let (mut points, mut answers) = (0, 0);
    while let Some(line) = lines.next() {
        if let Some((path, body)) = line.strip_prefix("POST ").and_then(|rest| rest.split_once(' ')) {
            client.post(path, body).expect(202);
            points += 1;
        } else if let Some(path) = line.strip_prefix("GET ") {
            let told: Value = serde_json::from_str(lines.next().expect("an answer")).expect("JSON");
            let found = client.get(path).expect(200);
            for (field, value) in told.as_object().expect("an object") {
                assert_eq!(&found[field], value, "{field} of {path}: {found}");
            }
            answers += 1;
        }
    }
    assert!(points >= 4 && answers >= 2, "{points} points, {answers} answers");
}
