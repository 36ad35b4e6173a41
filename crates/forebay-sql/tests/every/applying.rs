//! A batch counts once, even if several sinks apply it several times.

use std::sync::Arc;

use forebay::{
    Buffer, Timestamp,
    buffer::{ColumnType, Merge, Row, Schema, Value},
    sink::Applied,
};

use crate::{
    home::Home,
    on_every_database,
    support::{NOON, batch, hits, projects, row},
};

/// A version, and columns of several types that go by it, by its largest and by its smallest.
fn every_merge(name: &str) -> Arc<Schema> {
    Buffer::new(name)
        .key("id")
        .sum("n")
        .column("version", Merge::Max, ColumnType::Integer)
        .last("state", ColumnType::Text, "version")
        .last("who", ColumnType::Integer, "version")
        .last("seen", ColumnType::Timestamp, "version")
        .min("born")
        .first("origin", ColumnType::Text, "born")
        .build()
        .expect("valid")
}

/// Two writes of one row whose versions are equal. Numbers order otherwise than their texts, and texts by their bytes.
fn rows_of_one_version(schema: &Schema) -> [Row; 2] {
    let one = |n: i64, state: &str, who: i64, seen: i64, origin: &str| {
        let (seen, born) = (Timestamp::from_secs(seen), Timestamp::from_secs(1));
        let cells: [Value; 7] =
            [n.into(), 7.into(), state.into(), who.into(), seen.into(), born.into(), origin.into()];
        row(schema, "42", cells.map(Some))
    };
    [one(1, "b", -9, 2, "\u{1f600}"), one(2, "B", -10, 1, "\u{e9}")]
}

on_every_database! {
    async fn a_batch_counts_once_also_after_reopening(home) {
        let schema = projects();
        let one = batch(&schema, vec![hits(&schema, "42", 20, NOON)]);
        let sink = home.sink().await;
        assert_eq!(sink.apply(&one).await.expect("applied"), Applied::now(1, 0));
        assert_eq!(sink.apply(&one).await.expect("known"), Applied::Before);
        drop(sink);
        assert_eq!(home.sink().await.apply(&one).await.expect("known"), Applied::Before);

        assert_eq!(home.ask("SELECT id, hits FROM projects").await, "42\t20");
        let at = home.pick(
            "SELECT last_seen FROM projects",
            "SELECT to_char(last_seen AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') FROM projects",
            "SELECT last_seen FROM projects",
        );
        assert_eq!(home.ask(at).await, "2026-01-01 12:00:00.000000");
        let ledger = home.pick(
            r#"SELECT "gen", "buffer", "partition", "rows" FROM forebay_ledger WHERE "rows" > 0"#,
            r#"SELECT "gen", "buffer", "partition", "rows" FROM forebay_ledger WHERE "rows" > 0"#,
            "SELECT `gen`, `buffer`, `partition`, `rows` FROM forebay_ledger WHERE `rows` > 0",
        );
        assert_eq!(home.ask(ledger).await, format!("{}\tprojects\t0\t1", one.id));
    }

    async fn two_sinks_apply_each_batch_once(home) {
        let schema = projects();
        let batches: Vec<_> = (0..20)
            .map(|n| batch(&schema, (0..50).map(|id| hits(&schema, &id.to_string(), n, NOON)).collect()))
            .collect();
        // The tables do not exist yet, so that both create them.
        let (one, two) = (home.sink().await, home.sink().await);
        let work = |sink: std::sync::Arc<dyn forebay::sink::Sink>| {
            let batches = batches.clone();
            tokio::spawn(async move {
                let mut now = 0;
                for batch in &batches {
                    now += u64::from(sink.apply(batch).await.expect("applied") != Applied::Before);
                }
                now
            })
        };
        let (one, two) = (work(one), work(two));
        assert_eq!(one.await.expect("no panic") + two.await.expect("no panic"), 20);
        let sum = home.ask("SELECT sum(hits), count(*) FROM projects").await;
        assert_eq!(sum, format!("{}\t50", 50 * (0..20).sum::<i64>()));
    }

    /// The worker may die, or its task be dropped, at any await.
    async fn a_dropped_apply_leaves_all_or_nothing(home) {
        let schema = projects();
        let sink = home.sink().await;
        sink.prepare(&schema).await.expect("prepared");
        let rounds = 40;
        for patience in 0..rounds {
            let one = batch(&schema, (0..600).map(|id| hits(&schema, &id.to_string(), 1, NOON)).collect());
            let mut polls = 0;
            let mut applying = sink.apply(&one);
            let answered = std::future::poll_fn(|context| {
                polls += 1;
                match applying.as_mut().poll(context) {
                    std::task::Poll::Ready(applied) => std::task::Poll::Ready(Some(applied)),
                    std::task::Poll::Pending if polls > patience => std::task::Poll::Ready(None),
                    std::task::Poll::Pending => std::task::Poll::Pending,
                }
            })
            .await;
            drop(applying);
            let again = sink.apply(&one).await.expect("applied");
            if let Some(first) = answered {
                assert_eq!((first.expect("applied"), again), (Applied::now(600, 0), Applied::Before));
            }
        }
        let sums = home.ask("SELECT DISTINCT hits FROM projects").await;
        assert_eq!(sums, rounds.to_string());
    }

    /// While a host of the store is down its rows go to partitions of other hosts: two batches have one row.
    async fn a_row_in_batches_of_two_partitions_is_the_same_in_any_order(home) {
        let mut found = vec![];
        for (name, order) in [("forth", [0, 1]), ("back", [1, 0])] {
            let schema = every_merge(name);
            let batches = rows_of_one_version(&schema).map(|row| vec![row]).map(|rows| batch(&schema, rows));
            let sink = home.sink().await;
            let key = batches[0].rows[0].key.clone();
            let ids = batches.each_ref().map(|batch| batch.id);
            for (nth, place) in order.into_iter().enumerate() {
                let now = sink.apply(&batches[place]).await.expect("applied");
                assert_eq!(now, Applied::now(1, 0), "{name}");
                // Whoever applied it died before it could acknowledge it.
                let again = home.sink().await.apply(&batches[place]).await.expect("known");
                assert_eq!(again, Applied::Before, "{name}");
                let read = sink.read(&schema, &key, &ids).await.expect("read");
                assert_eq!(read.applied.len(), nth + 1, "{name}");
            }
            found.push(sink.read(&schema, &key, &ids).await.expect("read").row);
        }
        let at = |secs: i64| Some(Value::from(Timestamp::from_secs(secs)));
        let expected: Box<[Option<Value>]> = [
            Some(3.into()), Some(7.into()), Some("b".into()), Some((-9).into()), at(2), at(1), Some("\u{e9}".into()),
        ]
        .into();
        assert_eq!(found, [Some(expected.clone()), Some(expected)]);
    }

    async fn row_and_ledger_are_read_together(home) {
        let schema = projects();
        let sink = home.sink().await;
        let (one, two) = (batch(&schema, vec![hits(&schema, "42", 3, NOON)]), batch(&schema, vec![]));
        let key = &one.rows[0].key;
        let before = sink.read(&schema, key, &[one.id, two.id]).await.expect("read");
        assert_eq!((before.row, before.applied), (None, vec![]));
        sink.apply(&one).await.expect("applied");
        let after = sink.read(&schema, key, &[one.id, two.id]).await.expect("read");
        assert_eq!((after.row, after.applied), (Some(one.rows[0].cells.clone()), vec![one.id]));
        sink.ping().await.expect("it answers");
    }
}
