use std::{path::Path, time::Duration};

use forebay_testkit::{Redis, Reply, unique_prefix, wait_until};
use serde_json::Value;

use super::process::{Process, run};

/// Where locks are kept: a server, or a store.
pub(crate) struct Place {
    dir: tempfile::TempDir,
    pub(crate) flags: [String; 2],
    server: Option<Process>,
}

impl Place {
    fn server() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let server = Process::start(dir.path(), &["serve", "--listen", "127.0.0.1:0", "--store", "memory:"]);
        let url = server.line_after("  URL       ");
        Self { dir, flags: ["--server".into(), url], server: Some(server) }
    }

    pub(crate) fn redis(redis: &Redis) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        Self { dir, flags: ["--store".into(), redis.url()], server: None }
    }

    pub(crate) fn both() -> [Self; 2] {
        [Self::server(), Self::redis(Redis::shared())]
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// `forebay lock NAME [flags] -- sh -c SCRIPT`
    fn words<'a>(&'a self, name: &'a str, flags: &[&'a str], script: &'a str) -> Vec<&'a str> {
        let place = self.flags.iter().map(String::as_str);
        let command = ["--", "sh", "-c", script];
        ["lock", name].into_iter().chain(place).chain(flags.iter().copied()).chain(command).collect()
    }

    /// Runs it to its end: exit status, stdout, stderr.
    pub(crate) fn run(&self, name: &str, flags: &[&str], script: &str) -> (i32, String, String) {
        let output = run(self.path(), &self.words(name, flags, script));
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (output.status.code().expect("it exits by itself"), text(output.stdout), text(output.stderr))
    }

    pub(crate) fn start(&self, name: &str, flags: &[&str], script: &str) -> Process {
        Process::start(self.path(), &self.words(name, flags, script))
    }

    /// As [`start`](Self::start), but the process aborts at a failpoint.
    pub(crate) fn start_to_die(&self, failpoint: &str, name: &str, flags: &[&str], script: &str) -> Process {
        Process::start_with(self.path(), Some(failpoint), &self.words(name, flags, script))
    }

    /// Starts one that holds the lock and says the process id of its command, which ends only with it.
    pub(crate) fn holder(&self, name: &str, flags: &[&str]) -> (Process, u32) {
        let process = self.start(name, flags, "echo $$; while kill -0 $PPID; do sleep 0.05; done");
        let pid = process.line().parse().expect("a process id");
        (process, pid)
    }
}

