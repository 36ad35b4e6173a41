//! Measures cells in turn, and reports the results.

use std::{fs, path::PathBuf};

use anyhow::Result;
use clap::Args;
use forebay_testkit::Redis;

use crate::{
    load::{Cell, Load},
    report::{Report, show},
};

/// The options of a benchmark.
#[derive(Debug, Args)]
pub struct Options {
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
    json: Option<PathBuf>,
    /// Also write the table as Markdown.
    #[arg(long)]
    markdown: Option<PathBuf>,
}

impl Options {
    /// Runs the cells in turn, round after round, and prints the medians as one table. `prepare` runs before each cell.
    ///
    /// # Errors
    /// The error of the first cell that fails, or of a file that cannot be written.
    #[expect(clippy::print_stdout, reason = "the table is the output of the program")]
    pub fn measure(&self, mut cells: Vec<Cell>, redis: &Redis, prepare: impl Fn()) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let scratch = tempfile::tempdir()?;
        let &Self { rounds, seconds, callers, .. } = self;
        let load = Load { redis: redis.url(), scratch: scratch.path().into(), callers, seconds };
        cells.retain(|cell| cell.name.contains(&self.only));
        let mut report = Report::default();
        for round in 1..=rounds {
            for cell in &cells {
                prepare();
                for (subject, value) in cell.subjects.iter().zip(runtime.block_on((cell.run)(load.clone()))?)
                {
                    report.add(cell, subject, value);
                    println!("round {round} of {rounds}: {:40} {subject:24} {}", cell.name, show(value));
                }
            }
        }
        println!("\n{}", report.table());
        if let Some(path) = &self.json {
            fs::write(path, report.json())?;
        }
        if let Some(path) = &self.markdown {
            fs::write(path, report.markdown(callers))?;
        }
        Ok(())
    }
}
