use std::{fmt::Write as _, fs, io::Write as _, path::Path, process::Output};

use flate2::{Compression, write::GzEncoder};
use forebay_testkit::sample_log;
use serde_json::Value;

use super::process::{Process, run, run_with_input};

/// Limits of 5 per 10 s, and a series with a retention of a day.
const CONFIG: &str = r#"
[limits.hits]
rate = "5/10s"
[limits.all]
rate = "1000000/1m"
[series.hits]
[series.short]
resolutions = ["10s/1h"]
[buffers.projects]
key = { id = "text" }
columns = { hits = "sum", last_seen = { merge = "max", type = "timestamp" } }
[events.hit]
limits = [{ name = "all", key = "*" }, "hits"]
series = ["hits", "short"]
buffer = "projects"
"#;

fn replay(dir: &Path, log: &str, more: &[&str]) -> Output {
    run(dir, &[&["replay", log, "--event", "hit", "--key", "ip"], more].concat())
}

fn summary(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr));
    })
}

fn counts(summary: &Value) -> [u64; 4] {
    ["lines", "accepted", "limited", "bad"].map(|field| summary[field].as_u64().expect(field))
}

/// A line for every second of `seconds`, at most 20 s out of order, from three addresses in turn.
fn log(seconds: i64) -> String {
    let mut log = String::new();
    for n in 0..seconds {
        let at = 1_431_857_100 + n - n * 7 % 20;
        writeln!(log, "{{\"ts\":{at},\"ip\":\"10.0.0.{}\"}}", n % 3).expect("a string takes all");
    }
    log
}

/// A replay of a log of months once failed with "nobody can tell whether it was applied". Its first batch was still in the
/// store at the end. By the log's time it was older than the ledger's retention in the database.
#[test]
fn a_log_of_many_weeks_reaches_the_database() {
    let dir = tempfile::tempdir().expect("a directory");
    let line =
        |day: i64| format!("{{\"ts\":{},\"ip\":\"10.0.0.{}\"}}\n", 1_431_857_100 + day * 86_400, day % 3);
    // A line per day, and two more lines a year later.
    let log: String = (0..40).chain([400, 401]).map(line).collect();
    fs::write(dir.path().join("long.log"), log).expect("written");
    for retention in ["", "\nledger_retention = \"1h\""] {
        let config =
            CONFIG.replace("key = { id = \"text\" }", &format!("key = {{ id = \"text\" }}{retention}"));
        fs::write(dir.path().join("forebay.toml"), config).expect("written");
        let summary = summary(&replay(dir.path(), "long.log", &["--json"]));
        assert_eq!(counts(&summary), [42, 42, 0, 0]);
        assert_eq!(
            (&summary["agree"], &summary["buffers"][0]["rows"]),
            (&true.into(), &3.into()),
            "{summary}"
        );
    }
}

#[test]
fn the_sample_log_matches_an_independent_count() {
    let Some(log) = sample_log() else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let log = log.to_str().expect("UTF-8");
    let example = summary(&replay(dir.path(), log, &["--json"]));
    assert_eq!(counts(&example), [10_000, 9_069, 931, 0]);
    assert_eq!((&example["agree"], &example["keys"]), (&true.into(), &1_753.into()));
    assert_eq!(example["buffers"][0]["rows"], 1_753);
    assert_eq!(example["buffers"][0]["sums"]["hits"], 9_069);
    assert_eq!(example["series"][0]["sum"], 9_069);
    assert_eq!(example["top_limited"][0]["key"], "130.237.218.86");

    fs::write(dir.path().join("other.toml"), CONFIG).expect("a file");
    let other = summary(&replay(dir.path(), log, &["--json", "--config", "other.toml"]));
    assert_eq!(counts(&other), [10_000, 9_378, 622, 0]);
    assert_eq!(other["denied_by"], serde_json::json!({ "all": 0, "hits": 622 }));
    assert_eq!((&other["agree"], &other["series"][0]["sum"]), (&true.into(), &9_378.into()));
    // The log spans 83 h, and this series keeps only its end. The kept and the expired counts add up to the total.
    let [sum, expired] = ["sum", "expired"].map(|field| other["series"][1][field].as_u64().expect(field));
    assert!(sum > 0 && expired > sum && sum + expired == 9_378, "{sum} {expired}");
}

