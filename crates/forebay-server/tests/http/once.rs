//! `Idempotency-Key`.

use forebay_testkit::wait_until;
use serde_json::json;

use crate::{
    event::with_a_full_buffer,
    support::{Client, Server},
};

#[test]
fn a_request_that_is_repeated_counts_once_and_gets_the_first_answer() {
    let mut server = Server::example();
    let hit = r#"{"key":"42","n":3}"#;
    let point = r#"{"key":"points","n":5}"#;
    let write = r#"{"row":{"id":"rows"},"columns":{"hits":7}}"#;
    let batch = r#"[{"key":"batch"},{"kez":1}]"#;
    let requests = [
        ("/v1/events/hit", "a-1", hit, 202),
        ("/v1/series/hits", "a-1", point, 202),
        ("/v1/buffers/projects", "a-1", write, 202),
        ("/v1/events/hit", "a-2", batch, 200),
    ];
    let mut first = vec![];
    for (path, key, body, status) in requests {
        let answer = server.client().header("Idempotency-Key", key).post(path, body);
        assert_eq!((answer.status, answer.header("idempotency-replayed")), (status, None), "{}", answer.body);
        first.push(answer.body);
    }
    for restarted in [false, true] {
        if restarted {
            server.stop();
            server.start();
        }
        for ((path, key, body, status), first) in requests.into_iter().zip(&first) {
            let answer = server.client().header("Idempotency-Key", key).post(path, body);
            assert_eq!((answer.status, answer.header("idempotency-replayed")), (status, Some("true")));
            assert_eq!(answer.body, *first);
            let other =
                server.client().header("Idempotency-Key", key).post(path, body.replace('1', "2") + " ");
            assert!(other.problem(422).contains("another body"), "{}", other.body);
        }
    }
    let client = server.client();
    assert_eq!(client.get("/v1/limits/hits?key=42").expect(200)["used"], 3);
    assert_eq!(client.get("/v1/series/hits/sum?key=points&from=-1h&to=%2B1m").expect(200)["sum"], 5);
    assert_eq!(client.get("/v1/buffers/projects?id=rows").expect(200)["value"]["hits"], 7);
    assert_eq!(client.get("/v1/buffers/projects?id=batch").expect(200)["value"]["hits"], 1);
}

