//! The arguments of `forebay lock`.

use std::{ffi::OsString, time::Duration};

use forebay::lock::DEFAULT_TTL;

use super::super::remote::Place;
use crate::text::Span;

/// Hold a lock while a command runs
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  forebay lock nightly-report -- ./report.sh              not if another process holds the lock
  forebay lock deploy --wait 10m --ttl 30s -- make deploy  wait for the lock
  forebay lock --store redis://10.0.0.5 jobs -- ./job      without a server
  forebay lock cleanup --skip-if-held --max-hold 1h -- ./cleanup.sh   for cron
  forebay lock deploy --show                               who holds it
  forebay lock deploy --force-release                      take it away from its holder

The lock is renewed while COMMAND runs, and released when it ends. Background processes of COMMAND continue without the \
lock. If the lock is lost, or cannot be renewed, COMMAND gets SIGTERM, and SIGKILL before another process may hold the \
lock. A watchdog process ends COMMAND also if this process is killed, or is stopped for so long that the lock is lost. \
A signal that would end this process goes to COMMAND; a second TERM or INT kills it. \
FOREBAY_FENCE has the fencing token of the lock, which is larger than that of every earlier holder. \
Unless stdin is a terminal, COMMAND has its own process group, which gets the signals. At a terminal COMMAND alone gets \
them, except those that the terminal sends to its foreground group: HUP, INT and QUIT.

Exit status: that of COMMAND; 1 if the lock is held by another (0 with --skip-if-held); 2 if it was lost or held for \
--max-hold, or something failed; \
126 or 127 if COMMAND cannot be run; 128 + n if signal n ended it.")]
pub(in crate::cli) struct Args {
    /// The lock: 1 to 512 bytes of UTF-8
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(super) name: String,
    /// How long the lock stays held if this process is killed: 100ms to 24h
    #[arg(long, value_name = "SPAN", default_value_t = Span(DEFAULT_TTL))]
    pub(super) ttl: Span,
    /// How long to wait for the lock. With a server, each minute of waiting starts at the end of the queue
    #[arg(long, value_name = "SPAN", default_value_t = Span(Duration::ZERO))]
    pub(super) wait: Span,
    #[command(flatten)]
    pub(super) place: Place,
    /// If another process holds the lock after the wait, exit with 0: this run is not needed
    #[arg(long)]
    pub(super) skip_if_held: bool,
    /// The longest time that COMMAND may run. Then it is ended as if the lock were lost, and the lock released
    #[arg(long, value_name = "SPAN")]
    pub(super) max_hold: Option<Span>,
    /// The end of COMMAND when the lock is lost, or cannot be renewed
    #[arg(long, value_name = "ACTION", value_enum, default_value_t)]
    pub(super) on_lost: OnLost,
    #[command(flatten)]
    pub(super) operation: Operation,
    /// Print answers as JSON on stdout: the holder, if another process holds the lock; and those of --show and --force-release
    #[arg(long)]
    pub(super) json: bool,
    /// The command to run
    #[arg(last = true, required_unless_present_any = ["show", "force_release"], value_name = "COMMAND")]
    pub(super) command: Vec<OsString>,
}

/// The operations in place of running a command.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Operation {
    /// Print who holds the lock, and how many wait for it
    #[arg(long, conflicts_with_all = OF_COMMAND)]
    pub(super) show: bool,
    /// Release the lock, whoever holds it. The holder learns of it at its next renewal
    #[arg(long, conflicts_with_all = OF_COMMAND, conflicts_with = "show")]
    pub(super) force_release: bool,
}

/// The arguments that say how a command runs.
const OF_COMMAND: [&str; 6] = ["command", "ttl", "wait", "skip_if_held", "max_hold", "on_lost"];

/// The end of a command that has lost its lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum OnLost {
    /// SIGTERM, and SIGKILL before another process may hold the lock
    #[default]
    Term,
    /// SIGKILL at once
    Kill,
    /// Nothing: it runs on without the lock. There is no watchdog
    Ignore,
}
