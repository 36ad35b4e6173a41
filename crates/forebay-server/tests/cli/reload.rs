//! A configuration that changes while the server runs.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use forebay_server::{
    app::App,
    config::{Config, Options, load},
};
use forebay_testkit::wait_until;
use serde_json::{Value, json};

use super::process::Process;

const PLACES: &str = "listen = \"127.0.0.1:0\"\nstore = \"memory:\"\ndatabase = \"sqlite::memory:\"\n";

/// Replaces the file in the way of editors: by a rename.
fn write(dir: &Path, text: &str) {
    let other = dir.join("forebay.toml.new");
    fs::write(&other, text).expect("a file");
    fs::rename(other, dir.join("forebay.toml")).expect("a name");
}

struct Server {
    dir: tempfile::TempDir,
    address: String,
    process: Process,
}

impl Server {
    fn start(rules: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        write(dir.path(), &format!("{PLACES}{rules}"));
        let process = Process::start(dir.path(), &["serve"]);
        let address = process.line_after("  URL       http://");
        Self { dir, address, process }
    }

    fn write(&self, text: &str) {
        write(self.dir.path(), text);
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).expect("a connection");
        let (host, length) = (&self.address, body.len());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(format!("{head}{body}").as_bytes()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("HTTP");
        let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
        (status, body.to_owned())
    }

    fn json(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, body) = self.ask(method, path, body);
        (status, serde_json::from_str(&body).expect("JSON"))
    }

    fn take(&self, limit: &str, cost: u64) -> (u16, Value) {
        self.json("POST", &format!("/v1/limits/{limit}"), &json!({"key": "42", "cost": cost}).to_string())
    }

    fn limit(&self, limit: &str) -> Value {
        self.json("GET", &format!("/v1/limits/{limit}?key=42"), "").1["limit"].clone()
    }

    fn warnings(&self) -> String {
        self.json("GET", "/readyz", "").1["warnings"].to_string()
    }

    fn metric(&self, name: &str) -> Option<String> {
        let (_, metrics) = self.ask("GET", "/metrics", "");
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map(str::to_owned)
    }
}

#[test]
fn limits_change_while_the_server_runs_and_what_was_counted_counts() {
    let server = Server::start(
        "[limits.hits]\nrate = \"5/1d\"\n[limits.gone]\nrate = \"1/1d\"\n[events.hit]\nlimits = [\"hits\"]\n",
    );
    assert_eq!(server.take("hits", 4).0, 200);
    server.write(&format!(
        "{PLACES}[limits.hits]\nrate = \"6/1d\"\noverrides = {{ vip = \"unlimited\" }}\n[limits.new]\nrate = \"1/1d\"\n\
         [events.hit]\nlimits = [\"hits\", \"new\"]\n[events.more]\nlimits = [\"new\"]\n"
    ));
    wait_until("the change to be seen", || server.limit("hits") == 6);
    assert_eq!(server.json("GET", "/v1/limits/hits?key=42", "").1["used"], 4);
    let hit = |event: &str, key: &str| {
        server.ask("POST", &format!("/v1/events/{event}"), &json!({"key": key}).to_string()).0
    };
    assert_eq!(
        [hit("hit", "42"), hit("hit", "42"), hit("more", "42"), hit("more", "43")],
        [202, 429, 429, 202]
    );
    assert_eq!((server.take("hits", 1).0, server.take("hits", 1).0), (200, 429));
    assert_eq!(server.json("GET", "/v1/limits/hits?key=vip", "").1["source"], "definition");
    assert_eq!(server.take("gone", 1).0, 404);
    assert_eq!(server.metric("forebay_config_reloads_total").as_deref(), Some("1"));
    assert_eq!(server.warnings(), "[]");
    // The answer lists added and removed names. A truncated file can lose names without a syntax error.
    let changes = server.json("GET", "/readyz", "").1["reloaded"]["changes"].to_string();
    for change in ["limit gone: removed", "limit hits: changed", "limit new: new", "event more: new"] {
        assert!(changes.contains(change), "{change}: {changes}");
    }
}

