//! Group commit, and what is answered when.

use std::sync::Arc;

use forebay_testkit::Random;

use super::{
    RELAXED, SYNC, claim, disk::Disk, engine, hits, part, pending, series, start, take, tick, until,
};
use crate::{
    Name, When,
    engine::step::{Claimed, Point, Rotate},
    model::Holder,
};

#[tokio::test]
async fn those_who_come_while_one_commits_share_the_next_commit() {
    let disk = Disk::default();
    let clock = start();
    let engine = engine(disk.opener(), SYNC, &clock).await;
    let (before, waited) = (engine.commits(), disk.waited());
    disk.hold(true);
    let write = |row: usize| {
        let engine = Arc::clone(&engine);
        let part = part(u16::try_from(row % 4).expect("small"));
        tokio::spawn(async move { engine.buffer_add(&part, hits(&part, &row.to_string(), 1)).await })
    };
    let first = write(0);
    until(|| async { disk.waited() > waited }).await;
    let rest: Vec<_> = (1..200).map(write).collect();
    until(|| async { engine.buffer_stats(&part(3)).await.expect("read").live_rows == 50 }).await;
    assert!(!first.is_finished(), "nothing is answered before it is on disk");
    disk.hold(false);
    for writer in std::iter::once(first).chain(rest) {
        writer.await.expect("runs").expect("commits")[0].as_ref().expect("fits");
    }
    assert_eq!(engine.commits() - before, 2, "200 writes, two commits");
    engine.close().await.expect("closes");
}

#[tokio::test]
async fn many_callers_need_far_fewer_commits_than_writes() {
    let engine = engine(Disk::default().opener(), SYNC, &start()).await;
    let before = engine.commits();
    let callers: Vec<_> = (0..64)
        .map(|caller| {
            let engine = Arc::clone(&engine);
            tokio::spawn(async move {
                let part = part(caller % 4);
                for _ in 0..20 {
                    engine.buffer_add(&part, hits(&part, &caller.to_string(), 1)).await.expect("commits");
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("runs");
    }
    let commits = engine.commits() - before;
    assert!(commits <= 1_280 / 4, "{commits} commits for 1 280 writes");
    engine.close().await.expect("closes");
}

#[tokio::test]
async fn relaxed_writes_are_answered_at_once_and_on_disk_within_the_span() {
    let disk = Disk::default();
    let clock = start();
    let engine = engine(disk.opener(), RELAXED, &clock).await;
    assert_eq!(engine.warnings().len(), 1);
    let before = engine.commits();
    let part = part(0);
    for _ in 0..5 {
        engine.buffer_add(&part, hits(&part, "a", 1)).await.expect("answered");
    }
    assert_eq!(engine.commits(), before, "nobody waited for the disk");
    tick(&engine, &clock).await;
    let found = super::engine(disk.at(disk.age(), &mut Random::new(1)).opener(), SYNC, &clock).await;
    assert_eq!(pending(&found, &part, "a").await, 5, "half the span later all is there");
    engine.close().await.expect("closes");
}

#[tokio::test]
async fn relaxed_rotations_and_locks_are_on_disk_before_the_answer() {
    let disk = Disk::default();
    let clock = start();
    let engine = engine(disk.opener(), RELAXED, &clock).await;
    let part = part(0);
    engine.buffer_add(&part, hits(&part, "a", 3)).await.expect("answered");
    let id = engine.buffer_rotate(&part, Rotate::Now, 8).await.expect("commits").expect("there are rows");
    let owner = uuid::Uuid::now_v7();
    let claimed = engine.lock_claim(claim("l", owner)).await.expect("commits");
    assert!(matches!(claimed, Claimed::Granted { .. }));
    let found = super::engine(disk.at(disk.age(), &mut Random::new(1)).opener(), SYNC, &clock).await;
    let rows = found.buffer_read(&part, id).await.expect("read").expect("frozen").rows;
    assert_eq!(rows, hits(&part, "a", 3), "the rotation took the rows along");
    let holding = found.lock_state("l").await.expect("read").holding.expect("held");
    assert_eq!(holding.holder, Holder::from_owner(owner));
    engine.close().await.expect("closes");
}

#[tokio::test]
async fn limits_and_series_ride_along_within_a_second() {
    let disk = Disk::default();
    let clock = start();
    let engine = engine(disk.opener(), SYNC, &clock).await;
    let limit = Name::new("hits").expect("valid");
    let before = engine.commits();
    assert!(engine.take(take(&limit, "42", 7), When::EngineClock).await.expect("answers").allowed);
    let now = crate::Clock::from(clock.clone()).now();
    let point = Point { key: "42".into(), at: now, n: 7 };
    engine.series_add(&series(), vec![point], now).await.expect("answers");
    assert_eq!(engine.commits(), before, "nobody waited for the disk");
    tick(&engine, &clock).await;
    let found = super::engine(disk.at(disk.age(), &mut Random::new(1)).opener(), SYNC, &clock).await;
    assert!(!found.take(take(&limit, "42", 4), When::EngineClock).await.expect("answers").allowed);
    assert_eq!(found.keys(), 2);
    engine.close().await.expect("closes");
}

/// A rotation that is not on disk yet could be undone, with rows that only memory had.
#[tokio::test]
async fn a_sink_gets_no_generation_before_its_rotation_is_on_disk() {
    let disk = Disk::default();
    let engine = engine(disk.opener(), RELAXED, &start()).await;
    let part = part(0);
    engine.buffer_add(&part, hits(&part, "a", 1)).await.expect("answered");
    let waited = disk.waited();
    disk.hold(true);
    let rotation = tokio::spawn({
        let (engine, part) = (Arc::clone(&engine), part.clone());
        async move { engine.buffer_rotate(&part, Rotate::Now, 8).await }
    });
    until(|| async { disk.waited() > waited }).await;
    assert_eq!(engine.buffer_stats(&part).await.expect("read").frozen, 1);
    assert!(engine.buffer_frozen(&part).await.expect("read").is_empty());
    let id = engine.buffer_pending(&part, &super::key(&part.schema, "a")).await.expect("read")[0].generation;
    assert!(engine.buffer_read(&part, id).await.is_err());
    disk.hold(false);
    assert_eq!(rotation.await.expect("runs").expect("commits"), Some(id));
    assert_eq!(engine.buffer_frozen(&part).await.expect("read").len(), 1);
    assert!(engine.buffer_read(&part, id).await.expect("read").is_some());
    engine.close().await.expect("closes");
}
