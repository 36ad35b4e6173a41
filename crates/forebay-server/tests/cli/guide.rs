//! The program draws the pictures of the guide.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use super::process::{PROGRAM, Process, command, run};

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

/// The folder of the guide.
fn guide() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide")
}

/// Runs the commands of a section of the guide, in `dir` and on a server with these series; returns their number.
fn run_console(title: &str, series: &str, dir: &Path) -> usize {
    let guide = fs::read_to_string(guide().join("series.md")).expect("the guide");
    let (_, section) = guide.split_once(&format!("\n## {title}\n")).expect("a section");
    let (section, _) = section.split_once("\n## ").expect("a section after it");
    let (_, console) = section.split_once("```console\n").expect("commands");
    let (console, _) = console.split_once("```").expect("an end");
    let config = format!("store = \"embedded:a.redb\"\ndatabase = \"sqlite:a.db\"\n{series}");
    fs::write(dir.join("forebay.toml"), config).expect("a file");
    let server = Process::start(dir, &["serve", "--listen", "127.0.0.1:0"]);
    let url = server.line_after("  URL       ");
    let bin = Path::new(PROGRAM).parent().expect("a directory").display().to_string();
    let path = format!("{bin}:{}", std::env::var("PATH").expect("a path"));
    let mut examples = 0;
    for example in console.split("$ ").skip(1) {
        let (line, told) = example.split_once('\n').expect("a command and its output");
        if let Some(file) = line.strip_prefix("cat ").map(|name| dir.join(name))
            && !file.exists()
        {
            fs::write(file, told).expect("a file");
        }
        let mut shell = command("sh", dir);
        shell.env("FOREBAY_SERVER", &url).env("PATH", &path);
        let output = shell.args(["-c", line]).output().expect("a shell");
        let (found, said) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(found, told, "{line}: {said}");
        examples += 1;
    }
    examples
}

/// The series of most sections.
const VISITS: &str = "[series.visits]\nresolutions = [\"15m/30y\"]\n";

#[test]
fn the_guide_s_commands_print_what_it_says() {
    let labelled = "[series.requests]\nresolutions = [\"15m/30y\"]\nlabels = [\"endpoint\", \"status\"]\n";
    for (title, series, examples) in [("Import and export", VISITS, 7), ("Labels", labelled, 9)] {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(run_console(title, series, dir.path()), examples, "{title}");
    }
}

/// Makes the pictures of the guide of series.
#[test]
fn the_guide_s_pictures_are_drawn_by_its_commands() {
    let dir = tempfile::tempdir().expect("a directory");
    assert_eq!(run_console("Pictures", VISITS, dir.path()), 9);
    let series = fs::read_to_string(guide().join("series.md")).expect("the guide");
    let named = series.split("](pictures/").skip(1).filter_map(|rest| rest.split_once(')'));
    let mut pictures = 0;
    for (name, _) in named {
        let drawn = fs::read_to_string(dir.path().join(name)).expect("a picture of the commands");
        let path = guide().join("pictures").join(name);
        if std::env::var_os("FOREBAY_UPDATE_SNAPSHOTS").is_some() {
            fs::create_dir_all(guide().join("pictures")).expect("a folder");
            fs::write(&path, &drawn).expect("the guide's picture");
        }
        let shown = fs::read_to_string(&path).expect("the guide's picture");
        assert!(
            shown == drawn,
            "{} is not what the program draws: FOREBAY_UPDATE_SNAPSHOTS=1",
            path.display()
        );
        pictures += 1;
    }
    let kept = fs::read_dir(guide().join("pictures")).expect("a folder").count();
    assert_eq!((pictures, kept), (4, 4), "each picture is shown");
}
