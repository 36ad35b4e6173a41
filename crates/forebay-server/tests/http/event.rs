use forebay_testkit::wait_until;
use serde_json::json;

use crate::support::Server;

#[test]
fn of_25_hits_in_a_window_20_are_accepted_counted_and_flushed() {
    of_25_hits_20_are_accepted(Server::with(|example| example.replace("20/1m", "20/1d")));
}

/// The talk's example end to end: limited, counted, buffered, flushed.
pub(crate) fn of_25_hits_20_are_accepted(mut server: Server) {
    let client = server.client();
    let answers: Vec<_> = (0..25).map(|_| client.post("/v1/events/hit", r#"{"key":"42"}"#)).collect();
    let (accepted, limited): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 202);
    assert_eq!((accepted.len(), limited.len()), (20, 5));
    for answer in accepted {
        assert_eq!(answer.json(), json!({"accepted": 1, "limited": 0}));
    }
    for answer in limited {
        let detail = answer.problem(429);
        assert!(detail.starts_with("limit hits: 20 of 20 used; try again in "), "{detail}");
        let retry_after: u64 = answer.header("retry-after").expect("Retry-After").parse().expect("seconds");
        let body = answer.json();
        assert!(
            retry_after >= 1 && retry_after as f64 >= body["retry_after"].as_f64().expect("seconds"),
            "{body}"
        );
        for (member, value) in
            [("allowed", json!(false)), ("used", json!(20)), ("limit", json!(20)), ("remaining", json!(0))]
        {
            assert_eq!(body[member], value, "{member} of {body}");
        }
        assert_eq!(
            (&body["accepted"], &body["limited"], &body["denied_by"]),
            (&json!(0), &json!(1), &json!("hits"))
        );
    }
    let sum = |series: &str| {
        client.get(&format!("/v1/series/{series}/sum?key=42&from=-1h&to=now")).expect(200)["sum"].clone()
    };
    assert_eq!(sum("hits"), json!(20));
    // The denied hits are sent in batches, about once a second.
    wait_until("the limited hits to be counted", || sum("hits.limited") == json!(5));

    assert_eq!(client.get("/v1/buffers/projects/stats").expect(200)["pending_rows"], 1);
    assert_eq!(client.post("/v1/buffers/projects/flush", "").expect(200), json!({"rows": 1}));
    let stats = client.get("/v1/buffers/projects/stats").expect(200);
    assert_eq!((&stats["pending_rows"], &stats["frozen_batches"]), (&json!(0), &json!(0)), "{stats}");
    assert_eq!(rows(&server), [("42".to_owned(), 20)]);

    // Stopping flushes the hits that came after the flush.
    client.post("/v1/events/hit", r#"{"key":"43","n":7}"#).expect(202);
    server.stop();
    assert_eq!(rows(&server), [("42".to_owned(), 20), ("43".to_owned(), 7)]);
}

/// The rows in SQLite, read without the server.
pub(crate) fn rows(server: &Server) -> Vec<(String, i64)> {
    let url = format!("sqlite:{}", server.database().display());
    tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        use sqlx::Connection;
        let mut connection = sqlx::SqliteConnection::connect(&url).await.expect("the database");
        let rows =
            sqlx::query_as("SELECT id, hits FROM projects ORDER BY id").fetch_all(&mut connection).await;
        rows.expect("the table")
    })
}

