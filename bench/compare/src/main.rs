//! `scripts/compare`: Forebay and its peers in turn, on one Redis; prints one table.
//!
//! Every subject does the same. A number of callers each wait for their own answer before they call again. Each visits the
//! keys in its own order, and the quota is never reached.

#![forbid(unsafe_code)]

mod here;
mod limitador;
mod peers;
mod shared;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use forebay_bench::{Cell, Options};
use forebay_testkit::Redis;

use crate::limitador::LIMITADOR;

/// Compares Forebay with its peers on this machine.
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    options: Options,
    /// The module of redis-cell, libredis_cell.so; without it redis-cell is left out.
    #[arg(long, env = "FOREBAY_REDIS_CELL")]
    cell: Option<PathBuf>,
}

impl Args {
    /// Returns whether the peer of this cell is available.
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
    let redis = match &args.cell {
        Some(module) => Redis::builder().option("loadmodule", &module.display().to_string()).start(),
        None => Redis::start(),
    };
    let cells = shared::cells().into_iter().chain(here::cells()).filter(|cell| args.can_ask(cell)).collect();
    // The server is emptied, so that no cell finds the keys of another one.
    args.options.measure(cells, &redis, || drop(redis.command(["FLUSHALL", "SYNC"])))
}