#[test]
fn a_request_without_effect_may_be_repeated() {
    let server = Server::with(|example| example.replace("20/1m", "20/1d"));
    let client = server.client().header("Idempotency-Key", "b");
    client.post("/v1/events/hit", r#"{"kez":"42"}"#).problem(422);
    client.post("/v1/events/hot", r#"{"key":"42"}"#).problem(404);
    client.post("/v1/events/hit", r#"{"key":"42","n":20}"#).expect(202);
    // The denial charged nothing: the client waits and repeats the request.
    let other = server.client().header("Idempotency-Key", "c");
    for _ in 0..2 {
        other.post("/v1/events/hit", r#"{"key":"42"}"#).problem(429);
    }
    server.client().delete("/v1/limits/hits?key=42").expect(204);
    other.post("/v1/events/hit", r#"{"key":"42"}"#).expect(202);

    // The key has no effect on other requests.
    for used in [2, 3] {
        assert_eq!(client.post("/v1/limits/hits", r#"{"key":"42"}"#).expect(200)["used"], used);
    }
}

#[test]
fn an_invalid_key_is_refused_and_answers_need_the_scope_write() {
    let server = Server::with(|example| {
        example
            + "\n[[tokens]]\nname = \"w\"\ntoken = \"writer\"\nscopes = [\"write\", \"read\"]\n\
               [[tokens]]\nname = \"r\"\ntoken = \"reader\"\nscopes = [\"read\"]\n"
    });
    let writer = server.client().header("Authorization", "Bearer writer");
    for key in ["", "a b", "é", &"x".repeat(256)] {
        let detail =
            writer.header("Idempotency-Key", key).post("/v1/events/hit", r#"{"key":"1"}"#).problem(400);
        assert!(detail.contains("1 to 255"), "{detail}");
    }
    let twice = writer.header("Idempotency-Key", "a").header("Idempotency-Key", "b");
    twice.post("/v1/events/hit", r#"{"key":"1"}"#).problem(400);
    writer.header("Idempotency-Key", "a").post("/v1/events/hit", r#"{"key":"1"}"#).expect(202);
    let reader = server.client().header("Authorization", "Bearer reader").header("Idempotency-Key", "a");
    reader.post("/v1/events/hit", r#"{"key":"1"}"#).problem(403);
    server.client().header("Idempotency-Key", "a").post("/v1/events/hit", r#"{"key":"1"}"#).problem(401);
    assert_eq!(writer.get("/v1/limits/hits?key=1").expect(200)["used"], json!(1));
}

/// A server whose buffer `few` is full: one row fills it.
fn with_a_full_few() -> Server {
    let server = Server::with(|example| with_a_full_buffer(&example.replace("20/1m", "1000/1d")));
    let client = server.client();
    wait_until("the second buffer to be full", || {
        let n = if client.post("/v1/events/hit", r#"{"key":"a"}"#).status == 503 { "b" } else { "a" };
        client.post("/v1/events/hit", format!(r#"{{"key":"{n}"}}"#)).status == 503
    });
    server
}

/// The counts of a key in the limit, the series and both buffers.
fn counts(client: &Client, key: &str) -> [serde_json::Value; 4] {
    let buffer =
        |name: &str| client.get(&format!("/v1/buffers/{name}?id={key}")).expect(200)["value"]["hits"].clone();
    [
        client.get(&format!("/v1/limits/hits?key={key}")).expect(200)["used"].clone(),
        client.get(&format!("/v1/series/hits/sum?key={key}&from=-1h&to=%2B1m")).expect(200)["sum"].clone(),
        buffer("projects"),
        buffer("few"),
    ]
}

/// The key kept its 503 for 24 hours, and the hit could never be finished.
#[test]
fn a_hit_that_was_applied_in_part_is_finished_by_repeating_it() {
    let mut server = with_a_full_few();
    let keyed = |server: &Server| server.client().header("Idempotency-Key", "k-1");
    let hit = r#"{"key":"new","n":3}"#;
    for restarted in [false, true] {
        if restarted {
            server.stop();
            server.start();
        }
        let mut answer = keyed(&server).post("/v1/events/hit", hit);
        // After a restart the server measures the buffer anew.
        if answer.status == 503 {
            let body = answer.json();
            let applied =
                json!({"limit": "yes", "series": "yes", "buffer": {"projects": "yes", "few": "no"}});
            assert_eq!((&body["applied"], &body["retry"]), (&applied, &json!("unknown")), "{body}");
            assert_eq!(counts(&server.client(), "new"), [json!(3), json!(3), json!(3), json!(null)]);
        } else {
            assert!(restarted, "{}", answer.body);
        }
        if restarted {
            server.client().post("/v1/buffers/few/flush", "").expect(200);
            wait_until("the repeat to be accepted", || {
                answer = keyed(&server).post("/v1/events/hit", hit);
                answer.status == 202
            });
        }
    }
    let client = server.client();
    assert_eq!(counts(&client, "new"), [json!(3), json!(3), json!(3), json!(3)]);
    let again = keyed(&server).post("/v1/events/hit", hit);
    assert_eq!((again.status, again.header("idempotency-replayed")), (202, Some("true")));
    assert_eq!(counts(&client, "new"), [json!(3), json!(3), json!(3), json!(3)]);
}

#[test]
fn a_batch_with_a_key_answers_207_until_every_line_is_done() {
    let server = with_a_full_few();
    let keyed = server.client().header("Idempotency-Key", "batch");
    let lines = r#"[{"key":"x","n":2},{"kez":1},{"key":"y","n":1001},{"key":"z"}]"#;
    let first = keyed.post("/v1/events/hit", lines);
    let body = first.expect(207);
    assert_eq!(
        (&body["failed"], &body["invalid"], &body["accepted"]),
        (&json!(3), &json!(2), &json!(0)),
        "{body}"
    );
    for line in [0, 3] {
        assert_eq!(body["results"][line]["retry"], "unknown", "{body}");
        assert_eq!(
            body["results"][line]["applied"]["buffer"],
            json!({"projects": "yes", "few": "no"}),
            "{body}"
        );
    }
    // Without a key the answer is not 207, because log shippers send a whole batch again on 207.
    let other = server.client().post("/v1/events/hit", r#"[{"key":"w"},{"kez":1}]"#).expect(200);
    assert_eq!((&other["failed"], &other["results"][0]["retry"]), (&json!(1), &json!("unknown")), "{other}");
    // Invalid and limited items are not failures.
    let fine = server.client().header("Idempotency-Key", "fine");
    let answer =
        fine.post("/v1/series/hits", r#"[{"key":"s"},{"kez":1},{"key":"s","at":"2001-01-01T00:00:00Z"}]"#);
    let answer = answer.expect(202);
    assert_eq!(
        (&answer["accepted"], &answer["invalid"], &answer["failed"]),
        (&json!(1), &json!(2), &json!(null))
    );

    server.client().post("/v1/buffers/few/flush", "").expect(200);
    let mut last = None;
    wait_until("the batch to be done", || {
        let answer = keyed.post("/v1/events/hit", lines);
        let done = answer.status == 200;
        last = Some(answer);
        done
    });
    let last = last.expect("an answer");
    let body = last.expect(200);
    assert_eq!(
        (&body["failed"], &body["invalid"], &body["accepted"]),
        (&json!(null), &json!(2), &json!(3)),
        "{body}"
    );
    for (key, n) in [("x", 2), ("z", 1)] {
        assert_eq!(counts(&server.client(), key), [json!(n), json!(n), json!(n), json!(n)], "{key}");
    }
    let replayed = keyed.post("/v1/events/hit", lines);
    assert_eq!((replayed.status, &replayed.body), (200, &last.body));
}

#[test]
fn beyond_the_bound_new_keys_are_refused_and_known_ones_kept() {
    let server = Server::with(|example| {
        example.replace("# idempotency_bytes = 536870912", "idempotency_bytes = 8192")
    });
    let post = |key: usize| {
        let client = server.client().header("Idempotency-Key", &format!("key-{key}"));
        client.post("/v1/events/hit", format!(r#"{{"key":"{key}"}}"#))
    };
    let answers: Vec<_> = (0..40).map(post).collect();
    let accepted = answers.iter().filter(|answer| answer.status == 202).count();
    assert!((3..30).contains(&accepted), "{accepted}");
    for answer in &answers[accepted..] {
        let detail = answer.problem(503);
        assert!(detail.contains("as many keys as it may"), "{detail}");
        assert_eq!(answer.json()["retry"], "later");
    }
    for key in 0..accepted {
        let again = post(key);
        assert_eq!((again.status, again.header("idempotency-replayed")), (202, Some("true")));
    }
    let client = server.client();
    assert_eq!(client.get("/v1/limits/hits?key=39").expect(200)["used"], 0, "nothing was applied");
    client.post("/v1/events/hit", r#"{"key":"39"}"#).expect(202);
    let metrics = client.get("/metrics").body;
    let value = |name: &str| -> u64 {
        let line = metrics
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("{name}: {metrics}"));
        line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
    };
    assert_eq!(value("forebay_idempotency_refused_total"), 40 - accepted as u64);
    // The answer and the tokens of the last request are added.
    assert!((4_096..=9_216).contains(&value("forebay_idempotency_bytes{")), "{metrics}");
}

#[test]
fn a_request_is_known_by_what_its_body_says() {
    let server = Server::example();
    let keyed = server.client().header("Idempotency-Key", "form");
    let hit = r#"{"key":"42"}"#;
    keyed.header("Content-Type", "application/json").post("/v1/events/hit", hit).expect(202);
    let again = keyed.header("Content-Type", "application/json; charset=utf-8").post("/v1/events/hit", hit);
    assert_eq!((again.status, again.header("idempotency-replayed")), (202, Some("true")));
    // A batch of one line differs from a single item.
    keyed.header("Content-Type", "application/x-ndjson").post("/v1/events/hit", hit).problem(422);
    assert_eq!(server.client().get("/v1/limits/hits?key=42").expect(200)["used"], 1);
}

#[test]
fn a_caller_without_a_key_gets_one_for_what_is_missing() {
    let server = with_a_full_few();
    let client = server.client();
    let hit = r#"{"key":"new","n":3}"#;
    let first = client.post("/v1/events/hit", hit);
    first.problem(503);
    let key = first.json()["idempotency_key"].as_str().expect("a key").to_owned();
    assert_eq!(first.header("idempotency-key"), Some(&*key));
    let lines = r#"[{"key":"x"},{"kez":1}]"#;
    let batch = client.post("/v1/events/hit", lines).expect(200);
    let batch_key = batch["idempotency_key"].as_str().expect("a key").to_owned();

    client.post("/v1/buffers/few/flush", "").expect(200);
    let again = |key: &str, body: &str| client.header("Idempotency-Key", key).post("/v1/events/hit", body);
    // Another body makes another request.
    again(&key, r#"{"key":"new","n":4}"#).problem(422);
    wait_until("what is missing", || again(&key, hit).status == 202);
    wait_until("the line that failed", || again(&batch_key, lines).status == 200);
    assert_eq!(again(&batch_key, lines).expect(200)["accepted"], 1);
    assert_eq!(counts(&client, "new"), [json!(3), json!(3), json!(3), json!(3)]);
    assert_eq!(counts(&client, "x"), [json!(1), json!(1), json!(1), json!(1)]);
    // There is nothing to complete, so the answer has no key.
    let fine = client.post("/v1/events/hit", r#"{"key":"fine","n":1001}"#);
    fine.problem(422);
    assert_eq!((fine.header("idempotency-key"), &fine.json()["idempotency_key"]), (None, &json!(null)));
}
