//! Random batches: SQLite and the sink in memory agree.

use std::sync::Arc;

use forebay::{
    Buffer, Timestamp,
    buffer::{ColumnType, Merge, Row, RowKey, Schema, Value},
    sink::{Applied, MemorySink, Sink as _},
};
use forebay_sql::{Missing, Options, Sqlite};
use proptest::{collection::vec, option::weighted, prelude::*};
use uuid::Uuid;

use crate::support::batch;

/// Every merge and type; nullable, so that a value that was never written is NULL on both sides.
fn schema() -> Arc<Schema> {
    Buffer::new("p")
        .key("word")
        .key_of("n", ColumnType::Integer)
        .sum("a")
        .sum("b")
        .column("most", Merge::Max, ColumnType::Integer)
        .column("least", Merge::Min, ColumnType::Integer)
        .max("last")
        .min("first")
        .column("text", Merge::Max, ColumnType::Text)
        .column("id", Merge::Min, ColumnType::Uuid)
        .build()
        .expect("valid")
}

const TABLE: &str =
    "CREATE TABLE p (word TEXT, n INTEGER, a INTEGER, b BIGINT, most INT, least NUMERIC, last DATETIME,
    first TEXT, text TEXT, id BLOB, other TEXT, PRIMARY KEY (n, word))";

fn integer() -> impl Strategy<Value = Option<Value>> {
    let near = prop_oneof![4 => -9_i64..9, 1 => any::<i64>(), 1 => Just(i64::MAX), 1 => Just(i64::MIN)];
    weighted(0.8, near.prop_map(Value::from))
}

fn time() -> impl Strategy<Value = Option<Value>> {
    // The years 0 to 9999; few of them, so that they meet.
    let micros = prop_oneof![0_i64..3, -62_167_219_200_000_000_i64..253_402_207_200_000_000];
    weighted(0.8, micros.prop_map(|micros| Timestamp::from_micros(micros).into()))
}

fn cells() -> impl Strategy<Value = Box<[Option<Value>]>> {
    let text = weighted(0.8, "[aAé%|'\"\\x00 ]{0,3}".prop_map(Value::from));
    let uuid = weighted(0.8, any::<u128>().prop_map(|id| Value::Uuid(Uuid::from_u128(id))));
    (integer(), integer(), integer(), integer(), time(), time(), text, uuid)
        .prop_map(|(a, b, c, d, e, f, g, h)| Box::from([a, b, c, d, e, f, g, h]))
}

/// One row per key, as a batch has.
fn rows() -> impl Strategy<Value = Vec<Row>> {
    let key = ("[aA|%]{1,2}", prop_oneof![0_i64..3, Just(i64::MIN)]);
    vec((key, cells()), 0..30).prop_map(|rows| {
        let schema = schema();
        let row = |((word, n), cells): ((String, i64), _)| {
            let key = RowKey::new(&schema, &[word.into(), n.into()]).expect("a valid key");
            Row { key, cells }
        };
        let mut rows: Vec<Row> = rows.into_iter().map(row).collect();
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        rows.dedup_by(|a, b| a.key == b.key);
        rows
    })
}

/// Applies row by row, as if each were a batch: an overflow then refuses that row alone. Only what `skip` lets through.
async fn model(memory: &MemorySink, schema: &Arc<Schema>, rows: &[Row], skip: bool) -> Applied {
    let (mut now, mut dead) = (0, 0);
    for row in rows {
        if skip && memory.row(schema, &row.key).is_none() {
            continue;
        }
        match memory.apply(&batch(schema, vec![row.clone()])).await {
            Ok(_) => now += 1,
            Err(_) => dead += 1,
        }
    }
    Applied::now(now, dead)
}

async fn agree(before: Vec<Row>, batches: Vec<Vec<Row>>, missing: Missing) {
    let schema = schema();
    let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1);
    let pool = pool.connect("sqlite::memory:").await.expect("memory");
    sqlx::raw_sql(TABLE).execute(&pool).await.expect("a table");
    let sink = Sqlite::from_pool(pool);
    let memory = MemorySink::new();
    let inserting = sink.with(Options::new().missing(Missing::Insert));
    let expected = model(&memory, &schema, &before, false).await;
    assert_eq!(inserting.apply(&batch(&schema, before)).await.expect("applied"), expected);
    let sink = sink.with(Options::new().missing(missing));
    for rows in batches {
        let one = batch(&schema, rows);
        let expected = model(&memory, &schema, &one.rows, missing == Missing::Skip).await;
        assert_eq!(sink.apply(&one).await.expect("applied"), expected);
        assert_eq!(sink.apply(&one).await.expect("known"), Applied::Before);
        for row in &one.rows {
            let read = sink.read(&schema, &row.key, &[]).await.expect("read").row;
            assert_eq!(read, memory.row(&schema, &row.key), "{:?}", row.key);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sqlite_and_memory_agree(
        before in rows(),
        batches in vec(rows(), 0..5),
        missing in prop_oneof![Just(Missing::Insert), Just(Missing::Skip)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(agree(before, batches, missing));
    }
}
