//! The command line: one file per command.
//!
//! A new command is a file with its `Args` and `run`, a variant of `Command` and an arm below.

mod check_config;
mod cluster;
mod config;
mod dead;
mod existing;
mod flush;
mod init;
mod limit;
mod lock;
mod output;
mod remote;
mod replay;
mod schema;
mod series;
mod serve;

use std::{io::Write, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::text::{chain, shown, shown_json, shown_lines};

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
  forebay replay a.log --event hit --key ip    what these limits would have done to this traffic
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
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => return usage(&error),
    };
    let answer = match command {
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
        complain(&format!("error: {}", chain(&*error)));
        ExitCode::from(FAILED)
    })
}

/// Prints the help that was asked for, or what is wrong with the arguments, which may be somebody else's text.
fn usage(error: &clap::Error) -> ExitCode {
    let given = || std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    if given().all(|word| shown(&word) == word) {
        // With colours, if there is a terminal.
        error.exit();
    }
    match Cli::try_parse_from(given().map(|word| shown(&word).into_owned())) {
        Err(error) => complain(error.render().to_string().trim_end()),
        Ok(_) => complain("error: the arguments have control characters"),
    }
    ExitCode::from(FAILED)
}

/// Runs an async command.
fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

// All that a terminal shows goes through the three functions below, which let no control character through. Line ends
// and tabs are this program's own: what somebody else chose passes through `text::shown` before it becomes a part of it.

/// Prints text for the user. Nobody may be there to read it any more, which is no error.
fn say(text: &str) {
    print(&shown_lines(text));
}

/// Prints JSON for a program, which a terminal may show as well.
fn say_json(json: &str) {
    print(&shown_json(json));
}

fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Prints what went wrong.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", shown_lines(text));
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn all(command: &clap::Command) -> Vec<&clap::Command> {
        let inner = command.get_subcommands().flat_map(all);
        std::iter::once(command).chain(inner).collect()
    }

    /// The help is wrapped to the terminal's width. What was wrapped before has ragged lines then.
    #[test]
    fn a_paragraph_of_the_help_is_one_line() {
        let cli = Cli::command();
        for command in all(&cli) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in help.lines() {
                let is_example = line.starts_with(' ');
                let is_whole = line.is_empty() || line.ends_with(['.', ':']);
                assert!(
                    if is_example { line.len() <= 100 } else { is_whole },
                    "{}: {line}",
                    command.get_name()
                );
            }
        }
    }

    #[test]
    fn arguments_are_declared_without_contradiction() {
        Cli::command().debug_assert();
    }
}
