//! A command never runs without its lock, whatever becomes of the process that holds it.

use std::{
    fs,
    io::{Read, Write},
    process::Stdio,
    time::Duration,
};

use forebay_testkit::{Redis, unique_prefix, wait_until};

use super::{
    lock::{Place, runs},
    process::{PROGRAM, Process, command, send},
};

fn place() -> Place {
    Place::redis(Redis::shared())
}

/// A command that is deaf to TERM, with a process of its group and one that left it; all their numbers.
fn deaf(place: &Place, name: &str, ttl: &str) -> (Process, Vec<u32>) {
    let process = place.start(name, &["--ttl", ttl], DEAF);
    let pids = pids(&process);
    (process, pids)
}

/// The script of [`deaf`]. It prints the process ids of its three processes.
const DEAF: &str = "trap '' TERM; echo $$; sleep 1000 & echo $!; \
                    timeout -s INT 1000 sh -c 'echo $$; sleep 1000; :' & wait; sleep 1000";

/// Reads the process ids that [`DEAF`] prints.
fn pids(process: &Process) -> Vec<u32> {
    (0..3).map(|_| process.line().parse().expect("a process id")).collect()
}

/// Takes the lock, and tells which of these run at that moment.
fn successor(place: &Place, name: &str, pids: &[u32]) -> String {
    let pids = pids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    let script = format!(
        "for pid in {pids}; do case $(sed 's/.*) //; s/ .*//' /proc/$pid/stat 2>/dev/null) in \
         ''|Z|X) ;; *) echo $pid runs;; esac; done; echo mine"
    );
    let (code, out, log) = place.run(name, &["--wait", "50s"], &script);
    assert_eq!(code, 0, "{log}");
    out
}

/// The watchdog of a process, if it has one.
fn watchdog_of(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    // Any of its threads may have started it.
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    let all = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let all: String = all.chain([children]).collect::<Vec<_>>().join(" ");
    all.split_whitespace().filter_map(|child| child.parse().ok()).find(|child: &u32| {
        let words = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
        words.split(|&byte| byte == 0).nth(1) == Some(b"lock-watchdog") && runs(*child)
    })
}

/// The session of a process.
fn session(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(3)?.parse().ok()
}

#[test]
fn every_signal_that_would_end_the_holder_goes_to_the_command() {
    let place = place();
    let signals = [1, 2, 3, 5, 6, 10, 12, 14, 15, 16, 24, 25, 26, 27, 29, 30, 31];
    let running = signals.map(|signal| {
        let script = format!("trap 'exit 40' {signal}; echo ready; while kill -0 $PPID; do sleep 0.05; done");
        (signal, place.start(&unique_prefix(), &["--ttl", "1h"], &script))
    });
    for (signal, process) in running {
        assert_eq!(process.line(), "ready");
        process.signal(&signal.to_string());
        let (code, log) = process.end();
        assert_eq!(code, 40, "signal {signal}: {log}");
    }
}

#[test]
fn a_signal_for_the_second_time_is_no_order_to_kill_unless_it_asks_to_end() {
    let place = place();
    let script = "n=0; trap 'n=$((n+1)); echo $n' USR1; trap 'echo reloaded' HUP; echo ready; while :; do sleep 0.05; done";
    let process = place.start(&unique_prefix(), &["--ttl", "1h"], script);
    assert_eq!(process.line(), "ready");
    for n in 1..4 {
        process.signal("USR1");
        assert_eq!(process.line(), n.to_string());
        process.signal("HUP");
        assert_eq!(process.line(), "reloaded");
    }
    process.signal("TERM");
    assert_eq!(process.end().0, 128 + 15);

    // The command reports the first TERM. A second TERM that is sent before that can merge with it.
    let script =
        DEAF.replace("wait; sleep 1000", "trap 'echo asked' TERM; echo ready; while :; do wait; done");
    let process = place.start(&unique_prefix(), &["--ttl", "1h"], &script);
    let mut lines: Vec<String> = (0..4).map(|_| process.line()).collect();
    lines.retain(|line| line != "ready");
    let pids: Vec<u32> = lines.iter().map(|pid| pid.parse().expect("a process id")).collect();
    process.signal("TERM");
    assert_eq!(process.line(), "asked");
    process.signal("TERM");
    assert_eq!(process.end().0, 128 + 9);
    wait_until("all of it to end", || !pids.iter().copied().any(runs));
}

