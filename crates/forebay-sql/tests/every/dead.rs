//! The contents of dead letters. Each is replayed once.

use std::{sync::Arc, task::Poll};

use forebay::{
    Buffer,
    buffer::{ColumnType, Merge, Schema},
    sink::{Applied, DeadLetter, Replayed, Sink},
};
use forebay_sql::Missing;
use uuid::Uuid;

use crate::{
    home::{Home, options},
    on_every_database,
    support::{NOON, apply, batch, hits, projects, row},
};

async fn letters(sink: &Arc<dyn Sink>, schema: &Schema) -> Vec<DeadLetter> {
    sink.dead_letters(schema, 0, 1_000).await.expect("listed")
}

async fn ids(sink: &Arc<dyn Sink>, schema: &Schema) -> Vec<u64> {
    letters(sink, schema).await.iter().map(|letter| letter.id).collect()
}

async fn replay(sink: &Arc<dyn Sink>, schema: &Schema, ids: &[u64]) -> Replayed {
    sink.replay_dead(schema, ids).await.expect("replayed")
}

fn counters() -> Arc<Schema> {
    Buffer::new("p").key("id").sum("n").build().expect("valid")
}

on_every_database! {
    async fn a_poison_row_among_10_000_is_applied_once_when_it_is_mended(home) {
        let schema = projects();
        let sink = home.sink().await;
        apply(&sink, &schema, vec![hits(&schema, "5000", i64::MAX, NOON)]).await;
        let one = batch(&schema, (0..10_000).map(|id| hits(&schema, &id.to_string(), 1, NOON)).collect());
        assert_eq!(sink.apply(&one).await.expect("applied"), Applied::now(9_999, 1));
        assert_eq!(sink.count_dead(&schema).await.expect("counted"), 1);
        let [letter] = &*letters(&sink, &schema).await else { panic!("one letter") };
        assert_eq!(letter.row.clone().expect("it fits"), hits(&schema, "5000", 1, NOON));
        assert_eq!(letter.batch, one.id);

        home.ask("UPDATE forebay_dead_letters SET error = 'not yet tried'").await;
        let again = replay(&sink, &schema, &[letter.id]).await;
        assert_eq!((again.applied, again.refused.len()), (vec![], 1));
        let reason = letters(&sink, &schema).await[0].reason.clone();
        assert_eq!(again.refused, [(letter.id, reason.clone())]);
        assert!(reason.contains(home.pick("64 bits", "out of range", "out of range")), "{reason}");

        home.ask("UPDATE projects SET hits = 5 WHERE id = '5000'").await;
        let (one, two) = (sink.clone(), home.sink().await);
        let ids = [letter.id];
        let (one, two) = tokio::join!(replay(&one, &schema, &ids), replay(&two, &schema, &ids));
        let mut applied = [one, two];
        applied.sort_by_key(|replayed| replayed.applied.len());
        assert_eq!(applied, [Replayed::default(), Replayed { applied: vec![letter.id], refused: vec![] }]);
        assert_eq!(replay(&sink, &schema, &ids).await, Replayed::default());
        let sums = home.lines("SELECT hits, count(*) FROM projects GROUP BY hits ORDER BY hits").await;
        assert_eq!(sums, ["1\t9999", "6\t1"]);
        assert_eq!(sink.count_dead(&schema).await.expect("counted"), 0);
    }

    async fn many_replayers_apply_each_letter_once(home) {
        home.ask(home.pick(
            "CREATE TABLE p (id TEXT PRIMARY KEY, n INTEGER)",
            "CREATE TABLE p (id text PRIMARY KEY, n bigint)",
            "CREATE TABLE p (id VARCHAR(9) COLLATE utf8mb4_bin PRIMARY KEY, n BIGINT)",
        )).await;
        let schema = counters();
        let careful = || options().missing(Missing::DeadLetter);
        let sink = home.sink_with(careful()).await;
        for n in 0..10 {
            let rows = (0..30).map(|id| row(&schema, id.to_string(), [Some((1 << n).into())])).collect();
            assert_eq!(apply(&sink, &schema, rows).await, Applied::now(0, 30));
        }
        let rows: Vec<String> = (0..30).map(|id| format!("('{id}')")).collect();
        home.ask(&format!("INSERT INTO p (id) VALUES {}", rows.join(", "))).await;
        let ids = Arc::new(ids(&sink, &schema).await);
        assert_eq!(ids.len(), 300);
        let mut workers = vec![];
        for worker in 0..4 {
            let (sink, schema, ids) = (home.sink_with(careful()).await, schema.clone(), ids.clone());
            workers.push(tokio::spawn(async move {
                let mut applied = vec![];
                for some in ids.chunks(20 + worker) {
                    // Two replays may lock the rows in different orders. Then one has to retry.
                    while applied.last() != some.last() {
                        match sink.replay_dead(&schema, some).await {
                            Ok(replayed) => {
                                assert_eq!(replayed.refused, []);
                                applied.extend(replayed.applied);
                                break;
                            }
                            Err(forebay::sink::SinkError::Transient(_)) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
                applied
            }));
        }
        let mut applied = vec![];
        for worker in workers {
            applied.extend(worker.await.expect("no panic"));
        }
        applied.sort_unstable();
        assert_eq!(applied, *ids);
        assert_eq!(home.ask("SELECT DISTINCT n FROM p").await, "1023");
    }

    async fn a_wider_column_lets_its_letters_in(home) {
        home.ask(home.pick(
            "CREATE TABLE p (id TEXT PRIMARY KEY, n INTEGER CHECK (n < 32768)); INSERT INTO p VALUES ('a', 32767)",
            "CREATE TABLE p (id text PRIMARY KEY, n smallint); INSERT INTO p VALUES ('a', 32767)",
            "CREATE TABLE p (id VARCHAR(9) COLLATE utf8mb4_bin PRIMARY KEY, n SMALLINT); INSERT INTO p VALUES ('a', 32767)",
        )).await;
        let schema = counters();
        let sink = home.sink().await;
        for n in [1, 70_000] {
            assert_eq!(apply(&sink, &schema, vec![row(&schema, "a", [Some(n.into())])]).await, Applied::now(0, 1));
        }
        let ids = ids(&sink, &schema).await;
        assert_eq!(replay(&sink, &schema, &ids).await.refused.len(), 2);
        home.ask(home.pick(
            "ALTER TABLE p RENAME TO q; CREATE TABLE p (id TEXT PRIMARY KEY, n INTEGER); INSERT INTO p SELECT * FROM q",
            "ALTER TABLE p ALTER n TYPE bigint",
            "ALTER TABLE p MODIFY n BIGINT",
        )).await;
        assert_eq!(replay(&sink, &schema, &ids).await, Replayed { applied: ids, refused: vec![] });
        assert_eq!(home.ask("SELECT n FROM p").await, "102768");
        // The sink has seen the new type for batches as well.
        assert_eq!(apply(&sink, &schema, vec![row(&schema, "a", [Some(99_999.into())])]).await, Applied::now(1, 0));
    }

    async fn letters_of_rows_that_are_not_there_wait_for_them(home) {
        home.ask(home.pick(
            "CREATE TABLE p (id TEXT, n INTEGER CHECK (n < 9)); INSERT INTO p VALUES ('b', 8)",
            "CREATE TABLE p (id text, n bigint CHECK (n < 9)); INSERT INTO p VALUES ('b', 8)",
            "CREATE TABLE p (id VARCHAR(9) COLLATE utf8mb4_bin, n BIGINT CHECK (n < 9)); INSERT INTO p VALUES ('b', 8)",
        )).await;
        let schema = counters();
        // `skip` leaves missing rows out of a batch, but a replay refuses them.
        let sink = home.sink().await;
        let rows = vec![row(&schema, "a", [Some(1.into())]), row(&schema, "b", [Some(1.into())])];
        assert_eq!(apply(&sink, &schema, rows).await, Applied::now(0, 1));
        let ids = ids(&sink, &schema).await;
        home.ask("DELETE FROM p").await;
        let refused = replay(&sink, &schema, &ids).await.refused;
        assert!(refused[0].1.contains("no row with this key"), "{refused:?}");
        // With `skip` a key need not be unique.
        home.ask("INSERT INTO p VALUES ('b', 1), ('b', 2)").await;
        assert_eq!(replay(&sink, &schema, &ids).await, Replayed { applied: ids, refused: vec![] });
        assert_eq!(home.ask("SELECT sum(n) FROM p").await, "5");
    }

    async fn letters_keep_all_values_of_a_row_and_come_in_pages(home) {
        home.ask(home.pick(
            "CREATE TABLE p (id TEXT PRIMARY KEY, n INTEGER, word TEXT, who TEXT, at DATETIME)",
            "CREATE TABLE p (id text PRIMARY KEY, n bigint, word text, who uuid, at timestamptz)",
            "CREATE TABLE p (id VARCHAR(99) COLLATE utf8mb4_bin PRIMARY KEY, n BIGINT, word TEXT, who UUID, at DATETIME(6))",
        )).await;
        let schema = Buffer::new("p").key("id").sum("n").max("at").column("word", Merge::Max, ColumnType::Text);
        let schema = schema.column("who", Merge::Min, ColumnType::Uuid).build().expect("valid");
        let sink = home.sink_with(options().missing(Missing::DeadLetter)).await;
        let at = |text: &str| Some(text.parse::<forebay::Timestamp>().expect("a time").into());
        let rows = [
            row(&schema, "a\0|%'\"\\é😀", [Some(i64::MIN.into()), at("2026-01-01T00:00:00.000001Z"), Some("\0'\"\\é😀".into()), None]),
            row(&schema, "%00", [Some(i64::MAX.into()), None, Some("".into()), Some(Uuid::from_u128(1).into())]),
            row(&schema, "plain", [None, at("1969-12-31T23:59:59.999999Z"), None, None]),
        ];
        for one in &rows {
            assert_eq!(apply(&sink, &schema, vec![one.clone()]).await, Applied::now(0, 1));
        }
        let other = Buffer::new("other").table("p").key("id").sum("n").build().expect("valid");
        apply(&sink, &other, vec![row(&other, "x", [Some(1.into())])]).await;

        let found = letters(&sink, &schema).await;
        let read: Vec<_> = found.iter().map(|letter| letter.row.clone().expect("it fits")).collect();
        assert_eq!(read, rows);
        let page = sink.dead_letters(&schema, found[0].id, 1).await.expect("listed");
        assert_eq!(page.iter().map(|letter| letter.id).collect::<Vec<_>>(), [found[1].id]);
        assert_eq!(sink.dead_letters(&schema, found[2].id, 9).await.expect("listed").len(), 0);
        assert_eq!(sink.count_dead(&schema).await.expect("counted"), 3);

        // A replay ignores letters of other buffers.
        let unknown = [0, 1_000_000, u64::MAX, ids(&sink, &other).await[0]];
        assert_eq!(replay(&sink, &schema, &unknown).await, Replayed::default());
        assert_eq!(sink.count_dead(&other).await.expect("counted"), 1);
        let shape = Buffer::new("p").key("id").sum("n").build().expect("valid");
        let error = letters(&sink, &shape).await[0].row.clone().expect_err("it does not fit").to_string();
        assert!(error.contains("no column") && error.contains("-9223372036854775808"), "{error}");
        assert_eq!(replay(&sink, &shape, &[found[0].id]).await.refused.len(), 1);
    }

    /// The process may die, or the task be dropped, at any await.
    async fn a_dropped_replay_leaves_all_or_nothing(home) {
        let schema = projects();
        let sink = home.sink_with(options().missing(Missing::DeadLetter)).await;
        sink.prepare(&schema).await.expect("prepared");
        let keys = 40;
        let empty: Vec<String> = (0..keys).map(|id| format!("('{id}', 0)")).collect();
        let fill = format!("INSERT INTO projects (id, hits) VALUES {}", empty.join(", "));
        for patience in 0..30 {
            let rows = (0..keys).map(|id| hits(&schema, &id.to_string(), 1, NOON)).collect();
            home.ask("DELETE FROM projects").await;
            assert_eq!(apply(&sink, &schema, rows).await, Applied::now(0, keys));
            home.ask(&fill).await;
            let ids = ids(&sink, &schema).await;
            let mut polls = 0;
            let mut replaying = sink.replay_dead(&schema, &ids);
            std::future::poll_fn(|context| {
                polls += 1;
                match replaying.as_mut().poll(context) {
                    Poll::Ready(_) => Poll::Ready(()),
                    Poll::Pending if polls > patience => Poll::Ready(()),
                    Poll::Pending => Poll::Pending,
                }
            })
            .await;
            drop(replaying);
            let left = letters(&sink, &schema).await.len() as u64;
            assert!(left == 0 || left == keys, "{left}");
            let again = replay(&sink, &schema, &ids).await;
            assert!(again.applied.is_empty() || again.applied == ids, "{again:?}");
            assert_eq!(home.ask("SELECT DISTINCT hits FROM projects").await, "1");
        }
    }
}
