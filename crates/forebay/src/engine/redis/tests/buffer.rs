use std::{collections::BTreeMap, sync::Arc};

use forebay_testkit::{Redis as Server, Reply, eventually, unique_prefix};
use futures::future::join_all;
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::{engine, keys};
use crate::{
    Clock, Forebay, Retry,
    engine::{
        redis::{Redis, reply::strings, script::Script},
        step::{BufferPart, Rotate},
    },
    model::{Buffer, ColumnType, Merge, Row, RowKey, Schema, Value},
    time::hours,
};

fn buffer() -> Buffer {
    Buffer::new("projects").key("id").sum("hits").sum("bytes").partitions(1)
}

fn part() -> BufferPart {
    let low = |buffer: Buffer| buffer.column("low", Merge::Min, ColumnType::Integer);
    let schema = low(buffer()).column("note", Merge::Max, ColumnType::Text).build().expect("valid");
    BufferPart { schema, index: 0 }
}

fn row(schema: &Schema, id: &str, cells: [Option<Value>; 4]) -> Row {
    Row { key: RowKey::new(schema, &[id.into()]).expect("valid"), cells: cells.into() }
}

fn hit(part: &BufferPart, id: &str, hits: i64) -> Vec<Row> {
    vec![row(&part.schema, id, [Some(hits.into()), None, None, None])]
}

async fn add(redis: &Redis, part: &BufferPart, id: &str, hits: i64) {
    let answers = redis.buffer_add(part, hit(part, id, hits)).await.expect("answers");
    answers.into_iter().collect::<crate::Result<()>>().expect("fits");
}

/// All that is pending of a row, over all generations, column by column; and the generations.
async fn pending(redis: &Redis, part: &BufferPart, id: &str) -> (Vec<Option<i64>>, Vec<Uuid>) {
    let key = RowKey::new(&part.schema, &[id.into()]).expect("valid");
    let found = redis.buffer_pending(part, &key).await.expect("answers");
    let mut sum = Row::empty(&part.schema, key);
    for pending in &found {
        sum.merge(&part.schema, &pending.row).expect("fits");
    }
    let number = |cell: &Option<Value>| match cell {
        Some(Value::Integer(n)) => Some(*n),
        _ => None,
    };
    (sum.cells.iter().map(number).collect(), found.iter().map(|pending| pending.generation).collect())
}

async fn hits(redis: &Redis, part: &BufferPart, id: &str) -> Option<i64> {
    pending(redis, part, id).await.0[0]
}

