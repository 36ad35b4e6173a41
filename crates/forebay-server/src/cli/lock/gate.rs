//! The process that becomes the command once a watchdog knows of it.

use std::{ffi::OsString, io::ErrorKind, os::unix::process::CommandExt, process::ExitCode};

use anyhow::Result;
use rustix::process::{Pid, Signal, getpid, getppid, kill_process};

use super::super::terminal::complain;
use crate::text::shown;

/// The name of the command that this is.
pub(super) const NAME: &str = "lock-gate";

/// Wait to be let on, and become COMMAND
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The process that holds the lock
    #[arg(long)]
    parent: i32,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Stops itself. The parent tells the watchdog of this process, and continues it.
///
/// Without this the command could run for a moment, in which the parent is killed and no watchdog knows of it.
pub(in crate::cli) fn run(args: &Args) -> Result<ExitCode> {
    end_with_parent(Some(Signal::KILL))?;
    // It may have ended before.
    if getppid() != Pid::from_raw(args.parent) {
        return Ok(ExitCode::from(exit_unwatched()));
    }
    kill_process(getpid(), Signal::STOP)?;
    end_with_parent(None)?;
    let (program, arguments) = args.command.split_first().expect("clap requires a command");
    let error = std::process::Command::new(program).args(arguments).exec();
    complain(&format!("error: cannot run {}: {error}", shown(&program.to_string_lossy())));
    Ok(ExitCode::from(if error.kind() == ErrorKind::NotFound { 127 } else { 126 }))
}

/// As a shell says it of what SIGKILL ended.
fn exit_unwatched() -> u8 {
    super::signals::exit_status(Signal::KILL)
}

#[cfg(target_os = "linux")]
fn end_with_parent(signal: Option<Signal>) -> Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(signal)?)
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "as on Linux")]
fn end_with_parent(_: Option<Signal>) -> Result<()> {
    Ok(())
}
