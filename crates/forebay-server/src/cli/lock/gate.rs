//! The process that becomes the command once a watchdog knows of it.

use std::{ffi::OsString, io::ErrorKind, os::unix::process::CommandExt, process::ExitCode};

use anyhow::Result;
use rustix::process::{Pid, Signal, getpid, getppid, kill_process};

use super::{super::terminal::complain, signals::exit_status};
use crate::text::shown;

/// The name of the command that this is.
pub(super) const NAME: &str = "lock-gate";

/// Wait to be continued, and become COMMAND
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The process that holds the lock
    #[arg(long)]
    parent: i32,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Stops itself. The parent tells the watchdog about this process, and continues it.
///
/// Otherwise the command could already run when the parent is killed, before a watchdog knows of it.
pub(in crate::cli) fn run(args: &Args) -> Result<ExitCode> {
    end_with_parent(Some(Signal::KILL))?;
    // The parent may have ended before that.
    if getppid() != Pid::from_raw(args.parent) {
        return Ok(ExitCode::from(exit_status(Signal::KILL)));
    }
    kill_process(getpid(), Signal::STOP)?;
    end_with_parent(None)?;
    let (program, arguments) = args.command.split_first().expect("clap requires a command");
    let error = std::process::Command::new(program).args(arguments).exec();
    complain(&format!("error: cannot run {}: {error}", shown(&program.to_string_lossy())));
    Ok(ExitCode::from(if error.kind() == ErrorKind::NotFound { 127 } else { 126 }))
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
