//! The arguments of `forebay lock`.

use std::{ffi::OsString, time::Duration};

use forebay::lock::DEFAULT_TTL;

use super::super::remote::Place;
use crate::text::Span;

/// Hold a lock while a command runs
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  forebay lock nightly-report -- ./report.sh              not at all if somebody else runs it
  forebay lock deploy --wait 10m --ttl 30s -- make deploy  in turn
  forebay lock --store redis://10.0.0.5 jobs -- ./job      without a server

The lock is renewed while COMMAND runs, and released when it ends: what COMMAND leaves behind in the background goes on \
without the lock. If the lock is lost, or about to be because \
nobody confirms it, COMMAND gets SIGTERM, and SIGKILL before somebody else may hold it. A second process watches \
over that: it ends COMMAND also when this one is killed, or is stopped for so long that the lock is lost. \
A signal that would end this process goes to COMMAND; TERM or INT for the second time kills it. \
COMMAND finds a number in FOREBAY_FENCE that is larger than that of every holder before. \
Unless stdin is a terminal, COMMAND and what it starts are a process group of their own, which gets the signals. At \
a terminal COMMAND alone gets them, and not those that the terminal sends to everybody: HUP, INT and QUIT.

Exit status: that of COMMAND; 1 if the lock is held by another; 2 if it was lost, or something failed; \
126 or 127 if COMMAND cannot be run; 128 + n if a signal n ended it.")]
pub(in crate::cli) struct Args {
    /// The lock: 1 to 512 bytes of UTF-8
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(super) name: String,
    /// How long the lock outlives this process if that is killed: 100ms to 24h
    #[arg(long, value_name = "SPAN", default_value_t = Span(DEFAULT_TTL))]
    pub(super) ttl: Span,
    /// How long to wait for the lock. A server lets wait for a minute at a time, and then from the end of the queue
    #[arg(long, value_name = "SPAN", default_value_t = Span(Duration::ZERO))]
    pub(super) wait: Span,
    #[command(flatten)]
    pub(super) place: Place,
    /// Say who holds the lock, if somebody does, as JSON on stdout
    #[arg(long)]
    pub(super) json: bool,
    /// What to run
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(super) command: Vec<OsString>,
}
