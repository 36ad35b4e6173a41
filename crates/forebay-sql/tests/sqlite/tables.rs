//! An application's tables, and those that Forebay creates.

use forebay::{
    Buffer, Forebay,
    buffer::ColumnType,
    sink::{Applied, Sink as _},
};
use forebay_sql::{Migrate, Missing, Options, Sqlite};

use crate::support::{File, NOON, apply, hits, permanent, projects, row};

const USERS: &str =
    "CREATE TABLE projects (id TEXT PRIMARY KEY, name TEXT NOT NULL, hits INTEGER, last_seen DATETIME);
    INSERT INTO projects (id, name) VALUES ('1', 'one'), ('2', 'two')";

fn missing(missing: Missing) -> Options {
    Options::new().missing(missing)
}

/// An upsert fails on such a table, also for existing rows.
#[tokio::test]
async fn insert_is_refused_where_another_column_is_not_null_and_skip_updates() {
    let (file, mut application) = File::with(USERS).await;
    let (sink, schema) = (file.sink().await, projects());
    let why = permanent(sink.with(missing(Missing::Insert)).prepare(&schema).await);
    assert!(why.contains("column name of table projects is NOT NULL") && why.contains("skip"), "{why}");
    // Skip is the default for a table that the application created.
    sink.prepare(&schema).await.expect("prepared");
    let rows = ["1", "2", "3"].map(|id| hits(&schema, id, 7, NOON)).to_vec();
    assert_eq!(apply(&sink, &schema, rows).await, Applied::now(2, 0));
    let rows: Vec<(String, String, i64)> = application.rows("SELECT id, name, hits FROM projects").await;
    assert_eq!(rows, [("1".into(), "one".into(), 7), ("2".into(), "two".into(), 7)]);
    assert_eq!(application.dead_letters().await, []);
}

#[tokio::test]
async fn dead_letter_keeps_the_rows_that_are_not_there() {
    let (file, mut application) = File::with(USERS).await;
    let (sink, schema) = (file.sink().await.with(missing(Missing::DeadLetter)), projects());
    let rows = (1..=600).map(|id| hits(&schema, &id.to_string(), 1, NOON)).collect();
    assert_eq!(apply(&sink, &schema, rows).await, Applied::now(2, 598));
    let letters = application.dead_letters().await;
    assert!(letters.iter().all(|(_, why)| why.contains("no row with this key")), "{:?}", letters.first());
    assert_eq!(application.one::<i64>("SELECT sum(hits) FROM projects").await, 2);
}

/// A row without a value that a new row needs can still be merged into an existing row.
#[tokio::test]
async fn an_incomplete_row_is_merged_but_not_inserted() {
    let (file, mut application) = File::with(
        "CREATE TABLE projects (id TEXT PRIMARY KEY, hits INTEGER NOT NULL DEFAULT 3, last_seen DATETIME NOT NULL);
         INSERT INTO projects VALUES ('1', 1, '2026-01-01 00:00:00')",
    )
    .await;
    let (sink, schema) = (file.sink().await.with(missing(Missing::Insert)), projects());
    let only_hits = |id: &str| row(&schema, id, [Some(5.into()), None]);
    let only_seen = |id: &str| row(&schema, id, [None, Some(NOON.into())]);
    let rows = vec![only_hits("1"), only_hits("2"), only_seen("3")];
    assert_eq!(apply(&sink, &schema, rows).await, Applied::now(2, 1));
    let [(key, why)] = &*application.dead_letters().await else { panic!("one letter") };
    assert!(key == "2" && why.contains("last_seen"), "{key}: {why}");
    let rows: Vec<(String, i64)> = application.rows("SELECT id, hits FROM projects ORDER BY id").await;
    assert_eq!(rows, [("1".into(), 6), ("3".into(), 3)]);
}

#[tokio::test]
async fn without_migrate_the_missing_tables_are_named_and_spelled_out() {
    let (file, schema) = (File::new(), projects());
    let sink = file.sink().await.with(Options::new().migrate(Migrate::No));
    let why = permanent(sink.prepare(&schema).await);
    for part in ["projects, forebay_ledger, forebay_dead_letters", "CREATE TABLE IF NOT EXISTS \"projects\""]
    {
        assert!(why.contains(part), "{part}: {why}");
    }
    let mut application = file.application().await;
    assert_eq!(application.one::<i64>("SELECT count(*) FROM sqlite_schema").await, 0);
    application.run(&Sqlite::ddl(&schema)).await;
    sink.prepare(&schema).await.expect("all is there");
    // The table was created by Forebay's statement, so it accepts new rows.
    assert_eq!(apply(&sink, &schema, vec![hits(&schema, "1", 1, NOON)]).await, Applied::now(1, 0));
}

