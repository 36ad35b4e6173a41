//! A batch counts once, even if several sinks apply it several times.

use forebay::{
    Buffer, Timestamp,
    sink::{Applied, Sink as _},
};
use forebay_sql::Sqlite;
use sqlx::{SqlitePool, sqlite::SqlitePoolOptions};

use crate::support::{File, NOON, apply, batch, hits, projects, row};

#[tokio::test]
async fn a_batch_counts_once_also_after_reopening() {
    let (file, schema) = (File::new(), projects());
    let one = batch(&schema, vec![hits(&schema, "42", 20, NOON)]);
    let sink = file.sink().await;
    assert_eq!(sink.apply(&one).await.expect("applied"), Applied::now(1, 0));
    assert_eq!(sink.apply(&one).await.expect("known"), Applied::Before);
    drop(sink);
    assert_eq!(file.sink().await.apply(&one).await.expect("known"), Applied::Before);

    let mut application = file.application().await;
    let rows: Vec<(String, i64, String)> = application.rows("SELECT * FROM projects").await;
    assert_eq!(rows, [("42".into(), 20, "2026-01-01 12:00:00.000000".into())]);
    let ledger: Vec<(String, String, i64, i64)> =
        application.rows("SELECT gen, buffer, partition, rows FROM forebay_ledger WHERE rows > 0").await;
    assert_eq!(ledger, [(one.id.to_string(), "projects".into(), 0, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sinks_on_one_new_file_apply_each_batch_once() {
    let (file, schema) = (File::new(), projects());
    let batches: Vec<_> = (0..20)
        .map(|n| batch(&schema, (0..50).map(|id| hits(&schema, &id.to_string(), n, NOON)).collect()))
        .collect();
    let work = |reverse: bool| {
        let (path, mut batches) = (file.path(), batches.clone());
        async move {
            let sink = Sqlite::open(&path).await.expect("a database file");
            if reverse {
                batches.reverse();
            }
            let mut now = 0;
            for batch in &batches {
                now += u64::from(sink.apply(batch).await.expect("applied") != Applied::Before);
            }
            now
        }
    };
    let (one, two) = (tokio::spawn(work(false)), tokio::spawn(work(true)));
    let now = one.await.expect("no panic") + two.await.expect("no panic");
    assert_eq!(now, 20);
    let mut application = file.application().await;
    assert_eq!(application.one::<i64>("SELECT sum(hits) FROM projects").await, 50 * (0..20).sum::<i64>());
}

/// The worker may die, or its task be dropped, at any await.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_apply_leaves_all_or_nothing() {
    let (file, schema) = (File::new(), projects());
    let sink = file.sink().await;
    sink.prepare(&schema).await.expect("prepared");
    let rows = || (0..600).map(|id| hits(&schema, &id.to_string(), 1, NOON)).collect();
    let rounds = 40;
    for patience in 0..rounds {
        let one = batch(&schema, rows());
        let mut polls = 0;
        let mut applying = sink.apply(&one);
        let dropped = std::future::poll_fn(|context| {
            polls += 1;
            match applying.as_mut().poll(context) {
                std::task::Poll::Ready(applied) => std::task::Poll::Ready(Some(applied)),
                std::task::Poll::Pending if polls > patience => std::task::Poll::Ready(None),
                std::task::Poll::Pending => std::task::Poll::Pending,
            }
        });
        let answered = dropped.await;
        drop(applying);
        let again = sink.apply(&one).await.expect("applied");
        if let Some(first) = answered {
            assert_eq!((first.expect("applied"), again), (Applied::now(600, 0), Applied::Before));
        }
    }
    let sums: Vec<(i64, i64)> = file.application().await.rows("SELECT DISTINCT hits, 0 FROM projects").await;
    assert_eq!(sums, [(i64::from(rounds), 0)]);
}

#[tokio::test]
async fn row_and_ledger_are_read_together() {
    let (file, schema) = (File::new(), projects());
    let sink = file.sink().await;
    let (one, two) = (batch(&schema, vec![hits(&schema, "42", 3, NOON)]), batch(&schema, vec![]));
    let key = &one.rows[0].key;
    let before = sink.read(&schema, key, &[one.id, two.id]).await.expect("read");
    assert_eq!((before.row, before.applied), (None, vec![]));
    sink.apply(&one).await.expect("applied");
    let after = sink.read(&schema, key, &[one.id, two.id]).await.expect("read");
    assert_eq!((after.row, after.applied), (Some(one.rows[0].cells.clone()), vec![one.id]));
    sink.ping().await.expect("it answers");
}

#[tokio::test]
async fn an_applications_pool_commits_durably() {
    let file = File::new();
    file.application().await.run("PRAGMA synchronous = OFF").await;
    let options = SqlitePoolOptions::new().max_connections(1);
    let pool: SqlitePool = options.connect(&format!("sqlite:{}", file.path())).await.expect("a pool");
    sqlx::raw_sql("PRAGMA synchronous = OFF").execute(&pool).await.expect("set");
    let schema = projects();
    apply(&Sqlite::from_pool(pool.clone()), &schema, vec![hits(&schema, "42", 1, NOON)]).await;
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&pool).await.expect("read");
    assert_eq!(synchronous, 3, "EXTRA");
    let hits: i64 = sqlx::query_scalar("SELECT hits FROM projects").fetch_one(&pool).await.expect("read");
    assert_eq!(hits, 1);
}

#[tokio::test]
async fn a_database_in_memory_lasts_as_long_as_its_sink() {
    let schema = projects();
    let sink = Sqlite::open("sqlite::memory:").await.expect("memory");
    let other = Sqlite::open("sqlite::memory:").await.expect("memory");
    apply(&sink, &schema, vec![hits(&schema, "42", 1, NOON)]).await;
    let key = hits(&schema, "42", 1, NOON).key;
    assert!(sink.clone().read(&schema, &key, &[]).await.expect("read").row.is_some());
    assert!(other.read(&schema, &key, &[]).await.expect("read").row.is_none());
}

#[tokio::test]
async fn null_counts_as_nothing_and_absent_values_change_nothing() {
    let (file, mut application) = File::with(
        "CREATE TABLE p (id TEXT PRIMARY KEY, n INTEGER, last TEXT, first TEXT);
         INSERT INTO p VALUES ('null', NULL, NULL, NULL), ('rfc', 1, '2026-01-01T11:00:00Z', '2026-01-01T13:00:00.5Z')",
    )
    .await;
    let schema = Buffer::new("p").key("id").sum("n").max("last").min("first").build().expect("valid");
    let sink = file.sink().await;
    let (noon, none) = (Some(NOON.into()), None);
    let rows = vec![
        row(&schema, "null", [Some(5.into()), noon.clone(), noon.clone()]),
        row(&schema, "rfc", [none.clone(), noon.clone(), noon.clone()]),
    ];
    assert_eq!(apply(&sink, &schema, rows).await, Applied::now(2, 0));
    let hour = |h: u64| Timestamp::minus(NOON, forebay::time::hours(h)).into();
    // A value is later than NULL. The row is alone in its statement.
    apply(&sink, &schema, vec![row(&schema, "null", [none, Some(hour(1)), Some(hour(1))])]).await;
    let rows: Vec<(String, i64, String, String)> = application.rows("SELECT * FROM p ORDER BY id").await;
    let (noon, eleven) = ("2026-01-01 12:00:00.000000".to_owned(), "2026-01-01 11:00:00.000000".to_owned());
    assert_eq!(rows, [("null".into(), 5, noon.clone(), eleven), ("rfc".into(), 1, noon.clone(), noon)]);
}
