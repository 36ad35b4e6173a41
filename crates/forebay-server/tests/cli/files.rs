//! The files that commands create, and the files that they must not create.

use std::{fs, path::Path};

use super::process::{Process, run};

fn names(dir: &Path) -> Vec<String> {
    let files = fs::read_dir(dir).expect("a directory").flatten();
    let mut names: Vec<_> = files.map(|file| file.file_name().into_string().expect("text")).collect();
    names.sort();
    names
}

#[test]
fn a_missing_store_is_not_created_by_mistake() {
    let dir = tempfile::tempdir().expect("a directory");
    let here = dir.path();
    // With `--create` the command may create the store.
    assert!(
        run(here, &["limit", "hits", "42", "--store", "embedded:forebay.redb", "--create"]).status.success()
    );
    let database = ["flush", "--store", "embedded:forebay.redb"];
    let refused = run(here, &database);
    assert_eq!(refused.status.code(), Some(2), "its database is not there either");
    assert!(
        String::from_utf8_lossy(&refused.stderr)
            .contains("database sqlite:forebay.db: the file does not exist")
    );
    assert!(run(here, &[&database[..], &["--create"]].concat()).status.success());
    assert!(run(here, &database).status.success());
    let before = names(here);
    fs::write(here.join("a.log"), "{\"ts\":1,\"ip\":\"::1\"}\n").expect("a log");
    for (command, meant) in [
        (&["limit", "hits", "42", "--store", "embedded:forebya.redb"][..], "forebay.redb"),
        (
            &["limit", "hits", "42", "--peek", "--store", "embedded:other.redb?sync=1s"],
            "there is forebay.redb",
        ),
        (&["limit", "hits", "--overrides", "--store", "embedded:forebay.reb"], "did you mean forebay.redb?"),
        (&["series", "hits", "42", "--store", "embedded:forebay.red"], "did you mean forebay.redb?"),
        (&["flush", "--store", "embedded:forebay"], "did you mean forebay."),
        (
            &["lock", "job", "--store", "embedded:FOREBAY.REDBX", "--", "touch", "ran"],
            "did you mean forebay.redb?",
        ),
        (&["cluster", "show", "--store", "embedded:no/such.redb"], "the file does not exist (--create"),
        (
            &["replay", "a.log", "--event", "hit", "--key", "ip", "--store", "embedded:forebay.redbb"],
            "did you mean forebay.redb?",
        ),
        (
            &["replay", "a.log", "--event", "hit", "--key", "ip", "--database", "sqlite:forebay.dbb"],
            "did you mean forebay.db?",
        ),
        (
            &["replay", "a.log", "--event", "hit", "--key", "ip", "--database", "sqlite:out.db"],
            "there is forebay.db",
        ),
    ] {
        let refused = run(here, command);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{command:?}: {said}");
        assert!(said.contains("the file does not exist") && said.contains("--create"), "{said}");
        assert!(said.contains(meant), "{command:?}: {said}");
    }
    fs::remove_file(here.join("a.log")).expect("a log");
    assert_eq!(names(here), before, "nothing was made");
}

#[test]
fn a_picture_is_replaced_as_a_whole_or_not_at_all() {
    let dir = tempfile::tempdir().expect("a directory");
    let here = dir.path();
    fs::write(here.join("a.log"), "{\"ts\":1,\"ip\":\"::1\"}\n").expect("a log");
    fs::write(here.join("out.svg"), "the one before").expect("a file");
    let replay = ["replay", "a.log", "--key", "ip", "--plot", "out.svg", "--event"];
    assert_eq!(run(here, &[&replay[..], &["hut"]].concat()).status.code(), Some(2));
    assert_eq!(fs::read_to_string(here.join("out.svg")).expect("a file"), "the one before");
    assert!(run(here, &[&replay[..], &["hit"]].concat()).status.success());
    assert!(fs::read_to_string(here.join("out.svg")).expect("a file").starts_with("<svg"));
    assert_eq!(names(here), ["a.log", "out.svg"]);
    // A path that is not a regular file is not replaced.
    let out = run(here, &["replay", "a.log", "--key", "ip", "--plot", "/dev/stdout", "--event", "hit"]);
    assert!(String::from_utf8_lossy(&out.stdout).contains("<svg"));
}

#[test]
fn init_says_which_files_are_not_for_version_control() {
    let dir = tempfile::tempdir().expect("a directory");
    let said = String::from_utf8(run(dir.path(), &["init"]).stdout).expect("text");
    let ignored =
        said.lines().find_map(|line| line.strip_prefix("for .gitignore: ")).expect("a line").to_owned();
    let server = Process::start(dir.path(), &["serve", "--listen", "127.0.0.1:0"]);
    server.line_after("  URL       ");
    let patterns: Vec<&str> = ignored.split(' ').map(|pattern| pattern.trim_start_matches('*')).collect();
    for name in names(dir.path()).iter().filter(|name| *name != "forebay.toml") {
        assert!(patterns.iter().any(|pattern| name.ends_with(pattern)), "{name}: {ignored}");
    }
    let own = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.gitignore")).expect("a file");
    for pattern in ignored.split(' ') {
        let covers = |line: &str| {
            line == pattern
                || line.strip_suffix('*').is_some_and(|start| !start.is_empty() && pattern.starts_with(start))
        };
        assert!(own.lines().any(covers), "{pattern}");
    }
}

#[test]
fn the_pid_file_of_the_store_is_removed_with_the_server() {
    for signals in [&["TERM"][..], &["INT", "TERM"]] {
        let dir = tempfile::tempdir().expect("a directory");
        let server = Process::start(dir.path(), &["serve", "--listen", "127.0.0.1:0"]);
        server.line_after("  URL       ");
        let note = dir.path().join("forebay.redb.pid");
        assert!(note.exists());
        for signal in signals {
            server.signal(signal);
        }
        server.end();
        assert!(!note.exists(), "{signals:?}");
    }
}
