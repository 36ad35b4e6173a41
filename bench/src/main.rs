//! `cargo run --profile bench -p forebay-bench`: measures, and prints one table.
//!
//! Cells run in turn, round after round, and the median of the rounds counts: the machine's mood changes, and a
//! ratio of neighbours holds where an absolute number does not.

#![expect(clippy::print_stdout, reason = "a program whose output is its table")]

mod cells;
mod flush;
mod pending;
mod replay;

use anyhow::Result;
use clap::Parser;
use forebay_testkit::Redis;

use forebay_bench::{Load, Report, show};

/// Measures Forebay on this machine.
#[derive(Debug, Parser)]
struct Args {
    /// Rounds; the median counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds per cell and round.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Callers at once.
    #[arg(long, default_value_t = 512)]
    callers: usize,
    /// Only cells whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Also write one JSON object per cell and subject, a line each.
    #[arg(long)]
    json: Option<std::path::PathBuf>,
    /// Also write the table as Markdown.
    #[arg(long)]
    markdown: Option<std::path::PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let redis = Redis::start();
    let scratch = tempfile::tempdir()?;
    let cells = cells::all();
    let mut report = Report::default();
    for round in 1..=args.rounds {
        for cell in cells.iter().filter(|cell| cell.name.contains(&args.only)) {
            let load = Load {
                redis: redis.url(),
                scratch: scratch.path().into(),
                callers: args.callers,
                seconds: args.seconds,
            };
            for (subject, value) in cell.subjects.iter().zip(runtime.block_on((cell.run)(load))?) {
                report.add(cell, subject, value);
                let (rounds, value) = (args.rounds, show(value));
                println!("round {round} of {rounds}: {:40} {subject:24} {value}", cell.name);
            }
        }
    }
    println!("\n{}", report.table());
    if let Some(path) = args.json {
        std::fs::write(path, report.json())?;
    }
    if let Some(path) = args.markdown {
        std::fs::write(path, report.markdown(&args.callers.to_string()))?;
    }
    Ok(())
}
