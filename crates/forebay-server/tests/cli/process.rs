//! The program in a process of its own.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    os::fd::AsFd,
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    time::Duration,
};

/// After this time a test fails rather than hangs.
const PATIENCE: Duration = Duration::from_mins(1);

/// Starts the program, prints its process id, and exits with its status. It kills the program when stdin ends, which
/// happens when the test has finished or was killed, so that no process is left behind. It uses `env`, because a shell
/// ignores INT and QUIT for background commands. The process itself prints its id before it becomes the program, so that
/// no line of the program can come first.
const KEEPER: &str = r#"exec 3<&0
sh -c 'echo $$; exec env --default-signal "$@"' sh "$@" </dev/null 3<&- & pid=$!
(read -r _ <&3; kill -9 $pid 2>/dev/null) >/dev/null 2>&1 &
wait $pid
code=$?
exit $code"#;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_forebay");

/// Runs a command to its end, in `dir`, without any Forebay variable in the environment.
pub(crate) fn run(dir: &Path, args: &[&str]) -> Output {
    command(PROGRAM, dir).args(args).output().expect("the program runs")
}

/// Like [`run`], with `input` on its standard input.
pub(crate) fn run_with_input(dir: &Path, args: &[&str], input: &[u8]) -> Output {
    let mut command = command(PROGRAM, dir);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut program = command.spawn().expect("the program runs");
    program.stdin.take().expect("piped").write_all(input).expect("it reads all");
    program.wait_with_output().expect("an output")
}

pub(crate) fn command(program: &str, dir: &Path) -> Command {
    let mut command = Command::new(program);
    for variable in ["CONFIG", "LISTEN", "STORE", "DATABASE", "TOKEN", "LOG", "SERVER"] {
        command.env_remove(format!("FOREBAY_{variable}"));
    }
    command.current_dir(dir);
    command
}

/// A running program.
pub(crate) struct Process {
    keeper: Child,
    pid: u32,
    lines: mpsc::Receiver<String>,
}

impl Process {
    /// Starts the program in `dir`.
    pub(crate) fn start(dir: &Path, args: &[&str]) -> Self {
        Self::start_with(dir, None, args)
    }

    /// Starts the program in `dir`, with a failpoint at which it dies.
    pub(crate) fn start_with(dir: &Path, failpoint: Option<&str>, args: &[&str]) -> Self {
        let mut command = command("sh", dir);
        command.envs(failpoint.map(|point| ("FOREBAY_FAILPOINT", point)));
        // Another server takes over the keyed requests of a dead server after 300 ms rather than 30 s.
        command.env("FOREBAY_TEST_LEASE", "300");
        command.args(["-c", KEEPER, "sh", PROGRAM]).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut keeper = command.spawn().expect("a shell");
        let lines = lines(keeper.stdout.take().expect("piped"));
        let mut process = Self { keeper, pid: 0, lines };
        process.pid = process.line().parse().expect("a process id");
        process
    }

    /// The next line that it prints.
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).unwrap_or_else(|error| match error {
            RecvTimeoutError::Timeout => panic!("no other line within {PATIENCE:?}"),
            RecvTimeoutError::Disconnected => panic!("no other line, and stderr: {}", self.log()),
        })
    }

    /// The text that it wrote to stderr until it ended.
    fn log(&self) -> String {
        let stderr = self.keeper.stderr.as_ref().expect("piped");
        let stderr = stderr.as_fd().try_clone_to_owned().expect("a descriptor");
        let mut log = String::new();
        File::from(stderr).read_to_string(&mut log).expect("text");
        log
    }

    /// The next line that begins with `start`, without it.
    pub(crate) fn line_after(&self, start: &str) -> String {
        loop {
            if let Some(rest) = self.line().strip_prefix(start) {
                return rest.trim().to_owned();
            }
        }
    }

    /// The program's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        send(name, self.pid);
    }

    /// Waits for the program's end: its exit code, and its stderr.
    pub(crate) fn end(mut self) -> (i32, String) {
        // The log ends with the program, and no test waits longer than the grace periods.
        let log = self.log();
        let code = self.keeper.wait().expect("an exit status").code();
        (code.expect("the shell exits by itself"), log)
    }
}

/// Sends a signal to a process.
pub(crate) fn send(signal: &str, pid: u32) {
    let sent = Command::new("kill").args(["-s", signal, &pid.to_string()]).status();
    assert!(sent.expect("kill runs").success(), "the process is there");
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Reads lines in a thread, so that a wait for a line can time out.
fn lines(stdout: ChildStdout) -> mpsc::Receiver<String> {
    let (send, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    lines
}
