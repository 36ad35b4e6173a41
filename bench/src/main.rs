//! `cargo run --profile bench -p forebay-bench`: measures, and prints one table.
//!
//! Cells run in turn, round after round, and the median of the rounds counts. The speed of the machine varies, and the
//! ratio of neighbours is stable where an absolute number is not.

mod cells;
mod flush;
mod map;
mod pending;
mod replay;
mod ways;

use anyhow::Result;
use clap::Parser;
use forebay_bench::Options;
use forebay_testkit::Redis;

/// Measures Forebay on this machine.
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    options: Options,
}

fn main() -> Result<()> {
    Args::parse().options.measure(cells::all(), &Redis::start(), || {})
}
