//! `scripts/compare`: Forebay and its peers in turn, on one Redis; prints one table.
//!
//! Every subject does the same: so many callers, each waiting for its own answer before it asks again, keys in an order of
//! its own, a quota that nobody reaches.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a program whose output is its table")]

mod here;
mod limitador;
mod peers;
mod shared;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use forebay_bench::{Cell, Load, Report, show};
use forebay_testkit::Redis;

use crate::limitador::LIMITADOR;

/// Compares Forebay with its peers on this machine.
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
    /// The module of redis-cell, libredis_cell.so; without it redis-cell is left out.
    #[arg(long, env = "FOREBAY_REDIS_CELL")]
    cell: Option<PathBuf>,
    /// Also write one JSON object per cell and subject, a line each.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Also write the table as Markdown.
    #[arg(long)]
    markdown: Option<PathBuf>,
}

impl Args {
    /// Whether the peer of this cell is here.
    fn can_ask(&self, cell: &Cell) -> bool {
        match cell.subjects {
            [peers::CELL] => self.cell.is_some(),
            [LIMITADOR] => cfg!(feature = "limitador"),
            _ => true,
        }
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let redis = match &args.cell {
        Some(module) => Redis::builder().option("loadmodule", &module.display().to_string()).start(),
        None => Redis::start(),
    };
    let scratch = tempfile::tempdir()?;
    let load = Load {
        redis: redis.url(),
        scratch: scratch.path().into(),
        callers: args.callers,
        seconds: args.seconds,
    };
    let mut cells: Vec<Cell> = shared::cells().into_iter().chain(here::cells()).collect();
    cells.retain(|cell| cell.name.contains(&args.only) && args.can_ask(cell));
    let mut report = Report::default();
    for round in 1..=args.rounds {
        for cell in &cells {
            // Nobody inherits another's keys.
            redis.command(["FLUSHALL", "SYNC"]);
            for (subject, value) in cell.subjects.iter().zip(runtime.block_on((cell.run)(load.clone()))?) {
                report.add(cell, subject, value);
                println!("round {round} of {}: {:40} {subject:24} {}", args.rounds, cell.name, show(value));
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