/// KILL, faults of the process itself, and signals that safe code cannot forward.
#[test]
fn a_holder_that_is_killed_takes_its_command_along_before_another_holds_the_lock() {
    std::thread::scope(|scope| {
        for signal in ["KILL", "SEGV", "BUS", "ILL", "FPE", "34", "64"] {
            scope.spawn(move || {
                let (place, name) = (place(), unique_prefix());
                let (process, pids) = deaf(&place, &name, "10s");
                wait_until("the holder to end", || {
                    // The first SEGV or BUS that is sent, and no fault, is taken for a stack overflow and has no effect.
                    let pid = process.pid().to_string();
                    let _ = command("kill", place.path()).args(["-s", signal, &pid]).output();
                    !runs(process.pid())
                });
                assert_eq!(successor(&place, &name, &pids), "mine\n", "{signal}");
                let code = process.end().0;
                assert!(code > 128, "{signal}: {code}");
            });
        }
    });
}

#[test]
fn a_command_whose_holder_was_killed_is_asked_to_end_first() {
    for place in Place::both() {
        let script = "trap 'echo asked; exit' TERM; echo ready; while :; do sleep 0.05; done";
        let process = place.start(&unique_prefix(), &["--ttl", "1h"], script);
        assert_eq!(process.line(), "ready");
        process.signal("KILL");
        assert_eq!(process.line(), "asked");
        // Ends with the last that has its stderr open.
        assert_eq!(process.end().0, 128 + 9);
    }
}

#[test]
fn a_holder_that_is_stopped_for_too_long_finds_its_command_ended() {
    for place in Place::both() {
        let name = unique_prefix();
        let (process, pids) = deaf(&place, &name, "2s");
        process.signal("STOP");
        assert_eq!(successor(&place, &name, &pids), "mine\n");
        process.signal("CONT");
        let (code, log) = process.end();
        assert_eq!(code, 2, "{log}");
        assert!(log.contains("it was not renewed in time; ending COMMAND"), "{log}");
    }
}

#[test]
fn a_holder_that_was_stopped_and_goes_on_in_time_keeps_its_command() {
    let place = place();
    let script = "echo ready; until [ -e go ]; do sleep 0.05; done; exit 5";
    let process = place.start(&unique_prefix(), &["--ttl", "1h"], script);
    assert_eq!(process.line(), "ready");
    process.signal("STOP");
    process.signal("CONT");
    fs::write(place.path().join("go"), "").expect("a file");
    assert_eq!(process.end().0, 5);
}

#[test]
fn a_watchdog_that_is_killed_or_stopped_is_replaced() {
    let place = place();
    for signal in ["KILL", "STOP"] {
        let name = unique_prefix();
        let (process, pids) = deaf(&place, &name, "5s");
        let first = watchdog_of(process.pid()).expect("a watchdog");
        send(signal, first);
        wait_until("another watchdog", || {
            // The first one must end: it could continue later, and end the command.
            !runs(first) && watchdog_of(process.pid()).is_some_and(|pid| session(pid) == Some(pid))
        });
        process.signal("KILL");
        assert_eq!(successor(&place, &name, &pids), "mine\n", "{signal}");
    }
}

#[test]
fn a_watchdog_that_was_stopped_takes_note_of_the_renewals_of_that_time() {
    let script = "while kill -0 $PPID; do echo tick; sleep 0.1; done";
    let process = place().start(&unique_prefix(), &["--ttl", "2s"], script);
    let ticks = |number| (0..number).for_each(|_| assert_eq!(process.line(), "tick"));
    for _ in 0..3 {
        ticks(5);
        let watchdog = watchdog_of(process.pid()).expect("a watchdog");
        send("STOP", watchdog);
        // Longer than the lease that the watchdog knows.
        ticks(20);
        // On a busy machine it may have been replaced.
        let _ = command("kill", std::path::Path::new("/")).args(["-CONT", &watchdog.to_string()]).output();
    }
    ticks(5);
    process.signal("TERM");
    assert_eq!(process.end().0, 128 + 15);
}