async fn open(server: &Server) -> Arc<Redis> {
    Redis::open(&server.url(), "forebay", Clock::system()).await.expect("it runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_of_the_seam_passes() {
    let options = Forebay::options().prefix(unique_prefix());
    let bay = options.open(&Server::shared().url()).await.expect("it runs");
    let limits_and_buffers =
        crate::conformance::cases().into_iter().take_while(|case| !case.name.contains("command"));
    for case in limits_and_buffers {
        (case.run)(bay.clone()).await;
    }
}

fn cells() -> impl Strategy<Value = [Option<Value>; 4]> {
    let number = prop_oneof![
        8 => -9i64..9,
        1 => Just(i64::MAX),
        1 => Just(i64::MIN),
        1 => Just(i64::MAX - 5),
        1 => Just((1 << 53) + 1),
    ];
    let text = "[aé|%#\u{0}{}-]{0,3}";
    (
        proptest::option::of(number.clone()),
        proptest::option::weighted(0.3, number.clone()),
        proptest::option::of(number),
        proptest::option::of(text),
    )
        .prop_map(|(a, b, c, d)| {
            [
                a.map(Into::into),
                b.map(Into::into),
                c.map(Into::into),
                d.map(|text: String| text.as_str().into()),
            ]
        })
}

#[test]
fn rows_of_many_callers_merge_as_one_by_one() {
    let runtime = Runtime::new().expect("starts");
    let rows = vec((0usize..3, cells()), 1..4);
    let calls = vec(rows, 1..12);
    TestRunner::new(ProptestConfig { cases: 80, failure_persistence: None, ..ProptestConfig::default() })
        .run(&calls, |calls| {
            runtime.block_on(async {
                let (redis, _) = engine().await;
                let part = part();
                // Twice the same calls: the second time onto what is there.
                let mut added = vec![];
                for _ in 0..2 {
                    let answers = add_together(&redis, &part, &calls).await;
                    added.push(answers);
                }
                check(&redis, &part, &calls, &added).await;
            });
            Ok(())
        })
        .expect("alike");
}

type Call = Vec<(usize, [Option<Value>; 4])>;

async fn add_together(redis: &Redis, part: &BufferPart, calls: &[Call]) -> Vec<Vec<bool>> {
    let call = async |call: &Call| {
        let named =
            |(id, cells): &(usize, _)| row(&part.schema, ["a", "#gen", "|"][*id], Clone::clone(cells));
        let answers = redis.buffer_add(part, call.iter().map(named).collect()).await.expect("answers");
        answers.into_iter().map(|answer| answer.is_ok()).collect::<Vec<bool>>()
    };
    join_all(calls.iter().map(call)).await
}

/// The store has the sum of the accepted values, computed with room to spare; a refused value would not have fitted in
/// some order.
async fn check(redis: &Redis, part: &BufferPart, calls: &[Call], added: &[Vec<Vec<bool>>]) {
    let mut sums: BTreeMap<(usize, usize), i128> = BTreeMap::new();
    let mut refused = 0;
    for round in added {
        for (call, answers) in calls.iter().zip(round) {
            for ((id, cells), &accepted) in call.iter().zip(answers) {
                refused += usize::from(!accepted);
                for (column, cell) in cells.iter().enumerate().take(2) {
                    if let (Some(Value::Integer(n)), true) = (cell, accepted) {
                        *sums.entry((*id, column)).or_default() += i128::from(*n);
                    }
                }
            }
        }
    }
    let mut rows = 0;
    for (i, id) in ["a", "#gen", "|"].into_iter().enumerate() {
        let (found, generations) = pending(redis, part, id).await;
        rows += u64::from(!generations.is_empty());
        for (column, found) in found.iter().take(2).enumerate() {
            let sum = sums.get(&(i, column)).copied();
            assert_eq!(found.map(i128::from), sum, "row {id}, column {column}, {refused} refused");
        }
    }
    let stats = redis.buffer_stats(part).await.expect("answers");
    assert_eq!(stats.live_rows, rows);
}

#[tokio::test]
async fn a_refused_row_leaves_no_column_and_its_neighbours_are_in() {
    let (redis, _) = engine().await;
    let part = part();
    let full = |hits: i64, bytes: i64| {
        row(&part.schema, "a", [Some(hits.into()), Some(bytes.into()), Some(3.into()), None])
    };
    let add = async |row: Row| redis.buffer_add(&part, vec![row]).await.expect("answers").remove(0);
    add(full(1, i64::MAX - 1)).await.expect("fits");
    // The first sum would fit, the second would not: neither is in.
    assert!(add(full(1, 2)).await.is_err());
    assert_eq!(pending(&redis, &part, "a").await.0[..3], [Some(1), Some(i64::MAX - 1), Some(3)]);
    // Together in one batch: merged they would not fit, one by one the second does.
    let both = join_all([add(full(1, 2)), add(full(1, 1)), add(full(-1, -5))]).await;
    let accepted = both.iter().filter(|answer| answer.is_ok()).count();
    assert!(accepted >= 2, "{both:?}");
}

/// The batches of a flight share a call, and nothing else.
#[tokio::test]
async fn a_partition_that_is_refused_costs_the_others_of_its_call_nothing() {
    let (redis, prefix) = engine().await;
    let of = |index| BufferPart { index, ..part() };
    let add = |index| {
        let redis = &redis;
        async move { redis.buffer_add(&of(index), hit(&of(index), "a", 1)).await }
    };
    for index in [0, 4, 8, 12] {
        add(index).await.expect("answers").remove(0).expect("fits");
    }
    let spoilt = format!("{prefix}:buffer:{{projects.4}}:live");
    let server = Server::shared();
    server.command(["SET", &spoilt, "no hash"]);
    server.command(["SET", &format!("{prefix}:buffer:{{projects.12}}:guard"), "no hash"]);
    // All join before the first flight takes off.
    let answers = join_all([0, 4, 8, 12].map(add)).await;
    let outcomes: Vec<_> =
        answers.iter().map(|answer| answer.as_ref().err().map(crate::Error::kind)).collect();
    let corrupt = Some(crate::ErrorKind::Corrupt);
    assert_eq!(outcomes, [None, corrupt, None, corrupt]);
    assert_eq!(hits(&redis, &of(0), "a").await, Some(2));
    assert_eq!(hits(&redis, &of(8), "a").await, Some(2));
    // Nothing of it is there: neither its row nor its guard.
    assert_eq!(hits(&redis, &of(12), "a").await, Some(1));
    server.command(["DEL", &spoilt]);
    add(4).await.expect("answers").remove(0).expect("fits");
    assert_eq!(hits(&redis, &of(4), "a").await, Some(1));
}

/// A script adds what a Lua number cannot hold.
#[tokio::test]
async fn sums_are_exact_over_all_64_bits() {
    let (redis, _) = engine().await;
    let part = part();
    let edges =
        [0, 1, 9, 999_999_999_999_999, 9_999_999_999, 10_000_000_000, 10_000_000_001, 1 << 53, (1 << 53) + 1];
    let large =
        [i64::MAX, i64::MAX - 1, i64::MAX - 9_999_999_999, 9_223_372_029_999_999_999, i64::MAX / 2 + 1];
    let numbers: Vec<i64> = edges.into_iter().chain(large).flat_map(|n| [n, -n]).chain([i64::MIN]).collect();
    let pairs: Vec<(i64, i64)> = numbers.iter().flat_map(|&a| numbers.iter().map(move |&b| (a, b))).collect();
    let rows = |second: bool| {
        let row = |(i, (a, b)): (usize, &(i64, i64))| {
            let n = if second { *b } else { *a };
            row(&part.schema, &i.to_string(), [Some(n.into()), None, None, None])
        };
        pairs.iter().enumerate().map(row).collect::<Vec<Row>>()
    };
    let first = redis.buffer_add(&part, rows(false)).await.expect("answers");
    assert!(first.iter().all(Result::is_ok));
    let second = redis.buffer_add(&part, rows(true)).await.expect("answers");
    for (i, ((a, b), answer)) in pairs.iter().zip(second).enumerate() {
        let sum = a.checked_add(*b);
        assert_eq!(answer.is_ok(), sum.is_some(), "{a} + {b}");
        assert_eq!(hits(&redis, &part, &i.to_string()).await, sum.or(Some(*a)), "{a} + {b}");
    }
}

#[tokio::test]
async fn only_the_guard_has_a_time_to_live() {
    let (redis, prefix) = engine().await;
    let part = part();
    add(&redis, &part, "a", 1).await;
    redis.buffer_rotate(&part, Rotate::Now, 1).await.expect("answers").expect("frozen");
    add(&redis, &part, "a", 1).await;
    let server = Server::shared();
    for key in keys(server, &prefix) {
        let Reply::Integer(ttl) = server.command(["PTTL", &key]) else { panic!("not a time") };
        let (day, hour) = (86_400_000, 3_600_000);
        assert!(
            if key.ends_with(":guard") { (day..=day + hour).contains(&ttl) } else { ttl == -1 },
            "{key}: {ttl}"
        );
    }
    assert_eq!(keys(server, &prefix).len(), 5);
}

#[tokio::test]
async fn a_shape_that_changed_begins_a_generation_of_its_own() {
    let (redis, _) = engine().await;
    let old = part();
    let new = BufferPart { schema: buffer().build().expect("valid"), index: 0 };
    add(&redis, &old, "a", 1).await;
    let row = Row {
        key: RowKey::new(&new.schema, &["a".into()]).expect("valid"),
        cells: [Some(5.into()), None].into(),
    };
    redis.buffer_add(&new, vec![row]).await.expect("answers").remove(0).expect("fits");
    let frozen = redis.buffer_frozen(&new).await.expect("answers");
    assert_eq!(frozen.len(), 1);
    let read = redis.buffer_read(&new, frozen[0].id).await.expect("answers").expect("there");
    assert_eq!(read.fingerprint, old.schema.fingerprint);
    assert_eq!((hits(&redis, &old, "a").await, pending(&redis, &new, "a").await.0[0]), (Some(1), Some(5)));
}

/// A server that stands still has the write in its socket: given up on one connection, sent again on the next, it is
/// applied twice unless the guard knows it.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_was_lost_counts_once() {
    let server = Server::start();
    let redis = open(&server).await;
    let part = part();
    add(&redis, &part, "a", 1).await;
    server.pause();
    let writes: Vec<_> = (0..3)
        .map(|_| {
            let (redis, part) = (redis.clone(), part.clone());
            tokio::spawn(async move { redis.buffer_add(&part, hit(&part, "a", 10)).await })
        })
        .collect();
    // Until the first connection has been given up.
    eventually("the connection to be given up", async || redis.host.is_connecting()).await;
    server.resume();
    for answer in join_all(writes).await {
        answer.expect("ends").expect("answers").remove(0).expect("fits");
    }
    assert_eq!(hits(&redis, &part, "a").await, Some(31));
}

