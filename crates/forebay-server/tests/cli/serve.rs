use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use super::process::{Process, run};

fn serve(dir: &std::path::Path) -> (Process, String) {
    let process = Process::start(dir, &["serve", "--listen", "127.0.0.1:0"]);
    let address = process.line_after("  URL       http://");
    (process, address)
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_mins(1))).expect("a timeout");
    stream
}

fn answer(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// Sends the head of a hit without its body. Once the server has answered 100, a handler waits for the body.
fn begin_hit(address: &str, body: &str) -> TcpStream {
    let mut stream = connect(address);
    let head = post(body).0.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("half a request");
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).expect("an interim answer");
    assert_eq!(interim, *b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

fn post(body: &str) -> (String, String) {
    let length = body.len();
    let head = format!(
        "POST /v1/events/hit HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    (head, body.to_owned())
}

#[test]
fn it_says_where_it_is_and_what_to_try() {
    let dir = tempfile::tempdir().expect("a directory");
    let process = Process::start(dir.path(), &["serve", "--listen", "127.0.0.1:0"]);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(process.line(), format!("Forebay {version} is ready."));
    let url = process.line_after("  URL       ");
    process.line_after("  store     ");
    assert_eq!(process.line_after("  database  "), "sqlite:forebay.db");
    assert_eq!(process.line_after("  config    "), "the built-in example (forebay init writes it to a file)");
    process.line_after("Try it:");
    let hint = process.line();
    assert_eq!(hint, format!("  curl -d '{{\"key\":\"42\"}}' {url}/v1/events/hit"));

    let mut stream = connect(url.strip_prefix("http://").expect("a URL"));
    let (head, body) = post("{\"key\":\"42\"}");
    stream.write_all(format!("{head}{body}").as_bytes()).expect("a request");
    let answer = answer(stream);
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
}

#[test]
fn a_busy_port_is_answered_with_a_free_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_process, address) = serve(dir.path());
    let elsewhere = tempfile::tempdir().expect("a directory");
    let refused = run(elsewhere.path(), &["serve", "--listen", &address]);
    assert_eq!(refused.status.code(), Some(2));
    let message = String::from_utf8(refused.stderr).expect("text");
    assert!(
        message.contains(&format!("listening on {address}: the port is in use; 127.0.0.1:")),
        "{message}"
    );
    assert!(message.contains("--listen 127.0.0.1:"), "{message}");
    assert_eq!(std::fs::read_dir(elsewhere.path()).expect("a directory").count(), 0, "nothing was opened");
}

#[test]
fn on_sigterm_requests_under_way_end_and_buffers_are_flushed() {
    let dir = tempfile::tempdir().expect("a directory");
    let (process, address) = serve(dir.path());
    let body = "{\"key\":\"42\",\"n\":7}";
    let mut stream = begin_hit(&address, body);
    process.signal("TERM");
    forebay_testkit::wait_until("the server to stop listening", || TcpStream::connect(&address).is_err());
    stream.write_all(body.as_bytes()).expect("the other half");
    assert!(answer(stream).starts_with("HTTP/1.1 202 "));
    let (code, log) = process.end();
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("SIGTERM: stopping") && log.contains("all rows are in the database"), "{log}");

    let left = std::fs::read_dir(dir.path()).expect("a directory");
    let mut left: Vec<_> = left.map(|file| file.expect("a file").file_name()).collect();
    left.sort();
    assert_eq!(left, ["forebay.db", "forebay.redb"], "files that can be copied, and nothing beside them");

    let url = format!("sqlite:{}", dir.path().join("forebay.db").display());
    let hits: i64 = tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        use sqlx::Connection;
        let mut connection = sqlx::SqliteConnection::connect(&url).await.expect("the database");
        sqlx::query_scalar("SELECT hits FROM projects WHERE id = '42'")
            .fetch_one(&mut connection)
            .await
            .expect("a row")
    });
    assert_eq!(hits, 7);
}

#[test]
fn a_second_signal_stops_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let (process, address) = serve(dir.path());
    let _held_up = begin_hit(&address, "{\"key\":\"42\"}");
    process.signal("INT");
    forebay_testkit::wait_until("the server to stop listening", || TcpStream::connect(&address).is_err());
    process.signal("TERM");
    let (code, log) = process.end();
    assert_eq!(code, 128 + 15, "{log}");
    assert!(log.contains("SIGTERM again: stopping at once"), "{log}");
}

#[test]
fn a_database_that_does_not_fit_is_refused_with_the_remedy() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = "[buffers.projects]\nkey = { id = \"text\" }\ncolumns = { hits = \"sum\" }\nmigrate = false\n";
    std::fs::write(dir.path().join("forebay.toml"), file).expect("a file");
    let refused = run(dir.path(), &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(refused.status.code(), Some(2));
    let message = String::from_utf8(refused.stderr).expect("text");
    assert!(message.contains("preparing buffer projects") && message.contains("projects"), "{message}");
}

fn ask(address: &str, request: &str, body: &str) -> String {
    let mut stream = connect(address);
    let length = body.len();
    let head = format!(
        "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).expect("a request");
    answer(stream)
}

/// A server that is killed loses the budget that it holds.
#[test]
fn on_sigterm_the_local_budgets_of_leased_limits_are_returned() {
    if forebay_testkit::without("redis") {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let store = forebay_testkit::Redis::shared().url();
    let config = format!(
        "store = {store:?}\nprefix = {:?}\n[limits.hits]\nrate = \"100000/365d\"\nmode = \"leased\"\ndeadline = \"30s\"\n",
        forebay_testkit::unique_prefix()
    );
    std::fs::write(dir.path().join("forebay.toml"), config).expect("a file");
    let mut taken = 0;
    for (signal, gives_back) in [("TERM", true), ("KILL", false)] {
        let (process, address) = serve(dir.path());
        let mut within = 0;
        for _ in 0..200 {
            let answer = ask(&address, "POST /v1/limits/hits", "{\"key\":\"42\"}");
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            within += u32::from(answer.contains("\"source\":\"lease\""));
        }
        taken += 200;
        assert!(within > 100, "{within} within slices");
        process.signal(signal);
        let (code, log) = process.end();
        assert_eq!(code == 0, gives_back, "{log}");

        let (_process, address) = serve(dir.path());
        let answer = ask(&address, "GET /v1/limits/hits?key=42", "");
        let (_, used) = answer.split_once("\"used\":").expect("a decision");
        let used: u64 = used.split(',').next().expect("a number").parse().expect("a number");
        // A killed server may have held nothing at that moment.
        assert!(if gives_back { used == taken } else { used >= taken }, "{used} used, {taken} taken");
    }
}
