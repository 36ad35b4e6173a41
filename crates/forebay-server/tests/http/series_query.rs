//! `GET /v1/series/{series}` computes columns beside the counts.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::support::{Client, Server};

/// A series of 30 years by quarters of an hour, with the counts of `a` at 00:10, 02:20 and 02:40, and one of `b`.
fn server() -> Server {
    let server = Server::with(|config| config + "\n[series.fine]\nresolutions = [\"15m/30y\"]\n");
    let client = server.client();
    for (key, n, time) in [("a", 2, "00:10"), ("a", 3, "02:20"), ("a", 4, "02:40"), ("b", 10, "01:00")] {
        let body = json!({"key": key, "n": n, "at": format!("2026-01-01T{time}:00Z")}).to_string();
        client.post("/v1/series/fine", body).expect(202);
    }
    server
}

/// Four hours by the hour.
fn ask(client: &Client, rest: &str) -> Value {
    let path = "/v1/series/fine?from=2026-01-01T00:00:00Z&to=2026-01-01T04:00:00Z&step=1h&";
    client.get(&format!("{path}{rest}")).expect(200)
}

#[test]
fn columns_stand_beside_the_counts_if_they_are_requested() {
    let server = server();
    let client = server.client();
    let (from, to) = ("2026-01-01T00:00:00Z", "2026-01-01T04:00:00Z");
    let plain = json!({"key": "a", "start": from, "step": 3600, "coarsened": false, "values": [2, 0, 7, 0], "sum": 9,
        "from": from, "to": to, "partial": {"first": false, "last": false}});
    assert_eq!(ask(&client, "key=a"), plain);
    let all = ask(&client, "key=a&show=rate,avg,min,max,cumulative,difference&moving=2");
    let [two, seven] = [2.0, 7.0].map(|n| n / 3_600.0);
    let columns = json!({
        "rate": [two, 0.0, seven, 0.0], "avg": [0.5, 0.0, 1.75, 0.0], "min": [0, 0, 0, 0], "max": [2, 0, 4, 0], "bucket": 900,
        "cumulative": [2, 2, 9, 9], "difference": [2, -2, 7, -7],
        "moving_sum": [2, 2, 7, 7], "moving_avg": [1.0, 1.0, 3.5, 3.5],
    });
    for (name, column) in columns.as_object().expect("an object") {
        assert_eq!(&all[name], column, "{name}");
    }
    assert_eq!(all["values"], plain["values"]);
    for (fill, filled) in [
        ("null", json!([2, null, 7, null])),
        ("previous", json!([2, 2, 7, 7])),
        ("linear", json!([2, 4.5, 7, null])),
    ] {
        assert_eq!(ask(&client, &format!("key=a&fill={fill}"))["filled"], filled, "{fill}");
    }
    assert_eq!(ask(&client, "key=a&fill=zero&order=oldest&total=false"), plain);
}