#[test]
fn a_shift_by_whole_minutes_changes_no_decision_and_draws_a_picture() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("a.log"), log(600)).expect("a file");
    fs::write(dir.path().join("c.toml"), CONFIG).expect("a file");
    let plain = summary(&replay(dir.path(), "a.log", &["--json", "--config", "c.toml"]));
    let more = ["--json", "--config", "c.toml", "--rebase", "now", "--plot", "out.svg"];
    let rebased = summary(&replay(dir.path(), "a.log", &more));
    assert_eq!(counts(&plain), counts(&rebased));
    assert_eq!(counts(&plain)[0], 600);
    let shifted = rebased["shifted"].as_f64().expect("seconds");
    assert!(shifted > 0.0 && shifted % 60.0 == 0.0, "{shifted}");
    let picture = fs::read_to_string(dir.path().join("out.svg")).expect("a picture");
    assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"), "{picture}");
    assert!(picture.contains("hit of a.log by ip"), "{picture}");
}

#[test]
fn plain_gzip_and_standard_input_give_the_same_result() {
    let dir = tempfile::tempdir().expect("a directory");
    let text = log(3_000);
    fs::write(dir.path().join("a.log"), &text).expect("a file");
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(text.as_bytes()).expect("a vector takes all");
    let gzip = gzip.finish().expect("a vector takes all");
    fs::write(dir.path().join("a.gz"), &gzip).expect("a file");
    let mut plain = summary(&replay(dir.path(), "a.log", &["--json"]));
    let mut packed = summary(&replay(dir.path(), "a.gz", &["--json"]));
    let args = ["replay", "-", "--event", "hit", "--key", "ip", "--json"];
    let mut piped = summary(&run_with_input(dir.path(), &args, &gzip));
    for summary in [&mut plain, &mut packed, &mut piped] {
        for varying in ["elapsed", "rate"] {
            summary.as_object_mut().expect("an object").remove(varying);
        }
    }
    assert_eq!(plain["agree"], true);
    assert_eq!(plain, packed);
    assert_eq!(plain, piped);
    assert_eq!((&plain["lines"], &plain["late"]), (&3_000.into(), &0.into()));
}

#[test]
fn bad_lines_are_shown_with_their_numbers_and_skipped() {
    let dir = tempfile::tempdir().expect("a directory");
    let text = log(100).replace("\"ip\":\"10.0.0.1\"", "\"ip\":\"\"");
    fs::write(dir.path().join("a.log"), text).expect("a file");
    let output = replay(dir.path(), "a.log", &[]);
    assert!(output.status.success());
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("100 lines") && said.contains("33 bad lines, skipped"), "{said}");
    assert!(said.contains("database and series agree"), "{said}");
    let numbers: Vec<_> = complained.lines().map(|line| line.split([' ', ',']).nth(2)).collect();
    let expected: Vec<_> = (0..10).map(|n| (2 + 3 * n).to_string()).collect();
    assert_eq!(numbers, expected.iter().map(|n| Some(n.as_str())).collect::<Vec<_>>(), "{complained}");
}

