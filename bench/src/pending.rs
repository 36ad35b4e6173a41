//! Pending rows: the memory they need in Redis, and hits per second from the call to the database.

use anyhow::{Context as _, Result};
use forebay::{Buffer, Clock, Forebay, Timestamp, buffer::BufferHandle};
use forebay_sql::{Migrate, Options, Postgres};
use futures::future::try_join_all;
use redis::aio::MultiplexedConnection;
use sqlx::postgres::PgPoolOptions;

use forebay_bench::{Load, together};

use crate::flush::postgres;

/// The number of pending rows.
const ROWS: usize = 50_000;

/// The number of rows that get hits, and the number of hits for each before the flush.
const HIT: usize = 10_000;
const HITS: usize = 50;

/// The connections of an application that has many workers and updates without a buffer.
pub(crate) const CONNECTIONS: u32 = 16;

/// Bytes of Redis's memory per pending row: with one counter, with a counter and a maximum, and in Sentry's layout, which
/// has a hash for each row and a sorted set of them.
pub(crate) async fn bytes(load: Load) -> Result<Vec<f64>> {
    let mut bytes = vec![];
    for columns in 1..=2 {
        let before = empty(&load).await?;
        let buffer = Buffer::new("projects").key("id").sum("hits");
        let buffer = if columns == 2 { buffer.max("last_seen") } else { buffer };
        let bay = Forebay::options().prefix("bench").open(&load.redis).await?;
        let buffer = bay.buffer(buffer)?;
        let add = async |id: usize| {
            let write = buffer.row(id.to_string()).add("hits", 1);
            let seen = Timestamp::from_secs(1_790_000_000 + i64::try_from(id)?);
            if columns == 2 { write.max("last_seen", seen).await } else { write.await }?;
            anyhow::Ok(())
        };
        try_join_all((0..ROWS).map(add)).await?;
        // The server's memory for the connection does not belong to the rows.
        bay.close().await?;
        bytes.push((used(&load).await? - before) / ROWS as f64);
    }
    let before = empty(&load).await?;
    as_sentry(&load).await?;
    bytes.push((used(&load).await? - before) / ROWS as f64);
    Ok(bytes)
}

async fn as_sentry(load: &Load) -> Result<()> {
    let mut connection = connect(load).await?;
    for from in (0..ROWS).step_by(1_000) {
        let mut pipeline = redis::pipe();
        for id in from..from + 1_000 {
            let key = format!("b:k:sentry.project:{id:032x}");
            pipeline.cmd("HSETNX").arg(&key).arg("m").arg("sentry.models.project.Project").ignore();
            pipeline.cmd("HSETNX").arg(&key).arg("f").arg(format!("{{\"pk\": [\"i\", \"{id}\"]}}")).ignore();
            pipeline.cmd("HINCRBY").arg(&key).arg("i+hits").arg(1).ignore();
            pipeline.cmd("HSET").arg(&key).arg("e+last_seen").arg("[\"d\", \"1790000000.0\"]").ignore();
            pipeline.cmd("EXPIRE").arg(&key).arg(3_600).ignore();
            pipeline.cmd("ZADD").arg("b:p").arg(1_790_000_000).arg(&key).ignore();
        }
        let () = pipeline.query_async(&mut connection).await?;
    }
    Ok(())
}

/// A connection of redis-rs.
pub(crate) async fn connect(load: &Load) -> Result<MultiplexedConnection> {
    Ok(redis::Client::open(load.redis.as_str())?.get_multiplexed_async_connection().await?)
}

/// Empties the server, and returns its memory use.
async fn empty(load: &Load) -> Result<f64> {
    let mut connection = connect(load).await?;
    let () = redis::cmd("FLUSHALL").arg("SYNC").query_async(&mut connection).await?;
    used(load).await
}

async fn used(load: &Load) -> Result<f64> {
    let mut connection = connect(load).await?;
    let info: String = redis::cmd("INFO").arg("memory").query_async(&mut connection).await?;
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    Ok(used.context("INFO without used_memory")?.trim().parse()?)
}

/// Hits per second, from the first call until Postgres has all of them.
pub(crate) async fn into_postgres(load: Load) -> Result<f64> {
    empty(&load).await?;
    let sink = Postgres::open(&postgres().url("postgres")).await?.with(Options::new().migrate(Migrate::Yes));
    let definition = Buffer::new("hits").key("id").sum("hits").max("last_seen");
    let buffer = Forebay::options().prefix("bench").open(&load.redis).await?.buffer(definition)?;
    let _by_hand = buffer.flush_to(sink).prepare().await?;
    let pool = PgPoolOptions::new().connect(&postgres().url("postgres")).await?;
    sqlx::query("TRUNCATE hits").execute(&pool).await?;
    let clock = Clock::system();
    let start = clock.monotonic();
    let callers = (0..load.callers).map(|caller| tokio::spawn(hit(buffer.clone(), caller, load.callers)));
    for caller in callers.collect::<Vec<_>>() {
        caller.await??;
    }
    buffer.flush().await?;
    let spent = clock.monotonic().saturating_sub(start).as_secs_f64();
    let (rows, hits): (i64, i64) =
        sqlx::query_as("SELECT count(*), sum(hits)::bigint FROM hits").fetch_one(&pool).await?;
    anyhow::ensure!(
        (rows, hits) == (i64::try_from(HIT)?, i64::try_from(HIT * HITS)?),
        "{rows} rows with {hits} hits"
    );
    Ok(hits as f64 / spent)
}

/// One caller's share of the hits.
async fn hit(buffer: BufferHandle, caller: usize, callers: usize) -> Result<()> {
    for i in (caller..HIT * HITS).step_by(callers) {
        let id = (i * 7_919 % HIT).to_string();
        buffer.row(id).add("hits", 1).max("last_seen", Clock::system().now()).await?;
    }
    Ok(())
}

/// Hits per second of an application without a buffer: an `UPDATE` for each hit, through a pool of `connections`.
pub(crate) async fn updates(load: Load, connections: u32) -> Result<f64> {
    let pool = PgPoolOptions::new().max_connections(connections).connect(&postgres().url("postgres")).await?;
    sqlx::query("TRUNCATE hits").execute(&pool).await?;
    let fill = "INSERT INTO hits (id) SELECT 'user:' || n FROM generate_series(0, 9999) AS n";
    sqlx::query(fill).execute(&pool).await?;
    together(&load, HIT, pool, |pool, key| async move {
        let update = "UPDATE hits SET hits = hits + 1, last_seen = greatest(last_seen, now()) WHERE id = $1";
        Ok(sqlx::query(update).bind(&*key).execute(&*pool).await?.rows_affected() == 1)
    })
    .await
}