#[test]
fn an_earlier_period_and_the_newest_points_have_their_starts() {
    let server = server();
    let client = server.client();
    let earlier = ask(&client, "key=a&previous=2")["previous"].clone();
    let (from, to) = ("2025-12-31T22:00:00Z", "2026-01-01T02:00:00Z");
    let expected =
        json!({"start": from, "coarsened": false, "values": [0, 0, 2, 0], "sum": 2, "from": from, "to": to});
    assert_eq!(earlier, expected);
    assert_eq!(ask(&client, "key=a&previous=2h")["previous"], expected);
    assert_eq!(ask(&client, "key=a&previous=span")["previous"]["start"], "2025-12-31T20:00:00Z");

    let newest = ask(&client, "key=a&order=newest&limit=2&show=cumulative");
    let starts = json!(["2026-01-01T03:00:00Z", "2026-01-01T02:00:00Z"]);
    assert_eq!((&newest["values"], &newest["cumulative"]), (&json!([0, 7]), &json!([9, 9])));
    assert_eq!((&newest["starts"], &newest["start"], &newest["sum"]), (&starts, &starts[1], &json!(7)));
    let oldest = ask(&client, "key=a&limit=1");
    assert_eq!((&oldest["values"], &oldest["to"]), (&json!([2]), &json!("2026-01-01T01:00:00Z")));

    let days = "/v1/series/fine?key=a&from=2026-01-01T00:00:00Z&to=2026-01-03T00:00:00Z&step=day&previous=1";
    let days = client.get(days).expect(200);
    assert_eq!((&days["values"], &days["previous"]["values"]), (&json!([9, 0]), &json!([0, 9])));
    assert_eq!(days["previous"]["starts"][1], days["starts"][0]);
    client.post("/v1/series/fine", r#"{"key":"now"}"#).expect(202);
    let last = client.get("/v1/series/fine?key=now&last=3&step=month&tz=Asia/Tokyo").expect(200);
    assert_eq!(last["values"], json!([0, 0, 1]));
}

#[test]
fn several_keys_are_a_list_in_their_order_with_a_total_on_request() {
    let server = server();
    let client = server.client();
    let list = ask(&client, "key=b&key=a&key=none");
    let ranges = list["ranges"].as_array().expect("a list");
    assert_eq!(ranges.iter().map(|range| range["key"].clone()).collect::<Vec<_>>(), ["b", "a", "none"]);
    assert_eq!(ranges[1], ask(&client, "key=a"));
    assert_eq!(list.get("total"), None);
    let total = ask(&client, "key=b&total=true&key=%61&show=max")["total"].clone();
    assert_eq!(
        (&total["values"], &total["sum"], &total["max"]),
        (&json!([2, 10, 7, 0]), &json!(19), &json!([2, 10, 4, 0]))
    );
    assert_eq!(total.get("key"), None);
    assert_eq!(ask(&client, "key=a&total=true")["ranges"][0], ask(&client, "key=a"));
    let limited = client.get("/v1/series/fine.limited?key=a&key=b&step=15m&from=-1h").expect(200);
    assert_eq!(limited["ranges"][1]["sum"], 0);
    // A key with a blank and an ampersand.
    client.post("/v1/series/fine", r#"{"key":"c d&e"}"#).expect(202);
    let now = client.get("/v1/series/fine?key=c+d%26e&key=a&from=-1h").expect(200);
    assert_eq!((&now["ranges"][0]["key"], &now["ranges"][0]["sum"]), (&json!("c d&e"), &json!(1)));

    let many = |count: usize, length: usize| {
        (0..count).fold(String::new(), |mut path, number| {
            let _ = write!(path, "key={number:0>length$}&");
            path
        })
    };
    let ranges = ask(&client, &many(1_000, 24))["ranges"].clone();
    assert_eq!(ranges.as_array().map(Vec::len), Some(1_000));
    let path = "/v1/series/fine?step=15m&from=-1h&";
    assert!(
        client
            .get(&format!("{path}{}", many(1_001, 4)))
            .problem(422)
            .contains("more keys: a query has 1 to 1000")
    );
}

#[test]
fn parameters_that_do_not_fit_are_refused_with_what_would() {
    let server = server();
    let client = server.client();
    for (rest, told) in [
        ("key=a&key=a", "key \"a\" is there twice"),
        ("key=a&key=", "1 to 512 bytes"),
        ("step=1h", "missing field `key`"),
        ("key=a&step=1h&step=2h", "duplicate field `step`"),
        ("key=a&show=mean", "show: \"mean\": one of rate, avg, min, max, cumulative, difference"),
        ("key=a&moving=1.5", "moving: \"1.5\": a number of points, 1 to 10000"),
        ("key=a&previous=soon", "or span, or a number of points"),
        ("key=a&previous=10s", "previous period 10s earlier: a multiple of 900s, the finest buckets there"),
        ("key=a&step=day&previous=7d", "previous: 7d: with points of a day, span or a number of points"),
        ("key=a&last=3", "last: a number of points needs a step"),
        ("key=a&last=3&step=1h&to=now", "leave out from and to"),
        ("key=a&limit=0", "limit: \"0\": a number of points, 1 to 100000"),
        ("key=a&order=up", "order: \"up\": one of oldest, newest"),
        ("key=a&fill=mean", "fill: \"mean\": one of zero, null, previous, linear"),
        ("key=a&total=1", "total: \"1\": one of true, false"),
        ("key=a&step=15m&from=-2000d", "at most 100000"),
    ] {
        let detail = client.get(&format!("/v1/series/fine?{rest}")).problem(422);
        assert!(detail.contains(told), "{rest}: {detail}");
    }
    let problem = client.get("/v1/series/fine?key=a&fill=mean");
    assert_eq!(problem.json()["field"], "fill");
}

/// Returns whether `found` has all that `told` has.
fn contains(found: &Value, told: &Value) -> bool {
    match (found, told) {
        (Value::Object(found), Value::Object(told)) => {
            told.iter().all(|(name, told)| found.get(name).is_some_and(|found| contains(found, told)))
        }
        (Value::Array(found), Value::Array(told)) => {
            found.len() == told.len() && found.iter().zip(told).all(|(found, told)| contains(found, told))
        }
        _ => found == told,
    }
}

#[test]
fn the_guide_s_examples_are_answered_as_it_says() {
    let server = Server::with(|config| config + "\n[series.visits]\nresolutions = [\"15m/30y\"]\n");
    let client = server.client();
    for (key, n, time) in [
        ("shop", 90, "07:30"),
        ("shop", 120, "09:05"),
        ("shop", 60, "09:50"),
        ("shop", 300, "11:20"),
        ("blog", 40, "10:00"),
    ] {
        let body = json!({"key": key, "n": n, "at": format!("2026-01-05T{time}:00Z")}).to_string();
        client.post("/v1/series/visits", body).expect(202);
    }
    let guide = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/series.md");
    let guide = std::fs::read_to_string(guide).expect("the guide");
    let mut lines = guide.lines();
    let mut examples = 0;
    while let Some(line) = lines.next() {
        let Some(path) = line.strip_prefix("GET ") else { continue };
        let told: Value = serde_json::from_str(lines.next().expect("an answer")).expect("JSON");
        let found = client.get(path).expect(200);
        assert!(contains(&found, &told), "{path}: {found}");
        examples += 1;
    }
    assert_eq!(examples, 6);
}