/// The holder used to write the orders after it had started the watchdog. A holder that was killed in between left a
/// watchdog without orders, and the command continued without the lock.
#[test]
fn a_holder_that_dies_while_it_replaces_its_watchdog_takes_its_command_along() {
    std::thread::scope(|scope| {
        for failpoint in ["watchdog_spawned:2", "watchdog_ready:2"] {
            for signal in ["KILL", "STOP"] {
                scope.spawn(move || {
                    let (place, name) = (place(), unique_prefix());
                    let process = place.start_to_die(failpoint, &name, &["--ttl", "10s"], DEAF);
                    let pids = pids(&process);
                    let first = watchdog_of(process.pid()).expect("a watchdog");
                    send(signal, first);
                    wait_until("the holder to die", || !runs(process.pid()));
                    assert_eq!(successor(&place, &name, &pids), "mine\n", "{failpoint}, {signal}");
                    assert_eq!(process.end().0, 128 + 6, "{failpoint}, {signal}");
                    // Without its holder a stopped one remains.
                    if signal == "STOP" {
                        send("KILL", first);
                    }
                });
            }
        }
    });
}

#[test]
fn a_holder_that_dies_at_any_step_of_its_start_leaves_nothing() {
    let place = place();
    let steps = ["gate_started", "watchdog_spawned", "watchdog_ready", "command_resumed"];
    let marks: Vec<String> = (0..steps.len()).map(|n| format!("2000.{}{n:02}", std::process::id())).collect();
    for (step, mark) in steps.iter().zip(&marks) {
        let script = format!("sleep {mark}; :");
        let process = place.start_to_die(step, &unique_prefix(), &["--ttl", "1h"], &script);
        assert_eq!(process.end().0, 128 + 6, "{step}");
    }
    wait_until("all of it to end", || !is_left(&marks));
}

/// Whether a process runs that has one of these marks in its arguments.
fn is_left(marks: &[String]) -> bool {
    let all = fs::read_dir("/proc").expect("a list").flatten();
    all.filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok())
        .any(|words| marks.iter().any(|mark| words.contains(mark.as_str())))
}

#[test]
fn without_a_watchdog_the_command_does_not_go_on() {
    let (process, pids) = deaf(&place(), &unique_prefix(), "2s");
    while pids.iter().copied().any(runs) {
        if let Some(watchdog) = watchdog_of(process.pid()) {
            // It may have been killed already.
            let _ = command("kill", std::path::Path::new("/")).args(["-9", &watchdog.to_string()]).output();
        }
    }
    let (code, log) = process.end();
    assert_eq!(code, 2);
    assert!(log.contains("its watchdog has died"), "{log}");
}

#[test]
fn a_holder_that_is_killed_at_any_moment_leaves_nothing() {
    let place = place();
    let clock = forebay::Clock::system();
    let marks: Vec<String> = (0..24).map(|n| format!("1000.{}{n:02}", std::process::id())).collect();
    for (n, mark) in (0..).zip(&marks) {
        let script = format!("sleep {mark}; :");
        let process = place.start(&unique_prefix(), &["--ttl", "1h"], &script);
        let until = clock.monotonic() + Duration::from_millis(3 * n);
        while clock.monotonic() < until {
            std::thread::yield_now();
        }
        process.signal("KILL");
        process.end();
    }
    wait_until("all of it to end", || !is_left(&marks));
}

#[test]
fn a_fast_command_leaves_its_status_and_a_pipeline_ends() {
    let place = place();
    let name = unique_prefix();
    for n in 0..12 {
        assert_eq!(place.run(&name, &[], &format!("exit {n}")).0, n);
    }
    let pipeline = format!(
        "'{PROGRAM}' lock {name} {} {} -- sh -c 'echo out; echo err >&2; sleep 0' 2>&1 | cat; echo end",
        place.flags[0], place.flags[1]
    );
    let output = command("sh", place.path()).args(["-c", &pipeline]).output().expect("a shell");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "out\nerr\nend\n");

    // The command starts with the files and signals that every program gets.
    let files = command("sh", place.path()).args(["-c", "ls /proc/self/fd"]).output().expect("a shell");
    assert_eq!(place.run(&name, &[], "ls /proc/self/fd").1.as_bytes(), files.stdout);
    assert_eq!(place.run(&name, &[], "(yes; echo $? >&2) | head -n 1"), (0, "y\n".into(), "141\n".into()));
    assert_eq!(place.run(&name, &[], "grep -c SigBlk:.*0000000000000000 /proc/self/status").1, "1\n");
}

