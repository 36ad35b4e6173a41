use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
};

use serde_json::{Value, json};

use crate::support::{PATIENCE, Server};

/// A viewer that has received its first line.
fn viewer(server: &Server) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(server.address()).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(b"GET /v1/live HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while !line.starts_with('{') {
        line.clear();
        assert!(reader.read_line(&mut line).expect("a line") > 0, "the stream ended");
    }
    reader
}

/// The first `n` lines of the stream. HTTP/1.0 sends a body of unknown length without chunks.
fn lines(server: &Server, n: usize) -> Vec<Value> {
    let request = format!("GET /v1/live?lines={n} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    let answer = server.client().raw(request.as_bytes());
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/x-ndjson")));
    let lines = answer.body.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    lines.collect()
}

#[test]
fn the_first_line_says_what_is_configured_and_each_what_happened() {
    let server = Server::with(|example| example.replace("20/1m", "20/1d"));
    for _ in 0..22 {
        server.client().post("/v1/events/hit", r#"{"key":"a"}"#);
    }
    let lines = lines(&server, 2);
    assert_eq!(lines.len(), 2);
    let hit = &lines[0]["declared"]["events"]["hit"];
    assert_eq!(hit, &json!({"limits": [{"name": "hits"}], "series": ["hits"], "buffers": ["projects"]}));
    let limit = &lines[0]["declared"]["limits"]["hits"];
    assert_eq!(limit, &json!({"quota": 20, "per": 86400.0, "kind": "fixed-window", "burst": null}));
    assert_eq!(lines[0]["declared"]["series"]["hits"][0], json!({"step": 10, "retention": 86400}));
    assert_eq!(lines[1].get("declared"), None);
    for line in &lines {
        let totals = json!({"accepted": 20, "limited": 2, "invalid": 0, "failed": 0});
        assert_eq!(line["events"]["hit"], totals);
        assert_eq!(line["started"], lines[0]["started"]);
        let buffer = &line["buffers"]["projects"];
        let rows =
            [&buffer["pending_rows"], &buffer["flushed_rows"]].map(|rows| rows.as_u64().expect("a count"));
        assert_eq!(rows[0] + rows[1], 1, "{buffer}");
    }
    let elapsed = |i: usize| lines[i]["elapsed"].as_f64().expect("seconds");
    assert!(elapsed(1) > elapsed(0) + 0.9, "{lines:?}");
}

#[test]
fn a_late_viewer_gets_the_history() {
    let server = Server::with(|example| example.replace("20/1m", "20/1d"));
    server.client().post("/v1/events/hit", r#"{"key":"a","n":3}"#).expect(202);
    forebay_testkit::wait_until("the server to remember", || {
        let first = lines(&server, 1).remove(0);
        let history = first["history"].as_array().expect("a list").clone();
        let accepted = |past: &Value| past["events"]["hit"]["accepted"].as_u64().expect("a count");
        let elapsed = |past: &Value| past["elapsed"].as_f64().expect("seconds");
        assert!(history.is_sorted_by(|a, b| elapsed(a) < elapsed(b)), "{history:?}");
        assert!(history.iter().all(|past| elapsed(past) < first["elapsed"].as_f64().expect("seconds")));
        history.len() >= 2 && accepted(&history[0]) == 0 && history.last().map(accepted) == Some(3)
    });
}

#[test]
fn each_of_several_hosts_reports_its_health() {
    if forebay_testkit::without("redis") {
        return;
    }
    let redis: Vec<forebay_testkit::Redis> = (0..2).map(|_| forebay_testkit::Redis::start()).collect();
    let server = crate::redis::on(&format!(
        "store = \"redis://127.0.0.1:{},127.0.0.1:{}\"",
        redis[0].port(),
        redis[1].port()
    ));
    let health = || lines(&server, 1)[0]["hosts"].as_array().expect("a list").clone();
    assert!(health().iter().all(|host| host["health"] == "up" && host["slots"].as_u64() > Some(0)));
    redis[1].kill();
    forebay_testkit::wait_until("the other host to be down", || {
        let hosts = health();
        assert_eq!((hosts.len(), &hosts[0]["health"]), (2, &json!("up")), "{hosts:?}");
        hosts[1]["health"] == "down" && hosts[1]["reason"].is_string()
    });
    // The server flushes once more when it stops.
    redis[1].restart();
    forebay_testkit::wait_until("the host to be found again", || health()[1]["health"] == "up");
}

#[test]
fn stopping_ends_the_streams_properly() {
    let mut server = Server::example();
    let mut viewer = viewer(&server);
    server.stop();
    let mut rest = String::new();
    viewer.read_to_string(&mut rest).expect("the rest");
    assert!(rest.ends_with("\r\n0\r\n\r\n"), "the stream was cut: {rest:?}");
}

#[test]
fn the_number_of_viewers_is_bounded_and_places_become_free() {
    let server = Server::example();
    let mut viewers: Vec<_> = (0..32).map(|_| viewer(&server)).collect();
    let answer = server.client().get("/v1/live?lines=1");
    assert!(answer.problem(503).contains("32 viewers"), "{}", answer.body);
    assert!(answer.header("retry-after").is_some());
    viewers.pop();
    forebay_testkit::wait_until("a free place", || server.client().get("/v1/live?lines=1").status == 200);
}