/// The guard goes back with the store: sent again to a store that has lost its tail, a batch could count twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_in_doubt_is_unknown_once_the_store_went_back() {
    let server = Server::start();
    let redis = open(&server).await;
    let part = part();
    add(&redis, &part, "a", 1).await;
    server.command(["SAVE"]);
    server.pause();
    let write = tokio::spawn({
        let (redis, part) = (redis.clone(), part.clone());
        async move { redis.buffer_add(&part, hit(&part, "a", 10)).await }
    });
    eventually("the connection to be given up", async || redis.host.is_connecting()).await;
    server.restart();
    let error = write.await.expect("ends").expect_err("nobody knows");
    assert_eq!(error.retry(), Retry::Unknown);
    eventually("the host to be found again", async || redis.ping().await.is_ok()).await;
    assert_eq!(hits(&redis, &part, "a").await, Some(1));
}

/// A hundred acknowledged hits were lost without this: the store comes back with a generation that SQL has already,
/// under the same id; what is added to it would be taken for applied.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_after_the_store_went_back_is_no_part_of_what_sql_has() {
    let server = Server::start();
    let redis = open(&server).await;
    let part = part();
    add(&redis, &part, "a", 5).await;
    server.command(["SAVE"]);
    let applied = redis.buffer_rotate(&part, Rotate::Now, 8).await.expect("answers").expect("frozen");
    // SQL has it; the store is told so, and forgets that it was.
    let read = redis.buffer_read(&part, applied).await.expect("answers").expect("frozen");
    redis.buffer_ack(&part, applied, read.last_write).await.expect("answers");
    server.restart();
    eventually("the host to be found again", async || redis.ping().await.is_ok()).await;
    assert_eq!(pending(&redis, &part, "a").await.1, [applied], "back in the same generation");
    add(&redis, &part, "a", 100).await;
    let (_, generations) = pending(&redis, &part, "a").await;
    assert_eq!(generations.len(), 2, "frozen, and a new one");
    assert_eq!(generations[0], applied);
    let key = RowKey::new(&part.schema, &["a".into()]).expect("valid");
    let found = redis.buffer_pending(&part, &key).await.expect("answers");
    assert_eq!(found[1].row.cells[0], Some(100.into()));
}

