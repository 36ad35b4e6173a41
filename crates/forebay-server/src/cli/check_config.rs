//! `forebay check-config`.

use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

use super::{
    config::read,
    runtime::FAILED,
    terminal::{say, say_json},
};
use crate::{
    config::{Mistake, Options, load, process_variable},
    text::count,
};

/// Check a configuration and list every mistake with its line
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  forebay check-config
  forebay check-config --config /etc/forebay.toml
  forebay check-config --json              for an editor or a pipeline

Neither the store nor the database is opened. Exit status: 0 without mistakes, 2 with some.")]
pub(super) struct Args {
    #[command(flatten)]
    config: Options,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// The result, for programs.
#[derive(Debug, Serialize)]
struct Verdict<'a> {
    ok: bool,
    mistakes: &'a [Mistake],
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    if args.json {
        let checked = load(&args.config, &process_variable);
        let mistakes = checked.as_ref().err().map_or(&[][..], |mistakes| mistakes.as_slice());
        let ok = mistakes.is_empty();
        say_json(&serde_json::to_string(&Verdict { ok, mistakes })?);
        return Ok(if ok { ExitCode::SUCCESS } else { ExitCode::from(FAILED) });
    }
    let config = read(&args.config)?;
    let count = |n: usize, what: &str| count(n as u64, what);
    say(&format!(
        "OK: {}: {}, {} series, {}, {}, {}",
        config.origin,
        count(config.limits.len(), "limit"),
        config.series.len() + config.summaries.len(),
        count(config.buffers.len(), "buffer"),
        count(config.events.len(), "event"),
        count(config.tokens.len(), "token"),
    ));
    Ok(ExitCode::SUCCESS)
}
