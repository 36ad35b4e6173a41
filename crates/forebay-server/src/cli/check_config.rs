//! `forebay check-config`.

use std::process::ExitCode;

use anyhow::Result;

use super::{ConfigArgs, say};

/// Check a configuration and list every mistake with its line
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  forebay check-config
  forebay check-config --config /etc/forebay.toml

Neither the store nor the database is opened. Exit status: 0 without mistakes, 2 with some.")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let config = args.config.load()?;
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    say(&format!(
        "OK: {}: {}, {} series, {}, {}, {}",
        config.origin,
        count(config.limits.len(), "limit"),
        config.series.len(),
        count(config.buffers.len(), "buffer"),
        count(config.events.len(), "event"),
        count(config.tokens.len(), "token"),
    ));
    Ok(ExitCode::SUCCESS)
}
