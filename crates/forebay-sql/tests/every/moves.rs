//! Rows that are moved into others, while batches come.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use forebay::{
    Buffer, ErrorKind,
    buffer::{ColumnType, Merge, RowKey, Schema, Value},
    sink::{Applied, Batch, Replayed, Sink, SinkError, Snapshot},
};
use forebay_sql::Missing;
use tokio::sync::Notify;

use crate::{
    home::{Home, options},
    on_every_database,
    support::{NOON, apply, batch, hits, projects, row},
};

fn key(schema: &Schema, id: &str) -> RowKey {
    RowKey::new(schema, &[id.into()]).expect("a key")
}

/// Moves a row; returns its new location.
async fn moving(sink: &Arc<dyn Sink>, schema: &Schema, from: &str, to: &str) -> String {
    let moved = sink.move_row(schema, &key(schema, from), &key(schema, to)).await;
    moved.expect("moved").as_str().to_owned()
}

async fn read(sink: &Arc<dyn Sink>, schema: &Schema, id: &str) -> Snapshot {
    let mut snapshot = sink.read(schema, &key(schema, id), &[]).await.expect("read");
    snapshot.keys.sort_unstable();
    snapshot
}

fn refusal(moved: Result<RowKey, SinkError>) -> String {
    match moved {
        Err(SinkError::Permanent(error)) if error.kind() == ErrorKind::OutOfRange => error.to_string(),
        other => panic!("not refused: {other:?}"),
    }
}

/// The number of rows in `forebay_moves`, and the number of those that lead to a row that was moved itself.
async fn moves(home: &Home) -> (String, String) {
    let all = home.ask("SELECT count(*) FROM forebay_moves WHERE from_key <> ''").await;
    let chained = "SELECT count(*) FROM forebay_moves AS m JOIN forebay_moves AS n ON n.from_key = m.to_key AND n.buffer = m.buffer \
        WHERE m.from_key <> ''";
    (all, home.ask(chained).await)
}

/// Applies a batch, and retries after transient errors: a deadlock, a busy database.
async fn insist(sink: &Arc<dyn Sink>, batch: &Batch) -> Applied {
    loop {
        match sink.apply(batch).await {
            Err(SinkError::Transient(_)) => {}
            other => return other.expect("applied"),
        }
    }
}

fn counters() -> Arc<Schema> {
    Buffer::new("p").key("id").sum("n").build().expect("valid")
}

/// An application's table with the rows `a` to `d`, so that other rows are left out.
async fn own_table(home: &Home) {
    let table = home.pick(
        "CREATE TABLE p (id TEXT PRIMARY KEY, n INTEGER NOT NULL, owner TEXT NOT NULL)",
        "CREATE TABLE p (id text PRIMARY KEY, n bigint NOT NULL, owner text NOT NULL)",
        "CREATE TABLE p (id VARCHAR(9) COLLATE utf8mb4_bin PRIMARY KEY, n BIGINT NOT NULL, owner TEXT NOT NULL)",
    );
    home.ask(table).await;
    home.ask("INSERT INTO p VALUES ('a', 0, 'x'), ('b', 0, 'x'), ('c', 0, 'x'), ('d', 0, 'x')").await;
}

