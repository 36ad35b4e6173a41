//! `forebay series --plot` and `--watch`.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Output, Stdio},
};

use forebay_testkit::wait_until;

use super::process::{PROGRAM, Process, command};

const HOUR: &str = "2026-01-05T09:00:00Z";

struct Server {
    dir: tempfile::TempDir,
    url: String,
    process: Option<Process>,
}

impl Server {
    /// A server with some counts on 5 January 2026.
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let config = "database = \"sqlite::memory:\"\n[series.visits]\nresolutions = [\"15m/30y\"]\n";
        fs::write(dir.path().join("forebay.toml"), config).expect("a file");
        let mut server = Self { dir, url: "http://127.0.0.1:0".to_owned(), process: None };
        server.begin();
        for (key, n, time) in
            [("shop", 120, "09:05"), ("shop", 60, "09:50"), ("shop", 300, "11:20"), ("blog", 40, "10:00")]
        {
            server.add(&format!(r#"{{"key":"{key}","n":{n},"at":"2026-01-05T{time}:00Z"}}"#));
        }
        server
    }

    /// Starts the server, again at the port that it had.
    fn begin(&mut self) {
        let listen = self.url.strip_prefix("http://").expect("a URL").trim_end_matches('/').to_owned();
        let process = Process::start(self.dir.path(), &["serve", "--listen", &listen]);
        self.url = process.line_after("  URL       ");
        self.process = Some(process);
    }

    fn request(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.url.trim_start_matches("http://").trim_end_matches('/'))
            .expect("a server");
        stream.write_all(request.as_bytes()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    fn add(&self, body: &str) {
        let length = body.len();
        let head = "POST /v1/series/visits HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json";
        let answer = self.request(&format!("{head}\r\nContent-Length: {length}\r\n\r\n{body}"));
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    }

    fn chart(&self, query: &str) -> String {
        let path = format!("/v1/series/visits/chart.svg?{query}");
        let answer =
            self.request(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
        answer.split_once("\r\n\r\n").expect("a body").1.to_owned()
    }

    fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = command(PROGRAM, self.dir.path());
        command.args(["series", "visits"]).args(args).env("FOREBAY_SERVER", &self.url);
        for variable in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "LINES"] {
            command.env_remove(variable);
        }
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the program runs")
    }
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("text")
}

#[test]
fn a_picture_in_a_file_is_that_of_the_server() {
    let server = Server::start();
    let span = ["--from", HOUR, "--to", "2026-01-05T13:00:00Z", "--step", "1h"];
    let query = format!("from={HOUR}&to=2026-01-05T13:00:00Z&step=1h");
    for (keys, options, rest) in [
        (&["shop"][..], &["--theme", "auto"][..], "theme=auto"),
        (
            &["shop", "blog"],
            &["--kind", "line", "--previous", "span", "--width", "500"],
            "kind=line&previous=span&width=500",
        ),
        (&["shop", "blog"], &["--total", "--title", "<all>"], "total=true&title=%3Call%3E"),
        (
            &["shop"],
            &["--kind", "heatmap", "--tz", "Asia/Kolkata", "--step", "15m"],
            "kind=heatmap&tz=Asia/Kolkata&step=15m",
        ),
    ] {
        let span = if options.contains(&"15m") { &span[..4] } else { &span[..] };
        let query = if options.contains(&"15m") { query.trim_end_matches("&step=1h") } else { &query };
        let args = [keys, span, options, &["--plot", "a.svg"]].concat();
        text(&server.run(&args));
        let drawn = fs::read_to_string(server.dir.path().join("a.svg")).expect("a picture");
        let keys = keys.join("&key=");
        assert_eq!(drawn, server.chart(&format!("key={keys}&{query}&{rest}")), "{args:?}");
    }
}

#[test]
fn a_picture_in_the_terminal_fits_and_has_colours_only_where_they_are_wanted() {
    let server = Server::start();
    let plot = |more: &[&str], variables: &[(&str, &str)]| {
        let args = ["shop", "blog", "--from", HOUR, "--to", "2026-01-05T13:00:00Z", "--step", "1h", "--plot"];
        let mut command = server.command(&[&args, more].concat());
        text(&command.envs(variables.iter().copied()).output().expect("the program runs"))
    };
    let plain = plot(&[], &[("COLUMNS", "40")]);
    let lines: Vec<&str> = plain.lines().collect();
    assert_eq!(lines[..3], ["visits of 2 keys", "hits per 1h", "shop  sum 480"], "{plain}");
    assert!(lines.iter().all(|line| line.chars().count() <= 40) && plain.contains('█'), "{plain}");
    assert!(!plain.contains('\u{1b}'), "no terminal, no colours");
    let earlier = plot(&["--previous", "span"], &[]);
    assert!(earlier.contains("shop  sum 480, previous period sum 0"), "{earlier}");
    let coloured = plot(&["--color", "always"], &[("NO_COLOR", "1")]);
    assert!(coloured.contains("\u{1b}[") && coloured.contains("\u{1b}[0m"));
    assert!(!plot(&["--color", "never"], &[("CLICOLOR_FORCE", "1")]).contains('\u{1b}'));
    let heat = plot(&["--kind", "heatmap"], &[]);
    assert!(
        heat.lines().any(|line| line.starts_with("Mon ")) && heat.contains("180 per hour")
            || heat.contains("300 per hour"),
        "{heat}"
    );
    let narrow = server
        .command(&["shop", "--from", "-30d", "--step", "15m"])
        .env("COLUMNS", "30")
        .output()
        .expect("runs");
    assert!(text(&narrow).lines().next().is_some_and(|line| line.chars().count() <= 30));
}

/// Waits for a line that has `part`.
fn until(process: &Process, part: &str) -> String {
    loop {
        let line = process.line();
        if line.contains(part) {
            return line;
        }
    }
}

#[test]
fn a_watch_goes_on_while_the_server_is_away_and_ends_on_interrupt() {
    let mut server = Server::start();
    let args = ["series", "visits", "now", "--from", "-1h", "--watch=100ms", "--server", &server.url.clone()];
    let watch = Process::start(server.dir.path(), &args);
    until(&watch, "sum 0,");
    server.add(r#"{"key":"now","n":7}"#);
    until(&watch, "sum 7,");
    let stopped = server.process.take().expect("it runs");
    stopped.signal("TERM");
    assert_eq!(stopped.end().0, 0);
    // Whoever asks now is hung up on: the next question of the watch is a second one after an outage.
    let listener =
        TcpListener::bind(server.url.trim_start_matches("http://").trim_end_matches('/')).expect("the port");
    listener.set_nonblocking(true).expect("it does not block");
    for _ in 0..2 {
        wait_until("the watch asks", || listener.accept().is_ok());
    }
    drop(listener);
    server.begin();
    server.add(r#"{"key":"now","n":4}"#);
    until(&watch, "sum 11,");
    watch.signal("INT");
    let (code, log) = watch.end();
    assert_eq!(code, 0, "{log}");
    assert!(log.lines().count() > 1 && log.lines().all(|line| line.ends_with("; trying again")), "{log}");
    // A request that cannot be answered is not repeated.
    let wrong = server.run(&["now", "--show", "mean", "--watch"]);
    assert_eq!(wrong.status.code(), Some(2));
    let gone = ["now", "--watch=100ms", "--server", "http://127.0.0.1:1", "--json"];
    let gone = Process::start(server.dir.path(), &[&["series", "visits"], &gone[..]].concat());
    gone.signal("TERM");
    let (code, _) = gone.end();
    assert!(code == 0 || code == 143, "ended before or after it listened for the signal: {code}");
}

#[test]
fn a_watch_ends_when_nobody_reads() {
    let server = Server::start();
    let mut command = server.command(&["shop", "--from", "-1h", "--plot", "--watch=100ms"]);
    let mut program =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program runs");
    let mut first = String::new();
    BufReader::new(program.stdout.take().expect("piped")).read_line(&mut first).expect("a line");
    assert_eq!(first, "visits of shop\n");
    let output = program.wait_with_output().expect("it ends");
    assert_eq!(
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()),
        (Some(0), String::new())
    );
}

/// On a terminal a picture replaces the one before, line by line, and the cursor is never hidden.
#[test]
fn a_watch_on_a_terminal_is_redrawn_in_its_place() {
    let server = Server::start();
    let line = format!(
        "stty cols 60 rows 30; timeout --foreground -s INT 2 {PROGRAM} series visits shop --from {HOUR} --plot --watch=100ms; echo code $?"
    );
    let mut script = command("script", server.dir.path());
    script.env("FOREBAY_SERVER", &server.url).env("TERM", "xterm").env_remove("NO_COLOR");
    let output =
        script.args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).output().expect("script runs");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    // `timeout` answers 124 when it had to interrupt.
    assert!(shown.contains("code 124"), "{shown}");
    let (up, clear) = (shown.matches("\u{1b}[14A\r").count(), shown.matches("\u{1b}[2J").count());
    assert!(up > 2 && clear == 0, "{up} {shown}");
    assert!(shown.contains("\u{1b}[K\r\n") && !shown.contains("\u{1b}[?25l"), "{shown}");
    assert!(shown.contains("\u{1b}[3"), "colours on a terminal: {shown}");
}
