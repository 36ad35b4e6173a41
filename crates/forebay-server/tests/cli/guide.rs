//! The program draws the pictures of the guide.

use std::{fmt::Write as _, fs, path::Path};

use super::process::run;

/// Sends two hits a second around a minute's edge, under one limit of each kind.
#[test]
fn the_window_edge_is_drawn_by_the_program() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = (0..60).fold(String::new(), |mut log, half| {
        let (minute, second, milli) = (half / 30, 45 + half / 2, 250 + half % 2 * 500);
        let _ = writeln!(
            log,
            "{{\"time\":\"2026-01-01T12:0{minute}:{:02}.{milli}Z\",\"user\":\"u\"}}",
            second % 60
        );
        log
    });
    for kind in ["fixed-window", "sliding-window", "token-bucket"] {
        let name = format!("{kind} at 20 a minute");
        fs::write(dir.path().join(&name), &log).expect("a log");
        let config =
            forebay_server::config::EXAMPLE.replace("kind = \"fixed-window\"", &format!("kind = \"{kind}\""));
        fs::write(dir.path().join("forebay.toml"), config).expect("a configuration");
        let replay = ["replay", &name, "--event", "hit", "--key", "user", "--plot", "out.svg"];
        let output = run(dir.path(), &replay);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let drawn = fs::read_to_string(dir.path().join("out.svg")).expect("a picture");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/guide/edge-{kind}.svg"));
        if std::env::var_os("FOREBAY_UPDATE_SNAPSHOTS").is_some() {
            fs::write(&path, &drawn).expect("the guide's picture");
        }
        let shown = fs::read_to_string(&path).expect("the guide's picture");
        assert!(
            shown == drawn,
            "{} is not what the program draws: FOREBAY_UPDATE_SNAPSHOTS=1",
            path.display()
        );
    }
}

/// Runs the command that the README suggests.
#[test]
fn the_readme_s_replay_runs_on_the_log_that_comes_with_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = fs::read_to_string(root.join("README.md")).expect("a README");
    let line = readme.lines().find_map(|line| line.strip_prefix("cargo run --release -- replay "));
    let words: Vec<&str> = line.expect("an example").split(' ').collect();
    let log = root.join(words[0]);
    let dir = tempfile::tempdir().expect("a directory");
    let replay = [&["replay", log.to_str().expect("text")], &words[1..], &["--json"]].concat();
    let output = run(dir.path(), &replay);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a summary");
    assert_eq!((&summary["bad"], &summary["agree"]), (&0.into(), &true.into()), "{summary}");
    assert!(summary["limited"].as_u64() > Some(50) && summary["accepted"].as_u64() > Some(100), "{summary}");
    assert!(dir.path().join("hits.svg").exists());
    // The sample contains only addresses that are reserved for documentation.
    let log = fs::read_to_string(log).expect("the log");
    let is_documentation = |line: &str| {
        ["192.0.2.", "198.51.100.", "203.0.113.", "2001:db8:"].iter().any(|range| line.starts_with(range))
    };
    assert!(log.lines().all(is_documentation));
}
