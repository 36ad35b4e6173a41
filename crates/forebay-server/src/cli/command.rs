//! The commands of the program, and their dispatch.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use super::{
    check_config, cluster, dead, flush, init, limit, lock, replay, runtime::FAILED, schema, series, serve,
    terminal::complain,
};
use crate::text::{chain, shown};

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
  forebay replay a.log --event hit --key ip    test the limits on recorded traffic
  forebay limit hits 42                  take 1 from a limit of a running server
  forebay lock nightly -- ./report.sh    run a command under a lock
  forebay check-config                   list every mistake in ./forebay.toml

Exit status: 0 done, 1 denied or held by another, 2 or more: error.";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    CheckConfig(check_config::Args),
    Init(init::Args),
    Replay(replay::Args),
    Limit(limit::Args),
    Series(Box<series::Args>),
    Flush(flush::Args),
    Dead(dead::Args),
    Lock(lock::Args),
    Cluster(cluster::Args),
    Schema(schema::Args),
    #[command(hide = true)]
    LockGate(lock::gate::Args),
    #[command(hide = true)]
    LockWatchdog,
}

/// Runs the command in the arguments, and returns its exit status.
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
        Command::LockWatchdog => lock::guard::run(),
    };
    answer.unwrap_or_else(|error| {
        complain(&format!("error: {}", chain(&*error)));
        ExitCode::from(FAILED)
    })
}

/// Prints the requested help, or the error in the arguments, whose text may come from others.
fn usage(error: &clap::Error) -> ExitCode {
    let given = || std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    if given().all(|word| shown(&word) == word) {
        // This path keeps the colours on a terminal.
        error.exit();
    }
    match Cli::try_parse_from(given().map(|word| shown(&word).into_owned())) {
        Err(error) => complain(error.render().to_string().trim_end()),
        Ok(_) => complain("error: the arguments contain control characters"),
    }
    ExitCode::from(FAILED)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn all(command: &clap::Command) -> Vec<&clap::Command> {
        let inner = command.get_subcommands().flat_map(all);
        std::iter::once(command).chain(inner).collect()
    }

    /// The help is wrapped to the terminal's width. A text that is wrapped twice has ragged lines.
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
