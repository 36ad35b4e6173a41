//! Values in the types that tables really have.

use forebay::{
    Buffer, Timestamp,
    buffer::{ColumnType, Merge, Value},
    sink::Applied,
    time::hours,
};
use forebay_sql::Missing;
use uuid::Uuid;

use crate::{
    home::{Home, options},
    on_every_database,
    support::{NOON, apply, row},
};

on_every_database! {
    /// Keys of events are texts, but most applications have integer ids.
    async fn text_keys_find_integer_ids_in_their_one_spelling(home) {
        home.ask("CREATE TABLE p (id INTEGER PRIMARY KEY, n INTEGER)").await;
        home.ask("INSERT INTO p VALUES (42, 1), (7, 1)").await;
        let schema = Buffer::new("p").key("id").sum("n").build().expect("valid");
        let sink = home.sink().await;
        let rows = ["42", "042", "seven", "8"].map(|id| row(&schema, id, [Some(10.into())])).to_vec();
        assert_eq!(apply(&sink, &schema, rows.clone()).await, Applied::now(1, 2));
        let letters = home.dead_letters().await;
        assert_eq!(letters.iter().map(|(key, _)| &**key).collect::<Vec<_>>(), ["042", "seven"]);
        assert_eq!(home.lines("SELECT * FROM p ORDER BY id").await, ["7\t1", "42\t11"]);
        let read = sink.read(&schema, &rows[2].key, &[]).await.expect("no such row is no error");
        assert_eq!(read.row, None);
    }

    async fn null_counts_as_nothing_and_absent_values_change_nothing(home) {
        let (text, time) = home.pick(("TEXT", "TEXT"), ("text", "timestamptz"), ("VARCHAR(9) COLLATE utf8mb4_bin", "DATETIME(6)"));
        home.ask(&format!("CREATE TABLE p (id {text} PRIMARY KEY, n BIGINT, last {time}, first {time})")).await;
        home.ask("INSERT INTO p VALUES ('null', NULL, NULL, NULL), ('set', 1, '2026-01-01 11:00:00', '2026-01-01 13:00:00')").await;
        let schema = Buffer::new("p").key("id").sum("n").max("last").min("first").build().expect("valid");
        for missing in [Missing::Skip, Missing::Insert, Missing::DeadLetter] {
            home.ask("UPDATE p SET n = NULL, last = NULL, first = NULL WHERE id = 'null'").await;
            let sink = home.sink_with(options().missing(missing)).await;
            let (noon, none) = (Some(NOON.into()), None);
            let rows = vec![
                row(&schema, "null", [Some(5.into()), noon.clone(), noon.clone()]),
                row(&schema, "set", [none.clone(), noon.clone(), noon.clone()]),
            ];
            assert_eq!(apply(&sink, &schema, rows).await, Applied::now(2, 0), "{missing}");
            let hour: Option<Value> = Some(Timestamp::minus(NOON, hours(1)).into());
            let late = row(&schema, "null", [none.clone(), hour.clone(), hour.clone()]);
            assert_eq!(apply(&sink, &schema, vec![late.clone()]).await, Applied::now(1, 0));
            let read = sink.read(&schema, &late.key, &[]).await.expect("read").row.expect("a row");
            assert_eq!(*read, [Some(5.into()), noon.clone(), hour], "{missing}");
            let set = row(&schema, "set", [none.clone(), none.clone(), none]);
            let read = sink.read(&schema, &set.key, &[]).await.expect("read").row.expect("a row");
            assert_eq!(*read, [Some(1.into()), noon.clone(), noon]);
        }
    }

    async fn uuids_and_times_take_the_form_of_their_column_and_are_read_back(home) {
        // MariaDB's own type takes only UUIDs of a known version.
        let id = Uuid::from_u128(0x0123_4567_89ab_4def_8123_4567_89ab_cdef);
        let types: &[(&str, &str, bool)] = home.pick(
            &[("TEXT", "TEXT", true), ("char(32)", "datetime(6)", true), ("BLOB", "INTEGER", false)],
            &[("uuid", "timestamptz", true), ("text", "timestamp", true), ("varchar(36)", "timestamptz(0)", false)],
            &[
                ("CHAR(36)", "DATETIME(6)", true), ("CHAR(32)", "TIMESTAMP(6)", true), ("UUID", "DATETIME(3)", true),
                ("BINARY(16)", "DATETIME", false), ("VARCHAR(36) COLLATE utf8mb4_bin", "TIMESTAMP", false),
            ],
        );
        let schema = Buffer::new("p").key_of("id", ColumnType::Uuid).max("last").column("other", Merge::Min, ColumnType::Uuid);
        let schema = schema.build().expect("valid");
        for (key_type, last_type, fraction) in types {
            home.ask("DROP TABLE IF EXISTS p").await;
            home.ask(&format!("CREATE TABLE p (id {key_type} NOT NULL PRIMARY KEY, last {last_type} NULL, other {key_type} NULL)")).await;
            let at_noon = NOON.plus(forebay::time::millis(250));
            let one = row(&schema, id, [Some(at_noon.into()), Some(id.into())]);
            for missing in [Missing::Insert, Missing::Skip, Missing::DeadLetter] {
                let sink = home.sink_with(options().missing(missing)).await;
                assert_eq!(apply(&sink, &schema, vec![one.clone()]).await, Applied::now(1, 0), "{key_type} {missing}: {:?}", home.dead_letters().await);
                let read = sink.read(&schema, &one.key, &[]).await.expect("read").row.expect("a row");
                let kept = if *fraction { at_noon } else { NOON };
                assert_eq!(*read, [Some(Value::Timestamp(kept)), Some(id.into())], "{key_type}, {last_type}, {missing}");
            }
        }
    }

    async fn texts_compare_byte_by_byte_whatever_the_column_does(home) {
        home.ask(home.pick(
            "CREATE TABLE p (id TEXT PRIMARY KEY COLLATE NOCASE, n INTEGER, word TEXT COLLATE NOCASE)",
            "CREATE TABLE p (id text PRIMARY KEY, n int, word text COLLATE \"und-x-icu\")",
            "CREATE TABLE p (id VARCHAR(50) COLLATE utf8mb4_general_ci PRIMARY KEY, n INT, word TEXT COLLATE utf8mb4_general_ci)",
        )).await;
        home.ask("INSERT INTO p VALUES ('A', 1, 'm'), ('b', 1, 'M')").await;
        let schema = Buffer::new("p").key("id").sum("n").column("word", Merge::Max, ColumnType::Text).build().expect("valid");
        let one = |id: &str, word: &str| row(&schema, id, [Some(10.into()), Some(word.into())]);
        // Two rows of the batch could match one row of the table. An update would apply only one of them.
        let rows = vec![one("A", "N"), one("a", "z"), one("b", "N|%'\"\\é")];
        for missing in [Missing::Skip, Missing::DeadLetter] {
            let dead = u64::from(missing == Missing::DeadLetter);
            let sink = home.sink_with(options().missing(missing)).await;
            assert_eq!(apply(&sink, &schema, rows.clone()).await, Applied::now(2, dead), "{missing}");
        }
        let rows = home.lines("SELECT id, n, word FROM p ORDER BY n, id").await;
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0], "A\t21\tm");
        assert!(rows[1].starts_with("b\t21\tN|%'\""), "{rows:?}");
    }
}
