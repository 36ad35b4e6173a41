//! Rows that the database refuses, and outages.

use forebay::{
    Buffer,
    sink::{Applied, Sink as _, SinkError},
};
use forebay_sql::Sqlite;
use sqlx::sqlite::SqlitePoolOptions;

use crate::support::{File, NOON, apply, batch, hits, permanent, projects, row};

/// SQLite silently turns a sum that leaves 64 bits into a float.
#[tokio::test]
async fn a_row_that_overflows_goes_to_the_dead_letters_and_9_999_commit() {
    let (file, schema) = (File::new(), projects());
    let sink = file.sink().await;
    apply(&sink, &schema, vec![hits(&schema, "5000", i64::MAX, NOON)]).await;
    let one = batch(&schema, (0..10_000).map(|id| hits(&schema, &id.to_string(), 1, NOON)).collect());
    assert_eq!(sink.apply(&one).await.expect("applied"), Applied::now(9_999, 1));
    assert_eq!(sink.apply(&one).await.expect("known"), Applied::Before);

    let mut application = file.application().await;
    let letters: Vec<(String, String, String, String, String)> =
        application.rows("SELECT gen, buffer, row_key, cells, error FROM forebay_dead_letters").await;
    let [(id, buffer, key, cells, error)] = &*letters else { panic!("one letter: {letters:?}") };
    assert_eq!((&**buffer, &**key, id.parse()), ("projects", "5000", Ok(one.id)));
    assert_eq!(cells, r#"{"hits":1,"last_seen":"2026-01-01T12:00:00Z"}"#);
    assert!(error.contains("64 bits"), "{error}");
    let sums: Vec<(i64, i64)> =
        application.rows("SELECT hits, count(*) FROM projects GROUP BY hits ORDER BY hits").await;
    assert_eq!(sums, [(1, 9_999), (i64::MAX, 1)]);
}

/// SQLite adds to any text as if it were 0, and keeps floats in integer columns.
#[tokio::test]
async fn a_sum_is_not_added_to_another_type_than_integer() {
    let (file, mut application) = File::with(
        "CREATE TABLE p (id TEXT PRIMARY KEY, n INTEGER); INSERT INTO p VALUES ('a', 1), ('b', 'many'), ('c', 1.5)",
    )
    .await;
    let schema = Buffer::new("p").key("id").sum("n").build().expect("valid");
    let rows = ["a", "b", "c"].map(|id| row(&schema, id, [Some(1.into())])).to_vec();
    assert_eq!(apply(&file.sink().await, &schema, rows).await, Applied::now(1, 2));
    let letters = application.dead_letters().await;
    assert!(letters.iter().all(|(_, why)| why.contains("no integer")), "{letters:?}");
    let kept: Vec<(String, String)> = application.rows("SELECT id, CAST(n AS TEXT) FROM p ORDER BY id").await;
    assert_eq!(kept, [("a".into(), "2".into()), ("b".into(), "many".into()), ("c".into(), "1.5".into())]);
}

#[tokio::test]
async fn the_smallest_and_the_largest_sum_fit() {
    let (file, schema) = (File::new(), projects());
    let sink = file.sink().await;
    let extremes = |sign: i64| [("max", i64::MAX / 2 * sign), ("min", i64::MIN / 2 * sign)];
    for (id, n) in extremes(1).into_iter().chain(extremes(1)) {
        assert_eq!(apply(&sink, &schema, vec![hits(&schema, id, n, NOON)]).await, Applied::now(1, 0));
    }
    let applied =
        apply(&sink, &schema, vec![hits(&schema, "max", 1, NOON), hits(&schema, "min", -1, NOON)]).await;
    assert_eq!(applied, Applied::now(1, 1));
    let rows: Vec<(String, i64)> =
        file.application().await.rows("SELECT id, hits FROM projects ORDER BY id").await;
    assert_eq!(rows, [("max".into(), i64::MAX), ("min".into(), i64::MIN)]);
}

#[tokio::test]
async fn constraints_and_triggers_refuse_single_rows() {
    let (file, mut application) = File::with(
        "CREATE TABLE p (id TEXT PRIMARY KEY /* created by forebay */, n INTEGER CHECK (n < 100));
         CREATE TRIGGER no_b BEFORE INSERT ON p WHEN new.id = 'b' BEGIN SELECT RAISE(IGNORE); END;
         CREATE TRIGGER no_c BEFORE INSERT ON p WHEN new.id = 'c' BEGIN SELECT RAISE(FAIL, 'no c today'); END",
    )
    .await;
    let schema = Buffer::new("p").key("id").sum("n").build().expect("valid");
    // Eight rows share a statement. RAISE(FAIL) keeps the effect of the statement so far. Without the savepoint `a` would
    // count twice.
    let rows = [("a", 1), ("b", 2), ("c", 3), ("d", 100), ("e", 5), ("f", 1), ("g", 1), ("h", 1)];
    let rows = rows.map(|(id, n)| row(&schema, id, [Some(n.into())])).to_vec();
    assert_eq!(apply(&file.sink().await, &schema, rows).await, Applied::now(5, 3));
    let letters = application.dead_letters().await;
    let reasons = [("b", "ignored"), ("c", "no c today"), ("d", "CHECK constraint failed")];
    for ((key, why), (expected, reason)) in letters.iter().zip(reasons) {
        assert!(key == expected && why.contains(reason), "{key}: {why}");
    }
    assert_eq!(application.one::<i64>("SELECT sum(n) FROM p").await, 9);
}

/// A constraint may end the whole transaction. Later statements would then commit without the ledger.
#[tokio::test]
async fn a_constraint_that_rolls_back_parks_the_batch_and_nothing_of_it_is_there() {
    let (file, mut application) = File::with(
        "CREATE TABLE p (id TEXT PRIMARY KEY /* created by forebay */, n INTEGER CHECK (n < 100));
         CREATE TRIGGER no_b BEFORE INSERT ON p WHEN new.id = 'b' BEGIN SELECT RAISE(ROLLBACK, 'no'); END",
    )
    .await;
    let schema = Buffer::new("p").key("id").sum("n").build().expect("valid");
    let sink = file.sink().await;
    let one = batch(&schema, ["a", "b", "c"].map(|id| row(&schema, id, [Some(1.into())])).to_vec());
    permanent(sink.apply(&one).await);
    assert_eq!(application.one::<i64>("SELECT count(*) FROM p").await, 0);
    assert_eq!(application.one::<i64>("SELECT count(*) FROM forebay_ledger").await, 0);
    application.run("DROP TRIGGER no_b").await;
    assert_eq!(sink.apply(&one).await.expect("mended"), Applied::now(3, 0));
}

#[tokio::test]
async fn a_full_disk_keeps_the_batch_and_the_connection_recovers() {
    let (file, schema) = (File::new(), projects());
    let pool = SqlitePoolOptions::new().max_connections(1);
    let pool = pool.connect(&format!("sqlite:{}?mode=rwc", file.path())).await.expect("a pool");
    let sink = Sqlite::from_pool(pool.clone());
    sink.prepare(&schema).await.expect("prepared");
    let pages: i64 = sqlx::query_scalar("PRAGMA max_page_count = 1").fetch_one(&pool).await.expect("set");
    let one = batch(&schema, (0..5_000).map(|id| hits(&schema, &id.to_string(), 1, NOON)).collect());
    for _ in 0..2 {
        let full = sink.apply(&one).await;
        assert!(matches!(full, Err(SinkError::Transient(_))), "{full:?} within {pages} pages");
        assert!(sink.warnings().concat().contains("full"), "{:?}", sink.warnings());
    }
    sqlx::raw_sql("PRAGMA max_page_count = 1000000").execute(&pool).await.expect("set");
    assert_eq!(sink.apply(&one).await.expect("space"), Applied::now(5_000, 0));
    assert_eq!(sink.warnings(), [""; 0]);
    assert_eq!(sink.apply(&one).await.expect("known"), Applied::Before);
}

#[tokio::test]
async fn a_busy_file_is_tried_again_later() {
    let (file, schema) = (File::new(), projects());
    let mut application = file.application().await;
    let pool = SqlitePoolOptions::new().max_connections(1);
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file.path());
    let sink = Sqlite::from_pool(
        pool.connect_with(options.busy_timeout(std::time::Duration::ZERO)).await.expect("a pool"),
    );
    sink.prepare(&schema).await.expect("prepared");
    application.run("BEGIN IMMEDIATE").await;
    let one = batch(&schema, vec![hits(&schema, "42", 1, NOON)]);
    let busy = sink.apply(&one).await;
    let Err(SinkError::Transient(error)) = busy else { panic!("{busy:?}") };
    assert!(error.to_string().contains("database is locked"), "{error}");
    application.run("ROLLBACK").await;
    assert_eq!(sink.apply(&one).await.expect("free"), Applied::now(1, 0));
}

