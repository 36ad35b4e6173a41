use serde_json::json;

use crate::support::Server;

fn server() -> Server {
    let buffer = "\n[buffers.visits]\nkey = { site = \"uuid\", page = \"integer\" }\n\
        columns = { n = \"sum\", first = { merge = \"min\", type = \"timestamp\" }, name = { merge = \"max\", type = \"text\" } }\n";
    Server::with(|example| example + buffer)
}

const SITE: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

#[test]
fn a_row_is_pending_until_it_is_flushed_and_its_value_is_both() {
    let server = server();
    let client = server.client();
    let write = |columns: serde_json::Value| {
        let body = json!({"row": {"site": SITE, "page": 7}, "columns": columns}).to_string();
        client.post("/v1/buffers/visits", body).expect(202)
    };
    let ask = || client.get(&format!("/v1/buffers/visits?site={SITE}&page=7")).expect(200);
    let nothing = json!({"n": null, "first": null, "name": null});
    assert_eq!(ask(), json!({"pending": nothing, "value": nothing}));

    assert_eq!(write(json!({"n": 3, "first": "2026-01-01T00:00:00Z", "name": "b"})), json!({"accepted": 1}));
    write(json!({"n": -1, "first": 1_767_225_590, "name": "a"}));
    let row = json!({"n": 2, "first": "2025-12-31T23:59:50Z", "name": "b"});
    assert_eq!(ask(), json!({"pending": row, "value": row}));
    assert_eq!(client.post("/v1/buffers/visits/flush", "").expect(200), json!({"rows": 1}));
    assert_eq!(ask(), json!({"pending": nothing, "value": row}));
    write(json!({"n": 40}));
    assert_eq!(ask()["value"]["n"], 42);
    let stats = client.get("/v1/buffers/visits/stats").expect(200);
    assert_eq!(
        (&stats["pending_rows"], &stats["paused"], &stats["dead_rows"]),
        (&json!(1), &json!(false), &json!(0))
    );
    assert!(stats["oldest_age"].as_f64().is_some_and(|age| age >= 0.0), "{stats}");
}

#[test]
fn a_batch_writes_what_is_well_formed() {
    let server = Server::example();
    let client = server.client();
    let batch = r#"[{"row":{"id":"a"},"columns":{"hits":1}},{"row":{"id":"a"},"columns":{"hist":1}},
        {"row":{"id":7},"columns":{"hits":2}},{"row":{"id":"a"},"columns":{"hits":2}}]"#;
    let answer = client.post("/v1/buffers/projects", batch).expect(202);
    assert_eq!((&answer["accepted"], &answer["invalid"]), (&json!(3), &json!(1)), "{answer}");
    assert_eq!(answer["results"][1]["field"], "columns.hist");
    assert_eq!(client.get("/v1/buffers/projects?id=a").expect(200)["pending"]["hits"], 3);
    assert_eq!(client.get("/v1/buffers/projects?id=7").expect(200)["pending"]["hits"], 2);
}

