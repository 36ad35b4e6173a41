//! Batches into databases: the ledger, and 10 000 rows with a sum and a maximum, in one transaction.

use std::{path::Path, sync::Arc};

use anyhow::Result;
use forebay::{
    Buffer, Clock, Timestamp,
    buffer::{Row, RowKey, Schema},
    sink::{Applied, Batch, Sink},
};
use forebay_sql::{Migrate, MySql, Options, Postgres, Sqlite};
use forebay_testkit as testkit;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use forebay_bench::Load;

/// The number of rows in the table. A batch writes a twentieth of them, scattered.
const TABLE: usize = 200_000;

/// The rows of a batch.
const BATCH: usize = 10_000;

/// The database that gets the batches.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Into {
    Sqlite,
    Postgres,
    MariaDb,
}

/// Rows applied per second.
pub(crate) async fn flushes(load: Load, into: Into) -> Result<f64> {
    let schema = Buffer::new("projects").key("id").sum("hits").max("last_seen").build()?;
    let sink = open(&load.scratch, into).await?;
    fill(&*sink, &schema).await?;
    let clock = Clock::system();
    let (mut rows, mut spent, mut seed) = (0, 0.0, 1);
    while spent < load.seconds {
        seed += 1;
        let batch = scattered(&schema, seed)?;
        let before = clock.monotonic();
        let applied = sink.apply(&batch).await?;
        spent += clock.monotonic().saturating_sub(before).as_secs_f64();
        anyhow::ensure!(applied == Applied::now(BATCH as u64, 0), "{applied:?}");
        rows += BATCH;
    }
    Ok(rows as f64 / spent)
}

/// Updates per second of the statement that buffers replace: one per row, each in its own transaction.
pub(crate) async fn updates(load: Load) -> Result<f64> {
    let schema = Buffer::new("projects").key("id").sum("hits").max("last_seen").build()?;
    fill(&*open(&load.scratch, Into::Postgres).await?, &schema).await?;
    let mut connection = PgConnection::connect(&postgres().url("postgres")).await?;
    let clock = Clock::system();
    let (start, mut at, mut updates) = (clock.monotonic(), 0, 0);
    while clock.monotonic().saturating_sub(start).as_secs_f64() < load.seconds {
        at = (at + 7_919) % TABLE;
        sqlx::query(
            "UPDATE projects SET hits = hits + 1, last_seen = greatest(last_seen, now()) WHERE id = $1",
        )
        .bind(at.to_string())
        .execute(&mut connection)
        .await?;
        updates += 1;
    }
    Ok(f64::from(updates) / clock.monotonic().saturating_sub(start).as_secs_f64())
}

/// A Postgres that forces commits to disk.
pub(crate) fn postgres() -> &'static testkit::Postgres {
    static DURABLE: std::sync::OnceLock<testkit::Postgres> = std::sync::OnceLock::new();
    DURABLE.get_or_init(testkit::Postgres::durable)
}

async fn open(scratch: &Path, into: Into) -> Result<Arc<dyn Sink>> {
    let options = Options::new().migrate(Migrate::Yes);
    Ok(match into {
        Into::Sqlite => {
            let path = scratch.join("flush.db");
            Arc::new(Sqlite::open(&path.display().to_string()).await?.with(options))
        }
        Into::Postgres => Arc::new(Postgres::open(&postgres().url("postgres")).await?.with(options)),
        Into::MariaDb => {
            let server = testkit::MariaDb::shared();
            server.query("mysql", "CREATE DATABASE IF NOT EXISTS bench");
            Arc::new(MySql::open(&server.url("bench")).await?.with(options))
        }
    })
}

/// Writes every row of the table. Rows of an earlier round stay.
async fn fill(sink: &dyn Sink, schema: &Arc<Schema>) -> Result<()> {
    for from in (0..TABLE).step_by(BATCH) {
        sink.apply(&batch(schema, from..from + BATCH)?).await?;
    }
    Ok(())
}

/// A batch of rows from all parts of the table. The stride shares no factor with their number.
fn scattered(schema: &Arc<Schema>, seed: usize) -> Result<Batch> {
    batch(schema, (0..BATCH).map(|i| (i * 19_997 + seed * 7_919) % TABLE))
}

fn batch(schema: &Arc<Schema>, ids: impl Iterator<Item = usize>) -> Result<Batch> {
    let rows = ids.map(|id| row(schema, id)).collect::<Result<_>>()?;
    Ok(Batch::new(Uuid::now_v7(), schema.clone(), 0, rows))
}

fn row(schema: &Schema, id: usize) -> Result<Row> {
    let key = RowKey::new(schema, &[id.to_string().into()])?;
    Ok(Row { key, cells: Box::new([Some(1.into()), Some(Timestamp::from_secs(1_790_000_000).into())]) })
}
