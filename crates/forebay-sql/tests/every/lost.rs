//! Connections that break anywhere in a batch.

use std::sync::Arc;

use forebay::sink::{Applied, Sink, SinkError};
use forebay_sql::{MySql, Postgres};
use forebay_testkit::Fault;
use sqlx::{mysql::MySqlPoolOptions, postgres::PgPoolOptions};

use crate::{
    home::{Home, options},
    on_every_database,
    support::{NOON, batch, hits, projects},
};

on_every_database! {
    /// Loses the reply to each request of a batch in turn, after the server carried it out. One of them is the commit.
    async fn a_batch_whose_replies_are_lost_counts_once(home) {
        let (failures, replays) = lose_each(&home, |after| Fault::DropReply { after }).await;
        // A batch has at least four exchanges: begin, ledger, rows, commit. The reply to the commit was lost once.
        assert!(home.proxy().is_none() || failures >= 4 && replays >= 1, "{failures} failures, {replays} replays");
    }

    async fn a_batch_whose_requests_are_lost_counts_once(home) {
        let (failures, replays) = lose_each(&home, |after| Fault::DropRequest { after }).await;
        assert!(home.proxy().is_none() || failures >= 4 && replays == 0, "{failures} failures, {replays} replays");
    }
}

/// A sink with one connection, and a check that it is idle.
async fn one_connection(home: &Home, url: &str) -> (Arc<dyn Sink>, Box<dyn Fn() -> bool>) {
    match home {
        Home::Sqlite(_) => unreachable!("a file has no connection"),
        Home::Postgres(_) => {
            let pool = PgPoolOptions::new().max_connections(1).connect(url).await.expect("a connection");
            (
                Arc::new(Postgres::from_pool(pool.clone()).with(options())),
                Box::new(move || pool.num_idle() == 1),
            )
        }
        Home::MariaDb(_) => {
            let pool = MySqlPoolOptions::new().max_connections(1).connect(url).await.expect("a connection");
            (Arc::new(MySql::from_pool(pool.clone()).with(options())), Box::new(move || pool.num_idle() == 1))
        }
    }
}

/// Applies a batch once for each of its exchanges with the server, with `fault` at that exchange, and repeats it without.
/// Returns how often the first attempt failed, and how often it had been applied nevertheless.
async fn lose_each(home: &Home, fault: fn(u64) -> Fault) -> (u64, u64) {
    // A file has no connection to lose.
    let Some(proxy) = home.proxy() else { return (0, 0) };
    let schema = projects();
    let (sink, idle) = one_connection(home, &home.url_through(&proxy)).await;
    sink.prepare(&schema).await.expect("prepared");
    let (mut applied, mut failures, mut replays) = (0, 0, 0);
    for after in 0.. {
        let one = batch(&schema, (0..10).map(|id| hits(&schema, &id.to_string(), 1, NOON)).collect());
        // A pool pings a connection that is returned to it. That exchange must not be counted.
        forebay_testkit::eventually("the connection to be idle", async || idle()).await;
        proxy.set(fault(after));
        let first = sink.apply(&one).await;
        let happened = proxy.fault() == Fault::Pass;
        proxy.set(Fault::Pass);
        let again = sink.apply(&one).await.expect("the connection works again");
        applied += 1;
        match first {
            Ok(first) => assert_eq!((first, again), (Applied::now(10, 0), Applied::Before)),
            Err(SinkError::Transient(_)) => {
                failures += 1;
                replays += u64::from(again == Applied::Before);
            }
            Err(error) => panic!("exchange {after}: {error}"),
        }
        if !happened {
            break;
        }
    }
    assert_eq!(home.lines("SELECT DISTINCT hits FROM projects").await, [applied.to_string()]);
    (failures, replays)
}