/// An empty file is valid. Before the check, it removed all limits and events of a running server, and `/readyz` stayed
/// well.
#[test]
fn a_file_that_declares_nothing_does_not_take_away_what_there_is() {
    let rules = "[limits.hits]\nrate = \"5/1d\"\n[events.hit]\nlimits = [\"hits\"]\n";
    let server = Server::start(rules);
    for (number, text) in [String::new(), PLACES.to_owned(), "\n# nothing\n".to_owned()].iter().enumerate() {
        server.write(text);
        let refused = (number + 1).to_string();
        wait_until("the refusal", || server.metric("forebay_config_refused_total") == Some(refused.clone()));
        assert!(server.warnings().contains("forebay.toml: declares no limit, series, buffer or event"));
        assert_eq!((server.limit("hits"), server.take("hits", 0).0), (json!(5), 200));
        assert_eq!(server.metric("forebay_config_current").as_deref(), Some("0"));
    }
    // A reload on demand does not apply it either.
    server.process.signal("HUP");
    wait_until("the refusal", || server.metric("forebay_config_refused_total").as_deref() == Some("4"));
    server.write(&format!("{PLACES}{rules}"));
    wait_until("the mend to be seen", || server.warnings() == "[]");
    assert_eq!(server.metric("forebay_config_current").as_deref(), Some("1"));
}

#[test]
fn a_missing_or_irregular_file_is_reported_and_changes_nothing() {
    let rules = "[limits.hits]\nrate = \"5/1d\"\n";
    let server = Server::start(rules);
    let path = server.dir.path().join("forebay.toml");
    fs::remove_file(&path).expect("it was there");
    wait_until("its absence to be seen", || server.warnings().contains("forebay.toml: cannot be read"));
    fs::create_dir(&path).expect("a directory");
    wait_until("the directory to be seen", || server.warnings().contains("is a directory, where a regular"));
    assert_eq!(server.limit("hits"), 5);
    fs::remove_dir(&path).expect("it was there");
    fs::write(&path, "#".repeat((1 << 20) + 1)).expect("written");
    wait_until("its length to be seen", || server.warnings().contains("is longer than 1048576 bytes"));
    server.write(&format!("{PLACES}{rules}"));
    wait_until("the mend to be seen", || server.warnings() == "[]");
}

/// The signal arrived between two writes to the file, and the server applied half of it.
#[test]
fn a_file_is_taken_once_it_has_not_changed_for_a_moment() {
    let rules = "[limits.hits]\nrate = \"5/1d\"\n[limits.other]\nrate = \"5/1d\"\n";
    let server = Server::start(rules);
    let path = server.dir.path().join("forebay.toml");
    let half = format!("{PLACES}[limits.hits]\nrate = \"6/1d\"\n");
    fs::write(&path, &half).expect("written");
    server.process.signal("HUP");
    let whole = half + "[limits.other]\nrate = \"6/1d\"\n";
    fs::write(&path, whole).expect("written");
    wait_until("the change to be seen", || server.limit("hits") == 6);
    assert_eq!(server.limit("other"), 6);
    assert_eq!(server.metric("forebay_config_reloads_total").as_deref(), Some("1"), "it was never half");
}

#[test]
fn a_file_with_mistakes_is_reported_and_changes_nothing() {
    let good = "[limits.hits]\nrate = \"5/1d\"\n";
    let server = Server::start(good);
    assert_eq!(server.metric("forebay_config_current").as_deref(), Some("1"));
    server.write(&format!("{PLACES}[limits.hits]\nrate = \"6/1d\"\n[limits.other]\nrate = \"often\"\n"));
    wait_until("the mistake to be seen", || server.warnings().contains("forebay.toml:7"));
    assert_eq!((server.limit("hits"), server.take("other", 1).0), (json!(5), 404));
    assert_eq!(server.metric("forebay_config_refused_total").as_deref(), Some("1"));
    assert_eq!(server.metric("forebay_config_current").as_deref(), Some("0"));
    // The file is half written, and then empty.
    server.write("");
    fs::remove_file(server.dir.path().join("forebay.toml")).expect("it was there");
    server.write(&format!("{PLACES}{good}"));
    wait_until("the mend to be seen", || server.warnings() == "[]");
    assert_eq!(server.limit("hits"), 5);
    server.process.signal("TERM");
    let (code, log) = server.process.end();
    assert_eq!(code, 0);
    assert!(log.contains("invalid configuration; keeping the previous one"), "{log}");
    assert!(log.contains("forebay.toml:7: limits.other.rate: rate \"often\""), "{log}");
}

