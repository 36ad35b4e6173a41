//! The commands that ask a running server.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::Output,
};

use serde_json::{Value, json};

use super::process::{Process, run};

struct Server {
    dir: tempfile::TempDir,
    url: String,
    _process: Process,
}

impl Server {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let process = Process::start(dir.path(), &["serve", "--listen", "127.0.0.1:0"]);
        let url = process.line_after("  URL       ");
        Self { dir, url, _process: process }
    }

    fn run(&self, args: &[&str]) -> Output {
        run(self.dir.path(), &[args, &["--server", &self.url]].concat())
    }

    fn json(&self, args: &[&str]) -> (Option<i32>, Value) {
        let output = self.run(&[args, &["--json"]].concat());
        let text = String::from_utf8_lossy(&output.stdout);
        let json = serde_json::from_str(&text);
        (output.status.code(), json.unwrap_or_else(|_| panic!("{text}{}", stderr(&output))))
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_limit_is_operated() {
    let server = Server::start();
    let (_, list) = server.json(&["limit", "hits", "--overrides"]);
    assert_eq!(list, json!([]));
    // The key needs percent-encoding in a URL.
    let key = "a b&c=d/é%";
    for arguments in [&["--override", "40/1m"][..], &["--cost", "38"]] {
        assert_eq!(server.json(&[&["limit", "hits", key], arguments].concat()).0, Some(0), "{arguments:?}");
    }
    let listed = server.json(&["limit", "hits", "--overrides"]);
    assert_eq!(listed, (Some(0), json!([{"key": key, "allow": "40/1m", "set_by": "request"}])));
    let near = server.json(&["limit", "hits", "--near"]).1;
    assert_eq!(near, json!([{"key": key, "used": 38, "limit": 40, "share": 0.95}]));
    assert_eq!(stdout(&server.run(&["limit", "hits", "--near"])), format!("95 %\t38 of 40\t{key}\n"));
    let denied = server.json(&["limit", "hits", key, "--cost", "30"]);
    assert_eq!(denied.0, Some(1), "{denied:?}");
    assert_eq!(stdout(&server.run(&["limit", "hits", "--top"])), format!("1\t{key}\n"));
    assert_eq!(server.json(&["limit", "hits", key, "--reset"]), (Some(0), json!({"done": true})));
    assert_eq!(server.json(&["limit", "hits", key, "--peek"]).1["used"], 0);
    assert_eq!(stdout(&server.run(&["limit", "hits", key, "--remove-override"])), "done\n");
    assert_eq!(stdout(&server.run(&["limit", "hits", "--overrides"])), "none\n");
    for wrong in [
        &["limit", "hits"][..],
        &["limit", "hits", "--near", "--top"],
        &["limit", "hits", "k", "--top"],
        &["limit", "hits", "k", "--reset", "--cost", "2"],
        &["limit", "hits", "k", "--override", "many"],
        &["limit", "hits", "k", "--override", "5"],
        &["limit", "hits", "", "--reset"],
        &["limit", "hitz", "--top"],
        &["limit", "hits", "--near", "--store", "redis://127.0.0.1:1/0"],
    ] {
        assert_eq!(server.run(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn a_limit_is_taken_peeked_at_and_denied() {
    let server = Server::start();
    // The key needs percent-encoding in a URL.
    let key = "a b&c=d/é%";
    let (code, first) = server.json(&["limit", "hits", key, "--cost", "19"]);
    assert_eq!((code, &first["allowed"], &first["remaining"]), (Some(0), &true.into(), &1.into()));
    let (code, seen) = server.json(&["limit", "hits", key, "--peek"]);
    assert_eq!((code, &seen["used"]), (Some(0), &19.into()));
    // Sends three takes at once. At least two of them fall into one window, so one is denied.
    let denials = (0..3).map(|_| server.json(&["limit", "hits", key, "--cost", "20"]));
    let denied = denials.into_iter().find(|(code, _)| *code == Some(1)).expect("two of 20 in one minute");
    assert_eq!(denied.1["allowed"], false);
    assert!(denied.1["retry_after"].as_f64().expect("seconds") > 0.0);

    let said = stdout(&server.run(&["limit", "hits", "fresh"]));
    assert!(said.starts_with("allowed: 1 of 20 used, 19 left, "), "{said}");
}

#[test]
fn a_series_is_shown_and_drawn_and_a_buffer_flushed() {
    let server = Server::start();
    let log = "{\"ts\":1,\"user\":\"42\"}\n".repeat(3);
    fs::write(server.dir.path().join("a.log"), log).expect("a file");
    let args = ["replay", "a.log", "--event", "hit", "--key", "user", "--rebase", "now"];
    let sent = server.run(&args);
    assert!(sent.status.success(), "{}", stderr(&sent));

    let (code, range) =
        server.json(&["series", "hits", "42", "--from", "-1h", "--to", "+1m", "--step", "1m"]);
    assert_eq!((code, &range["sum"], &range["step"]), (Some(0), &3.into(), &60.into()));
    let shown = server.run(&["series", "hits", "42", "--from", "-1h", "--plot", "out.svg"]);
    let said = stdout(&shown);
    assert!(said.contains('█') && said.contains("sum 3, at most 3 in 10s"), "{said}{}", stderr(&shown));
    let picture = fs::read_to_string(server.dir.path().join("out.svg")).expect("a picture");
    assert!(picture.starts_with("<svg") && picture.contains("hits of 42"), "{picture}");

    let all = server
        .json(&["series", "hits", "42", "7", "--step", "1m", "--total", "--show", "max", "--moving", "2"])
        .1;
    assert_eq!(
        (&all["ranges"][0]["sum"], &all["ranges"][1]["sum"], &all["total"]["sum"]),
        (&3.into(), &0.into(), &3.into())
    );
    let newest = [
        "series", "hits", "42", "--last", "5", "--step", "1h", "--order", "newest", "--limit", "2", "--fill",
        "null",
    ];
    let said = stdout(&server.run(&[&newest[..], &["--show", "difference", "--previous", "span"]].concat()));
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines[1].starts_with("sum 3, at most 3 in 1h; 2 points from ")
            && lines[2].starts_with("previous period: sum 0")
    );
    assert!(lines[4].contains("  difference ") && lines[4].contains("  filled "), "{said}");
    assert!(lines[4].ends_with("  previous 0"), "{said}");
    let said = stdout(&server.run(&["series", "hits", "42", "7", "--total"]));
    assert!(
        said.starts_with("key 42\n")
            && said.contains("\n\nkey 7\n")
            && said.contains("\n\nall keys together\n"),
        "{said}"
    );

    // The background flusher may have flushed the row already.
    let (code, flushed) = server.json(&["flush"]);
    assert_eq!((code, &flushed[0]["buffer"]), (Some(0), &"projects".into()));
    let (_, again) = server.json(&["flush", "projects"]);
    assert_eq!(again[0]["rows"], 0);
}

/// Uses only the server's own database: a sum beyond 64 bits becomes a dead letter there.
#[test]
fn dead_letters_are_listed_and_replayed() {
    let server = Server::start();
    assert_eq!(stdout(&server.run(&["dead", "list", "projects"])).trim(), "projects: no dead letters");
    let write = |hits: i64| {
        let body = format!(r#"{{"row":{{"id":"42"}},"columns":{{"hits":{hits}}}}}"#);
        let host = server.url.strip_prefix("http://").expect("a URL");
        let request = format!(
            "POST /v1/buffers/projects HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(host).expect("a connection");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
        assert!(server.run(&["flush", "projects"]).status.success());
    };
    write(i64::MAX);
    write(1);
    let (code, page) = server.json(&["dead", "list", "projects"]);
    assert_eq!((code, &page["letters"][0]["row"]["id"]), (Some(0), &"42".into()), "{page}");
    let said = stdout(&server.run(&["dead", "list", "projects"]));
    assert!(said.contains(r#"row {"id":"42"} columns {"hits":1}"#) && said.contains("64 bits"), "{said}");

    let refused = server.run(&["dead", "replay", "projects", "--all"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stdout(&refused).contains("0 applied, 1 refused again: "), "{}", stdout(&refused));
    write(-1);
    let (code, applied) = server.json(&["dead", "replay", "projects", "--id", "1", "--id", "9"]);
    assert_eq!(
        (code, &applied["applied"], &applied["unknown"]),
        (Some(0), &1.into(), &1.into()),
        "{applied}"
    );

    for wrong in [&["dead", "replay", "projects"][..], &["dead", "replay", "projects", "--id", "1", "--all"]]
    {
        assert_eq!(server.run(wrong).status.code(), Some(2));
    }
}

#[test]
fn a_refusal_of_the_server_is_an_error_with_its_text() {
    let server = Server::start();
    for (args, why) in [
        (&["limit", "hots", "42"][..], "hits"),
        (&["limit", "hits", "42", "--cost", "21"], "1 to 20"),
        (&["series", "hits", "42", "--from", "yesterday"], "yesterday"),
        (&["series", "hits", "42", "--show", "mean"], "show: \"mean\": one of rate, avg"),
        (&["series", "hits", "42", "--last", "5"], "needs a step, such as 1h or day"),
        (&["series", "hits", "42", "--plot", "7"], "ends with .svg, or nothing for the terminal"),
        (&["series", "hits", "42", "--kind", "line"], "--kind: an option of --plot"),
        (&["series", "hits", "42", "--plot", "--kind", "line"], "of a file, as in --plot FILE.svg"),
        (&["series", "hits", "42", "--plot", "--width", "400"], "--width: of a file"),
        (&["series", "hits", "42", "--plot", "--moving", "7"], "--moving: a line, and a terminal has none"),
        (&["series", "hits", "42", "--plot", "--json"], "a chart in the terminal is no JSON"),
        (&["series", "hits", "42", "--watch=1ms"], "--watch 1ms: at least 100ms"),
        (&["series", "hits", "42", "--plot", "a.svg", "--watch"], "leave out the file"),
        (
            &["series", "hits", "42", "--plot", "a.svg", "--width", "10"],
            "--width: \"10\": pixels, 320 to 4096",
        ),
        (&["series", "hits", "42", "--plot", "a.svg", "--limit", "3"], "leave out order and limit"),
        (
            &["series", "hits", "42", "--plot", "--kind", "heatmap", "--step", "day"],
            "needs points that divide an hour",
        ),
        (&["flush", "project"], "projects"),
        (&["dead", "list", "project"], "projects"),
        // The server has no route for the path without a name.
        (&["limit", "", "42"], "value is required for '<NAME>'"),
        (&["series", "", "42"], "value is required for '<NAME>'"),
        (&["lock", ""], "value is required for '<NAME>'"),
        (&["dead", "list", "projects", "--limit", "1001"], "1 to 1000"),
    ] {
        let output = server.run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains(why), "{}", stderr(&output));
    }
}

#[test]
fn without_a_server_the_message_says_how_to_start_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let here: &Path = dir.path();
    // The listener is closed again at once, so nothing listens on the port.
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let url = format!("http://{port}");
    for args in [&["limit", "hits", "42"][..], &["series", "hits", "42"], &["flush", "projects"]] {
        let output = run(here, &[args, &["--server", &url]].concat());
        assert_eq!(output.status.code(), Some(2));
        let said = stderr(&output);
        assert!(said.contains(&format!("no server at {url}")) && said.contains("forebay serve"), "{said}");
    }
    let output = run(here, &["limit", "hits", "42", "--store", "memory:"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("belongs to one process"), "{}", stderr(&output));
}