/// A right that is taken away under an open connection: the writes say so, and that they did nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_not_ask_for_the_replication_id_is_refused_before_anything_is_written() {
    let server = Server::start();
    let redis = open(&server).await;
    let part = part();
    add(&redis, &part, "a", 1).await;
    server.command(["ACL", "SETUSER", "default", "-info"]);
    let error = redis.buffer_add(&part, hit(&part, "a", 10)).await.expect_err("no right");
    assert_ne!(error.retry(), Retry::Unknown, "{error:?}");
    assert!(format!("{error:?}").contains("NOPERM INFO"), "{error:?}");
    server.command(["ACL", "SETUSER", "default", "+info"]);
    add(&redis, &part, "a", 100).await;
    assert_eq!(hits(&redis, &part, "a").await, Some(101));
}

/// A candidate that was used again after a rollback lost a hundred hits: SQL had a generation of that id.
#[tokio::test]
async fn no_two_transmissions_offer_the_same_id() {
    let (redis, _) = engine().await;
    let part = part();
    let mut seen = vec![];
    for _ in 0..3 {
        add(&redis, &part, "a", 1).await;
        seen.push(redis.buffer_rotate(&part, Rotate::Now, 9).await.expect("answers").expect("frozen"));
    }
    seen.dedup();
    assert_eq!(seen.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_down_refuses_at_once_and_counts_nothing() {
    let server = Server::builder().append_only().start();
    let redis = open(&server).await;
    let part = part();
    add(&redis, &part, "a", 1).await;
    server.kill();
    eventually("the loss to be noticed", async || {
        redis.ping().await.is_err_and(|error| error.retry() == Retry::Later)
    })
    .await;
    let error = redis.buffer_add(&part, hit(&part, "a", 10)).await.expect_err("it is down");
    assert_eq!(error.retry(), Retry::Later);
    server.restart();
    eventually("the host to be found again", async || redis.ping().await.is_ok()).await;
    add(&redis, &part, "a", 100).await;
    assert_eq!(hits(&redis, &part, "a").await, Some(101));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_under_load_keeps_what_it_acknowledged_and_counts_nothing_twice() {
    let server = Server::builder().append_only().start();
    let redis = open(&server).await;
    let part = part();
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let (redis, part) = (redis.clone(), part.clone());
            tokio::spawn(async move {
                let (mut acknowledged, mut unknown) = (0i64, 0i64);
                for _ in 0..400 {
                    match redis.buffer_add(&part, hit(&part, "a", 1)).await {
                        Ok(_) => acknowledged += 1,
                        Err(error) if error.retry() == Retry::Unknown => unknown += 1,
                        Err(_) => tokio::task::yield_now().await,
                    }
                }
                (acknowledged, unknown)
            })
        })
        .collect();
    for _ in 0..3 {
        let before = hits(&redis, &part, "a").await;
        eventually("some progress", async || {
            writers.iter().all(tokio::task::JoinHandle::is_finished)
                || server.command(["HGET", "forebay:buffer:{projects.0}:live", "Aa"]) != text(before)
        })
        .await;
        server.restart();
        eventually("the host to be found again", async || redis.ping().await.is_ok()).await;
    }
    let (mut acknowledged, mut unknown) = (0, 0);
    for writer in writers {
        let (a, u) = writer.await.expect("ends");
        acknowledged += a;
        unknown += u;
    }
    let found = hits(&redis, &part, "a").await.unwrap_or(0);
    assert!((acknowledged..=acknowledged + unknown).contains(&found), "{acknowledged} + {unknown}: {found}");
    assert!(acknowledged > 0);
}

fn text(hits: Option<i64>) -> Reply {
    hits.map_or(Reply::Nil, |hits| Reply::text(hits.to_string()))
}

#[tokio::test]
async fn rotation_by_another_process_is_no_hindrance() {
    let (redis, prefix) = engine().await;
    let other = Redis::open(&Server::shared().url(), &prefix, Clock::system()).await.expect("it runs");
    let part = part();
    add(&redis, &part, "a", 1).await;
    add(&other, &part, "a", 2).await;
    let due = Rotate::Due { age: hours(1), rows: 1 };
    let (a, b) = tokio::join!(redis.buffer_rotate(&part, due, 9), other.buffer_rotate(&part, due, 9));
    let frozen = [a, b].into_iter().filter(|rotated| rotated.as_ref().expect("answers").is_some()).count();
    assert_eq!(frozen, 1);
    assert_eq!(hits(&redis, &part, "a").await, Some(3));
}

/// A server's replication id changes under an open connection: the script says the id of now before it writes anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_under_another_replication_id_is_not_applied_until_the_writer_has_learned_it() {
    let server = Server::start();
    let redis = open(&server).await;
    let part = part();
    add(&redis, &part, "a", 1).await;
    let session = redis.host.session().await.expect("connected");
    let now = session.replid();
    session.learn_replid("an id of before");
    add(&redis, &part, "a", 10).await;
    assert_eq!(session.replid(), now);
    assert_eq!(hits(&redis, &part, "a").await, Some(11));
}

/// A batch that is told to be very old is one of which another server may know: a guard without it applies nothing.
#[tokio::test]
async fn a_batch_that_is_very_old_is_applied_by_nobody_who_does_not_know_it() {
    let (redis, prefix) = engine().await;
    let replid = redis.host.replid().expect("connected");
    let (guard, live) = (format!("{prefix}:{{b.0}}:guard"), format!("{prefix}:{{b.0}}:live"));
    let add = async |sequence: u64, since: u64| {
        let mut call = redis.host.call(Script::BufferAdd, 2, 256);
        call.command.arg(&guard).arg(&live).arg("client").arg(&*replid).arg(Uuid::now_v7().to_string());
        call.command.arg("shape").arg("s").arg(1).arg(sequence).arg(since).arg("").arg(&[1_u8]);
        call.command.arg("A42").arg(1);
        strings(redis.host.run_one(call).await.expect("answers")).expect("a text for each batch").concat()
    };
    assert_eq!(add(1, 0).await, "applied");
    assert_eq!(add(1, 1).await, "duplicate ", "known here");
    assert_eq!(add(2, 1).await, "late");
    assert_eq!(Server::shared().command(["HGET", &live, "A42"]), Reply::text("1"));
}
