//! Rows that a database refuses, and outages.

use forebay::{Buffer, sink::Applied};
use forebay_sql::Missing;

use crate::{
    home::{Home, options},
    on_every_database,
    support::{NOON, apply, batch, hits, permanent, projects, row},
};

on_every_database! {
    async fn a_row_that_overflows_goes_to_the_dead_letters_and_9_999_commit(home) {
        let schema = projects();
        let sink = home.sink().await;
        apply(&sink, &schema, vec![hits(&schema, "5000", i64::MAX, NOON)]).await;
        let one = batch(&schema, (0..10_000).map(|id| hits(&schema, &id.to_string(), 1, NOON)).collect());
        assert_eq!(sink.apply(&one).await.expect("applied"), Applied::now(9_999, 1));
        assert_eq!(sink.apply(&one).await.expect("known"), Applied::Before);

        let letters = home.lines("SELECT gen, buffer, row_key, cells, error FROM forebay_dead_letters").await;
        let [letter] = &*letters else { panic!("one letter: {letters:?}") };
        let parts: Vec<&str> = letter.split('\t').collect();
        let [id, buffer, key, cells, error] = &*parts else { panic!("{letter}") };
        assert_eq!((*buffer, *key, id.parse()), ("projects", "5000", Ok(one.id)));
        // MariaDB's client does not escape the quotes in JSON.
        assert_eq!(*cells, r#"{"hits":1,"last_seen":"2026-01-01T12:00:00Z"}"#);
        assert!(error.contains(home.pick("64 bits", "out of range", "out of range")), "{error}");
        let sums = home.lines("SELECT hits, count(*) FROM projects GROUP BY hits ORDER BY hits").await;
        assert_eq!(sums, ["1\t9999".to_owned(), format!("{}\t1", i64::MAX)]);
    }

    async fn the_smallest_and_the_largest_sum_fit(home) {
        let schema = projects();
        let sink = home.sink().await;
        let extremes = || [("max", i64::MAX / 2), ("min", i64::MIN / 2)];
        for (id, n) in extremes().into_iter().chain(extremes()) {
            assert_eq!(apply(&sink, &schema, vec![hits(&schema, id, n, NOON)]).await, Applied::now(1, 0));
        }
        let rows = vec![hits(&schema, "max", 1, NOON), hits(&schema, "min", -1, NOON)];
        assert_eq!(apply(&sink, &schema, rows).await, Applied::now(1, 1));
        let rows = home.lines("SELECT id, hits FROM projects ORDER BY id").await;
        assert_eq!(rows, [format!("max\t{}", i64::MAX), format!("min\t{}", i64::MIN)]);
    }

    async fn a_sum_that_leaves_its_column_is_a_dead_letter(home) {
        home.ask(home.pick(
            "CREATE TABLE p (id TEXT PRIMARY KEY, n INTEGER CHECK (n BETWEEN -32768 AND 32767));
             INSERT INTO p VALUES ('a', 32767), ('b', 32766)",
            "CREATE TABLE p (id text PRIMARY KEY, n smallint); INSERT INTO p VALUES ('a', 32767), ('b', 32766)",
            "CREATE TABLE p (id VARCHAR(9) COLLATE utf8mb4_bin PRIMARY KEY, n SMALLINT);
             INSERT INTO p VALUES ('a', 32767), ('b', 32766)",
        )).await;
        let schema = Buffer::new("p").key("id").sum("n").build().expect("valid");
        for missing in [Missing::Skip, Missing::Insert, Missing::DeadLetter] {
            let sink = home.sink_with(options().missing(missing)).await;
            let rows = vec![row(&schema, "a", [Some(1.into())]), row(&schema, "b", [Some(1.into())])];
            assert_eq!(apply(&sink, &schema, rows).await, Applied::now(1, 1), "{missing}");
            home.ask("UPDATE p SET n = n - 1 WHERE id = 'b'").await;
        }
        assert_eq!(home.lines("SELECT id, n FROM p ORDER BY id").await, ["a\t32767", "b\t32766"]);
    }

    async fn constraints_refuse_single_rows(home) {
        home.ask(home.pick(
            "CREATE TABLE p (id TEXT PRIMARY KEY, n INTEGER CHECK (n < 100))",
            "CREATE TABLE p (id text PRIMARY KEY, n bigint CHECK (n < 100))",
            "CREATE TABLE p (id VARCHAR(9) COLLATE utf8mb4_bin PRIMARY KEY, n BIGINT CHECK (n < 100))",
        )).await;
        let schema = Buffer::new("p").key("id").sum("n").build().expect("valid");
        let sink = home.sink_with(options().missing(Missing::Insert)).await;
        let rows = (0..1_000).map(|id| row(&schema, id.to_string(), [Some((id % 101).into())])).collect();
        assert_eq!(apply(&sink, &schema, rows).await, Applied::now(991, 9));
        let letters = home.dead_letters().await;
        assert_eq!(letters.len(), 9);
        assert!(letters.iter().all(|(_, why)| why.to_lowercase().contains("constraint")), "{letters:?}");
        assert_eq!(home.ask("SELECT count(*) FROM p").await, "991");
    }

    async fn a_table_that_is_gone_parks_the_batch_until_it_is_back_perhaps_with_other_types(home) {
        let schema = projects();
        let sink = home.sink().await;
        sink.prepare(&schema).await.expect("prepared");
        home.ask("DROP TABLE projects").await;
        let one = batch(&schema, vec![hits(&schema, "42", 1, NOON)]);
        let why = permanent(sink.apply(&one).await);
        assert!(why.contains("projects"), "{why}");
        home.ask(home.pick(
            "CREATE TABLE projects (id INTEGER PRIMARY KEY, hits INT, last_seen DATETIME)",
            "CREATE TABLE projects (id integer PRIMARY KEY, hits int, last_seen timestamp)",
            "CREATE TABLE projects (id INT PRIMARY KEY, hits INT, last_seen TIMESTAMP NULL)",
        )).await;
        home.ask("INSERT INTO projects (id) VALUES (42)").await;
        assert_eq!(sink.apply(&one).await.expect("mended"), Applied::now(1, 0));
        assert_eq!(home.ask("SELECT id, hits FROM projects").await, "42\t1");
    }

    /// A dead letter keeps every text that a row can have.
    async fn a_dead_letter_keeps_odd_texts(home) {
        home.ask(home.pick(
            "CREATE TABLE p (id INTEGER PRIMARY KEY, word TEXT)",
            "CREATE TABLE p (id integer PRIMARY KEY, word text)",
            "CREATE TABLE p (id INT PRIMARY KEY, word TEXT)",
        )).await;
        let schema = Buffer::new("p").key("id").column("word", forebay::buffer::Merge::Max, forebay::buffer::ColumnType::Text);
        let schema = schema.build().expect("valid");
        let rows = vec![row(&schema, "a\0|%'\"\\é😀", [Some("\0'\"\\é😀".into())])];
        assert_eq!(apply(&home.sink().await, &schema, rows).await, Applied::now(0, 1));
        assert_eq!(home.ask("SELECT count(*) FROM forebay_dead_letters").await, "1");
        let like = home.ask("SELECT count(*) FROM forebay_dead_letters WHERE cells LIKE '%u0000%'").await;
        assert_eq!(like, "1");
    }
}
