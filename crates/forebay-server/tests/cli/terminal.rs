//! Text from outside, such as keys and a server's messages, reaches a terminal as plain text only.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::Path,
    process::Output,
    thread,
};

use serde_json::{Value, json};

use super::process::run;

/// Contains a colour, a window title, a forged line, and a character that reverses the direction of writing.
const HOSTILE: &str = "k\u{1b}[31m\u{1b}]0;x\u{7}\r\nFORGED\u{9b}2J\u{202e}\u{2028}\u{7f}";

/// Starts a server that answers every request with this status and body. It ends with the test.
fn server(status: u16, body: &Value) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let body = body.to_string();
    let answer = format!(
        "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut request = BufReader::new(stream.try_clone().expect("a connection"));
            let (mut line, mut length) = (String::new(), 0);
            while request.read_line(&mut line).is_ok_and(|read| read > 2) {
                let header = line.to_ascii_lowercase();
                length = header
                    .strip_prefix("content-length:")
                    .and_then(|n| n.trim().parse().ok())
                    .unwrap_or(length);
                line.clear();
            }
            let _ = request.take(length).read_to_end(&mut vec![]);
            let _ = (&stream).write_all(answer.as_bytes());
        }
    });
    url
}

#[track_caller]
fn check(command: &[&str], output: &Output) {
    for text in [&output.stdout, &output.stderr] {
        let text = String::from_utf8(text.clone()).expect("text");
        let is_order = |c: char| (c.is_control() && c != '\n' && c != '\t') || "\u{202e}\u{2028}".contains(c);
        assert!(!text.contains(is_order), "{command:?}: {text:?}");
        assert!(!text.lines().any(|line| line.starts_with("FORGED")), "{command:?}: {text}");
    }
}

/// The commands, each with a hostile server's answer.
fn cases() -> Vec<(&'static [&'static str], u16, Value)> {
    let h = HOSTILE;
    let place = json!({"partition": 1, "slot": 1, "host": h});
    let letter =
        json!({"id": 1, "batch": h, "at": h, "reason": h, "row": {h: h}, "columns": {h: h}, "misfit": null});
    let misfit =
        json!({"id": 1, "batch": h, "at": h, "reason": h, "row": null, "columns": null, "misfit": h});
    let decision = json!({"allowed": true, "used": 1, "limit": 2, "remaining": 1, "reset_after": 1.0,
        "retry_after": null, "source": h, "degraded": false});
    vec![
        (
            &["limit", "hits", "--top"][..],
            200,
            json!([{"key": h, "denied": 3, "error": 1}, {"key": h, "denied": h}]),
        ),
        (
            &["limit", "hits", "--near"],
            200,
            json!([{"key": h, "used": 1, "limit": 2, "share": 0.5}, {"key": h, "used": h, "limit": h, "share": 0.5}]),
        ),
        (&["limit", "hits", "--overrides"], 200, json!([{"key": h, "allow": h, "set_by": h}])),
        (&["limit", "hits", "k"], 200, decision),
        (&["series", "hits", "k"], 200, json!({"key": h, "start": h, "step": 1, "values": [1], "sum": 1})),
        (&["flush"], 200, json!([{"name": h}])),
        (&["dead", "list", "projects"], 200, json!({"letters": [letter, misfit], "next": null})),
        (
            &["dead", "replay", "projects", "--all"],
            200,
            json!({"applied": 0, "refused": 1, "unknown": 0, "reason": h}),
        ),
        (
            &["cluster", "show"],
            200,
            json!({"router": h, "epoch": 1, "hosts": [{"name": h, "health": h, "slots": 1, "reason": h}]}),
        ),
        (
            &["cluster", "route", "k"],
            200,
            json!({"slot": 1, "host": h, "limit": place, "lock": place, "map": place, "series": {h: place}, "buffers": {h: place}}),
        ),
        (&["lock", "job", "--", "true"], 409, json!({"holder": h, "remaining": 1.0, "ahead": 0})),
        (
            &["replay", "a.log", "--event", "hit", "--key", "ip"],
            200,
            json!({"failed": 0, "results": [{"error": h}]}),
        ),
        (&["replay", "a.log", "--event", "hit", "--key", "ip"], 200, json!({"failed": 0, "results": [h]})),
        (&["limit", "hits", "k"], 404, json!({"title": h, "detail": h})),
        (&["limit", "hits", "k"], 500, json!({"title": h})),
        (&["flush", "projects"], 503, json!({"detail": h})),
    ]
}

#[test]
fn no_command_hands_a_server_s_text_to_the_terminal_as_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("a.log"), "{\"ts\":1,\"ip\":\"::1\"}\n").expect("a log");
    for (command, status, body) in cases() {
        let url = server(status, &body);
        for more in [&[][..], &["--json"]] {
            // The words after `--` belong to the command that is run.
            let (own, rest) =
                command.split_at(command.iter().position(|word| *word == "--").unwrap_or(command.len()));
            let words = [own, &["--server", &url], more, rest].concat();
            let output = run(dir.path(), &words);
            check(&words, &output);
            if status == 200 && output.status.success() && !more.is_empty() {
                let json = String::from_utf8(output.stdout).expect("text");
                let read: Value = serde_json::from_str(&json).expect("JSON");
                assert!(
                    command[0] == "limit" || command[0] == "replay" || read.to_string().contains("FORGED"),
                    "{read}"
                );
            }
        }
    }
}

/// Arguments, files and logs may come from somebody else, too.
#[test]
fn no_command_hands_its_input_to_the_terminal_as_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let h = HOSTILE;
    let here: &Path = dir.path();
    let name = h.replace('/', "");
    fs::write(here.join(&name), format!("{{\"ts\":1,\"user\":{}}}\n{h}\n", json!(h))).expect("a log");
    fs::write(
        here.join("b.toml"),
        format!("store = \"{}\"\n[limits.\"{}\"]\nrate = 7\n", "x:y", "\\u001b[31m"),
    )
    .expect("a file");
    for command in [
        &["limit", h, h, "--server", "http://127.0.0.1:1"][..],
        &["limit", "hits", "k", "--cost", h],
        &["limit", "hits", "k", "--override", h],
        &[h],
        &["limit", "hits", "k", "--server", h],
        &["limit", "hits", "k", "--store", h],
        &["limit", h, "k", "--store", "redis://127.0.0.1:1"],
        &["limit", "hits", "k", "--store", &format!("embedded:{name}x")],
        &["series", "hits", "k", "--from", h, "--store", "redis://127.0.0.1:1"],
        &["lock", h, "--server", "http://127.0.0.1:1", "--", h],
        &["replay", &name, "--event", "hit", "--key", "user"],
        &["replay", &name, "--event", h, "--key", "user"],
        &["replay", &name, "--event", "hit", "--key", h],
        &["replay", h, "--event", "hit", "--key", "ip"],
        &["schema", "--buffer", h],
        &["check-config", "--config", h],
        &["check-config", "--config", "b.toml"],
        &["check-config", "--config", "b.toml", "--json"],
        &["init", &format!("no/{h}")],
        &["init", &name],
    ] {
        check(command, &run(here, command));
    }
}