/// One typical log of each kind, with the address that each one contains.
const KINDS: [(&str, &str, &[u8]); 8] = [
    ("access", "combined, behind a proxy", b"203.0.113.7, 10.0.0.1 - - [17/May/2015:10:05:03 +0000] \"GET /a HTTP/1.1\" 200 12 \"-\" \"curl/8\"\n203.0.113.8 - \"\" [17/May/2015:10:05:60 +0000] \"M-SEARCH  http://example.org/b HTTP/1.1\" 404 -\n"),
    ("access", "after a virtual host", b"\xef\xbb\xbfexample.org:443 203.0.113.7 - - [17/May/2015:10:05:03 +0000] \"GET /a HTTP/1.1\" 200 12 \"-\" \"curl/8\"\nexample.org 203.0.113.8 - - [17/May/2015:10:05:04 +0000] \"GET /b HTTP/1.1\" 200 12\n"),
    ("access", "copied and truncated", b"\0\0\0\0\0\x00203.0.113.7 - - [17/May/2015:10:05:03 +0000] \"GET /a HTTP/1.1\" 200 12\r\n203.0.113.8 - - [17/May/2015:10:05:04 +0000] \"-\" 408 -\r\n"),
    ("json", "epochs of all units", b"{\"ts\":1431857103250,\"ip\":\"203.0.113.7\"}\n{\"ts\":\"1431857103250000\",\"ip\":\"203.0.113.8:443\"}\n"),
    ("caddy", "Caddy", b"{\"level\":\"info\",\"ts\":1646861401.52,\"msg\":\"handled request\",\"request\":{\"remote_ip\":\"203.0.113.7\",\"client_ip\":\"203.0.113.7\",\"method\":\"GET\",\"uri\":\"/a?b\",\"headers\":{}},\"status\":200}\n{\"ts\":1646861402,\"request\":{\"remote_ip\":\"203.0.113.8\"},\"status\":200}\n"),
    ("traefik", "Traefik", b"{\"ClientAddr\":\"203.0.113.7:51234\",\"ClientHost\":\"203.0.113.7\",\"RequestPath\":\"/a\",\"StartUTC\":\"2022-03-09T21:30:01.5241024Z\",\"time\":\"2022-03-09T21:30:02Z\"}\n{\"ClientHost\":\"203.0.113.8\",\"StartUTC\":\"2022-03-09T21:30:01Z\"}\n"),
    ("w3c", "IIS", b"#Software: Microsoft Internet Information Services 10.0\r\n#Version: 1.0\r\n#Date: 2015-05-17 10:05:03\r\n#Fields: date time s-ip cs-method cs-uri-stem c-ip sc-status\r\n2015-05-17 10:05:03 10.0.0.1 GET /a 203.0.113.7 200\r\n2015-05-17 10:05:04 10.0.0.1 GET /b 203.0.113.8 200\r\n"),
    ("elb", "load balancer", b"https 2018-07-02T22:23:00.186641Z app/lb/5 203.0.113.7:2817 10.0.0.1:80 0.0 0.0 0.0 200 200 34 366 \"GET https://example.org:443/a HTTP/1.1\" \"curl/7\" - -\n2018-07-02T22:23:01.186641Z lb 203.0.113.8:2817 10.0.0.1:80 0.0 0.0 0.0 200 200 34 366 \"GET http://example.org:80/a HTTP/1.1\" \"curl/7\" - -\n"),
];

#[test]
fn each_kind_of_log_is_read_by_its_looks_and_by_its_name() {
    let dir = tempfile::tempdir().expect("a directory");
    for (format, name, text) in KINDS {
        fs::write(dir.path().join("a.log"), text).expect("a file");
        for more in [&["--json"][..], &["--json", "--format", format]] {
            let summary = summary(&replay(dir.path(), "a.log", more));
            assert_eq!((counts(&summary), &summary["keys"]), ([2, 2, 0, 0], &2.into()), "{name} {more:?}");
        }
        let other = if format == "elb" { "w3c" } else { "elb" };
        let refused = replay(dir.path(), "a.log", &["--format", other]);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{name}: {said}");
        assert!(said.contains("nothing was read") && said.contains("skipped line "), "{name}: {said}");
    }
}

#[test]
fn a_log_without_a_readable_line_is_an_error_with_a_hint() {
    let dir = tempfile::tempdir().expect("a directory");
    for (text, guess) in [
        (&b"2015-05-17 10:05:03 W3SVC1 10.0.0.1 GET / - 443 - 203.0.113.7 x 200\n"[..], "IIS W3C"),
        (b"{\n  \"ts\": 1\n}\n", "JSON over several lines"),
        (
            b"client.example.net - - [17/May/2015:10:05:03 +0000] \"GET / HTTP/1.1\" 200 1\n",
            "could be read; this looks like an access log that lacks what --key asks for",
        ),
        (b"\x1b]0;owned\x07\xff\xfe\x1b[2J\n", "\\u{1b}]0;owned"),
        (b"", "has no lines"),
        (b"\n\n", "has no lines"),
        (b"#Fields: date time c-ip\n", "has no lines"),
    ] {
        fs::write(dir.path().join("a.log"), text).expect("a file");
        for more in [&[][..], &["--rebase", "now"], &["--json"]] {
            let output = replay(dir.path(), "a.log", more);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{said}");
            // With `--json` the summary contains the first lines.
            let said = format!("{said}{}", String::from_utf8_lossy(&output.stdout).replace("\\\\", "\\"));
            assert!(said.contains(guess) && !said.contains(['\u{1b}', '\u{7}']), "{said}");
        }
    }
}