#[tokio::test]
async fn a_table_that_is_gone_parks_the_batch_until_it_is_back_perhaps_with_other_types() {
    let (file, schema) = (File::new(), projects());
    let sink = file.sink().await;
    sink.prepare(&schema).await.expect("prepared");
    let mut application = file.application().await;
    application.run("DROP TABLE projects").await;
    let one = batch(&schema, vec![hits(&schema, "42", 1, NOON)]);
    assert!(permanent(sink.apply(&one).await).contains("no such table"));
    application
        .run("CREATE TABLE projects (id INTEGER PRIMARY KEY, hits INT, last_seen INT); INSERT INTO projects (id) VALUES (42)")
        .await;
    assert_eq!(sink.apply(&one).await.expect("mended"), Applied::now(1, 0));
    let rows: Vec<(i64, i64, i64)> = application.rows("SELECT * FROM projects").await;
    assert_eq!(rows, [(42, 1, NOON.as_secs())]);
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_named() {
    let error = Sqlite::open("/nowhere/at/all/app.db").await.expect_err("no such directory").to_string();
    assert!(error.contains("/nowhere/at/all/app.db") && error.contains("directory"), "{error}");
}

#[tokio::test]
async fn a_journal_that_is_not_on_disk_is_warned_of() {
    let (file, schema) = (File::new(), projects());
    for (mode, warned) in [("MEMORY", true), ("OFF", true), ("DELETE", false)] {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file.path()).create_if_missing(true);
        let options = options.pragma("journal_mode", mode);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.expect("a pool");
        let sink = Sqlite::from_pool(pool.clone());
        sink.prepare(&schema).await.expect("prepared");
        assert_eq!(sink.warnings().concat().contains("journal_mode"), warned, "{mode}");
        pool.close().await;
    }
    let memory = Sqlite::open(":memory:").await.expect("opens");
    memory.prepare(&schema).await.expect("prepared");
    assert_eq!(memory.warnings(), [""; 0]);
}

