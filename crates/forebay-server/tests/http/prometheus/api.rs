//! `query` and `query_range`.

use super::*;

/// Counts of the last minutes of `hits`: key a 60 in each bucket of 10 s, key b once.
fn hits() -> Server {
    let server = server("");
    let points: Vec<_> = (1..=60).map(|bucket| ("a", 60, bucket * 10)).chain([("b", 7, 95)]).collect();
    count(&server.client(), "hits", &points);
    server
}

#[test]
fn counters_and_increments_of_a_series_are_two_metrics() {
    let server = hits();
    let client = server.client();
    // The last whole bucket of a ends at 12:00:00.
    let all = ask(&client, "hits_total", 0).expect(200);
    let rows = all["data"]["result"].as_array().expect("rows");
    assert_eq!(rows[0]["metric"], json!({"__name__": "hits_total", "key": "a"}));
    assert_eq!(rows[0]["value"], json!([1_795_176_003.25, "3600"]));
    assert_eq!(all.get("warnings"), None);
    let of = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(vector(&ask(&client, "hits", 0)), [of("a", "60"), of("b", "7")]);
    assert_eq!(vector(&ask(&client, "hits_total{key=\"b\"}", 95)), []);
    assert_eq!(vector(&ask(&client, "rate(hits_total{key=\"a\"}[1m])", 0)), [of("a", "6")]);
    assert_eq!(vector(&ask(&client, "sum_over_time(hits[2m])", 0)), [of("a", "720"), of("b", "7")]);
    assert_eq!(vector(&ask(&client, "sum(sum_over_time(hits[2m]))", 0)), [of("", "727")]);
    assert_eq!(
        vector(&ask(&client, "topk(1, sum_over_time({__name__=\"hits\", key=~\"a|b\"}[2m]))", 0)),
        [of("a", "720")]
    );
    assert_eq!(vector(&ask(&client, "hits{key!~\"a.*\"}", 0)), [of("b", "7")]);
    assert_eq!(vector(&ask(&client, "hits_limited", 0)), []);
    assert_eq!(vector(&ask(&client, "other", 0)), []);
    // After its last count, a key is seen for five minutes.
    assert_eq!(
        vector(&client.get("/api/v1/query?query=hits&time=1795176209")),
        [of("a", "60"), of("b", "7")]
    );
    assert_eq!(vector(&client.get("/api/v1/query?query=hits&time=1795176210&timeout=1s")), [of("a", "60")]);
    assert_eq!(vector(&client.get("/api/v1/query?query=hits&time=2026-11-20T12:05:00Z")), []);
    let scalar = client.get("/api/v1/query?query=1%2B1&time=5").expect(200);
    assert_eq!(scalar["data"], json!({"resultType": "scalar", "result": [5, "2"]}));
    let samples = ask(&client, "hits{key=\"a\"}[20s]", 0).expect(200);
    let values = json!([[1_795_175_990, "60"], [1_795_176_000, "60"]]);
    let expected = json!([{"metric": {"__name__": "hits", "key": "a"}, "values": values}]);
    assert_eq!(samples["data"], json!({"resultType": "matrix", "result": expected}));
}

#[test]
fn a_range_is_asked_by_get_or_by_a_form() {
    let server = hits();
    let client = server.client();
    let range =
        "query=sum+by(key)(increase(hits_total%5B1m%5D))&start=1795175940&end=2026-11-20T12:00:00Z&step=30";
    let expected = json!({"resultType": "matrix", "result": [
        {"metric": {"key": "a"}, "values": [[1_795_175_940, "360"], [1_795_175_970, "360"], [1_795_176_000, "360"]]},
    ]});
    assert_eq!(client.get(&format!("/api/v1/query_range?{range}")).expect(200)["data"], expected);
    let form = client.header("Content-Type", "application/x-www-form-urlencoded");
    assert_eq!(form.post("/api/v1/query_range", range).expect(200)["data"], expected);
    let (query, rest) = range.split_once('&').expect("parameters");
    assert_eq!(form.post(&format!("/api/v1/query_range?{rest}"), query).expect(200)["data"], expected);
    assert_eq!(vector(&form.post("/api/v1/query", "query=hits{key=\"a\"}&time=1795176003")).len(), 1);
    // Without a time, it is now: the machine's, which is not that of this store.
    let two = form.post("/api/v1/query", "query=2").expect(200);
    assert_eq!(two["data"]["result"][1], "2");
    let numbers = client.get("/api/v1/query_range?query=7&start=0&end=1&step=500ms").expect(200);
    assert_eq!(
        numbers["data"]["result"],
        json!([{"metric": {}, "values": [[0, "7"], [0.5, "7"], [1, "7"]]}])
    );
}

