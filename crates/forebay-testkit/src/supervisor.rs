//! A server's process and directory. Both are removed with the test, however it ends.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use parking_lot::Mutex;

use crate::{programs::library_path, wait::wait_until};

/// The number of log lines that a failure shows.
const MAX_LOG_LINES: usize = 20;

/// The shell that owns a server and its directory; see `supervisor.sh`.
///
/// It sends the signals to the server for two reasons. No other process gets the id of a process until its parent waits
/// for it. And std cannot send signals.
#[derive(Debug)]
pub(crate) struct Supervisor {
    shell: Child,
    dir: PathBuf,
    /// Makes an order and its answer one step.
    talk: Mutex<Talk>,
}

#[derive(Debug)]
struct Talk {
    /// `None` once dropping has begun.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// The server's process id; `None` while it is not running.
    pid: Option<u32>,
}

impl Supervisor {
    /// Starts the shell. `last_signal` ends the server for good.
    #[track_caller]
    pub(crate) fn new(last_signal: &str) -> Self {
        let mut shell = Command::new("sh")
            .args(["-c", include_str!("supervisor.sh"), "sh", &directory_name(), last_signal])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .env("LD_LIBRARY_PATH", library_path())
            // Ctrl-C goes to the test only. The shell then sees the end of its stdin.
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start sh: {error}"));
        let orders = shell.stdin.take();
        let answers = BufReader::new(shell.stdout.take().expect("stdout is piped"));
        let mut talk = Talk { orders, answers, pid: None };
        let dir = PathBuf::from(talk.answer());
        Self { shell, dir, talk: Mutex::new(talk) }
    }

    /// The server's directory, in which it also runs.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Gives the directory to `user`. Later commands run as that user.
    #[track_caller]
    pub(crate) fn own(&self, user: &str) {
        let answer = self.talk.lock().order(&format!("own {user}"));
        assert_eq!(answer, "ok", "cannot give {} to {user}:\n{}", self.dir.display(), self.log());
    }

    /// Runs `command`, which must succeed.
    #[track_caller]
    pub(crate) fn run(&self, command: &[String]) {
        let mut talk = self.talk.lock();
        talk.words(command);
        let status = talk.order("run");
        drop(talk);
        assert_eq!(status, "0", "{} failed:\n{}", command.join(" "), self.log());
    }

    /// Starts `command` as the server.
    #[track_caller]
    pub(crate) fn start(&self, command: &[String]) {
        let mut talk = self.talk.lock();
        assert!(talk.pid.is_none(), "the server runs already");
        talk.words(command);
        let pid = talk.order("start");
        talk.pid = Some(pid.parse().unwrap_or_else(|_| panic!("expected a process id, got {pid:?}")));
    }

    /// The server's process id; `None` after [`kill`](Self::kill).
    pub(crate) fn pid(&self) -> Option<u32> {
        self.talk.lock().pid
    }

    /// Ends the server and its children with SIGKILL, and waits until they are gone.
    #[track_caller]
    pub(crate) fn kill(&self) {
        let mut talk = self.talk.lock();
        if talk.pid.is_some() {
            talk.order("signal KILL");
            talk.order("reap");
            talk.pid = None;
        }
    }

    /// Suspends the server's processes: connections stay open, but nothing is answered.
    #[track_caller]
    pub(crate) fn pause(&self) {
        self.talk.lock().order("signal STOP");
        wait_until("the server to stop", || self.state() == Some('T'));
    }

    /// Resumes a suspended server.
    #[track_caller]
    pub(crate) fn resume(&self) {
        self.talk.lock().order("signal CONT");
        wait_until("the server to go on", || self.state() != Some('T'));
    }

    /// Waits until `ready`, while the server runs. The error is the end of its log.
    #[track_caller]
    pub(crate) fn wait_ready(&self, ready: impl Fn(u32) -> bool) -> Result<(), String> {
        let mut answer = Ok(());
        wait_until("the server to answer", || {
            if self.pid().is_some_and(&ready) {
                return true;
            }
            if matches!(self.state(), None | Some('Z')) {
                answer = Err(self.log());
            }
            answer.is_err()
        });
        answer
    }

    /// The last lines of the server's log.
    pub(crate) fn log(&self) -> String {
        let text = fs::read(self.dir.join("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(MAX_LOG_LINES)..].join("\n")
    }

    /// The state letter of the server's process; `Z` if it has ended.
    fn state(&self) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()?)).ok()?;
        // The name before it is in parentheses and may contain parentheses.
        stat.rsplit_once(") ")?.1.chars().next()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.talk.lock().orders = None;
        // The wait ensures that nothing is left when the test ends. It cannot fail for a child process.
        let _ = self.shell.wait();
    }
}

impl Talk {
    #[track_caller]
    fn words(&mut self, command: &[String]) {
        for word in command {
            assert!(!word.contains('\n'), "a word of a command must not hold a line break: {word:?}");
            self.say(&format!("+{word}"));
        }
    }

    #[track_caller]
    fn order(&mut self, order: &str) -> String {
        self.say(order);
        self.answer()
    }

    #[track_caller]
    fn say(&mut self, line: &str) {
        let orders = self.orders.as_mut().expect("only dropping closes the pipe");
        writeln!(orders, "{line}").unwrap_or_else(|error| panic!("the supervising shell is gone: {error}"));
    }

    #[track_caller]
    fn answer(&mut self) -> String {
        let mut line = String::new();
        let read = self.answers.read_line(&mut line);
        assert!(matches!(read, Ok(1..)), "the supervising shell is gone, or /tmp cannot be written");
        line.trim_end().to_owned()
    }
}

/// The name that `scripts/test` sets for the run, to find left-over processes.
fn directory_name() -> String {
    std::env::var("FOREBAY_TEST_RUN").map_or("forebay".to_owned(), |run| format!("forebay-{run}"))
}