#[test]
fn changes_that_need_a_restart_are_named_and_the_others_applied() {
    let rules = "[limits.hits]\nrate = \"5/1d\"\n[events.hit]\nlimits = [\"hits\"]\n[events.other]\nlimits = [\"hits\"]\n";
    let server = Server::start(rules);
    let places =
        PLACES.replace("127.0.0.1:0", "127.0.0.1:7999").replace("sqlite::memory:", "sqlite:other.db");
    server.write(&format!(
        "{places}prefix = \"other\"\n[[tokens]]\nname = \"a\"\ntoken = \"secret\"\nscopes = [\"read\"]\n\
         [limits.hits]\nrate = \"7/1d\"\n[limits.new]\nrate = \"1/1d\"\n[series.new]\n\
         [events.hit]\nlimits = [\"hits\", \"new\"]\nseries = [\"new\"]\n"
    ));
    // SIGHUP applies the file at once, without a second look at it.
    server.process.signal("HUP");
    wait_until("the change to be seen", || server.limit("hits") == 7);
    let warnings = server.warnings();
    for named in ["listen", "prefix", "database", "tokens", "series new: new", "event hit: series new is new"]
    {
        assert!(warnings.contains(named), "{named}: {warnings}");
    }
    assert!(!warnings.contains("secret") && !warnings.contains("store,"), "{warnings}");
    // The event keeps its definition and uses the new limit.
    let hit = |event: &str| server.ask("POST", &format!("/v1/events/{event}"), r#"{"key":"42","n":7}"#).0;
    assert_eq!([hit("hit"), hit("hit"), hit("other")], [202, 429, 404]);
    assert_eq!(server.take("new", 1).0, 200);
    assert_eq!(server.metric("forebay_config_current").as_deref(), Some("0"));
    server.write(&format!("{PLACES}{rules}"));
    wait_until("the way back to be seen", || server.warnings() == "[]");
    assert_eq!((server.limit("hits"), hit("other")), (json!(5), 422));
}

fn config(quota: u64) -> (tempfile::NamedTempFile, Config) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let limits = format!("[limits.a]\nrate = \"{quota}/1d\"\n[limits.b]\nrate = \"{quota}/1d\"\n");
    fs::write(file.path(), format!("{PLACES}{limits}[events.hit]\nlimits = [\"a\", \"b\"]\n"))
        .expect("written");
    let options = Options { config: Some(file.path().into()), ..Options::default() };
    let config = load(&options, &|_| None).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    (file, config)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_during_a_reload_sees_one_configuration() {
    let ((_one, old), (_two, new)) = (config(1_000_000), config(2_000_000));
    let app = Arc::new(App::open(&old).await.expect("opens"));
    let stop = Arc::new(AtomicBool::new(false));
    let changing = tokio::task::spawn_blocking({
        let (app, stop) = (app.clone(), stop.clone());
        move || {
            let mut rounds = 0u32;
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(app.reload(&new).made, ["limit a: changed", "limit b: changed"]);
                assert_eq!(app.reload(&old).made.len(), 2);
                rounds += 1;
            }
            rounds
        }
    });
    let mut seen = std::collections::BTreeSet::new();
    let mut hits = 0;
    while hits < 2_000 || seen.len() < 2 {
        let event = app.rules().events.find("hit").expect("declared").handle.clone();
        let hit = event.hit("42", 1).await.expect("answers");
        let limits = &hit.limits().limits;
        assert_eq!(limits[0].expect("was asked").limit(), limits[1].expect("was asked").limit());
        assert_eq!(limits[0].expect("was asked").used(), limits[1].expect("was asked").used());
        seen.insert(limits[0].expect("was asked").limit());
        hits += 1;
        assert_eq!(limits[0].expect("was asked").used(), hits, "each change goes on with what was counted");
    }
    stop.store(true, Ordering::Relaxed);
    assert!(changing.await.expect("no panic") > 0);
}
