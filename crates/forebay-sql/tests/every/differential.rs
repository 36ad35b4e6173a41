//! Random batches: three databases and a model agree.

use std::sync::Arc;

use forebay::{
    Buffer, Timestamp,
    buffer::{ColumnType, Merge, Row, RowKey, Schema, Value},
    sink::{Applied, MemorySink, Sink},
};
use forebay_sql::Missing;
use proptest::{collection::vec, option::weighted, prelude::*};
use uuid::Uuid;

use crate::{
    home::{Home, options},
    support::batch,
};

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
        .column("version", Merge::Max, ColumnType::Integer)
        .last("state", ColumnType::Text, "version")
        .last("seen", ColumnType::Timestamp, "version")
        .first("born", ColumnType::Uuid, "first")
        .build()
        .expect("valid")
}

fn table(home: &Home) -> &'static str {
    home.pick(
        "CREATE TABLE p (word TEXT, n INTEGER, a INTEGER, b BIGINT, most INT, least NUMERIC, last DATETIME,
            first TEXT, text TEXT, id BLOB, other TEXT,
            version INT, state TEXT, seen DATETIME, born TEXT, PRIMARY KEY (n, word))",
        "CREATE TABLE p (word text, n bigint, a bigint, b bigint, most bigint, least bigint, last timestamptz,
            first timestamp, text varchar, id uuid, other text,
            version bigint, state text, seen timestamptz, born uuid, PRIMARY KEY (n, word))",
        "CREATE TABLE p (word VARCHAR(50) COLLATE utf8mb4_bin, n BIGINT, a BIGINT, b BIGINT, most BIGINT, least BIGINT,
            last DATETIME(6), first DATETIME(6), text TEXT COLLATE utf8mb4_general_ci, id BINARY(16), other TEXT,
            version BIGINT, state TEXT, seen DATETIME(6), born CHAR(36),
            PRIMARY KEY (n, word))",
    )
}

fn integer() -> impl Strategy<Value = Option<Value>> {
    let near = prop_oneof![4 => -9_i64..9, 1 => any::<i64>(), 1 => Just(i64::MAX), 1 => Just(i64::MIN)];
    weighted(0.8, near.prop_map(Value::from))
}

fn time() -> impl Strategy<Value = Option<Value>> {
    // The years 1 to 9999. The values are few, so that some are equal.
    let micros = prop_oneof![0_i64..3, -62_135_596_800_000_000_i64..253_402_207_200_000_000];
    weighted(0.8, micros.prop_map(|micros| Timestamp::from_micros(micros).into()))
}

fn text() -> impl Strategy<Value = Value> {
    "[aAé%|'\"\\\\😀 ]{0,3}".prop_map(Value::from)
}

fn uuid() -> impl Strategy<Value = Value> {
    any::<u128>().prop_map(|id| Value::Uuid(Uuid::from_u128(id)))
}

fn cells() -> impl Strategy<Value = Box<[Option<Value>]>> {
    let plain =
        (integer(), integer(), integer(), integer(), time(), weighted(0.8, text()), weighted(0.8, uuid()));
    // A version and its columns are written together. The versions are few, so that some are equal.
    let last = weighted(
        0.8,
        (-2_i64..3, text(), time().prop_map(|at| at.unwrap_or(Timestamp::from_micros(9).into()))),
    );
    let first = weighted(0.8, (time().prop_map(|at| at.unwrap_or(Timestamp::from_micros(1).into())), uuid()));
    (plain, last, first).prop_map(|((a, b, most, least, at, word, id), last, first)| {
        let (version, state, seen) = match last {
            Some((version, state, seen)) => (Some(version.into()), Some(state), Some(seen)),
            None => (None, None, None),
        };
        let (first, born) = first.unzip();
        Box::from([a, b, most, least, at, first, word, id, version, state, seen, born])
    })
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

/// Applies the rows one by one, as if each were a batch. So an overflow refuses only its own row. `missing` says what
/// happens to rows that do not exist.
async fn model(memory: &MemorySink, schema: &Arc<Schema>, rows: &[Row], missing: Missing) -> Applied {
    let (mut now, mut dead) = (0, 0);
    for row in rows {
        if missing != Missing::Insert && memory.row(schema, &row.key).is_none() {
            dead += u64::from(missing == Missing::DeadLetter);
            continue;
        }
        match memory.apply(&batch(schema, vec![row.clone()])).await.expect("applied") {
            Applied::Now { dead: 0, .. } => now += 1,
            _ => dead += 1,
        }
    }
    Applied::now(now, dead)
}

async fn agree(home: &Home, before: &[Row], batches: &[Vec<Row>], missing: Missing) {
    let schema = schema();
    home.ask("DROP TABLE IF EXISTS p").await;
    home.ask(table(home)).await;
    let memory = MemorySink::new();
    let inserting = home.sink_with(options().missing(Missing::Insert)).await;
    let expected = model(&memory, &schema, before, Missing::Insert).await;
    assert_eq!(inserting.apply(&batch(&schema, before.to_vec())).await.expect("applied"), expected);
    let sink: Arc<dyn Sink> = home.sink_with(options().missing(missing)).await;
    for rows in batches {
        let one = batch(&schema, rows.clone());
        let expected = model(&memory, &schema, &one.rows, missing).await;
        assert_eq!(sink.apply(&one).await.expect("applied"), expected, "{missing}");
        assert_eq!(sink.apply(&one).await.expect("known"), Applied::Before);
        for row in &one.rows {
            let read = sink.read(&schema, &row.key, &[]).await.expect("read").row;
            assert_eq!(read, memory.row(&schema, &row.key), "{missing}: {:?}", row.key);
        }
    }
}

fn check(homes: &[Home]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let missing = prop_oneof![Just(Missing::Insert), Just(Missing::Skip), Just(Missing::DeadLetter)];
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(before in rows(), batches in vec(rows(), 0..5), missing in missing)| {
        for home in homes {
            runtime.block_on(agree(home, &before, &batches, missing));
        }
    });
}

/// Each database agrees with the model on the same rows, and so with the other databases.
#[test]
fn databases_and_the_model_agree() {
    let mut homes = vec![Home::sqlite()];
    if !forebay_testkit::without("postgres") {
        homes.push(Home::postgres());
    }
    if !forebay_testkit::without("mariadb") {
        homes.push(Home::mariadb());
    }
    check(&homes);
}
