//! Moves of the counts of a key to another key: whatever fails, each count is there once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Poll,
};

use forebay_testkit::{Fault, Proxy, Redis as Server, unique_prefix};
use futures::future::join_all;
use uuid::Uuid;

use super::{
    engine,
    sealing::{add, listed, open, part, point, sum},
};
use crate::{
    engine::{
        key_move::{Servers, continue_moves, move_key},
        redis::Redis,
        step::{KeyMove, SeriesPart, Which},
    },
    model::resolution::Resolution,
    time::{days, hours, mins, secs},
};

fn moving(from: &str, to: &str) -> KeyMove {
    KeyMove { id: Uuid::now_v7(), from: from.into(), to: to.into() }
}

/// The same move, as if it had begun so long ago that others continue it.
fn given_up(moving: &KeyMove) -> KeyMove {
    let age = 20_000u128 << 80;
    KeyMove { id: Uuid::from_u128(moving.id.as_u128() - age), ..moving.clone() }
}

/// The sums of two keys in each resolution.
async fn sums(redis: &Redis, part: &SeriesPart, keys: [&str; 2]) -> Vec<[u64; 2]> {
    let mut sums = vec![];
    for &resolution in &part.grid.resolutions {
        let [one, other] = keys.map(|key| sum(redis, part, resolution, key));
        sums.push([one.await, other.await]);
    }
    sums
}

#[tokio::test]
async fn all_counts_of_a_key_move_in_every_resolution() {
    let (redis, _) = engine().await;
    let part = part(&Resolution::defaults());
    let now = redis.series_now(&part).await;
    for seals in [false, true] {
        let ago = [secs(0), secs(30), hours(3), days(3), days(20), days(400)];
        let points = ago.iter().map(|ago| point("a", now.minus(*ago), 5)).chain([point("b", now, 1)]);
        add(&redis, &part, points.collect()).await;
        if seals {
            redis.series_seal(&part, Which::All).await.expect("seals");
            add(&redis, &part, vec![point("a", now, 7)]).await;
        }
        let before = sums(&redis, &part, ["a", "b"]).await;
        let moved = move_key(Servers::One(&redis), &part, &moving("a", "b")).await.expect("moves");
        assert_eq!(moved, if seals { 37 } else { 30 });
        let after: Vec<[u64; 2]> = before.iter().map(|[a, b]| [0, a + b]).collect();
        assert_eq!(sums(&redis, &part, ["a", "b"]).await, after);
        assert_eq!(listed(&redis, &part).await, ["b"]);
        assert_eq!(
            move_key(Servers::One(&redis), &part, &moving("a", "b")).await.expect("answers"),
            0,
            "nothing is left"
        );
    }
    assert_eq!(redis.series_moves(&part).await.expect("answers"), []);
}

/// It is dropped at each point where it waits, or loses a reply; then another process continues it.
#[tokio::test]
async fn a_move_that_dies_anywhere_is_completed_by_another_process_once() {
    let prefix = unique_prefix();
    let proxy = Proxy::new(Server::shared().port());
    let redis = open(&Server::shared().url(), &prefix).await;
    let mover = open(&Server::shared().url_through(&proxy), &prefix).await;
    let part = part(&Resolution::defaults());
    let mut expected = vec![0; 4];
    for round in 0..40u32 {
        let now = redis.series_now(&part).await;
        let points = (0..900u64).map(|i| point("a", now.minus(secs(10 * i)), i + 1)).chain([point(
            "a",
            now.minus(days(9)),
            1,
        )]);
        add(&redis, &part, points.collect()).await;
        if round % 2 == 0 {
            redis.series_seal(&part, Which::All).await.expect("seals");
        }
        let sums_of_a = sums(&redis, &part, ["a", "b"]).await;
        expected.iter_mut().zip(sums_of_a).for_each(|(expected, [a, _])| *expected += a);
        let moving = given_up(&moving("a", "b"));
        if round < 20 {
            let mut polls = 0;
            let mut movement = Box::pin(move_key(Servers::One(&mover), &part, &moving));
            std::future::poll_fn(|context| {
                polls += 1;
                match movement.as_mut().poll(context) {
                    Poll::Pending if polls <= round => Poll::Pending,
                    _ => Poll::Ready(()),
                }
            })
            .await;
        } else {
            proxy.set(Fault::DropReply { after: u64::from(round - 20) });
            let _ = move_key(Servers::One(&mover), &part, &moving).await;
            proxy.set(Fault::Pass);
        }
        continue_moves(Servers::One(&redis), &part).await.expect("completes it");
        // One that had not begun is repeated.
        move_key(Servers::One(&redis), &part, &moving).await.expect("moves");
        let found = sums(&redis, &part, ["a", "b"]).await;
        assert!(
            found.iter().zip(&expected).all(|(found, expected)| *found == [0, *expected]),
            "round {round}: {found:?} {expected:?}"
        );
        assert_eq!(redis.series_moves(&part).await.expect("answers"), []);
    }
}

