//! The command that runs under the lock.

use std::{
    env,
    ffi::OsString,
    io::{self, IsTerminal},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::PathBuf,
    process::{self, Command, ExitStatus},
    thread,
    time::Duration,
};

use forebay::{Clock, time::millis};
use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, waitid},
};
use tokio::sync::watch;

use super::{gate, signals::OF_TERMINAL, tree::Tree};

/// A command that was started.
#[derive(Debug)]
pub(super) struct Child {
    process: process::Child,
    tree: Tree,
    /// Whether it has its own process group. Not at a terminal, which sends keys and input to the foreground group.
    leads: bool,
    state: watch::Receiver<State>,
    /// Whether it has got a signal to end.
    asked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Starting,
    /// It waits to be continued.
    Stopped,
    Ended,
}

impl Child {
    /// Starts a process that becomes the command when it is [continued](Self::resume).
    ///
    /// # Cancellation
    /// Dropping the future leaves a process that does nothing, and ends with this one.
    pub(super) async fn start(words: &[OsString], lock: &str, fence: u64) -> io::Result<Self> {
        let leads = !io::stdin().is_terminal();
        let mut command = this_program()?;
        command.arg(gate::NAME).args(["--parent", &process::id().to_string(), "--"]).args(words);
        command.env("FOREBAY_LOCK", lock).env("FOREBAY_FENCE", fence.to_string());
        if leads {
            command.process_group(0);
        }
        let process = command.spawn()?;
        let pid = Pid::from_raw(process.id().cast_signed()).expect("a process has a number");
        let (change, state) = watch::channel(State::Starting);
        // A thread can wait without reaping: until it is reaped, the pid belongs to the command.
        thread::Builder::new().name("command".to_owned()).spawn(move || watch_over(pid, &change))?;
        let mut child = Self { process, tree: Tree::of(pid, leads), leads, state, asked: false };
        child.until(State::Stopped).await;
        Ok(child)
    }

    /// Its processes.
    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Lets it become the command.
    pub(super) fn resume(&self) {
        self.tree.signal(Signal::CONT);
    }

    /// Waits for the end of its first process.
    pub(super) async fn ended(&mut self) {
        self.until(State::Ended).await;
    }

    /// Waits for this state, or the last one.
    async fn until(&mut self, wanted: State) {
        // The sender is dropped with the thread, which ends with the command.
        let _ = self.state.wait_for(|state| *state == wanted || *state == State::Ended).await;
    }

    /// Reaps it and returns its exit status, as a shell would. Afterwards another process may have its pid.
    pub(super) fn reap(mut self) -> io::Result<u8> {
        self.process.wait().map(code)
    }

    /// Forwards a signal. The second TERM or INT kills the command.
    pub(super) fn pass_on(&mut self, signal: Signal) {
        if !self.leads && OF_TERMINAL.contains(&signal) {
            return;
        }
        let asks = matches!(signal, Signal::TERM | Signal::INT);
        if asks && self.asked {
            self.tree.kill();
        } else {
            self.tree.signal(signal);
        }
        self.asked |= asks;
    }

    /// Terminates it, and kills it after `timeout`, with all processes that it started.
    pub(super) async fn end(&mut self, timeout: Duration) {
        let clock = Clock::system();
        let deadline = clock.monotonic() + timeout;
        if !timeout.is_zero() {
            self.tree.terminate();
        }
        while !self.tree.has_ended() {
            if clock.monotonic() >= deadline {
                self.tree.kill();
                break;
            }
            clock.sleep(millis(10)).await;
        }
        self.ended().await;
    }
}

/// Reports when a child stops, and when it ends.
fn watch_over(pid: Pid, change: &watch::Sender<State>) {
    let wait = |options| loop {
        match waitid(WaitId::Pid(pid), options | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Err(Errno::INTR) => {}
            answer => return answer.ok().flatten(),
        }
    };
    if wait(WaitIdOptions::STOPPED).is_some_and(|status| status.stopped()) {
        change.send_replace(State::Stopped);
        wait(WaitIdOptions::empty());
    }
    change.send_replace(State::Ended);
}

/// The command of this program, even if its file was replaced.
pub(super) fn this_program() -> io::Result<Command> {
    let running = PathBuf::from("/proc/self/exe");
    let path = if running.exists() { running } else { env::current_exe()? };
    let mut command = Command::new(path);
    command.arg0("forebay");
    Ok(command)
}

/// The exit status of a shell for it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
