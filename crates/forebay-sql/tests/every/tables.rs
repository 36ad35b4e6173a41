//! An application's tables, and those that Forebay creates.

use forebay::{
    Buffer, Forebay,
    buffer::{ColumnType, Schema},
    sink::Applied,
};
use forebay_sql::{Migrate, Missing, Options};

use crate::{
    home::{Home, options},
    on_every_database,
    support::{NOON, apply, hits, permanent, projects, row},
};

/// An application's table, with another column that is NOT NULL.
fn users(home: &Home) -> &'static str {
    home.pick(
        "CREATE TABLE projects (id TEXT PRIMARY KEY, name TEXT NOT NULL, hits INTEGER, last_seen DATETIME);
         INSERT INTO projects (id, name) VALUES ('1', 'one'), ('2', 'two')",
        "CREATE TABLE projects (id text PRIMARY KEY, name text NOT NULL, hits integer, last_seen timestamptz);
         INSERT INTO projects (id, name) VALUES ('1', 'one'), ('2', 'two')",
        "CREATE TABLE projects (id VARCHAR(50) PRIMARY KEY, name VARCHAR(50) NOT NULL, hits INT, last_seen DATETIME);
         INSERT INTO projects (id, name) VALUES ('1', 'one'), ('2', 'two')",
    )
}

