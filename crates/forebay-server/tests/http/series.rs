use serde_json::json;

use crate::support::Server;

#[test]
fn points_are_summed_and_listed_zero_filled() {
    let server = Server::example();
    let client = server.client();
    for (key, at) in
        [("a", "2026-01-01T00:00:03Z"), ("a", "2026-01-01T00:00:29Z"), ("b", "2026-01-01T00:00:03Z")]
    {
        let body = json!({"key": key, "n": 2, "at": at}).to_string();
        assert_eq!(client.post("/v1/series/hits", body).expect(202), json!({"accepted": 1}));
    }
    let ask = |what: &str| {
        client.get(&format!("/v1/series/hits{what}key=a&from=2026-01-01T00:00:00Z&to=2026-01-01T03:00:00Z"))
    };
    let (from, to) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    assert_eq!(ask("/sum?").expect(200), json!({"sum": 4, "from": from, "to": to}), "kept by the day");
    let range = ask("?step=1d&").expect(200);
    assert_eq!(
        range,
        json!({"key": "a", "start": from, "step": 86400, "coarsened": false, "values": [4], "sum": 4, "from": from,
            "to": to, "partial": {"first": false, "last": false}})
    );
    assert_eq!(ask("?step=10s&").expect(200)["coarsened"], json!(true));

    client.post("/v1/series/hits", r#"{"key":"now","n":3}"#).expect(202);
    let range = client.get("/v1/series/hits?key=now&from=-1m&step=10s").expect(200);
    let values: Vec<u64> =
        range["values"].as_array().expect("a list").iter().filter_map(serde_json::Value::as_u64).collect();
    assert!(values.len() >= 6 && values.iter().sum::<u64>() == 3, "{range}");
    assert_eq!((&range["step"], &range["sum"]), (&json!(10), &json!(3)));
}

#[test]
fn a_range_adds_up_to_the_sum_and_says_which_points_are_partial() {
    let server = Server::example();
    let client = server.client();
    let now = forebay::Clock::system().now();
    for (minutes, n) in [(70, 1), (61, 2), (59, 4), (1, 8)] {
        let at = now.minus(forebay::time::mins(minutes));
        client
            .post("/v1/series/hits", json!({"key": "a", "n": n, "at": at.to_string()}).to_string())
            .expect(202);
    }
    // The first hour begins up to an hour before the span. The span's own start decides.
    let span = format!("from={}&to={now}", now.minus(forebay::time::hours(1)));
    let sum = client.get(&format!("/v1/series/hits/sum?key=a&{span}")).expect(200);
    let range = client.get(&format!("/v1/series/hits?key=a&step=1h&{span}")).expect(200);
    assert_eq!((&sum["sum"], &range["sum"]), (&json!(12), &json!(12)), "{range}");
    assert_eq!((&sum["from"], &sum["to"]), (&range["from"], &range["to"]));
    assert_eq!(range["partial"]["first"], json!(range["start"] != range["from"]));
    let days =
        client.get("/v1/series/hits?key=a&from=2026-01-01T00:00:00Z&to=2026-01-03T00:00:00Z").expect(200);
    assert_eq!(days["partial"], json!({"first": false, "last": false}), "whole days");
}

/// Clocks go back on 25 October 2015 in Berlin: that Sunday has 25 hours.
#[test]
fn days_and_months_are_those_of_a_time_zone() {
    let server = Server::with(|config| config + "\n[series.fine]\nresolutions = [\"15m/30y\"]\n");
    let client = server.client();
    for at in ["2015-10-24T21:59:59Z", "2015-10-24T22:00:00Z", "2015-10-25T22:59:59Z", "2015-10-25T23:00:00Z"]
    {
        let body = json!({"key": "a", "at": at}).to_string();
        client.post("/v1/series/fine", body).expect(202);
    }
    let ask = |rest: &str| {
        client.get(&format!("/v1/series/fine?key=a&from=2015-10-23T22:00:00Z&to=2015-10-26T23:00:00Z&{rest}"))
    };
    let range = ask("step=day&tz=Europe/Berlin").expect(200);
    let starts = ["2015-10-23T22:00:00Z", "2015-10-24T22:00:00Z", "2015-10-25T23:00:00Z"];
    assert_eq!(
        range,
        json!({"key": "a", "start": starts[0], "step": "day", "starts": starts, "coarsened": false, "values": [1, 2, 1],
            "sum": 4, "from": starts[0], "to": "2015-10-26T23:00:00Z", "partial": {"first": false, "last": false}})
    );
    let weeks = ask("step=week&tz=Europe/Berlin").expect(200);
    assert_eq!((&weeks["values"], &weeks["partial"]["first"]), (&json!([3, 1]), &json!(true)), "{weeks}");
    let months = ask("step=month").expect(200);
    assert_eq!(
        (&months["values"], &months["start"]),
        (&json!([4]), &json!("2015-10-01T00:00:00Z")),
        "{months}"
    );

    let detail = ask("step=days").problem(422);
    assert!(detail.starts_with("step: span \"days\"") && detail.ends_with("or day, week, month"), "{detail}");
    let detail = ask("step=day&tz=Europe/Berlinn").problem(422);
    assert!(detail.contains("did you mean \"Europe/Berlin\"?"), "{detail}");
}

#[test]
fn a_batch_counts_what_is_well_formed() {
    let server = Server::example();
    let client = server.client();
    let answer = client.post("/v1/series/hits", r#"[{"key":"a","n":2},{"key":""},{"key":"a"}]"#).expect(202);
    assert_eq!((&answer["accepted"], &answer["invalid"]), (&json!(2), &json!(1)), "{answer}");
    assert_eq!((&answer["results"][0], &answer["results"][1]["field"]), (&json!("accepted"), &json!("key")));
    assert_eq!(client.get("/v1/series/hits/sum?key=a&from=-1h").expect(200)["sum"], json!(3));
}

#[test]
fn a_point_beyond_every_retention_is_refused() {
    let server = Server::example();
    let client = server.client();
    let old = r#"{"key":"a","n":3,"at":"2020-01-01T00:00:00Z"}"#;
    let detail = client.post("/v1/series/hits", old).problem(422);
    assert!(detail.contains("at most 63072000, the longest retention"), "{detail}");
    // Only the bucket of a day still has the point. The finer ones have expired.
    let kept = r#"{"key":"a","n":5,"at":"-100d"}"#.replace("-100d", &hundred_days_ago());
    let answer = client.post("/v1/series/hits", format!("[{old},{kept},{old}]")).expect(202);
    assert_eq!((&answer["accepted"], &answer["invalid"]), (&json!(1), &json!(2)), "{answer}");
    assert_eq!(answer["results"][1], json!("accepted"));
    let error = answer["results"][2]["error"].as_str().expect("a text");
    assert!(error.contains("the longest retention"), "{error}");
    let sum = client.get("/v1/series/hits/sum?key=a&from=-101d").expect(200);
    assert_eq!(sum["sum"], json!(5));
    let metrics = client.get("/metrics").body;
    assert!(metrics.contains("forebay_series_late_total{series=\"hits\"} 9"), "{metrics}");
}

fn hundred_days_ago() -> String {
    use forebay::{Clock, time::days};
    Clock::system().now().minus(days(100)).to_string()
}

#[test]
fn a_deleted_key_is_empty() {
    let server = Server::example();
    let client = server.client();
    client.post("/v1/series/hits", r#"{"key":"a"}"#).expect(202);
    assert_eq!(client.delete("/v1/series/hits?key=a").status, 204);
    assert_eq!(client.get("/v1/series/hits/sum?key=a").expect(200)["sum"], json!(0));
}

#[test]
fn invalid_queries_are_refused_with_the_reason() {
    let server = Server::example();
    let client = server.client();
    let cases = [
        ("/v1/series/hist?key=a", 404, "did you mean \"hits\"?"),
        ("/v1/series/hits", 422, "missing field `key`"),
        ("/v1/series/hits?key=", 422, "1 to 512 bytes"),
        ("/v1/series/hits?key=a&stap=1", 422, "unknown field `stap`"),
        ("/v1/series/hits?key=a&from=yesterday", 422, "from: time \"yesterday\": not a time"),
        ("/v1/series/hits?key=a&from=now&to=-1h", 422, "a range ends after it begins"),
        ("/v1/series/hits?key=a&step=10", 422, "step: span \"10\": lacks a unit"),
        ("/v1/series/hits?key=a&step=0s", 422, "step: longer than 0s"),
        ("/v1/series/hits?key=a&step=7s", 422, "step 7s: a multiple of 10s, the finest resolution"),
        ("/v1/series/hits/chart.svg?key=a&step=5s", 422, "a multiple of 10s"),
        ("/v1/series/hits?key=a&from=today&tz=Europe/Berln", 422, "did you mean \"Europe/Berlin\"?"),
        ("/v1/series/hits/chart.svg?key=a&theme=pink", 422, "theme: \"pink\": one of light, dark, auto"),
        ("/v1/series/hits/sum?key=a&step=10s", 422, "unknown field `step`"),
        ("/v1/series/hits.limitd/sum?key=a", 404, "unknown series"),
        ("/v1/series/h%ff?key=a", 400, "path parameter \"series\""),
    ];
    for (path, status, expected) in cases {
        let detail = client.get(path).problem(status);
        assert!(detail.contains(expected), "{path}: {detail}");
    }
}

#[test]
fn a_new_key_beyond_max_keys_is_refused() {
    let sections = "\n[series.few]\nmax_keys = 2\nresolutions = [\"1s/1h\"]\n\
                    [limits.few]\nrate = \"5/1h\"\n[events.few]\nlimit = \"few\"\nseries = \"few\"\n";
    let server = Server::with(|text| text + sections);
    let client = server.client();
    let lines = r#"[{"key":"a"},{"key":"b"},{"key":"c"},{"key":"a"}]"#;
    let answer = client.post("/v1/series/few", lines).expect(202);
    assert_eq!((&answer["accepted"], &answer["failed"]), (&json!(3), &json!(1)), "{answer}");
    let refused = client.post("/v1/series/few", r#"{"key":"d"}"#);
    assert_eq!(refused.status, 503);
    assert!(refused.body.contains("at most 2 (max_keys)") && refused.body.contains("\"retry\":\"later\""));
    let metrics = client.get("/metrics").body;
    for line in
        ["forebay_series_keys{series=\"few\"} 2", "forebay_series_refused_keys_total{series=\"few\"} 2"]
    {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    // An event with such a key is refused, and its limit is not charged.
    assert_eq!(client.post("/v1/events/few", r#"{"key":"e"}"#).status, 503);
    assert_eq!(client.get("/v1/limits/few?key=e").expect(200)["used"], json!(0));
    client.post("/v1/events/few", r#"{"key":"a"}"#).expect(202);
}

#[test]
fn keys_are_listed_by_prefix_page_by_page() {
    let server = Server::example();
    let client = server.client();
    for key in ["user:1", "user:2", "user:3", "host:1", "user*"] {
        client.post("/v1/series/hits", json!({"key": key}).to_string()).expect(202);
    }
    let list = |rest: &str| client.get(&format!("/v1/series/hits/keys{rest}"));
    let all = json!({"keys": ["host:1", "user*", "user:1", "user:2", "user:3"], "more": false});
    assert_eq!(list("").expect(200), all);
    assert_eq!(
        list("?prefix=user:&limit=2").expect(200),
        json!({"keys": ["user:1", "user:2"], "more": true})
    );
    let rest = json!({"keys": ["user:3"], "more": false});
    assert_eq!(list("?prefix=user:&limit=2&after=user:2").expect(200), rest);
    assert_eq!(list("?prefix=user*").expect(200), json!({"keys": ["user*"], "more": false}));
    for wrong in ["?limit=0", "?limit=10001"] {
        let told = list(wrong).expect(422)["detail"].to_string();
        assert!(told.contains("1 to 10000"), "{told}");
    }
    list("?prefx=a").expect(422);
    client.get("/v1/series/other/keys").expect(404);
    assert_eq!(client.get("/v1/series/hits.limited/keys").expect(200)["keys"], json!([]));
}

#[test]
fn a_key_is_merged_into_another_and_renamed() {
    let server = Server::example();
    let client = server.client();
    for (key, n) in [("a", 2), ("b", 3)] {
        client.post("/v1/series/hits", json!({"key": key, "n": n}).to_string()).expect(202);
    }
    let post = |what: &str, from: &str, to: &str| {
        client.post(&format!("/v1/series/hits/{what}"), json!({"from": from, "to": to}).to_string())
    };
    let told = post("rename", "a", "b").expect(422)["detail"].to_string();
    assert!(told.contains("has counts: merge adds to them"), "{told}");
    assert_eq!(post("merge", "a", "b").expect(200), json!({"moved": 2}));
    assert_eq!(post("merge", "a", "b").expect(200), json!({"moved": 0}));
    assert_eq!(post("rename", "b", "c").expect(200), json!({"moved": 5}));
    let sum =
        |key: &str| client.get(&format!("/v1/series/hits/sum?key={key}&from=-1h")).expect(200)["sum"].clone();
    assert_eq!(["a", "b", "c"].map(sum), [0, 0, 5].map(|n| json!(n)));
    post("merge", "c", "c").expect(422);
    client.post("/v1/series/hits/merge", r#"{"from":"c"}"#).expect(422);
}

#[test]
fn a_span_of_a_key_is_deleted_and_nothing_else() {
    let server = Server::example();
    let client = server.client();
    for at in ["2026-01-01T10:00:00Z", "2026-01-02T10:00:00Z", "2026-01-03T10:00:00Z"] {
        client.post("/v1/series/hits", json!({"key": "a", "n": 2, "at": at}).to_string()).expect(202);
    }
    let delete = |rest: &str| client.delete(&format!("/v1/series/hits?key=a&{rest}"));
    let told = delete("from=2026-01-02T00:00:00Z&to=2026-01-02T12:00:00Z").expect(422)["detail"].to_string();
    assert!(told.contains("counts are kept by 86400 s there"), "{told}");
    assert_eq!(
        delete("from=2026-01-02T00:00:00Z&to=2026-01-03T00:00:00Z").expect(200),
        json!({"deleted": 2})
    );
    let sum = || client.get("/v1/series/hits/sum?key=a&from=2026-01-01T00:00:00Z").expect(200)["sum"].clone();
    assert_eq!(sum(), json!(4));
    assert_eq!(delete("to=2026-01-02T00:00:00Z").expect(200), json!({"deleted": 2}));
    assert_eq!(delete("from=2026-01-03T00:00:00Z").expect(200), json!({"deleted": 2}));
    assert_eq!(sum(), json!(0));
    delete("from=2026-01-03T00:00:00Z&to=2026-01-02T00:00:00Z").expect(422);
    delete("form=2026-01-03T00:00:00Z").expect(422);
}
