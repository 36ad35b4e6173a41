//! The command that runs under the lock.

use std::{
    ffi::OsString,
    io::{self, ErrorKind, IsTerminal},
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
    time::Duration,
};

use anyhow::anyhow;
use forebay::{Clock, time::millis};
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};
use tokio::process::Command;

/// A running command.
#[derive(Debug)]
pub(super) struct Child {
    process: tokio::process::Child,
    pid: Pid,
    /// It leads a process group of its own. Not at a terminal, whose keys and input go to the group in front.
    leads: bool,
}

/// What this process was asked to do by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Terminate,
    Interrupt,
    HangUp,
}

impl Request {
    fn signal(self) -> Signal {
        match self {
            Self::Terminate => Signal::TERM,
            Self::Interrupt => Signal::INT,
            Self::HangUp => Signal::HUP,
        }
    }

    /// Of the signal, for an exit status.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Terminate => 15,
            Self::Interrupt => 2,
            Self::HangUp => 1,
        }
    }
}

impl Child {
    /// Starts the command; or says why not, with the exit status that shells give.
    pub(super) fn start(words: &[OsString], lock: &str, fence: u64) -> Result<Self, (u8, anyhow::Error)> {
        let (program, arguments) = words.split_first().expect("clap requires a command");
        let leads = !io::stdin().is_terminal();
        let mut command = Command::new(program);
        command.args(arguments).env("FOREBAY_LOCK", lock).env("FOREBAY_FENCE", fence.to_string());
        command.kill_on_drop(true);
        if leads {
            command.process_group(0);
        }
        let process = command.spawn().map_err(|error| {
            let code = if error.kind() == ErrorKind::NotFound { 127 } else { 126 };
            (code, anyhow!("cannot run {}: {error}", program.display()))
        })?;
        let pid = process.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("it was just started");
        Ok(Self { process, pid, leads })
    }

    /// Waits for its end, as an exit status.
    pub(super) async fn ended(&mut self) -> io::Result<u8> {
        self.process.wait().await.map(code)
    }

    /// Passes a signal on. `again`: it was not the first one, and this is an end without further delay.
    pub(super) fn pass_on(&self, request: Request, again: bool) {
        if again {
            self.send(Signal::KILL);
        } else if self.leads || request == Request::Terminate {
            self.send(request.signal());
        }
    }

    /// Asks it to end, and makes it end after `patience`, with all it started.
    pub(super) async fn end(&mut self, patience: Duration) -> io::Result<()> {
        let clock = Clock::system();
        let deadline = clock.monotonic() + patience;
        self.send(Signal::TERM);
        while clock.monotonic() < deadline {
            if self.process.try_wait()?.is_some() && !self.has_others() {
                return Ok(());
            }
            clock.sleep(millis(10)).await;
        }
        self.send(Signal::KILL);
        self.process.wait().await.map(drop)
    }

    fn send(&self, signal: Signal) {
        // Who has ended meanwhile needs no signal.
        let _ = if self.leads {
            kill_process_group(self.pid, signal)
        } else if self.process.id().is_some() {
            kill_process(self.pid, signal)
        } else {
            Ok(())
        };
    }

    /// Whether there is anybody in its group. While there is, no new process gets the group's number.
    fn has_others(&self) -> bool {
        self.leads && test_kill_process_group(self.pid).is_ok()
    }
}

/// As a shell would say it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