pub(crate) fn runs(pid: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A zombie has ended.
    state.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

#[test]
fn a_command_runs_under_the_lock_and_its_exit_status_is_passed_on() {
    for place in Place::both() {
        let name = unique_prefix();
        let mut last = 0;
        for expected in [0, 7] {
            let script = format!("echo \"$FOREBAY_LOCK\"; echo $FOREBAY_FENCE; exit {expected}");
            let (code, out, log) = place.run(&name, &[], &script);
            assert_eq!(code, expected, "{log}");
            let mut lines = out.lines();
            assert_eq!(lines.next(), Some(&*name));
            let fence: u64 = lines.next().and_then(|fence| fence.parse().ok()).expect("a fence");
            assert!(fence > last, "{fence} after {last}");
            last = fence;
        }
        assert_eq!(place.run(&name, &[], "kill -KILL $$").0, 137);
    }
}

#[test]
fn a_lock_that_is_held_is_told_and_the_command_not_run() {
    for place in Place::both() {
        let name = unique_prefix();
        let (_holder, _) = place.holder(&name, &[]);
        let (code, out, log) = place.run(&name, &[], "touch ran");
        assert_eq!((code, &*out), (1, ""));
        assert!(log.contains(&format!("lock {name:?}: held by")), "{log}");
        let (code, out, _) = place.run(&name, &["--json", "--wait", "300ms"], "touch ran");
        let told: Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!((code, &told["acquired"]), (1, &Value::Bool(false)), "{told}");
        assert!(told["holder"].is_string() && told["remaining"].is_number(), "{told}");
        assert!(!place.path().join("ran").exists());
    }
}

#[test]
fn who_waits_comes_in_turn() {
    for place in Place::both() {
        let name = unique_prefix();
        let script =
            "echo first >> order; echo held; until [ -e go ] || ! kill -0 $PPID; do sleep 0.02; done";
        let first = place.start(&name, &[], script);
        assert_eq!(first.line(), "held");
        let second = place.start(&name, &["--wait", "50s"], "echo second >> order; cat order");
        std::fs::write(place.path().join("go"), "").expect("a file");
        assert_eq!(second.line(), "first");
        assert_eq!(second.line(), "second");
        assert_eq!((first.end().0, second.end().0), (0, 0));
    }
}

#[test]
fn a_command_is_ended_when_the_lock_is_taken_away() {
    let (redis, name) = (Redis::shared(), unique_prefix());
    let place = Place::redis(redis);
    // Deaf to SIGTERM, and so is what it started.
    let script = "trap '' TERM; holder=$PPID; deaf() { while kill -0 $holder; do sleep 0.05; done; }; \
                  deaf & echo $$; echo $!; deaf";
    let process = place.start(&name, &["--ttl", "1s"], script);
    let pids: [u32; 2] = [(); 2].map(|()| process.line().parse().expect("a process id"));
    assert!(pids.into_iter().all(runs));
    redis.command(["DEL", &format!("forebay:lock:{{{name}}}")]);
    let (code, log) = process.end();
    assert_eq!(code, 2);
    assert!(log.contains("it was taken away; ending COMMAND"), "{log}");
    wait_until("all of it to end", || !pids.into_iter().any(runs));
}

#[test]
fn a_command_has_ended_when_somebody_else_may_hold_the_lock() {
    let redis = Redis::start();
    let place = Place::redis(&redis);
    let (process, pid) = place.holder("job", &["--ttl", "2s"]);
    let clock = forebay::Clock::system();
    // The key outlives the lease by a day. Just renewed, it is not renewed again before the server stops.
    let lease = || match redis.command(["PTTL", "forebay:lock:{job}"]) {
        Reply::Integer(ms) => Duration::from_millis(u64::try_from(ms - 86_400_000).unwrap_or(0)),
        other => panic!("not a lifetime: {other:?}"),
    };
    wait_until("a renewal", || lease() > Duration::from_millis(1_900));
    let (began, lease) = (clock.monotonic(), lease());
    redis.pause();
    wait_until("the command to end", || !runs(pid));
    let took = clock.monotonic().saturating_sub(began);
    redis.resume();
    assert!(took < lease, "{took:?}: outlived the lease, which had {lease:?} left");
    let (code, log) = process.end();
    assert_eq!(code, 2);
    assert!(log.contains("would soon be lost; ending COMMAND"), "{log}");

    let place = Place::server();
    let (process, pid) = place.holder("job", &["--ttl", "2s"]);
    place.server.as_ref().expect("a server").signal("KILL");
    wait_until("the command to end", || !runs(pid));
    assert_eq!(process.end().0, 2);
}

#[test]
fn signals_are_passed_on_and_the_lock_is_released() {
    for place in Place::both() {
        let name = unique_prefix();
        for (signal, expected) in [("TERM", 9), ("INT", 8), ("HUP", 7)] {
            let script = "trap 'exit 9' TERM; trap 'exit 8' INT; trap 'exit 7' HUP; echo ready; while kill -0 $PPID; do sleep 0.05; done";
            let process = place.start(&name, &["--ttl", "1h"], script);
            assert_eq!(process.line(), "ready");
            process.signal(signal);
            let (code, log) = process.end();
            assert_eq!(code, expected, "{log}");
        }
        assert_eq!(place.run(&name, &[], "exit 0").0, 0);
    }
}

#[test]
fn a_signal_ends_the_wait_and_leaves_the_queue() {
    let (redis, name) = (Redis::shared(), unique_prefix());
    let place = Place::redis(redis);
    let (_holder, _) = place.holder(&name, &[]);
    let waiter = place.start(&name, &["--wait", "10m"], "exit 0");
    let queue = format!("forebay:lock:{{{name}}}:queue");
    wait_until("the waiter", || redis.command(["ZCARD", &queue]) == Reply::Integer(1));
    waiter.signal("TERM");
    assert_eq!(waiter.end().0, 143);
    assert_eq!(redis.command(["ZCARD", &queue]), Reply::Integer(0));
}

#[test]
fn what_cannot_be_done_is_told_apart_from_a_lock_that_is_held() {
    let place = Place::redis(Redis::shared());
    let name = unique_prefix();
    let tried = |command: &[&str]| {
        let words = [&["lock", &*name, "--store", &place.flags[1], "--"][..], command].concat();
        let output = run(place.path(), &words);
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    let (code, log) = tried(&["no-such-command-anywhere"]);
    assert_eq!(code, Some(127));
    assert!(log.contains("cannot run no-such-command-anywhere"), "{log}");
    assert_eq!(tried(&["/dev/null"]).0, Some(126));
    assert_eq!(tried(&["true"]).0, Some(0), "the lock was released");
    assert_eq!(tried(&[]).0, Some(2));

    let refused = |flags: &[&str], words: &str| {
        let output = run(place.path(), &[&["lock", &*name], flags, &["--", "true"]].concat());
        let log = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{log}");
        assert!(log.contains(words), "{log}");
    };
    refused(&["--store", "memory:"], "memory:");
    refused(&["--store", "redis://127.0.0.1:1"], "opening the store");
    refused(&["--server", "http://127.0.0.1:1"], "no server at");
    refused(&["--store", &place.flags[1], "--ttl", "10ms"], "100ms to 24h");
    refused(&["--ttl", "10"], "--ttl");
}

#[test]
fn a_run_that_is_not_needed_is_skipped() {
    for place in Place::both() {
        let name = unique_prefix();
        let (_holder, _) = place.holder(&name, &[]);
        let (code, out, log) = place.run(&name, &["--skip-if-held", "--wait", "200ms"], "touch ran");
        assert_eq!((code, &*out), (0, ""));
        assert!(log.contains("held by") && !place.path().join("ran").exists(), "{log}");
    }
}

#[test]
fn a_command_runs_for_its_longest_time_and_no_longer() {
    for place in Place::both() {
        let name = unique_prefix();
        let clock = forebay::Clock::system();
        let began = clock.monotonic();
        let script = "trap 'echo told; exit 9' TERM; while kill -0 $PPID; do sleep 0.05; done";
        let (code, out, log) = place.run(&name, &["--max-hold", "400ms", "--ttl", "1h"], script);
        let took = clock.monotonic().saturating_sub(began);
        assert_eq!((code, &*out), (2, "told\n"), "{log}");
        assert!(log.contains("held for 400ms (--max-hold); ending COMMAND"), "{log}");
        assert!(took >= Duration::from_millis(400), "{took:?}");
        // Deaf to SIGTERM: killed before the lease ends.
        let deaf = "trap '' TERM; while kill -0 $PPID; do sleep 0.05; done";
        assert_eq!(place.run(&name, &["--max-hold", "200ms", "--ttl", "1s"], deaf).0, 2);
        assert_eq!(place.run(&name, &["--max-hold", "1h"], "exit 7").0, 7, "the lock is free again");
    }
}

#[test]
fn a_command_may_be_killed_at_once_or_run_on_without_its_lock() {
    let (redis, name) = (Redis::shared(), unique_prefix());
    let place = Place::redis(redis);
    let take_away = |process: &Process| {
        assert_eq!(process.line(), "ready");
        redis.command(["DEL", &format!("forebay:lock:{{{name}}}")]);
    };
    let script = "trap 'echo told' TERM; echo ready; while kill -0 $PPID; do sleep 0.05; done";
    let process = place.start(&name, &["--ttl", "1s", "--on-lost", "kill"], script);
    take_away(&process);
    let (code, log) = process.end();
    assert!(code == 2 && log.contains("it was taken away; ending COMMAND"), "{code} {log}");

    let script = "echo ready; until [ -e go ]; do sleep 0.02; done; exit 7";
    let process = place.start(&name, &["--ttl", "1s", "--on-lost", "ignore"], script);
    take_away(&process);
    let other = place.run(&name, &["--wait", "10s"], "exit 0");
    assert_eq!(other.0, 0, "the lock belongs to the next one: {}", other.2);
    // It has noticed by then: it renews every third of a second.
    forebay_testkit::wait_until("two renewals", {
        let clock = forebay::Clock::system();
        let began = clock.monotonic();
        move || clock.monotonic().saturating_sub(began) > Duration::from_millis(900)
    });
    std::fs::write(place.path().join("go"), "").expect("a file");
    let (code, log) = process.end();
    assert_eq!(code, 7, "its own status: {log}");
    assert!(log.contains("it was taken away; COMMAND goes on"), "{log}");
}

#[test]
fn a_lock_is_shown_and_taken_away_by_hand() {
    for place in Place::both() {
        let name = unique_prefix();
        let ask = |flags: &[&str]| {
            let words = [&["lock", &*name, &place.flags[0], &place.flags[1]], flags].concat();
            let output = run(place.path(), &words);
            let text = |bytes| String::from_utf8(bytes).expect("text");
            (output.status.code(), text(output.stdout), text(output.stderr))
        };
        let free = format!("lock {name:?}: free, nobody waits\n");
        assert_eq!(ask(&["--show"]), (Some(0), free, String::new()));
        assert_eq!(ask(&["--force-release"]).1, format!("lock {name:?}: nobody held it\n"));
        let (holder, pid) = place.holder(&name, &["--ttl", "1s"]);
        let (_, out, _) = ask(&["--show"]);
        assert!(out.contains("held by ") && out.contains(" s left, fence "), "{out}");
        let told: Value = serde_json::from_str(&ask(&["--show", "--json"]).1).expect("JSON");
        assert!(told["holder"].is_string() && told["fence"].is_u64() && told["waiters"] == 0, "{told}");
        assert_eq!(ask(&["--force-release", "--json"]).1.trim(), r#"{"released":true}"#);
        wait_until("its command to end", || !runs(pid));
        assert_eq!(holder.end().0, 2);
        for wrong in
            [&["--show", "--force-release"][..], &["--show", "--", "true"], &["--show", "--ttl", "1s"]]
        {
            let (code, _, log) = ask(wrong);
            assert!(code == Some(2) && log.contains("cannot be used with"), "{wrong:?}: {log}");
        }
    }
}