#[test]
fn signals_that_were_ignored_before_stay_so_unless_a_shell_ignores_them_in_the_background() {
    let place = place();
    let run = |ignored: &str, script: &str| {
        let lock = format!("'{PROGRAM}' lock {} {} {}", unique_prefix(), place.flags[0], place.flags[1]);
        let words = format!("trap '' {ignored}; exec {lock} -- sh -c '{script}'");
        let output = command("sh", place.path()).args(["-c", &words]).output().expect("a shell");
        (output.status.code(), String::from_utf8(output.stdout).expect("text"))
    };
    let told = run("HUP USR1", "kill -HUP $PPID; kill -USR1 $PPID; kill -HUP $$; echo alive");
    assert_eq!(told, (Some(0), "alive\n".to_owned()));
    for signal in ["INT", "QUIT"] {
        let script = format!("trap \"exit 41\" {signal}; kill -{signal} $PPID; while :; do sleep 0.05; done");
        assert_eq!(run(signal, &script).0, Some(41), "{signal}");
    }
}

/// A process group as a shell at a terminal starts it: the command, and other programs.
struct Terminal {
    process: std::process::Child,
    out: std::io::BufReader<std::process::ChildStdout>,
}

impl Terminal {
    fn start(place: &Place, script: &str) -> Self {
        let mut command = command("script", place.path());
        command.args(["-qec", script, "/dev/null"]).env("SHELL", "/bin/sh");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("a terminal");
        let out = std::io::BufReader::new(process.stdout.take().expect("piped"));
        Self { process, out }
    }

    fn line(&mut self) -> String {
        let mut line = vec![];
        let mut byte = [0];
        while self.out.read(&mut byte).expect("text") == 1 && byte != *b"\n" {
            line.extend(byte);
        }
        String::from_utf8(line).expect("text").trim_end().to_owned()
    }

    fn press(&mut self, key: u8) {
        let keys = self.process.stdin.as_mut().expect("piped");
        keys.write_all(&[key]).and_then(|()| keys.flush()).expect("a key");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn at_a_terminal_a_key_reaches_the_command_once() {
    let place = place();
    let script = format!(
        "'{PROGRAM}' lock {} --ttl 1h {} {} -- sh -c 'trap \"echo int\" INT; echo ready; while :; do read a && echo got $a; done'",
        unique_prefix(),
        place.flags[0],
        place.flags[1]
    );
    let mut terminal = Terminal::start(&place, &script);
    assert_eq!(terminal.line(), "ready");
    for _ in 0..3 {
        terminal.press(3);
        // The terminal shows the key itself, too.
        assert_eq!(terminal.line().trim_start_matches("^C"), "int");
    }
    for word in ["a", "b"] {
        terminal.press(word.as_bytes()[0]);
        terminal.press(b'\n');
        assert_eq!(terminal.line(), word);
        assert_eq!(terminal.line(), format!("got {word}"));
    }
}

#[test]
fn at_a_terminal_the_command_ends_with_its_holder_and_what_else_runs_there_does_not() {
    let place = place();
    let script = format!(
        "'{PROGRAM}' lock {} --ttl 1h {} {} -- sh -c 'echo $PPID; echo $$; sleep 1000 & echo $!; wait'; echo after",
        unique_prefix(),
        place.flags[0],
        place.flags[1]
    );
    let mut terminal = Terminal::start(&place, &script);
    let pids = [(); 3].map(|()| terminal.line().parse::<u32>().expect("a process id"));
    send("KILL", pids[0]);
    wait_until("all of it to end", || !pids.into_iter().any(runs));
    while terminal.line() != "after" {}
}
