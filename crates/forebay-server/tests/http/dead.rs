use serde_json::json;

use crate::support::Server;

/// A server on which rows of `projects` are among the dead letters: their sums would leave 64 bits.
fn with_letters(rows: &[&str]) -> Server {
    let server = Server::example();
    for hits in [i64::MAX, 1] {
        for id in rows {
            let body = json!({"row": {"id": id}, "columns": {"hits": hits, "last_seen": 1_767_225_600}});
            server.client().post("/v1/buffers/projects", body.to_string()).expect(202);
        }
        server.client().post("/v1/buffers/projects/flush", "").expect(200);
    }
    server
}

#[test]
fn a_dead_letter_is_listed_and_replayed_once_after_it_is_mended() {
    let server = with_letters(&["42"]);
    let client = server.client();
    assert_eq!(client.get("/v1/buffers/projects/stats").expect(200)["dead_rows"], 1);
    let page = client.get("/v1/buffers/projects/dead").expect(200);
    let letter = &page["letters"][0];
    assert_eq!((&letter["row"], &letter["misfit"]), (&json!({"id": "42"}), &json!(null)), "{page}");
    assert_eq!(letter["columns"], json!({"hits": 1, "last_seen": "2026-01-01T00:00:00Z"}));
    assert!(letter["reason"].as_str().is_some_and(|why| why.contains("64 bits")), "{page}");
    assert_eq!(page["next"], json!(null));

    let replay = |body: serde_json::Value| client.post("/v1/buffers/projects/dead", body.to_string());
    let named = json!({"ids": [letter["id"], letter["id"], 999]});
    let again = replay(named.clone()).expect(200);
    assert_eq!((&again["applied"], &again["refused"], &again["unknown"]), (&0.into(), &1.into(), &1.into()));
    assert!(again["reason"].as_str().is_some_and(|why| why.contains("64 bits")), "{again}");

    client.post("/v1/buffers/projects", r#"{"row":{"id":"42"},"columns":{"hits":-7}}"#).expect(202);
    client.post("/v1/buffers/projects/flush", "").expect(200);
    let done = json!({"applied": 1, "refused": 0, "unknown": 1, "reason": null});
    assert_eq!(replay(named.clone()).expect(200), done);
    let gone = json!({"applied": 0, "refused": 0, "unknown": 2, "reason": null});
    assert_eq!(replay(named).expect(200), gone);
    assert_eq!(client.get("/v1/buffers/projects?id=42").expect(200)["value"]["hits"], i64::MAX - 6);
    assert_eq!(client.get("/v1/buffers/projects/stats").expect(200)["dead_rows"], 0);
}

#[test]
fn dead_letters_come_in_pages_and_all_of_them_are_replayed() {
    let server = with_letters(&["a", "b", "c"]);
    let client = server.client();
    let metrics = client.get("/metrics").body;
    let line = "forebay_buffer_dead_letters{buffer=\"projects\"} 3";
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
    let mut rows = vec![];
    let mut after = json!(0);
    while !after.is_null() {
        let page = client.get(&format!("/v1/buffers/projects/dead?limit=2&after={after}")).expect(200);
        rows.extend(
            page["letters"].as_array().expect("a page").iter().map(|letter| letter["row"]["id"].clone()),
        );
        after = page["next"].clone();
    }
    // The order depends on the order in which the partitions were flushed.
    rows.sort_by_key(ToString::to_string);
    assert_eq!(rows, ["a", "b", "c"]);

    let all = || client.post("/v1/buffers/projects/dead", r#"{"all":true}"#);
    assert_eq!(all().expect(200)["refused"], 3);
    for id in ["a", "b"] {
        let body = json!({"row": {"id": id}, "columns": {"hits": -1}}).to_string();
        client.post("/v1/buffers/projects", body).expect(202);
    }
    client.post("/v1/buffers/projects/flush", "").expect(200);
    let some = all().expect(200);
    assert_eq!((&some["applied"], &some["refused"]), (&2.into(), &1.into()), "{some}");

    client.post("/v1/buffers/projects/pause", "").expect(200);
    assert!(all().problem(409).contains("/resume"));
    // Reading still works.
    assert_eq!(client.get("/v1/buffers/projects/dead").expect(200)["letters"][0]["row"]["id"], "c");
    client.post("/v1/buffers/projects/resume", "").expect(200);
}

#[test]
fn an_invalid_query_of_dead_letters_is_refused_with_a_valid_one() {
    let server = Server::example();
    let client = server.client();
    for (path, status, expected) in [
        ("/v1/buffers/project/dead", 404, "did you mean \"projects\"?"),
        ("/v1/buffers/projects/dead?limit=0", 422, "1 to 1000"),
        ("/v1/buffers/projects/dead?limit=1001", 422, "1 to 1000"),
        ("/v1/buffers/projects/dead?after=-1", 422, "query"),
        ("/v1/buffers/projects/dead?page=2", 422, "unknown field `page`"),
    ] {
        let detail = client.get(path).problem(status);
        assert!(detail.contains(expected), "{path}: {detail}");
    }
    let many = json!({"ids": (0..10_001).collect::<Vec<u32>>()}).to_string();
    for (body, expected) in [
        ("{}", "\"all\":true"),
        (r#"{"ids":[1],"all":true}"#, "one of"),
        (r#"{"all":false}"#, "one of"),
        (r#"{"ids":[-1]}"#, "invalid value"),
        (r#"{"id":[1]}"#, "unknown field"),
        (&*many, "at most 10000"),
    ] {
        let detail = client.post("/v1/buffers/projects/dead", body).problem(422);
        assert!(detail.contains(expected), "{expected}: {detail}");
    }
    let none = json!({"applied": 0, "refused": 0, "unknown": 0, "reason": null});
    assert_eq!(client.post("/v1/buffers/projects/dead", r#"{"ids":[]}"#).expect(200), none);
}
