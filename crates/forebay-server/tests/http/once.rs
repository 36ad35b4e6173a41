//! `Idempotency-Key`.

use serde_json::json;

use crate::support::Server;

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
fn what_came_to_nothing_may_be_sent_again() {
    let server = Server::with(|example| example.replace("20/1m", "20/1d"));
    let client = server.client().header("Idempotency-Key", "b");
    client.post("/v1/events/hit", r#"{"kez":"42"}"#).problem(422);
    client.post("/v1/events/hot", r#"{"key":"42"}"#).problem(404);
    client.post("/v1/events/hit", r#"{"key":"42","n":20}"#).expect(202);
    // Denied, and nothing charged: the client waits and asks again.
    let other = server.client().header("Idempotency-Key", "c");
    for _ in 0..2 {
        other.post("/v1/events/hit", r#"{"key":"42"}"#).problem(429);
    }
    server.client().delete("/v1/limits/hits?key=42").expect(204);
    other.post("/v1/events/hit", r#"{"key":"42"}"#).expect(202);

    // Without effect elsewhere.
    for used in [2, 3] {
        assert_eq!(client.post("/v1/limits/hits", r#"{"key":"42"}"#).expect(200)["used"], used);
    }
}

#[test]
fn a_key_that_is_none_is_refused_and_answers_are_for_those_who_may_write() {
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
