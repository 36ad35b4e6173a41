//! `GET /v1/series/{series}/top` and `/bottom`.

use forebay_testkit::Redis;
use serde_json::{Value, json};

use crate::support::Server;

const SERIES: &str =
    "\n[series.ranked]\nranked = true\n[series.requests]\nlabels = [\"endpoint\", \"status\"]\n";

fn fill(server: &Server) {
    let client = server.client();
    for (key, n) in [("user:1", 5), ("user:2", 9), ("host:1", 7)] {
        client.post("/v1/series/ranked", json!({"key": key, "n": n}).to_string()).expect(202);
    }
    for (endpoint, status, n) in [("/cart", "200", 5), ("/cart", "500", 2), ("/buy", "500", 4)] {
        let labels = json!({"endpoint": endpoint, "status": status});
        client.post("/v1/series/requests", json!({"labels": labels, "n": n}).to_string()).expect(202);
    }
}

/// The keys and sums of an answer, each row of which is exact.
fn rows(server: &Server, path: &str) -> Vec<(String, u64)> {
    let found = server.client().get(path).expect(200);
    let row = |row: &Value| {
        assert_eq!((&row["exact"], &row["at_most_missed"]), (&json!(true), &json!(0)), "{row}");
        (row["key"].as_str().expect("a key").to_owned(), row["sum"].as_u64().expect("a sum"))
    };
    found.as_array().expect("a list").iter().map(row).collect()
}

fn check(server: &Server) {
    let row = |key: &str, sum| (key.to_owned(), sum);
    assert_eq!(rows(server, "/v1/series/ranked/top"), [row("user:2", 9), row("host:1", 7), row("user:1", 5)]);
    assert_eq!(rows(server, "/v1/series/ranked/top?limit=1&prefix=user:&from=-1h"), [row("user:2", 9)]);
    assert_eq!(rows(server, "/v1/series/ranked/bottom?limit=1"), [row("user:1", 5)]);
    assert_eq!(rows(server, "/v1/series/ranked/top?from=-2d&to=-1d"), []);
    assert_eq!(
        rows(server, "/v1/series/requests/top?label=status=500"),
        [row("/buy|500", 4), row("/cart|500", 2)]
    );
    let grouped = server.client().get("/v1/series/requests/top?group_by=endpoint&limit=1").expect(200);
    let expected = json!([{"key": "/cart", "labels": {"endpoint": "/cart"}, "sum": 7, "at_most_missed": 0, "exact": true}]);
    assert_eq!(grouped, expected);
}

#[test]
fn the_largest_and_smallest_keys_are_answered() {
    let server = Server::with(|config| config + SERIES);
    fill(&server);
    check(&server);
    let client = server.client();
    for (path, told) in [
        ("ranked/top?limit=0", "limit 0 of a ranking: 1 to 1000"),
        ("ranked/top?limit=1001", "1 to 1000"),
        ("ranked/top?key=a", "unknown field `key`"),
        ("ranked/top?group_by=status", "label \"status\": the labels are: none"),
        ("ranked/bottom?label=x=1", "label \"x\""),
        ("ranked/top?from=now&to=-1h", "a range ends after it begins"),
    ] {
        let problem = client.get(&format!("/v1/series/{path}")).expect(422).to_string();
        assert!(problem.contains(&told.replace('"', "\\\"")), "{path}: {problem}");
    }
    client.get("/v1/series/rankd/top").expect(404);
}

#[test]
fn a_shared_store_answers_the_same_and_bounds_the_keys_of_labels() {
    let redis = Redis::start();
    let config = format!("{SERIES}[series.few]\nmax_keys = 2\nlabels = [\"a\", \"b\"]\n");
    let server = Server::with(|before| {
        let line = before.lines().find(|line| line.starts_with("store = ")).expect("a store").to_owned();
        before.replace(&line, &format!("store = {:?}", redis.url())) + &config
    });
    fill(&server);
    check(&server);
    let client = server.client();
    for (a, b) in [("1", "1"), ("1", "2"), ("1", "1")] {
        client.post("/v1/series/few", json!({"labels": {"a": a, "b": b}}).to_string()).expect(202);
    }
    let full = client.post("/v1/series/few", r#"{"labels": {"a": "2"}}"#).expect(503);
    assert!(full.to_string().contains("a new key beside 2: at most 2 (max_keys)"), "{full}");
}
