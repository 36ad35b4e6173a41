//! Series that are exported and imported.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    path::Path,
    process::{Child, Output, Stdio},
    thread,
};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use super::process::{PROGRAM, Process, command, run, run_with_input};

/// Two series with the same resolutions: by quarters of an hour for two years, and by days for three.
const CONFIG: &str = "[series.hits]\nresolutions = [\"15m/2y\", \"1d/3y\"]\n\
    [series.copies]\nresolutions = [\"15m/2y\", \"1d/3y\"]\n";

/// A server in a directory of its own, which can be killed and started again.
struct Server {
    dir: tempfile::TempDir,
    url: String,
    process: Option<Process>,
}

impl Server {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let stores = "store = \"embedded:a.redb\"\ndatabase = \"sqlite:a.db\"\n";
        fs::write(dir.path().join("forebay.toml"), format!("{stores}{CONFIG}")).expect("a file");
        let mut server = Self { dir, url: "http://127.0.0.1:0".to_owned(), process: None };
        server.resume();
        server
    }

    /// Starts it on its old port.
    fn resume(&mut self) {
        let listen = self.url.strip_prefix("http://").expect("a URL");
        let process = Process::start(self.dir.path(), &["serve", "--listen", listen]);
        self.url = process.line_after("  URL       ");
        self.process = Some(process);
    }

    fn kill(&mut self) {
        let process = self.process.take().expect("it runs");
        process.signal("KILL");
        process.end();
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path().join(name), text).expect("a file");
    }

    fn run(&self, args: &[&str]) -> Output {
        run(self.path(), &[&["series"], args, &["--server", &self.url]].concat())
    }

    /// Imports a file: the status, the summary, and stderr.
    fn import(&self, args: &[&str]) -> (Option<i32>, Value, String) {
        let output = self.run(&[&["hits", "--json", "--import"], args].concat());
        let summary = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (output.status.code(), summary, stderr(&output))
    }

    fn export(&self, series: &str, args: &[&str]) -> String {
        let output = self.run(&[&[series, "--export"], args].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        String::from_utf8(output.stdout).expect("text")
    }

    /// The sum of all counts.
    fn sum(&self, series: &str) -> u64 {
        let rows = self.export(series, &["--format", "json"]);
        let count = |line: &str| {
            let row: Value = serde_json::from_str(line).expect("JSON");
            row["n"].as_u64().expect("a count")
        };
        rows.lines().map(count).sum()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Rows of CSV, each with another amount, and their sum.
fn rows(count: u64) -> (String, u64) {
    let mut text = "key,at,n\n".to_owned();
    for n in 0..count {
        let _ = writeln!(text, "user:{},{},{}", n % 97, 1_767_225_600 + 60 * (n % 5_000), n % 7 + 1);
    }
    (text, (0..count).map(|n| n % 7 + 1).sum())
}

#[test]
fn files_of_each_form_are_imported_and_lines_that_cannot_be_are_told() {
    let server = Server::start();
    let csv = "\u{feff}n,at,key,note\r\n3,2026-01-01T00:05:00Z,\"a,\"\"b\nc\",x\r\n\r\n\
        1,1767225600,a,x\r\n1,never,a,x\r\n0,1767225600,a,x\r\n1.5,1767225600,a,x\r\n1,1767225600,,x\r\n\
        1,1967225600,a,x\r\n1,1000000000,a,x\r\n1,1767225600\r\n5000000000,1767225600,big,x";
    server.write("a.csv", csv);
    let (code, summary, said) = server.import(&["a.csv", "--rejects", "refused.csv"]);
    let told = json!({"amount": 1, "format": 1, "key": 1, "time": 1, "too-far-ahead": 1, "too-old": 1});
    assert_eq!((code, &summary["refused"]), (Some(1), &told), "{summary} {said}");
    assert_eq!(
        (&summary["imported"], &summary["sum"], &summary["zeros"]),
        (&json!(3), &json!(5_000_000_004_u64), &json!(1))
    );
    assert_eq!((&summary["lines"], &summary["position"]["lines"]), (&json!(10), &json!(13)));
    for line in [
        "columns that are not read: note",
        "refused line 6: time: time \"never\": RFC 3339",
        "refused line 9: key: ",
        "refused line 12: format: 2 columns, and the header has 4",
        "the last line has no line end",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let refused = fs::read_to_string(server.path().join("refused.csv")).expect("a file");
    assert!(refused.starts_with("line,reason,detail,text\n6,time,"), "{refused}");
    assert!(refused.contains("\n10,too-far-ahead,") && refused.ends_with(",\"1,1767225600\"\n"), "{refused}");
    assert_eq!(server.sum("hits"), 5_000_000_004);
    assert!(server.export("hits", &[]).contains("\"a,\"\"b\nc\",2026-01-01T00:00:00Z,3,900\n"));

    let mut gzip = GzEncoder::new(vec![], Compression::fast());
    gzip.write_all(b"{\"key\":\"j\",\"at\":1767225600000}\n{\"key\":\"j\",\"n\":2,\"at\":\"2026-01-01T00:00:00Z\"}\n{\"key\":\"j\"")
        .expect("memory");
    server.write("b.json.gz", gzip.finish().expect("memory"));
    let (code, summary, said) = server.import(&["b.json.gz", "--unit", "ms"]);
    assert_eq!(
        (code, &summary["sum"], &summary["refused"]),
        (Some(1), &json!(3), &json!({"format": 1})),
        "{said}"
    );
    let cut = fs::read(server.path().join("b.json.gz")).expect("a file");
    server.write("cut.json.gz", &cut[..cut.len() - 12]);
    let (code, _, said) = server.import(&["cut.json.gz", "--unit", "ms", "--import-id", "2"]);
    assert!(code == Some(2) && said.contains("the gzip data was cut"), "{said}");

    let piped = [
        "series",
        "hits",
        "--import",
        "-",
        "--key-column",
        "who",
        "--at-column",
        "when",
        "--server",
        &server.url,
    ];
    let output = run_with_input(server.path(), &piped, b"when,who\n1767225600,p\n1767225600,p\n");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "2 lines: 2 imported, sum 2\n",
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_file_that_is_no_import_is_refused() {
    let server = Server::start();
    for (text, args, told) in [
        ("", &[][..], "nothing to import: a is empty"),
        ("a,b\n", &[], "the first row: no column \"key\" in \"a,b\"; --key-column names another"),
        ("key,at,key\n", &[], "the column \"key\" is there twice"),
        ("key,at\n", &["--format", "openmetrics"], "an import reads csv or json"),
        ("key,at\n", &["--step", "1h"], "--step: an import has all lines of its file"),
        ("key,at\n", &["--import-id", "a b"], "1 to 64 visible ASCII characters"),
    ] {
        server.write("a", text);
        let (code, _, said) = server.import(&[&["a"], args].concat());
        assert!(code == Some(2) && said.contains(told), "{args:?}: {said}");
    }
    server.write("a", "key,at\n");
    assert_eq!(server.import(&["a"]).0, Some(0), "a header alone is an export of nothing");
    server.write("a", "");
    assert_eq!(server.import(&["a", "--format", "json"]).0, Some(0));
    server.write("a", "key,at\nk,1767225600\n");
    let output = server.run(&["hitz", "--import", "a"]);
    assert!(output.status.code() == Some(2) && stderr(&output).contains("hits"), "{}", stderr(&output));
    for wrong in [
        &["hits", "k", "--import", "a"][..],
        &["hits", "--export", "--show", "rate"],
        &["hits", "k", "--format", "csv"],
    ] {
        assert_eq!(server.run(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn a_repeated_import_counts_once_and_says_so() {
    let server = Server::start();
    let (text, sum) = rows(2_500);
    server.write("a.csv", &text);
    let (code, first, _) = server.import(&["a.csv"]);
    assert_eq!((code, &first["sum"], &first["repeated"]), (Some(0), &json!(sum), &json!(0)));
    let again = server.run(&["hits", "--import", "a.csv"]);
    let said = String::from_utf8_lossy(&again.stdout).into_owned();
    let told = format!(
        "2500 lines: 2500 imported, sum {sum}; 2500 of them had been imported before, and count once\n"
    );
    assert_eq!((again.status.code(), said), (Some(0), told));
    assert_eq!(server.sum("hits"), sum);
    // The same lines with other options are not the same requests.
    let (code, _, said) = server.import(&["a.csv", "--n-column", "none"]);
    assert!(code == Some(2) && said.contains("imported with other options"), "{said}");
    let (code, other, _) = server.import(&["a.csv", "--import-id", "again"]);
    assert_eq!((code, &other["repeated"], server.sum("hits")), (Some(0), &json!(0), 2 * sum));
    // With a position, a file that has grown goes on.
    let state = ["a.csv", "--state", "a.state"];
    assert_eq!(server.import(&state).1["repeated"], 2_500);
    server.write("a.csv", format!("{text}new,1767225600,1000\n"));
    let (code, grown, _) = server.import(&state);
    assert_eq!((code, &grown["lines"], &grown["sum"]), (Some(0), &json!(1), &json!(1_000)));
    assert_eq!(server.import(&state).1["lines"], 0);
    server.write("a.csv", text.replacen("user:0,", "user:x,", 1));
    let (code, _, said) = server.import(&state);
    assert!(code == Some(2) && said.contains("another file, or it was changed"), "{said}");
    assert_eq!(server.sum("hits"), 2 * sum + 1_000);
}

/// The import is killed whenever it has come a step further, and the server once.
#[test]
fn an_import_that_is_killed_counts_each_line_once() {
    let mut server = Server::start();
    let (text, sum) = rows(40_000);
    server.write("a.csv", &text);
    let state = server.path().join("a.state");
    let args = ["series", "hits", "--import", "a.csv", "--state", "a.state", "--server"];
    let lines = || -> u64 {
        let state = fs::read(&state).ok().and_then(|state| serde_json::from_slice::<Value>(&state).ok());
        state.and_then(|state| state["position"]["lines"].as_u64()).unwrap_or(0)
    };
    for kills in 0..4 {
        let mut import = command(PROGRAM, server.path());
        import.args(args).arg(&server.url).stdout(Stdio::null()).stderr(Stdio::null());
        let mut import = import.spawn().expect("it runs");
        wait_for(&mut import, lines() + 3_000, lines);
        if kills == 2 {
            server.kill();
            server.resume();
            wait_for(&mut import, lines() + 1_000, lines);
        }
        import.kill().expect("it was started");
        import.wait().expect("it ends");
    }
    let (code, summary, said) = server.import(&["a.csv", "--state", "a.state"]);
    assert_eq!(code, Some(0), "{summary} {said}");
    assert_eq!(server.sum("hits"), sum);
    // From the beginning, the server knows every line.
    let (code, summary, _) = server.import(&["a.csv"]);
    assert_eq!((code, &summary["repeated"]), (Some(0), &json!(40_000)), "{summary}");
    assert_eq!(server.sum("hits"), sum);
}

/// Waits until an import has so many lines, or has ended.
fn wait_for(import: &mut Child, most: u64, lines: impl Fn() -> u64) {
    while lines() < most && import.try_wait().expect("a status").is_none() {
        thread::yield_now();
    }
}

#[test]
fn an_import_waits_for_its_server() {
    let mut server = Server::start();
    let (text, sum) = rows(20_000);
    server.write("a.csv", &text);
    let mut import = command(PROGRAM, server.path());
    import.args(["series", "hits", "--import", "a.csv", "--state", "a.state", "--server", &server.url]);
    let import = import.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    while !server.path().join("a.state").exists() {
        thread::yield_now();
    }
    server.kill();
    server.resume();
    let output = import.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        String::from_utf8_lossy(&output.stdout)
            .starts_with(&format!("20000 lines: 20000 imported, sum {sum}"))
    );
    assert_eq!(server.sum("hits"), sum);
}

#[test]
fn an_export_is_imported_into_another_series_with_the_same_sums() {
    let server = Server::start();
    let keys =
        ["a,b", "say \"hi\"", "two\nlines\r\n", "=1+1", "-2", "@x", "日本é", " blank ", "#c", "\u{feff}"];
    let mut lines = String::new();
    for n in 0..2_000_u64 {
        let key = keys[usize::try_from(n).expect("small") % keys.len()];
        let _ = writeln!(lines, "{}", json!({"key": key, "n": n + 1, "at": 1_767_225_600 + 1_009 * n}));
    }
    server.write("a.json", &lines);
    assert_eq!(server.import(&["a.json"]).0, Some(0));
    for format in ["csv", "json"] {
        server.write(format, server.export("hits", &["--format", format]));
        let output = server.run(&["copies", "--import", format, "--import-id", format]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        for step in ["15m", "1h", "1d"] {
            let args = ["--format", "json", "--step", step];
            let (of, copied) = (server.export("hits", &args), server.export("copies", &args));
            let twice = |line: &str| {
                let mut row: Value = serde_json::from_str(line).expect("JSON");
                row["n"] = json!(row["n"].as_u64().expect("a count") * if format == "csv" { 1 } else { 2 });
                row
            };
            let read = |line: &str| serde_json::from_str::<Value>(line).expect("JSON");
            assert_eq!(
                of.lines().map(twice).collect::<Vec<_>>(),
                copied.lines().map(read).collect::<Vec<_>>(),
                "{step}"
            );
        }
    }
}

#[test]
fn a_store_is_exported_and_imported_without_a_server() {
    let server = Server::start();
    let (text, sum) = rows(3_000);
    server.write("a.csv", &text);
    assert_eq!(server.import(&["a.csv"]).0, Some(0));
    let told = server.export("hits", &[]);
    let Server { dir, process, .. } = server;
    let process = process.expect("it runs");
    process.signal("TERM");
    assert_eq!(process.end().0, 0);
    let store = |args: &[&str]| {
        let output = run(dir.path(), &[&["series", "hits"], args, &["--store", "embedded:a.redb"]].concat());
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), stderr(&output))
    };
    assert_eq!(store(&["--export"]), (Some(0), told, String::new()));
    let (code, summary, said) = store(&["--import", "a.csv", "--json"]);
    let summary: Value = serde_json::from_str(&summary).unwrap_or_else(|_| panic!("{said}"));
    assert_eq!((code, &summary["repeated"], &summary["sum"]), (Some(0), &json!(3_000), &json!(sum)));
}