/// Three sinks write four rows, while a fourth one moves them into each other repeatedly. Returns the number of moves.
async fn batches_and_moves_at_once(home: &Home, missing: Missing) -> u32 {
    let schema = counters();
    let writing = Arc::new(AtomicBool::new(true));
    // There is one move for each batch. In SQLite the busiest sink gets the single writer, and the others would starve.
    let turn = Arc::new(Notify::new());
    let mut writers = vec![];
    for writer in 0..3 {
        let (sink, schema) = (home.sink_with(options().missing(missing)).await, schema.clone());
        let turn = turn.clone();
        writers.push(tokio::spawn(async move {
            for n in 0..60 {
                let one = batch(&schema, IDS.map(|id| row(&schema, id, [Some((n + writer).into())])).into());
                assert!(matches!(insist(&sink, &one).await, Applied::Now { dead: 0, .. }));
                turn.notify_one();
                assert_eq!(insist(&sink, &one).await, Applied::Before);
            }
        }));
    }
    let (sink, still, of) =
        (home.sink_with(options().missing(missing)).await, writing.clone(), schema.clone());
    let its_turn = turn.clone();
    let mover = tokio::spawn(async move {
        let (mut moved, mut n, mut last) = (0_u32, 1_usize, 0);
        // More moves follow after the last batch, because the writers may have held the file all the time.
        while last < LAST_MOVES {
            if still.load(Ordering::Relaxed) {
                its_turn.notified().await;
            } else {
                last += 1;
            }
            n = (n * 7 + 3) % 1_009;
            let (from, to) = (IDS[n % 4], IDS[(n / 4) % 4]);
            match sink.move_row(&of, &key(&of, from), &key(&of, to)).await {
                Ok(_) => moved += 1,
                Err(SinkError::Permanent(error)) if error.kind() == ErrorKind::OutOfRange => {}
                Err(SinkError::Transient(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        moved
    });
    for writer in writers {
        writer.await.expect("no panic");
    }
    writing.store(false, Ordering::Relaxed);
    turn.notify_one();
    let moved = mover.await.expect("no panic");
    let expected: i64 = 4 * (0..3).map(|writer| (0..60).map(|n| n + writer).sum::<i64>()).sum::<i64>();
    assert_eq!(home.ask("SELECT sum(n) FROM p").await, expected.to_string());
    assert_eq!(moves(home).await.1, "0");
    // Each location has a row, and there are no other rows.
    let sink = home.sink().await;
    let mut found = HashSet::new();
    for id in IDS {
        let snapshot = read(&sink, &schema, id).await;
        assert!(snapshot.row.is_some());
        found.insert(if snapshot.keys.is_empty() { vec![key(&schema, id)] } else { snapshot.keys });
    }
    assert_eq!(home.ask("SELECT count(*) FROM p").await, found.len().to_string());
    moved
}

/// Moves after the last batch. In the order of the test, 27 moves make one row of four, wherever they begin.
const LAST_MOVES: u32 = 40;

const IDS: [&str; 4] = ["a", "b", "c", "d"];

on_every_database! {
    async fn a_row_is_merged_by_its_kinds_and_its_later_writes_follow(home) {
        let of = |buffer: Buffer, name: &str, merge| buffer.column(name, merge, ColumnType::Integer);
        let schema = of(of(Buffer::new("p").key("id").sum("n"), "most", Merge::Max), "least", Merge::Min);
        let schema = of(schema, "v", Merge::Max).last("state", ColumnType::Text, "v").build().expect("valid");
        let cells = |n: i64, v: i64, state: &str| -> Box<[Option<Value>]> {
            [Some(n.into()), Some(n.into()), Some(n.into()), Some(v.into()), Some(state.into())].into()
        };
        let sink = home.sink().await;
        let rows = vec![
            row(&schema, "a", cells(5, 9, "of a")),
            row(&schema, "b", cells(7, 8, "of b")),
            row(&schema, "c", [Some(1.into()), None, None, None, None]),
        ];
        apply(&sink, &schema, rows).await;

        assert_eq!(moving(&sink, &schema, "a", "b").await, "b");
        let all = |n: i64, most: i64, least: i64, v: i64, state: &str| -> Option<Box<[Option<Value>]>> {
            Some([Some(n.into()), Some(most.into()), Some(least.into()), Some(v.into()), Some(state.into())].into())
        };
        let merged = read(&sink, &schema, "b").await;
        assert_eq!(merged.row, all(12, 7, 5, 9, "of a"));
        assert_eq!(merged.keys, [key(&schema, "a"), key(&schema, "b")]);
        assert_eq!(read(&sink, &schema, "a").await, merged);
        assert_eq!(home.ask("SELECT count(*) FROM p WHERE id = 'a'").await, "0");
        assert_eq!(moving(&sink, &schema, "a", "b").await, "b");
        assert_eq!(read(&sink, &schema, "b").await, merged);

        // Both writes are in one batch, and belong to one row now.
        let rows = vec![row(&schema, "a", cells(100, 10, "newer")), row(&schema, "b", cells(1_000, 3, "older"))];
        assert_eq!(apply(&sink, &schema, rows).await, Applied::now(1, 0));
        assert_eq!(read(&sink, &schema, "b").await.row, all(1_112, 1_000, 5, 10, "newer"));

        // The row moves to a third one, and back again.
        assert_eq!(moving(&sink, &schema, "b", "c").await, "c");
        assert_eq!(moving(&sink, &schema, "a", "b").await, "c");
        apply(&sink, &schema, vec![row(&schema, "a", [Some(1.into()), None, None, None, None])]).await;
        let there = read(&sink, &schema, "a").await;
        assert_eq!(there.row, all(1_114, 1_000, 5, 10, "newer"));
        assert_eq!(there.keys.len(), 3);
        let why = refusal(sink.move_row(&schema, &key(&schema, "a"), &key(&schema, "d")).await);
        assert!(why.contains("moved to \"c\" before"), "{why}");
        assert_eq!(moving(&sink, &schema, "c", "a").await, "a");
        let rows = ["a", "b", "c"].map(|id| row(&schema, id, [Some(1.into()), None, None, None, None]));
        assert_eq!(apply(&sink, &schema, rows.into()).await, Applied::now(1, 0));
        assert_eq!(home.ask("SELECT id, n FROM p").await, "a\t1117");
        assert_eq!(moves(&home).await, ("2".into(), "0".into()));
        drop(sink);
        assert_eq!(apply(&home.sink().await, &schema, vec![row(&schema, "b", [Some(1.into()), None, None, None, None])]).await, Applied::now(1, 0));
        assert_eq!(home.ask("SELECT id, n FROM p").await, "a\t1118");
    }

    async fn a_move_that_the_table_refuses_changes_nothing(home) {
        own_table(&home).await;
        home.ask("UPDATE p SET n = 9223372036854775807 WHERE id = 'a'").await;
        home.ask("UPDATE p SET n = 1 WHERE id = 'b'").await;
        home.ask(home.pick(
            "CREATE TABLE child (p TEXT REFERENCES p (id)); INSERT INTO child VALUES ('c');
             CREATE TRIGGER kept BEFORE DELETE ON p WHEN old.id = 'c' BEGIN SELECT raise(ABORT, 'a foreign key'); END",
            "CREATE TABLE child (p text REFERENCES p (id)); INSERT INTO child VALUES ('c')",
            "CREATE TABLE child (p VARCHAR(9) COLLATE utf8mb4_bin, FOREIGN KEY (p) REFERENCES p (id)); INSERT INTO child VALUES ('c')",
        )).await;
        let schema = counters();
        let sink = home.sink().await;
        let before = home.ask("SELECT id, n FROM p ORDER BY id").await;
        let to = async |from: &str, to: &str| refusal(sink.move_row(&schema, &key(&schema, from), &key(&schema, to)).await);
        let why = to("a", "b").await;
        assert!(why.contains(home.pick("64 bits", "out of range", "out of range")), "{why}");
        let why = to("b", "e").await;
        assert!(why.contains("no row with this key"), "{why}");
        let why = to("b", "b").await;
        assert!(why.contains("same row"), "{why}");
        let why = to("c", "b").await;
        assert!(why.contains("foreign key"), "{why}");
        assert_eq!(home.ask("SELECT id, n FROM p ORDER BY id").await, before);
        assert_eq!(moves(&home).await.0, "0");
        apply(&sink, &schema, vec![row(&schema, "c", [Some(3.into())])]).await;
        assert_eq!(home.ask("SELECT n FROM p WHERE id = 'c'").await, "3");
        // There is no row to merge, so the move affects only later writes.
        assert_eq!(moving(&sink, &schema, "e", "c").await, "c");
        apply(&sink, &schema, vec![row(&schema, "e", [Some(4.into())])]).await;
        assert_eq!(home.ask("SELECT n FROM p WHERE id = 'c'").await, "7");
    }

    async fn sums_that_do_not_fit_together_are_merged_apart(home) {
        let schema = projects();
        let sink = home.sink().await;
        for id in ["a", "b", "d"] {
            moving(&sink, &schema, id, "c").await;
        }
        let rows = vec![hits(&schema, "a", i64::MAX, NOON), hits(&schema, "b", 1, NOON), hits(&schema, "d", 5, NOON)];
        assert_eq!(apply(&sink, &schema, rows).await, Applied::now(1, 1));
        let [letter] = &*sink.dead_letters(&schema, 0, 9).await.expect("listed") else { panic!("one letter") };
        assert_eq!(letter.row.clone().expect("it fits"), hits(&schema, "c", 6, NOON));
        let mended = hits(&schema, "c", -10, NOON);
        apply(&sink, &schema, vec![mended]).await;
        let replayed = sink.replay_dead(&schema, &[letter.id]).await.expect("replayed");
        assert_eq!(replayed, Replayed { applied: vec![letter.id], refused: vec![] });
        assert_eq!(home.ask("SELECT id, hits FROM projects").await, format!("c\t{}", i64::MAX - 4));
    }

    async fn dead_letters_follow_their_rows(home) {
        let schema = projects();
        let sink = home.sink_with(options().missing(Missing::DeadLetter)).await;
        let rows = ["a", "b", "a b |%", "A"].map(|id| hits(&schema, id, 1, NOON));
        for one in &rows {
            assert_eq!(apply(&sink, &schema, vec![one.clone()]).await, Applied::now(0, 1));
        }
        home.ask("INSERT INTO projects (id, hits) VALUES ('z', 0)").await;
        for one in &rows[..3] {
            sink.move_row(&schema, &one.key, &key(&schema, "z")).await.expect("moved");
        }
        let ids: Vec<u64> =
            sink.dead_letters(&schema, 0, 9).await.expect("listed").iter().map(|letter| letter.id).collect();
        let replayed = sink.replay_dead(&schema, &ids).await.expect("replayed");
        // `A` and `a` are different rows.
        assert_eq!((replayed.applied, replayed.refused.len()), (ids[..3].to_vec(), 1));
        assert_eq!(home.ask("SELECT id, hits FROM projects").await, "z\t3");
    }

    /// If missing rows are left out, hits between a move and the moment at which a batch sees it would be lost.
    async fn batches_and_moves_at_once_lose_nothing_of_rows_that_are_there(home) {
        own_table(&home).await;
        let moved = batches_and_moves_at_once(&home, Missing::Skip).await;
        assert!(moved >= 3, "{moved} moves");
        assert_eq!(home.ask("SELECT count(*) FROM p").await, "1");
    }

    /// If missing rows are inserted, such hits would be in a row of their own.
    async fn batches_and_moves_at_once_make_no_row_twice(home) {
        let moved = batches_and_moves_at_once(&home, Missing::Insert).await;
        assert!(moved >= 3, "{moved} moves");
    }

    /// The process may die, or the task be dropped, at any await.
    async fn a_dropped_move_leaves_all_or_nothing(home) {
        let schema = projects();
        let sink = home.sink().await;
        for patience in 0..30 {
            let (from, to) = (format!("a{patience}"), format!("b{patience}"));
            let rows = vec![hits(&schema, &from, 2, NOON), hits(&schema, &to, 3, NOON)];
            apply(&sink, &schema, rows).await;
            let (from_key, to_key) = (key(&schema, &from), key(&schema, &to));
            let mut polls = 0;
            let mut work = sink.move_row(&schema, &from_key, &to_key);
            std::future::poll_fn(|context| {
                polls += 1;
                match work.as_mut().poll(context) {
                    Poll::Ready(_) => Poll::Ready(()),
                    Poll::Pending if polls > patience => Poll::Ready(()),
                    Poll::Pending => Poll::Pending,
                }
            })
            .await;
            drop(work);
            let there = read(&sink, &schema, &from).await;
            let hits_there = there.row.expect("a row")[0].clone();
            let expected = if there.keys.is_empty() { 2 } else { 5 };
            assert_eq!(hits_there, Some(expected.into()));
            assert_eq!(moving(&sink, &schema, &from, &to).await, to);
            assert_eq!(read(&sink, &schema, &to).await.row.expect("a row")[0], Some(5.into()));
        }
    }
}