#[tokio::test]
async fn a_missing_column_is_refused_with_the_statement_that_adds_it() {
    let (file, mut application) =
        File::with("CREATE TABLE projects (id TEXT PRIMARY KEY, hits INTEGER)").await;
    let (sink, schema) = (file.sink().await, projects());
    let why = permanent(sink.prepare(&schema).await);
    let (_, mend) = why.split_once("add it with ").expect("a mend");
    assert_eq!(mend, r#"ALTER TABLE "main"."projects" ADD COLUMN "last_seen" DATETIME"#);
    application.run(mend).await;
    sink.prepare(&schema).await.expect("mended");
}

#[tokio::test]
async fn a_key_that_is_not_unique_is_refused_except_to_skip() {
    let columns = "id TEXT, hits INTEGER, last_seen DATETIME";
    for rest in [
        "",
        "; CREATE UNIQUE INDEX part ON projects (id) WHERE hits > 1",
        "; CREATE INDEX i ON projects (id)",
    ] {
        let (file, _) = File::with(&format!("CREATE TABLE projects ({columns}){rest}")).await;
        let (sink, schema) = (file.sink().await, projects());
        for kind in [Missing::Insert, Missing::DeadLetter] {
            let why = permanent(sink.with(missing(kind)).prepare(&schema).await);
            assert!(why.contains("CREATE UNIQUE INDEX") && why.contains("skip"), "{why}");
        }
        sink.with(missing(Missing::Skip)).prepare(&schema).await.expect("skip needs no unique key");
    }
}

#[tokio::test]
async fn tables_that_cannot_work_are_refused_with_the_reason() {
    for (sql, table, reason) in [
        ("CREATE VIEW projects AS SELECT 1 AS id, 2 AS hits, 3 AS last_seen", "projects", "view"),
        ("CREATE TABLE projects (id TEXT, hits REAL, last_seen TEXT)", "projects", "hits"),
        ("CREATE TABLE projects (id TEXT, hits AS (1), last_seen TEXT)", "projects", "computed"),
        ("CREATE TABLE projects (id TEXT, hits INT, last_seen DATE)", "projects", "\"DATE\""),
        ("CREATE TABLE projects (id STRING, hits INT, last_seen TEXT)", "projects", "key: declare it TEXT"),
        ("CREATE TABLE other (id TEXT)", "archive.projects", "main database"),
        (
            "CREATE TABLE projects (id TEXT, hits INT, last_seen DATETIME); INSERT INTO projects VALUES ('1', 1, 1767225600000)",
            "projects",
            "holds values of type integer",
        ),
        (
            "CREATE TABLE projects (id TEXT, hits INT, last_seen DATETIME);
             CREATE TRIGGER t AFTER UPDATE ON projects BEGIN INSERT INTO gone VALUES (1); END",
            "projects",
            "no such table: main.gone",
        ),
    ] {
        let (file, _) = File::with(sql).await;
        let schema = Buffer::new("projects").table(table).key("id").sum("hits").max("last_seen").build();
        let why = permanent(file.sink().await.prepare(&schema.expect("valid")).await);
        assert!(why.contains(reason), "{sql}: {why}");
    }
}

#[tokio::test]
async fn a_migrated_table_is_known_again_and_keeps_inserting() {
    let (file, schema) = (File::new(), projects());
    apply(&file.sink().await, &schema, vec![hits(&schema, "1", 1, NOON)]).await;
    let mut application = file.application().await;
    application.run("ALTER TABLE projects ADD COLUMN note TEXT").await;
    assert_eq!(
        apply(&file.sink().await, &schema, vec![hits(&schema, "2", 1, NOON)]).await,
        Applied::now(1, 0)
    );
    assert_eq!(application.one::<String>("PRAGMA journal_mode").await, "wal");
}

#[tokio::test]
async fn names_that_are_keywords_work() {
    let schema =
        Buffer::new("b").table("main.order").key("group").key_of("by", ColumnType::Integer).sum("select");
    let bay = Forebay::open("memory:").await.expect("a store");
    let file = File::new();
    let buffer = bay.buffer(schema).expect("valid");
    let _flusher = buffer.flush_to(file.sink().await).prepare().await.expect("prepared");
    buffer.row_of(["a".into(), 7.into()]).add("select", 2).await.expect("written");
    assert_eq!(buffer.flush().await.expect("flushed"), 1);
    let rows: Vec<(String, i64, i64)> = file.application().await.rows(r#"SELECT * FROM "order""#).await;
    assert_eq!(rows, [("a".into(), 7, 2)]);
}
