//! The command line: one file per command.
//!
//! A new command is a file with its `Args` and `run`, a variant of `Command` and an arm below.

mod check_config;
mod cluster;
mod config;
mod dead;
mod flush;
mod init;
mod limit;
mod lock;
mod remote;
mod replay;
mod schema;
mod series;
mod serve;

use std::{io::Write, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

pub use config::ConfigArgs;
pub(crate) use config::{check, check_text};

/// Nothing went wrong, but the answer is no: denied, or held by another.
pub const DENIED: u8 = 1;

/// It could not be done.
pub const FAILED: u8 = 2;

/// Buffered writes, rate limits, time series and locks in front of a database.
#[derive(Debug, Parser)]
#[command(name = "forebay", version, after_help = EXAMPLES, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  forebay serve                          run the built-in example on http://127.0.0.1:7070
  forebay init                           write it to ./forebay.toml, commented
  forebay replay access.log --event hit --key ip    what these limits would have done to this traffic
  forebay limit hits 42                  take 1 from a limit of a running server
  forebay lock nightly -- ./report.sh    run it, unless somebody else is running it
  forebay check-config                   list every mistake in ./forebay.toml

Exit status: 0 done, 1 denied or held by another, 2 or more: error.";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    CheckConfig(check_config::Args),
    Init(init::Args),
    Replay(replay::Args),
    Limit(limit::Args),
    Series(series::Args),
    Flush(flush::Args),
    Dead(dead::Args),
    Lock(lock::Args),
    Cluster(cluster::Args),
    Schema(schema::Args),
    #[command(hide = true)]
    LockGate(lock::gate::Args),
    #[command(hide = true)]
    LockWatchdog(lock::guard::Args),
}

/// Runs the command that the arguments name, and says how it went.
pub fn main() -> ExitCode {
    let answer = match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::CheckConfig(args) => check_config::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Limit(args) => limit::run(&args),
        Command::Series(args) => series::run(&args),
        Command::Flush(args) => flush::run(&args),
        Command::Dead(args) => dead::run(&args),
        Command::Lock(args) => lock::run(&args),
        Command::Cluster(args) => cluster::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::LockGate(args) => lock::gate::run(&args),
        Command::LockWatchdog(args) => lock::guard::run(&args),
    };
    answer.unwrap_or_else(|error| {
        complain(&format!("error: {error:#}"));
        ExitCode::from(FAILED)
    })
}

/// Runs an async command.
fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

/// Prints a line for the user. Nobody may be there to read it any more, which is no error.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Prints a line about what went wrong.
fn complain(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
