use serde_json::json;

use crate::support::{Client, Server};

fn write(client: &Client, id: &str, hits: i64) {
    let body = json!({"row": {"id": id}, "columns": {"hits": hits}}).to_string();
    client.post("/v1/buffers/projects", body).expect(202);
}

fn row(client: &Client, id: &str) -> serde_json::Value {
    client.get(&format!("/v1/buffers/projects?id={id}")).expect(200)
}

#[test]
fn a_row_is_moved_and_pending_writes_follow() {
    let server = Server::example();
    let client = server.client();
    for (id, hits) in [("1", 3), ("2", 4)] {
        write(&client, id, hits);
    }
    client.post("/v1/buffers/projects/flush", "").expect(200);
    write(&client, "1", 10);
    let moving = |from: &str, to: &str| {
        let body = json!({"from": {"id": from}, "to": {"id": to}}).to_string();
        client.post("/v1/buffers/projects/move", body)
    };
    for _ in 0..2 {
        assert_eq!(moving("1", "2").expect(200), json!({"to": {"id": "2"}}));
        // The row was written under the old key and can be read under both.
        assert_eq!(row(&client, "1")["value"]["hits"], 17);
        assert_eq!(row(&client, "2")["value"]["hits"], 17);
        assert_eq!(row(&client, "1")["pending"]["hits"], 10);
        assert_eq!(row(&client, "2")["pending"]["hits"], json!(null));
    }
    client.post("/v1/buffers/projects/flush", "").expect(200);
    write(&client, "1", 100);
    assert_eq!(row(&client, "2")["value"]["hits"], 117);
    assert_eq!(moving("2", "1").expect(200), json!({"to": {"id": "1"}}));
    write(&client, "2", 1_000);
    client.post("/v1/buffers/projects/flush", "").expect(200);
    assert_eq!(row(&client, "1")["value"]["hits"], 1_117);
    assert_eq!(moving("1", "3").expect(200), json!({"to": {"id": "3"}}));
    assert_eq!(moving("4", "2").expect(200), json!({"to": {"id": "3"}}));
    assert_eq!(row(&client, "4")["value"]["hits"], 1_117);
}

#[test]
fn an_impossible_move_is_refused_and_changes_nothing() {
    let server = Server::example();
    let client = server.client();
    write(&client, "1", i64::MAX);
    write(&client, "2", 1);
    client.post("/v1/buffers/projects/flush", "").expect(200);
    for (body, status, expected) in [
        (r#"{"from":{"id":"1"},"to":{"id":"2"}}"#, 422, "64 bits"),
        (r#"{"from":{"id":"1"},"to":{"id":"1"}}"#, 422, "to itself"),
        (r#"{"from":{"id":"1"}}"#, 422, "missing field `to`"),
        (r#"{"from":{"id":"1"},"to":{"idd":"2"}}"#, 422, "did you mean \"id\"?"),
        (r#"{"from":{"id":"1"},"to":{}}"#, 422, "lacks the key column id"),
    ] {
        let detail = client.post("/v1/buffers/projects/move", body).problem(status);
        assert!(detail.contains(expected), "{body}: {detail}");
    }
    for (id, hits) in [("1", i64::MAX), ("2", 1)] {
        assert_eq!(row(&client, id)["value"]["hits"], hits);
    }
    client.post("/v1/buffers/projects/pause", "").expect(200);
    let detail =
        client.post("/v1/buffers/projects/move", r#"{"from":{"id":"2"},"to":{"id":"3"}}"#).problem(409);
    assert!(detail.contains("/resume"), "{detail}");
    client.post("/v1/buffers/projects/resume", "").expect(200);
}
