//! The guide to statsd.

use std::{fs, path::Path};

use forebay_testkit::wait_until;

use super::process::{PROGRAM, Process, command};

/// The text between two lines of the guide.
fn between<'a>(guide: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = guide.split_once(start).expect("a start");
    rest.split_once(end).expect("an end").0
}

/// Runs the guide's commands with its configuration, on another port.
#[test]
fn the_guide_s_commands_print_what_it_says() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/statsd.md");
    let guide = fs::read_to_string(guide).expect("the guide");
    let config = between(&guide, "```toml\n", "```").replace(":8125", ":0");
    let dir = tempfile::tempdir().expect("a directory");
    let stores = "store = \"memory:\"\ndatabase = \"sqlite::memory:\"\n";
    fs::write(dir.path().join("forebay.toml"), format!("{stores}{config}")).expect("a file");
    let server = Process::start(dir.path(), &["serve", "--listen", "127.0.0.1:0"]);
    let url = server.line_after("  URL       ");
    let statsd = server.line_after("  statsd    ");
    let port =
        statsd.strip_suffix(" (UDP)").and_then(|address| address.rsplit_once(':')).expect("an address").1;
    let bin = Path::new(PROGRAM).parent().expect("a directory").display().to_string();
    let path = format!("{bin}:{}", std::env::var("PATH").expect("a path"));
    let mut examples = 0;
    for example in between(&guide, "```console\n", "```").split("$ ").skip(1) {
        let (line, told) = example.split_once('\n').expect("a command and its output");
        let line = line.replace("/8125", &format!("/{port}"));
        let run = || {
            let mut shell = command("bash", dir.path());
            shell.env("FOREBAY_SERVER", &url).env("PATH", &path);
            let output = shell.args(["-c", &line]).output().expect("a shell");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        wait_until(&line, || run() == told);
        examples += 1;
    }
    assert_eq!(examples, 3);
}