/// 64 writers count while the key is moved again and again, and its buckets are sealed: no hit is lost, and none is there twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_hit_is_lost_while_a_key_is_moved_under_64_writers() {
    let (redis, prefix) = engine().await;
    let part = part(&Resolution::defaults());
    let (added, has_ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let writers = (0..64u64).map(|writer| {
        let (redis, part, added) = (redis.clone(), part.clone(), added.clone());
        tokio::spawn(async move {
            for number in 0..60u64 {
                let now = redis.series_now(&part).await;
                let at = now.minus(secs((writer * 7 + number) % 50));
                redis.series_add(&part, vec![point("a", at, 3)], now).await.expect("counts");
                added.fetch_add(3, Ordering::SeqCst);
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let movers = (0..2).map(|_| {
        let (prefix, part, has_ended) = (prefix.clone(), part.clone(), has_ended.clone());
        tokio::spawn(async move {
            let mover = open(&Server::shared().url(), &prefix).await;
            let mut moved = 0;
            while !has_ended.load(Ordering::SeqCst) {
                moved += move_key(Servers::One(&mover), &part, &moving("a", "b")).await.expect("moves");
                mover.series_seal(&part, Which::All).await.expect("seals");
            }
            moved
        })
    });
    let movers: Vec<_> = movers.collect();
    for writer in join_all(writers).await {
        writer.expect("ends");
    }
    has_ended.store(true, Ordering::SeqCst);
    let mut moved = 0;
    for mover in movers {
        moved += mover.await.expect("ends");
    }
    moved += move_key(Servers::One(&redis), &part, &moving("a", "b")).await.expect("moves");
    let all = added.load(Ordering::SeqCst);
    assert_eq!((moved, all), (all, 64 * 60 * 3));
    assert_eq!(sums(&redis, &part, ["a", "b"]).await, [[0, all]; 4]);
}

#[tokio::test]
async fn a_move_of_a_key_with_a_foreign_chunk_is_refused_and_changes_nothing() {
    let (redis, prefix) = engine().await;
    let part = part(&Resolution::defaults());
    let now = redis.series_now(&part).await;
    add(&redis, &part, vec![point("a", now, 1), point("a", now.minus(mins(1)), 2)]).await;
    redis.series_seal(&part, Which::All).await.expect("seals");
    add(&redis, &part, vec![point("a", now, 4)]).await;
    let server = Server::shared();
    let chunk = super::keys(server, &prefix).into_iter().find(|key| key.contains("}:900:")).expect("a chunk");
    server.command(["SET", &*chunk, "seven B"]);
    let error =
        move_key(Servers::One(&redis), &part, &moving("a", "b")).await.expect_err("it is somebody else's");
    assert!(error.to_string().contains(&*chunk), "{error}");
    assert_eq!(redis.series_moves(&part).await.expect("answers"), []);
    assert_eq!(sum(&redis, &part, part.grid.resolutions[0], "a").await, 7);
    server.command(["DEL", &*chunk]);
    assert_eq!(move_key(Servers::One(&redis), &part, &moving("a", "b")).await.expect("moves"), 7);
}

/// The answer to a claim was lost, and points came before it was repeated.
#[tokio::test]
async fn a_repeated_claim_takes_nothing_of_what_came_meanwhile() {
    let (redis, _) = engine().await;
    let part = part(&Resolution::defaults());
    let now = redis.series_now(&part).await;
    let moving = moving("a", "b");
    for (n, total) in [(5, 5), (7, 12)] {
        add(&redis, &part, vec![point("a", now, n)]).await;
        redis.series_seal(&part, Which::All).await.expect("seals");
        add(&redis, &part, vec![point("a", now, 0x100 * n)]).await;
        assert!(redis.series_claim(&part, &moving, now).await.expect("answers"), "{total}");
    }
    assert_eq!(move_key(Servers::One(&redis), &part, &moving).await.expect("moves"), 5 * 0x101);
    assert_eq!(sums(&redis, &part, ["a", "b"]).await, [[7 * 0x101, 5 * 0x101]; 4]);
}