on_every_database! {
    /// An upsert fails on such a table, also for existing rows.
    async fn insert_is_refused_where_another_column_is_not_null_and_skip_updates(home) {
        home.ask(users(&home)).await;
        let schema = projects();
        let why = permanent(home.sink_with(options().missing(Missing::Insert)).await.prepare(&schema).await);
        assert!(why.contains("column name of table projects is NOT NULL") && why.contains("skip"), "{why}");
        // Skip is the default for a table that the application created.
        let sink = home.sink().await;
        sink.prepare(&schema).await.expect("prepared");
        let rows = ["1", "2", "3"].map(|id| hits(&schema, id, 7, NOON)).to_vec();
        assert_eq!(apply(&sink, &schema, rows).await, Applied::now(2, 0));
        let rows = home.lines("SELECT id, name, hits FROM projects ORDER BY id").await;
        assert_eq!(rows, ["1\tone\t7", "2\ttwo\t7"]);
        assert_eq!(home.dead_letters().await, []);
    }

    async fn dead_letter_keeps_the_rows_that_are_not_there(home) {
        home.ask(users(&home)).await;
        let schema = projects();
        let sink = home.sink_with(options().missing(Missing::DeadLetter)).await;
        let rows = (1..=600).map(|id| hits(&schema, &id.to_string(), 1, NOON)).collect();
        assert_eq!(apply(&sink, &schema, rows).await, Applied::now(2, 598));
        let letters = home.dead_letters().await;
        assert_eq!(letters.len(), 598);
        assert!(letters.iter().all(|(_, why)| why.contains("no row with this key")), "{:?}", letters.first());
        assert_eq!(home.ask("SELECT sum(hits) FROM projects").await, "2");
    }

    /// A row without a value that a new row needs can still be merged into an existing row.
    async fn an_incomplete_row_is_merged_but_not_inserted(home) {
        home.ask(home.pick(
            "CREATE TABLE projects (id TEXT PRIMARY KEY, hits INTEGER NOT NULL DEFAULT 3, last_seen DATETIME NOT NULL);
             INSERT INTO projects VALUES ('1', 1, '2026-01-01 00:00:00')",
            "CREATE TABLE projects (id text PRIMARY KEY, hits bigint NOT NULL DEFAULT 3, last_seen timestamptz NOT NULL);
             INSERT INTO projects VALUES ('1', 1, '2026-01-01 00:00:00+00')",
            "CREATE TABLE projects (id VARCHAR(50) COLLATE utf8mb4_bin PRIMARY KEY, hits BIGINT NOT NULL DEFAULT 3,
                                    last_seen DATETIME(6) NOT NULL);
             INSERT INTO projects VALUES ('1', 1, '2026-01-01 00:00:00')",
        )).await;
        let schema = projects();
        let sink = home.sink_with(options().missing(Missing::Insert)).await;
        let only_hits = |id: &str| row(&schema, id, [Some(5.into()), None]);
        let only_seen = |id: &str| row(&schema, id, [None, Some(NOON.into())]);
        let rows = vec![only_hits("1"), only_hits("2"), only_seen("3")];
        assert_eq!(apply(&sink, &schema, rows).await, Applied::now(2, 1));
        let [(key, why)] = &*home.dead_letters().await else { panic!("one letter") };
        assert!(key == "2" && why.contains("last_seen"), "{key}: {why}");
        assert_eq!(home.lines("SELECT id, hits FROM projects ORDER BY id").await, ["1\t6", "3\t3"]);
    }

    async fn without_migrate_the_missing_tables_are_named_and_spelled_out(home) {
        let schema = projects();
        let sink = home.sink_with(Options::new().migrate(Migrate::No)).await;
        let why = permanent(sink.prepare(&schema).await);
        for part in ["projects, forebay_ledger, forebay_dead_letters", "CREATE TABLE IF NOT EXISTS"] {
            assert!(why.contains(part), "{part}: {why}");
        }
        home.ask(&home.ddl(&schema)).await;
        sink.prepare(&schema).await.expect("all is there");
        // The table was created by Forebay's statement, so it accepts new rows.
        assert_eq!(apply(&sink, &schema, vec![hits(&schema, "1", 1, NOON)]).await, Applied::now(1, 0));
    }

    async fn a_missing_column_is_refused_with_the_statement_that_adds_it(home) {
        let id = home.pick("id TEXT", "id text", "id VARCHAR(50)");
        home.ask(&format!("CREATE TABLE projects ({id} PRIMARY KEY, hits BIGINT)")).await;
        let (sink, schema) = (home.sink().await, projects());
        let why = permanent(sink.prepare(&schema).await);
        let (_, mend) = why.split_once("add it with ").expect("a mend");
        assert!(mend.starts_with("ALTER TABLE"), "{mend}");
        home.ask(mend).await;
        sink.prepare(&schema).await.expect("mended");
    }

    async fn a_key_that_is_not_unique_is_refused_except_to_skip(home) {
        let columns = home.pick(
            "id TEXT, hits INTEGER, last_seen DATETIME",
            "id text, hits bigint, last_seen timestamptz",
            "id VARCHAR(50), hits BIGINT, last_seen DATETIME(6)",
        );
        home.ask(&format!("CREATE TABLE projects ({columns})")).await;
        // Unique over some rows, over a part of the key, or only at the commit: no such index identifies a row.
        home.ask(home.pick(
            "CREATE UNIQUE INDEX part ON projects (id) WHERE hits > 1",
            "CREATE UNIQUE INDEX part ON projects (id) WHERE hits > 1;
             ALTER TABLE projects ADD CONSTRAINT later UNIQUE (id) DEFERRABLE",
            "CREATE UNIQUE INDEX part ON projects (id(10))",
        )).await;
        let schema = projects();
        for kind in [Missing::Insert, Missing::DeadLetter] {
            let why = permanent(home.sink_with(options().missing(kind)).await.prepare(&schema).await);
            assert!(why.contains("CREATE UNIQUE INDEX") && why.contains("skip"), "{why}");
        }
        let skip = home.sink_with(options().missing(Missing::Skip)).await;
        skip.prepare(&schema).await.expect("skip needs no unique key");
    }

    async fn tables_that_cannot_work_are_refused_with_the_reason(home) {
        let schema = |table: &str| Buffer::new("p").table(table).key("id").sum("hits").build().expect("valid");
        home.ask(home.pick(
            "CREATE VIEW viewed AS SELECT 1 AS id, 2 AS hits; CREATE TABLE floating (id TEXT, hits REAL);
             CREATE TABLE computed (id TEXT, hits AS (1)); CREATE TABLE numbered (id REAL, hits INT)",
            "CREATE VIEW viewed AS SELECT 1 AS id, 2 AS hits; CREATE TABLE floating (id text, hits float8);
             CREATE TABLE computed (id text, hits int GENERATED ALWAYS AS (1) STORED); CREATE TABLE numbered (id float8, hits int)",
            "CREATE VIEW viewed AS SELECT 1 AS id, 2 AS hits; CREATE TABLE floating (id VARCHAR(50), hits DOUBLE);
             CREATE TABLE computed (id VARCHAR(50), hits INT AS (1)); CREATE TABLE numbered (id DOUBLE, hits INT)",
        )).await;
        let sink = home.sink().await;
        for (table, reason) in
            [("viewed", "view"), ("floating", "hits"), ("computed", "computed"), ("numbered", "the buffer's key: declare it")]
        {
            let why = permanent(sink.prepare(&schema(table)).await);
            assert!(why.contains(reason), "{table}: {why}");
        }
    }

    /// A sink and the check without a connection refuse the same buffers.
    async fn an_impossible_buffer_is_refused_with_and_without_the_database(home) {
        let buffer = |table: &str, key: &str| {
            Buffer::new("p").table(table).key(key).sum("id").sum("hits").build().expect("valid")
        };
        let check = |schema: &Schema| match &home {
            Home::Sqlite(_) => forebay_sql::Sqlite::check_buffer(schema),
            Home::Postgres(_) => forebay_sql::Postgres::check_buffer(schema),
            Home::MariaDb(_) => forebay_sql::MySql::check_buffer(schema),
        };
        let sink = home.sink().await;
        for (table, key, said) in [
            ("forebay_ledger", "k", "table forebay_ledger is one of Forebay's own"),
            ("forebay_dead_letters", "k", "table forebay_dead_letters is one of Forebay's own"),
            ("forebay_moves", "k", "table forebay_moves is one of Forebay's own"),
            ("cased", "ID", home.pick(
                "columns ID and id of table cased differ only in case",
                "",
                "columns ID and id of table cased differ only in case",
            )),
            ("usual", "k", ""),
        ] {
            let schema = buffer(table, key);
            let (checked, prepared) = (check(&schema), sink.prepare(&schema).await);
            if said.is_empty() {
                checked.expect(table);
                prepared.expect(table);
            } else {
                let (checked, prepared) = (checked.expect_err(table).to_string(), permanent(prepared));
                assert!(checked.starts_with(said) && prepared.ends_with(&checked), "{checked}\n{prepared}");
            }
        }
        let elsewhere = check(&buffer("other.projects", "k"));
        assert_eq!(elsewhere.is_err(), matches!(home, Home::Sqlite(_)), "{elsewhere:?}");
        check(&buffer(home.pick("Main.projects", "other.projects", "other.projects"), "k")).expect("a place");
    }

    async fn a_migrated_table_is_known_again_and_keeps_inserting(home) {
        let schema = projects();
        apply(&home.sink().await, &schema, vec![hits(&schema, "1", 1, NOON)]).await;
        home.ask("ALTER TABLE projects ADD COLUMN note CHAR(10)").await;
        let again = apply(&home.sink().await, &schema, vec![hits(&schema, "2", 1, NOON)]).await;
        assert_eq!(again, Applied::now(1, 0));
    }

    async fn names_that_are_keywords_work(home) {
        let definition =
            Buffer::new("b").table("order").key("group").key_of("by", ColumnType::Integer).sum("select").max("from");
        let bay = Forebay::open("memory:").await.expect("a store");
        let buffer = bay.buffer(definition).expect("valid");
        let _flusher = match &home {
            Home::Sqlite(_) => {
                buffer.flush_to(forebay_sql::Sqlite::open(&home.url()).await.expect("opened").with(options()))
            }
            Home::Postgres(_) => {
                buffer.flush_to(forebay_sql::Postgres::open(&home.url()).await.expect("opened").with(options()))
            }
            Home::MariaDb(_) => {
                buffer.flush_to(forebay_sql::MySql::open(&home.url()).await.expect("opened").with(options()))
            }
        }.prepare().await.expect("prepared");
        buffer.row_of(["a".into(), 7.into()]).add("select", 2).await.expect("written");
        assert_eq!(buffer.flush().await.expect("flushed"), 1);
        let rows = home.ask(home.pick(
            r#"SELECT "group", "by", "select" FROM "order""#,
            r#"SELECT "group", "by", "select" FROM "order""#,
            "SELECT `group`, `by`, `select` FROM `order`",
        )).await;
        assert_eq!(rows, "a\t7\t2");
    }
}
