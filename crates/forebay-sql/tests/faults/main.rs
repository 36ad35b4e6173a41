//! Promise P1 under faults: an acknowledged write reaches SQL once, whenever a process is killed.
//!
//! Several processes write and flush at the same time, through proxies, into Redis and a database. Redis, the database and
//! the processes die and come back. Every write is recorded before it is sent and when it is answered. At the end the
//! record is compared with SQL.
//!
//! `FOREBAY_FAULTS` is the number of faults, `FOREBAY_SEED` their seed, and `FOREBAY_DATABASE` one of the four databases
//! (`scripts/faults buffer`). `FOREBAY_KILLS` is the number of times that a database is killed inside a commit
//! (`scripts/faults commit`).
//!
//! [`hostdown`] is about several hosts, of which one is down.

#![expect(clippy::print_stdout, reason = "long runs print what they measured")]

mod database;
mod durable;
mod history;
mod hostdown;
mod process;
mod rollback;
mod world;

use std::env;

use forebay_testkit::without;

use crate::{database::Kind, world::World};

/// A number from the environment, or a default.
fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_while_both_ends_die() {
    let only = env::var("FOREBAY_DATABASE").ok();
    for (kind, few) in [(Kind::Postgres, 18), (Kind::PgBouncer, 9), (Kind::MariaDb, 9), (Kind::Sqlite, 9)] {
        if without("redis")
            || kind.needs().iter().copied().any(without)
            || only.as_ref().is_some_and(|only| only != kind.word())
        {
            continue;
        }
        let mut world = World::start(kind, number("FOREBAY_SEED", 1));
        let faults = number("FOREBAY_FAULTS", few);
        for _ in 0..faults {
            world.fault().await;
        }
        let (history, table) = world.end().await;
        eprintln!("{} {faults} faults: {}", kind.word(), history.check(&table));
    }
}
