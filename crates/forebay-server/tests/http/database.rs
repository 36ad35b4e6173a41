//! The same server on Postgres and MariaDB, by its configuration alone.

use forebay_testkit::{MariaDb, Postgres, without};
use serde_json::json;

use crate::support::Server;

/// The example with another database, and permission to create tables.
fn on(url: &str) -> Server {
    Server::with(|example| {
        let database =
            example.lines().find(|line| line.starts_with("database = ")).expect("a database").to_owned();
        let example = example.replace(&database, &format!("database = {url:?}"));
        example.replace("# migrate = true", "migrate = true")
    })
}

fn counts_hits(server: &Server, ask: impl Fn(&str) -> String) {
    let client = server.client();
    assert_eq!(client.get("/readyz").expect(200), json!({"store": "ok", "database": "ok", "warnings": []}));
    for _ in 0..25 {
        client.post("/v1/events/hit", r#"{"key":"42"}"#);
    }
    assert_eq!(client.post("/v1/buffers/projects/flush", "").expect(200), json!({"rows": 1}));
    assert_eq!(ask("SELECT id, hits FROM projects"), "42\t20");
    let row = client.get("/v1/buffers/projects?id=42").expect(200);
    assert_eq!(row["value"]["hits"], 20, "{row}");
}

#[test]
fn hits_are_counted_into_postgres() {
    if without("postgres") {
        return;
    }
    // The commits of this server are durable. Otherwise `/readyz` warns.
    let postgres = Postgres::durable();
    let url = postgres.url("postgres").replace("postgres@", "postgres:hunter2@");
    let server = on(&url);
    counts_hits(&server, |sql| postgres.query("postgres", sql));
    postgres.kill();
    let answer = server.client().get("/readyz");
    answer.problem(503);
    assert!(!answer.body.contains("hunter2"), "{}", answer.body);
    postgres.restart();
    counts_again(&server, |sql| postgres.query("postgres", sql));
}

/// Checks that counting resumes after an outage without a restart of the server.
fn counts_again(server: &Server, ask: impl Fn(&str) -> String) {
    let client = server.client();
    assert_eq!(
        client.post("/v1/buffers/projects", r#"{"row":{"id":"42"},"columns":{"hits":3}}"#).status,
        202
    );
    assert_eq!(client.post("/v1/buffers/projects/flush", "").expect(200), json!({"rows": 1}));
    assert_eq!(ask("SELECT id, hits FROM projects"), "42\t23");
    assert_eq!(client.get("/readyz").expect(200)["database"], "ok");
}

#[test]
fn hits_are_counted_into_mariadb() {
    if without("mariadb") {
        return;
    }
    let mariadb = MariaDb::shared();
    let database = mariadb.new_database();
    let server = on(&mariadb.url(&database).replace("mysql://", "mariadb://"));
    counts_hits(&server, |sql| mariadb.query(&database, sql));
    counts_again(&server, |sql| mariadb.query(&database, sql));
}

#[test]
fn a_database_whose_commits_do_not_last_is_warned_of() {
    if without("postgres") {
        return;
    }
    let database = Postgres::shared().new_database();
    let ready = on(&Postgres::shared().url(&database)).client().get("/readyz").expect(200);
    let warnings = ready["warnings"].to_string();
    for part in ["fsync is off", "full_page_writes is off", &database] {
        assert_eq!(
            warnings.matches(part).count(),
            if part == database { 2 } else { 1 },
            "{part}: {warnings}"
        );
    }
}

/// The counted hits wait in the store, and both answers give the reason.
#[test]
fn a_database_file_that_is_gone_is_shown_until_it_is_back() {
    let server = Server::example();
    let client = server.client();
    let hit = || client.post("/v1/buffers/projects", r#"{"row":{"id":"42"},"columns":{"hits":1}}"#).status;
    assert_eq!(hit(), 202);
    let away = server.database().with_extension("away");
    std::fs::rename(server.database(), &away).expect("moved away");
    let refused = client.post("/v1/buffers/projects/flush", "");
    assert_eq!(refused.status, 503, "{}", refused.body);
    let ready = client.get("/readyz");
    ready.problem(503);
    assert!(ready.json()["database"].to_string().contains("deleted or replaced"), "{}", ready.body);
    assert!(ready.json()["warnings"].to_string().contains("is kept"), "{}", ready.body);
    std::fs::rename(&away, server.database()).expect("moved back");
    assert_eq!(client.post("/v1/buffers/projects/flush", "").status, 200);
    assert_eq!(client.get("/v1/buffers/projects?id=42").expect(200)["value"]["hits"], 1);
    assert_eq!(client.get("/readyz").expect(200)["warnings"], json!([]));
}