/// A process can continue to write into a deleted file.
#[tokio::test]
async fn a_file_that_was_deleted_or_replaced_keeps_the_batch() {
    type Lose = fn(&std::path::Path);
    let cases: [(&str, Lose); 3] = [
        ("deleted", |path| std::fs::remove_file(path).expect("removed")),
        ("replaced", |path| {
            let other = path.with_extension("other");
            std::fs::write(&other, "").expect("written");
            std::fs::rename(other, path).expect("renamed");
        }),
        ("with its directory", |path| {
            std::fs::remove_dir_all(path.parent().expect("a directory")).expect("removed");
        }),
    ];
    for (what, lose) in cases {
        let (directory, schema) = (tempfile::tempdir().expect("a directory"), projects());
        let path = directory.path().join("data").join("app.db");
        std::fs::create_dir(path.parent().expect("a directory")).expect("created");
        let url = path.display().to_string();
        let sink = Sqlite::open(&url).await.expect("opens");
        let one = batch(&schema, vec![hits(&schema, "42", 1, NOON)]);
        sink.prepare(&schema).await.expect("prepared");
        lose(&path);
        for _ in 0..2 {
            let lost = sink.apply(&one).await;
            let Err(SinkError::Transient(error)) = lost else { panic!("{what}: {lost:?}") };
            assert!(error.to_string().contains("deleted or replaced"), "{what}: {error}");
        }
        assert!(sink.ping().await.is_err() && sink.warnings().concat().contains("deleted"), "{what}");
        // This is the state after a restart.
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("created");
        for rest in ["app.db-wal", "app.db-shm"] {
            let _ = std::fs::remove_file(path.with_file_name(rest));
        }
        let again = Sqlite::open(&url).await.expect("opens");
        assert_eq!(again.apply(&one).await.expect("applied"), Applied::now(1, 0), "{what}");
    }
}

#[tokio::test]
async fn a_file_that_comes_back_goes_on() {
    let (file, schema) = (File::new(), projects());
    let sink = file.sink().await;
    sink.prepare(&schema).await.expect("prepared");
    let one = batch(&schema, vec![hits(&schema, "42", 1, NOON)]);
    let elsewhere = format!("{}.moved", file.path());
    std::fs::rename(file.path(), &elsewhere).expect("moved away");
    assert!(matches!(sink.apply(&one).await, Err(SinkError::Transient(_))));
    std::fs::rename(&elsewhere, file.path()).expect("moved back");
    assert_eq!(sink.apply(&one).await.expect("known"), Applied::Before);
    assert_eq!(sink.warnings(), [""; 0]);
    assert_eq!(file.application().await.one::<i64>("SELECT sum(hits) FROM projects").await, 1);
}

#[tokio::test]
async fn a_file_that_is_created_is_its_owners_alone_and_one_that_is_there_stays_as_it_is() {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |path: &str| std::fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    let directory = tempfile::tempdir().expect("a directory");
    for (name, url) in [("a.db", "{}"), ("b.db", "sqlite:{}"), ("c.db", "sqlite://{}?mode=rwc")] {
        let path = directory.path().join(name).display().to_string();
        let sink = Sqlite::open(&url.replace("{}", &path)).await.expect("opens");
        sink.prepare(&projects()).await.expect("prepared");
        for file in ["", "-wal", "-shm"] {
            assert_eq!(mode(&format!("{path}{file}")), 0o600, "{name}{file}");
        }
    }
    let there = directory.path().join("there.db");
    std::fs::write(&there, "").expect("written");
    std::fs::set_permissions(&there, std::fs::Permissions::from_mode(0o640)).expect("set");
    let there = there.display().to_string();
    Sqlite::open(&there).await.expect("opens").prepare(&projects()).await.expect("prepared");
    assert_eq!(mode(&there), 0o640);
    let none = directory.path().join("none.db").display().to_string();
    Sqlite::open(&format!("sqlite:{none}?mode=rw")).await.expect_err("not there");
    assert!(!std::path::Path::new(&none).exists());
}
