//! Promise P1 under faults: what was acknowledged reaches SQL once, whatever is killed and whenever.
//!
//! Several processes, which here are handles of their own, write and flush at the same time, through proxies, into Redis and
//! Postgres, both of which die and come back. Every write is recorded before it is sent and when it is answered; at
//! the end SQL is compared with the record. `FOREBAY_FAULTS` says how many faults, and `FOREBAY_SEED` which:
//! `scripts/faults buffer`.

mod history;
mod rollback;
mod world;

use forebay_testkit::without;

use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_while_both_ends_die() {
    if without("redis") || without("postgres") {
        return;
    }
    let number =
        |name: &str, default| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let mut world = World::start(number("FOREBAY_SEED", 1)).await;
    let faults = number("FOREBAY_FAULTS", 24);
    for _ in 0..faults {
        world.fault().await;
    }
    let (history, table) = world.end().await;
    eprintln!("{faults} faults: {}", history.check(&table));
}