#[test]
fn a_restart_keeps_limits_series_and_rows() {
    let mut server = Server::with(|example| example.replace("20/1m", "20/1d"));
    server.client().post("/v1/events/hit", r#"{"key":"42","n":15}"#).expect(202);
    server.stop();
    server.start();
    let client = server.client();
    client.post("/v1/events/hit", r#"{"key":"42","n":6}"#).problem(429);
    client.post("/v1/events/hit", r#"{"key":"42","n":5}"#).expect(202);
    assert_eq!(client.get("/v1/series/hits/sum?key=42&from=-1h").expect(200)["sum"], 20);
    assert_eq!(client.get("/v1/buffers/projects?id=42").expect(200)["value"]["hits"], 20);
}

#[test]
fn an_integer_key_is_its_decimal_text() {
    let server = Server::example();
    let client = server.client();
    client.post("/v1/events/hit", r#"{"key":42}"#).expect(202);
    client.post("/v1/events/hit", r#"{"key":"42"}"#).expect(202);
    assert_eq!(client.get("/v1/limits/hits?key=42").expect(200)["used"], 2);
}

#[test]
fn n_hits_are_taken_whole_or_not_at_all() {
    let server = Server::with(|example| example.replace("20/1m", "20/1d"));
    let client = server.client();
    assert_eq!(
        client.post("/v1/events/hit", r#"{"key":"a","n":15}"#).expect(202),
        json!({"accepted": 15, "limited": 0})
    );
    let answer = client.post("/v1/events/hit", r#"{"key":"a","n":6}"#);
    answer.problem(429);
    assert_eq!(answer.json()["limited"], 6);
    client.post("/v1/events/hit", r#"{"key":"a","n":5}"#).expect(202);
    let never = client.post("/v1/events/hit", r#"{"key":"b","n":21}"#).problem(422);
    assert!(never.contains("a cost is 1 to 20"), "{never}");
}

#[test]
fn a_time_dates_the_point_and_the_row_but_not_the_limit() {
    let server = Server::example();
    let client = server.client();
    client.post("/v1/events/hit", r#"{"key":"a","at":"2026-01-01T00:00:00Z"}"#).expect(202);
    assert_eq!(client.get("/v1/limits/hits?key=a").expect(200)["used"], 1);
    let value = client.get("/v1/buffers/projects?id=a").expect(200)["value"].clone();
    assert_eq!(value, json!({"hits": 1, "last_seen": "2026-01-01T00:00:00Z"}));
    let day = "/v1/series/hits/sum?key=a&from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z";
    assert_eq!(client.get(day).expect(200)["sum"], 1);
    client.post("/v1/events/hit", r#"{"key":"a","at":1767225601.5}"#).expect(202);
    assert_eq!(client.get(day).expect(200)["sum"], 2);
}

#[test]
fn a_batch_answers_line_by_line_and_counts_hits() {
    let server = Server::with(|example| example.replace("20/1m", "20/1d"));
    let client = server.client();
    let lines = [
        r#"{"key":"a","n":5}"#,
        r#"{"key":"a","n":20}"#,
        r#"{"kez":"a"}"#,
        r#"{"key":"a","n":15}"#,
        r#"{"key":1}"#,
    ];
    let array = client.post("/v1/events/hit", format!("[{}]", lines.join(","))).expect(200);
    assert_eq!(
        (&array["accepted"], &array["limited"], &array["invalid"]),
        (&json!(21), &json!(20), &json!(1)),
        "{array}"
    );
    let results = array["results"].as_array().expect("a list");
    assert_eq!(
        [&results[0], &results[1], &results[3], &results[4]],
        ["accepted", "limited", "accepted", "accepted"]
    );
    assert_eq!(results[2]["field"], "kez", "{array}");

    let fresh = Server::with(|example| example.replace("20/1m", "20/1d"));
    let body = format!("{}\n\nnot json\n", lines.join("\n"));
    let ndjson = fresh
        .client()
        .header("Content-Type", "application/x-ndjson; charset=utf-8")
        .post("/v1/events/hit", body);
    let ndjson = ndjson.expect(200);
    assert_eq!(
        (&ndjson["accepted"], &ndjson["limited"], &ndjson["invalid"]),
        (&json!(21), &json!(20), &json!(2))
    );
    assert_eq!(ndjson["results"].as_array().map(Vec::len), Some(6), "{ndjson}");
}

#[test]
fn a_batch_has_at_most_10_000_items() {
    let server = Server::with(|example| example.replace("20/1m", "1000000/1d"));
    let client = server.client();
    let items = |n| format!("[{}]", vec![r#"{"key":"a"}"#; n].join(","));
    assert_eq!(client.post("/v1/events/hit", items(10_000)).expect(200)["accepted"], 10_000);
    let detail = client.post("/v1/events/hit", items(10_001)).problem(413);
    assert!(detail.contains("at most 10000"), "{detail}");
    assert_eq!(client.get("/v1/limits/hits?key=a").expect(200)["used"], 10_000);
    assert_eq!(
        client.post("/v1/events/hit", "[]").expect(200),
        json!({"accepted": 0, "limited": 0, "invalid": 0, "results": []})
    );
}

#[test]
fn several_limits_decide_together() {
    let server = Server::with(|example| {
        let limits = r#"limits = ["hits", { name = "global", key = "*" }]"#;
        example.replace("20/1m", "20/1d").replace("limits = [\"hits\"]", limits)
            + "\n[limits.global]\nrate = \"3/1d\"\n"
    });
    let client = server.client();
    let statuses: Vec<u16> = ["a", "b", "c", "d"]
        .iter()
        .map(|key| client.post("/v1/events/hit", format!(r#"{{"key":"{key}"}}"#)).status)
        .collect();
    assert_eq!(statuses, [202, 202, 202, 429]);
    // The global limit denied it, so the key's own limit was not charged.
    assert_eq!(client.get("/v1/limits/hits?key=d").expect(200)["used"], 0);
    assert_eq!(client.get("/v1/limits/global?key=*").expect(200)["used"], 3);
}

#[test]
fn a_key_that_is_no_integer_is_refused_where_the_row_needs_one() {
    let server =
        Server::with(|example| example.replace("key = { id = \"text\" }", "key = { id = \"integer\" }"));
    let client = server.client();
    client.post("/v1/events/hit", r#"{"key":"42"}"#).expect(202);
    let detail = client.post("/v1/events/hit", r#"{"key":"x"}"#).problem(422);
    assert!(detail.contains("is not an integer"), "{detail}");
    assert_eq!(client.get("/v1/limits/hits?key=x").expect(200)["used"], 0);
}

/// Adds a second buffer, `few`, which one row fills.
pub(crate) fn with_a_full_buffer(example: &str) -> String {
    let both = r#"buffers = [
    { name = "projects", row = { id = "$key" }, columns = { hits = "$n", last_seen = "$at" } },
    { name = "few", row = { id = "$key" }, columns = { hits = "$n" } },
]"#;
    let lines = example.lines().map(|line| if line.starts_with("buffer = ") { both } else { line });
    lines.collect::<Vec<_>>().join("\n")
        + "\n[buffers.few]\nkey = { id = \"text\" }\ncolumns = { hits = \"sum\" }\nflush_every = \"1h\"\nsoft_rows = 1\nhard_rows = 1\n"
}

/// The answer once was `buffer: "no"` and `retry: "later"`. Four failed tries and one success then made 5 in SQL.
#[test]
fn a_hit_that_one_buffer_refuses_names_what_was_applied() {
    let server = Server::with(|example| with_a_full_buffer(&example.replace("20/1m", "1000/1d")));
    let client = server.client();
    let mut answer = None;
    forebay_testkit::wait_until("the second buffer to be full", || {
        let hit = client.post("/v1/events/hit", r#"{"key":"a"}"#);
        let hit = if hit.status == 202 { client.post("/v1/events/hit", r#"{"key":"b"}"#) } else { hit };
        let full = hit.status == 503;
        answer = Some(hit);
        full
    });
    let answer = answer.expect("an answer");
    answer.problem(503);
    let body = answer.json();
    let applied = json!({"limit": "yes", "series": "yes", "buffer": {"projects": "yes", "few": "no"}});
    assert_eq!((&body["applied"], &body["retry"]), (&applied, &json!("unknown")), "{body}");

    let batch = client.post("/v1/events/hit", r#"[{"key":"c"},{"kez":1}]"#).expect(200);
    assert_eq!((&batch["failed"], &batch["invalid"]), (&json!(1), &json!(1)), "{batch}");
    let line = &batch["results"][0];
    assert_eq!((&line["applied"], &line["retry"]), (&applied, &json!("unknown")), "{batch}");
    assert_eq!(batch["results"][1]["retry"], json!(null), "{batch}");
}

/// The hit was accepted, but the point was dropped without a word.
#[test]
fn a_hit_that_is_late_for_its_series_says_so() {
    let server = Server::example();
    let client = server.client();
    let late = r#"{"key":"a","at":"2001-01-01T00:00:00Z"}"#;
    let body = client.post("/v1/events/hit", late).expect(202);
    assert_eq!(body, json!({"accepted": 1, "limited": 0, "late": ["hits"]}));
    let batch = client.post("/v1/events/hit", format!("[{late},{late}]")).expect(200);
    assert_eq!(
        (&batch["accepted"], &batch["late"], &batch["invalid"]),
        (&json!(2), &json!(2), &json!(0)),
        "{batch}"
    );
    assert_eq!(client.get("/v1/buffers/projects?id=a").expect(200)["value"]["hits"], 3);

    // No other part of the event keeps the hit, so it is refused before a charge.
    let lines = |example: String| {
        let lines = example.lines().filter(|line| !line.starts_with("buffer = "));
        lines.collect::<Vec<_>>().join("\n")
    };
    let alone = Server::with(lines);
    let detail = alone.client().post("/v1/events/hit", late).problem(422);
    assert!(detail.contains("series hits"), "{detail}");
    assert_eq!(alone.client().get("/v1/limits/hits?key=a").expect(200)["used"], 0);
}