#[test]
fn the_resolution_is_the_finest_that_covers_the_oldest_instant() {
    let server = server("\n[series.slow]\nresolutions = [\"1m/1h\", \"15m/30d\"]\n");
    let client = server.client();
    let points: Vec<_> = (1..600).map(|minute| ("a", 1, minute * 60)).collect();
    count(&client, "slow", &points);
    let samples =
        |query: &str, ago| vector(&ask(&client, query, ago)).first().map(|(_, value)| value.clone());
    assert_eq!(samples("count_over_time(slow[30m])", 0).as_deref(), Some("30"));
    assert_eq!(samples("count_over_time(slow[30m])", 1_700).as_deref(), Some("30"));
    assert_eq!(samples("count_over_time(slow[30m])", 3_000).as_deref(), Some("2"));
    assert_eq!(samples("count_over_time(slow[30m] offset 1h)", 0).as_deref(), Some("2"));
    // All selectors of a series have one resolution.
    let both = "count_over_time(slow[30m]) + count_over_time(slow[30m] offset 1h)";
    assert_eq!(samples(both, 0).as_deref(), Some("4"));
    assert_eq!(samples("sum_over_time(slow[2h])", 0).as_deref(), Some("120"));
    // A window below two buckets is empty.
    for (query, told) in [
        (
            "rate(slow_total[90s])",
            "slow_total: the window [90s] is empty, because buckets of 1m are the finest",
        ),
        (
            "sum_over_time(slow[20m] offset 2h)",
            "buckets of 15m are the finest that are kept for this query: the least window is [30m]",
        ),
    ] {
        let answer = ask(&client, query, 0);
        assert_eq!(vector(&answer), [], "{query}");
        let warnings = answer.json()["warnings"].clone();
        assert!(warnings[0].as_str().is_some_and(|text| text.contains(told)), "{query}: {warnings}");
    }
    let instant = ask(&client, "slow offset 2h", 0).json()["warnings"].clone();
    assert!(
        instant[0].as_str().is_some_and(|text| text.contains("use a window of at least [30m]")),
        "{instant}"
    );
}

#[test]
fn errors_have_the_form_of_prometheus() {
    let server = server("\n[series.many]\n[series.a-b]\n[series.a_b]\n");
    let client = server.client();
    let get = |path: &str| client.get(&format!("/api/v1/{path}"));
    for (path, told) in [
        ("query", "query: missing"),
        ("query?query=", "query: missing"),
        ("query?query=hits%7B", "query: "),
        (
            "query?query=irate(hits_total%5B5m%5D)",
            "the function irate: not supported; supported are selectors",
        ),
        ("query?query=hits&time=soon", "time: \"soon\": seconds since 1970 or RFC 3339"),
        ("query?query=hits&timeout=soon", "timeout: \"soon\": seconds, or a duration"),
        ("query?query=%ff", "is not percent-encoded UTF-8"),
        ("query?query=a_b", "a_b would be the metric of a-b and of a_b: rename one of the series"),
        ("query_range?query=hits&start=0&end=1", "step: missing"),
        ("query_range?query=hits&start=0&end=11000&step=1", "at most 11000"),
        ("query_range?query=hits%5B5m%5D&start=0&end=1&step=1", "has no value at an instant"),
        ("series", "match[]: missing"),
        ("series?match[]=rate(hits%5B5m%5D)", "match[]: "),
        ("labels?limit=x", "limit: \"x\""),
    ] {
        let found = refusal(&get(path), 400, "bad_data");
        assert!(found.contains(told), "{path}: {found}");
    }
    let points: Vec<String> = (0..10_001).map(|key| format!("{{\"key\":\"k{key}\"}}")).collect();
    for points in points.chunks(5_001) {
        client
            .header("Content-Type", "application/x-ndjson")
            .post("/v1/series/many", points.join("\n"))
            .expect(202);
    }
    let found = refusal(&get("query?query=many&time=1795176003"), 422, "execution");
    assert!(found.contains("more than 10000 keys: name them"), "{found}");
    assert_eq!(vector(&ask(&client, "many{key=~\"k1.*\"}", 0)), []);
    let found = refusal(
        &get("query?query=%7Bkey%3D%22k1%22%7D%20%2B%20on()%20%7Bkey%3D%22k1%22%7D&time=1795176100"),
        422,
        "execution",
    );
    assert!(found.contains("duplicate series on the right side"), "{found}");
    let days = "query_range?query=many%7Bkey%3D~%22k1%7Ck2%22%7D&start=1725176003&end=1795176003&step=10d";
    assert_eq!(get(days).expect(200)["data"]["result"], json!([]));
    // A POST body that is too large, and an unknown path.
    let large = client.post("/api/v1/query", vec![b'a'; 2 << 20]);
    assert_eq!(refusal(&large, 413, "bad_data"), "a body has at most 1048576 bytes");
    client.get("/api/v1/rules").problem(404);
}
