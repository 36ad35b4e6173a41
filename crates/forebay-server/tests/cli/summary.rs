//! `forebay series` of other kinds than hits.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
};

use serde_json::Value;

use super::process::{Process, run};

const SERIES: &str = "\n[series.visitors]\nkind = \"distinct\"\nresolutions = [\"1h/5y\"]\n\
    [series.temperature]\nkind = \"gauge\"\nresolutions = [\"1m/5y\"]\n\
    [series.latency]\nkind = \"percentiles\"\nresolutions = [\"1h/5y\"]\n";

const SPAN: [&str; 6] = ["--from", "2026-01-05T09:00:00Z", "--to", "2026-01-05T11:00:00Z", "--step", "1h"];

fn post(host: &str, series: &str, body: &str) {
    let length = body.len();
    let request = format!(
        "POST /v1/series/{series} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let mut stream = TcpStream::connect(host).expect("a connection");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
}

fn series(dir: &Path, arguments: &[&str], place: &[&str]) -> String {
    let output = run(dir, &[&["series"], arguments, &SPAN, place].concat());
    let (text, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{text}{error}");
    text.into_owned()
}

/// The same from a running server, and from the store itself after it has ended.
#[test]
fn every_kind_is_shown_as_text_and_as_json() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("forebay.toml"), forebay_server::config::EXAMPLE.to_owned() + SERIES)
        .expect("written");
    let process = Process::start(dir.path(), &["serve", "--listen", "127.0.0.1:0"]);
    let url = process.line_after("  URL       ");
    let host = url.strip_prefix("http://").expect("a URL").trim_end_matches('/').to_owned();
    for user in ["ada", "bob"] {
        let body = format!(r#"{{"key":"home","element":"{user}","at":"2026-01-05T09:05:00Z"}}"#);
        post(&host, "visitors", &body);
    }
    for value in [20.5, 21.5] {
        for name in ["temperature", "latency"] {
            post(&host, name, &format!(r#"{{"key":"home","value":{value},"at":"2026-01-05T09:05:00Z"}}"#));
        }
    }
    let server = ["--server", &*url];
    let told = |place: &[&str]| {
        let show = |name: &str| series(dir.path(), &[name, "home"], place);
        let visitors = show("visitors");
        assert!(visitors.starts_with("distinct of home: 2 different\n"), "{visitors}");
        assert!(visitors.contains("2026-01-05T10:00:00Z  0 different"), "{visitors}");
        let temperature = show("temperature");
        let first = "2026-01-05T09:00:00Z  last 21.5, min 20.5, max 21.5, avg 21 of 2";
        assert!(temperature.contains(first) && temperature.contains("10:00:00Z  nothing"), "{temperature}");
        let latency = series(dir.path(), &["latency", "home", "--quantiles", "0,1"], place);
        assert!(latency.contains("p0 20.5, p1 21.5, min 20.5, max 21.5 of 2"), "{latency}");
        let json = series(dir.path(), &["latency", "home", "--json"], place);
        let json: Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!((&json["kind"], &json["total"]["count"]), (&"percentiles".into(), &2.into()), "{json}");
        (visitors, temperature, latency)
    };
    let from_server = told(&server);
    for wrong in [
        &["visitors", "home", "--show", "rate"][..],
        &["hits", "home", "--quantiles", "0.5"],
        &["visitors", "home", "--plot", "x.svg"],
    ] {
        let output = run(dir.path(), &[&["series"], wrong, &server].concat());
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
    process.signal("TERM");
    assert_eq!(process.end().0, 0);
    assert_eq!(told(&["--store", "embedded:forebay.redb"]), from_server);
}