#[test]
fn a_write_that_does_not_fit_names_the_column() {
    let server = server();
    let client = server.client();
    let cases = [
        (json!({"row": {"id": "a"}, "columns": {"hist": 1}}), "columns.hist", "did you mean \"hits\"?"),
        (json!({"row": {"idd": "a"}, "columns": {"hits": 1}}), "row.idd", "did you mean \"id\"?"),
        (json!({"row": {}, "columns": {"hits": 1}}), "row.id", "lacks the key column id"),
        (json!({"row": {"id": ""}, "columns": {"hits": 1}}), "", "key column id is empty"),
        (json!({"row": {"id": "x".repeat(513)}, "columns": {"hits": 1}}), "", "1 to 512"),
        (json!({"row": {"id": true}, "columns": {"hits": 1}}), "row.id", "where a string is accepted"),
        (json!({"row": {"id": "a"}, "columns": {}}), "", "names no column"),
        (
            json!({"row": {"id": "a"}, "columns": {"hits": 1.5}}),
            "columns.hits",
            "an integer from -2^63 to 2^63-1",
        ),
        (
            json!({"row": {"id": "a"}, "columns": {"hits": 9_223_372_036_854_775_808_u64}}),
            "columns.hits",
            "an integer from",
        ),
        (
            json!({"row": {"id": "a"}, "columns": {"last_seen": "yesterday"}}),
            "columns.last_seen",
            "a time, RFC 3339",
        ),
        (
            json!({"row": {"id": "a"}, "columns": {"last_seen": null}}),
            "columns.last_seen",
            "a time, RFC 3339",
        ),
        (json!({"row": {"id": "a"}}), "", "missing field `columns`"),
        (json!({"row": [], "columns": {}}), "row", "an object of columns and their values"),
    ];
    for (body, field, expected) in cases {
        let answer = client.post("/v1/buffers/projects", body.to_string());
        let detail = answer.problem(422);
        assert!(detail.contains(expected), "{body}: {detail}");
        assert_eq!(answer.json()["field"].as_str().unwrap_or_default(), field, "{body}");
    }
    let twice = client
        .post("/v1/buffers/projects", r#"{"row":{"id":"a"},"columns":{"hits":1,"hits":2}}"#)
        .problem(422);
    assert!(twice.contains("column \"hits\" is written twice"), "{twice}");
    assert_eq!(client.get("/v1/buffers/projects/stats").expect(200)["pending_rows"], 0);

    for (path, status, expected) in [
        ("/v1/buffers/projects", 422, "lacks the key column id"),
        ("/v1/buffers/projects?id=a&id=b", 422, "given twice"),
        ("/v1/buffers/projects?id=a&page=1", 422, "unknown key column \"page\""),
        ("/v1/buffers/project?id=a", 404, "did you mean \"projects\"?"),
        ("/v1/buffers/visits?site=no&page=1", 422, "where a UUID is accepted"),
    ] {
        let detail = client.get(path).problem(status);
        assert!(detail.contains(expected), "{path}: {detail}");
    }
}

/// Rows of a buffer that was removed from the configuration stayed in the store unnoticed.
#[test]
fn rows_of_an_undeclared_buffer_are_reported() {
    let mut server = server();
    server.stop();
    let url = format!("embedded:{}", server.store().display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let bay = forebay::Forebay::open(&url).await.expect("opens");
        let buffer = bay.buffer(forebay::Buffer::new("former").key("id").sum("n")).expect("valid");
        buffer.row("a").add("n", 1).await.expect("acknowledged");
        bay.close().await.expect("closes");
    });
    server.start();
    let client = server.client();
    let ready = client.get("/readyz").expect(200);
    let warning = ready["warnings"][0].as_str().expect("a warning");
    assert!(warning.contains("buffer former") && warning.contains("1 of its rows"), "{warning}");

    let names: Vec<String> = client
        .get("/v1/buffers")
        .expect(200)
        .as_array()
        .expect("a list")
        .iter()
        .map(|buffer| buffer["name"].as_str().expect("a name").to_owned())
        .collect();
    assert_eq!(names, ["projects", "visits"]);
}

#[test]
fn a_paused_buffer_takes_writes_and_flushes_nothing() {
    let server = server();
    let client = server.client();
    assert_eq!(client.post("/v1/buffers/projects/pause", "").expect(200), json!({"paused": true}));
    client.post("/v1/buffers/projects", r#"{"row":{"id":"a"},"columns":{"hits":1}}"#).expect(202);
    let detail = client.post("/v1/buffers/projects/flush", "").problem(409);
    assert!(detail.contains("/resume"), "{detail}");
    let stats = client.get("/v1/buffers/projects/stats").expect(200);
    assert_eq!((&stats["paused"], &stats["pending_rows"]), (&json!(true), &json!(1)));
    let ready = client.get("/readyz").expect(200);
    assert!(
        ready["warnings"][0].as_str().is_some_and(|warning| warning.contains("projects is paused")),
        "{ready}"
    );
    let metrics = client.get("/metrics").body;
    for line in
        ["forebay_buffer_paused{buffer=\"projects\"} 1", "forebay_buffer_live_rows{buffer=\"projects\"} 1"]
    {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
    client.post("/v1/buffers/projects/pause", "").expect(200);
    assert_eq!(client.post("/v1/buffers/projects/resume", "").expect(200), json!({"paused": false}));
    client.post("/v1/buffers/projects/flush", "").expect(200);
    assert_eq!(client.get("/v1/buffers/projects/stats").expect(200)["pending_rows"], 0);
    client.post("/v1/buffers/project/pause", "").problem(404);
}

#[test]
fn writes_are_refused_with_a_time_to_retry_while_too_much_waits() {
    let server = Server::with(|example| example.replace("# hard_rows = 10000000", "hard_rows = 3"));
    let client = server.client();
    client.post("/v1/buffers/projects/pause", "").expect(200);
    let batch = (0..5).map(|id| json!({"row": {"id": id.to_string()}, "columns": {"hits": 1}})).collect();
    client.post("/v1/buffers/projects", serde_json::Value::Array(batch).to_string()).expect(202);
    // A request for the statistics also updates the pressure that the writers see.
    assert_eq!(client.get("/v1/buffers/projects/stats").expect(200)["pressure"], "hard");
    let refused = client.post("/v1/buffers/projects", r#"{"row":{"id":"9"},"columns":{"hits":1}}"#);
    assert!(refused.problem(503).contains("below 3 rows"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    client.post("/v1/buffers/projects/resume", "").expect(200);
    client.post("/v1/buffers/projects/flush", "").expect(200);
    assert_eq!(client.get("/v1/buffers/projects/stats").expect(200)["pressure"], "none");
    client.post("/v1/buffers/projects", r#"{"row":{"id":"9"},"columns":{"hits":1}}"#).expect(202);
}