#[test]
fn the_readable_part_of_a_cut_or_padded_gzip_file_counts() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut gzip = GzEncoder::new(Vec::new(), Compression::none());
    gzip.write_all(log(3_000).as_bytes()).expect("a vector takes all");
    let whole = gzip.finish().expect("a vector takes all");
    for padding in [&[0; 10_000][..], b"garbage!"] {
        fs::write(dir.path().join("a.gz"), [&whole, padding].concat()).expect("a file");
        let output = replay(dir.path(), "a.gz", &["--json"]);
        assert_eq!(output.status.code(), Some(0));
        let summary = summary(&output);
        assert_eq!((&summary["lines"], &summary["padding"]), (&3_000.into(), &padding.len().into()));
        let said = replay(dir.path(), "a.gz", &[]).stdout;
        assert!(String::from_utf8_lossy(&said).contains("bytes after the end of the gzip data, skipped"));
    }
    fs::write(dir.path().join("a.gz"), &whole[..whole.len() / 2]).expect("a file");
    for more in [&["--json"][..], &["--json", "--rebase", "now"]] {
        let output = replay(dir.path(), "a.gz", more);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("was cut") && said.contains("the lines before that were replayed"), "{said}");
        let [lines, accepted, limited, bad] = counts(&summary(&output));
        assert!(lines > 1_300 && lines == accepted + limited && bad == 0, "{lines}");
    }
}

#[test]
fn a_line_that_is_too_late_is_counted_as_late_and_agrees_too() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("a.log"), log(100) + "{\"ts\":1431850000,\"ip\":\"10.0.0.9\"}\n")
        .expect("a file");
    let summary = summary(&replay(dir.path(), "a.log", &["--json", "--reorder", "30s"]));
    assert_eq!((&summary["late"], &summary["agree"]), (&1.into(), &true.into()));
    let [lines, accepted, limited, _] = counts(&summary);
    assert_eq!((lines, accepted + limited), (101, 101));
    assert_eq!(summary["keys"], 4, "the late line's key among them");
}

#[test]
fn a_second_run_adds_to_a_database_that_lasts() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("a.log"), log(30)).expect("a file");
    for _ in 0..2 {
        let summary =
            summary(&replay(dir.path(), "a.log", &["--json", "--database", "sqlite:out.db", "--create"]));
        assert_eq!((&summary["agree"], &summary["buffers"][0]["sums"]["hits"]), (&true.into(), &30.into()));
        assert_eq!(summary["buffers"][0]["rows"], 3);
    }
}

#[test]
fn an_impossible_replay_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("a.log"), log(3)).expect("a file");
    for (args, why) in [
        (&["nowhere.log", "--event", "hit", "--key", "ip"][..], "opening nowhere.log"),
        (&["a.log", "--event", "hut", "--key", "ip"], "did you mean \"hit\"?"),
        (&["a.log", "--event", "hit", "--key", "ip", "--plot", "no/such/dir.svg"], "writing no/such/dir.svg"),
        (&["-", "--event", "hit", "--key", "ip", "--rebase", "now"], "cannot be read twice"),
        (&["a.log", "--event", "hit", "--key", "ip", "--speed", "3"], "--server"),
    ] {
        let output = run(dir.path(), &[&["replay"], args].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(why), "{said}");
    }
    assert!(!dir.path().join("forebay.db").exists(), "nothing is left behind");
}

#[test]
fn a_server_takes_a_log_at_scaled_time() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("a.log"), log(3_000)).expect("a file");
    let server = Process::start(dir.path(), &["serve", "--listen", "127.0.0.1:0"]);
    let url = server.line_after("  URL       ");
    let more = ["--json", "--rebase", "now", "--speed", "1000000", "--server", &url];
    let replayed = summary(&replay(dir.path(), "a.log", &more));
    let [lines, accepted, limited, bad] = counts(&replayed);
    assert_eq!((lines, accepted + limited, bad), (3_000, 3_000, 0));
    // The server's clock applies: 20 a minute for each of three keys, and the minute may turn once.
    assert!((60..=120).contains(&accepted), "{accepted}");
    assert_eq!((&replayed["agree"], &replayed["keys"]), (&Value::Null, &3.into()));

    let unknown = run(dir.path(), &["replay", "a.log", "--event", "hut", "--key", "ip", "--server", &url]);
    let said = String::from_utf8_lossy(&unknown.stderr);
    assert_eq!(unknown.status.code(), Some(2), "{said}");
    assert!(said.contains("404") && said.contains("hut"), "{said}");
}
