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

The lock is renewed while COMMAND runs, and released when it ends. Background processes of COMMAND continue without the \
lock. If the lock is lost, or cannot be renewed, COMMAND gets SIGTERM, and SIGKILL before another process may hold the \
lock. A watchdog process ends COMMAND also if this process is killed, or is stopped for so long that the lock is lost. \
A signal that would end this process goes to COMMAND; a second TERM or INT kills it. \
FOREBAY_FENCE has the fencing token of the lock, which is larger than that of every earlier holder. \
Unless stdin is a terminal, COMMAND has its own process group, which gets the signals. At a terminal COMMAND alone gets \
them, except those that the terminal sends to its foreground group: HUP, INT and QUIT.

Exit status: that of COMMAND; 1 if the lock is held by another; 2 if it was lost, or something failed; \
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
    /// If another process holds the lock, print its holder as JSON on stdout
    #[arg(long)]
    pub(super) json: bool,
    /// The command to run
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(super) command: Vec<OsString>,
}
