use forebay_testkit::wait_until;

use crate::support::Server;

fn server() -> Server {
    Server::with(|example| example.replace("# canary = \"10s\"", "canary = \"1s\""))
}

/// The current value of a canary metric.
fn metric(server: &Server, name: &str) -> f64 {
    let text = server.client().get("/metrics").body;
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("forebay_canary_{name} ")));
    line.unwrap_or_else(|| panic!("{name}\n{text}")).parse().expect("a number")
}

fn ask(server: &Server, sql: &'static str) {
    let url = format!("sqlite:{}", server.database().display());
    tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        use sqlx::Connection;
        let mut connection = sqlx::SqliteConnection::connect(&url).await.expect("the database");
        sqlx::raw_sql(sql).execute(&mut connection).await.expect("the statement");
    });
}

#[test]
fn the_canarys_counts_arrive_also_after_a_restart() {
    let mut server = server();
    for _ in 0..2 {
        wait_until("two to arrive", || metric(&server, "arrived_total") >= 2.0);
        let (arrived, sent) = (metric(&server, "arrived_total"), metric(&server, "sent_total"));
        assert!(arrived <= sent, "{arrived} of {sent}");
        assert!(metric(&server, "failures_total") < 1.0);
        server.stop();
        server.start();
    }
    // The last hit that was sent is always on its way. The age of the last arrival shows whether an earlier one is
    // missing.
    wait_until("one of this run to arrive", || metric(&server, "arrived_total") >= 1.0);
    wait_until("none to be late", || metric(&server, "lag_seconds") < 5.0);
}

/// A counter once stayed at 1 for everybody without any log line, because each flush had succeeded.
#[test]
fn a_counter_that_is_stuck_with_no_error_is_seen() {
    let server = server();
    wait_until("one to arrive", || metric(&server, "arrived_total") >= 1.0);
    // The table ignores all updates.
    ask(
        &server,
        "CREATE TRIGGER stuck AFTER UPDATE ON forebay_canary BEGIN \
             UPDATE forebay_canary SET beats = old.beats WHERE id = old.id; END",
    );
    wait_until("it to be late", || metric(&server, "lag_seconds") >= 5.0);
    let client = server.client();
    let stats = client.get("/v1/buffers/forebay_canary/stats").expect(200);
    assert_eq!((&stats["last_error"], &stats["dead_rows"]), (&serde_json::Value::Null, &0.into()), "{stats}");
    assert!(metric(&server, "failures_total") < 1.0);
    let ready = client.get("/readyz").expect(200);
    let warning = ready["warnings"][0].as_str().expect("a warning");
    assert!(warning.starts_with("canary: a counter that was acknowledged "), "{warning}");
}

#[test]
fn without_its_setting_there_is_no_canary() {
    let server = Server::example();
    let text = server.client().get("/metrics").body;
    assert!(!text.contains("forebay_canary"), "{text}");
    server.client().get("/v1/buffers/forebay_canary/stats").problem(404);
}
