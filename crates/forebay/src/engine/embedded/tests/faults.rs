//! A disk that fails.

use std::{io::ErrorKind as Io, sync::Arc};

use forebay_testkit::Random;
use uuid::Uuid;

use super::{
    RELAXED, SYNC, claim,
    disk::{Disk, Fault, What},
    engine, hits, part, pending, start, take, until,
};
use crate::{
    ErrorKind, ManualClock, Name, Retry, When,
    engine::{
        embedded::Embedded,
        step::{Point, Rotate, Span},
    },
};

const FULL: Io = Io::StorageFull;

/// Writes to one row until the disk fails; how many were acknowledged.
async fn write_until_it_fails(engine: &Embedded) -> i64 {
    let part = part(0);
    for acknowledged in 0.. {
        if let Err(error) = engine.buffer_add(&part, hits(&part, "a", 1)).await {
            assert_eq!((error.kind(), error.retry()), (ErrorKind::Ambiguous, Retry::Unknown), "{error}");
            return acknowledged;
        }
    }
    unreachable!("the disk fails")
}

/// Lets half a second pass, so that what failed is tried again.
async fn retry(engine: &Embedded, clock: &ManualClock) {
    until(|| async {
        clock.advance(crate::time::millis(500));
        engine.ping().await.is_ok()
    })
    .await;
}

/// Wherever the disk becomes full: nothing acknowledged is lost, what was in doubt is there once, and memory and file
/// agree again as soon as there is room.
#[tokio::test]
async fn a_full_disk_is_survived_at_every_write() {
    for after in 0..40 {
        let (clock, disk, part) = (start(), Disk::default(), part(0));
        let engine = engine(disk.opener(), SYNC, &clock).await;
        disk.fail(Fault { after, what: What::Write, kind: FULL });
        let acknowledged = write_until_it_fails(&engine).await;

        let refused = engine.buffer_add(&part, hits(&part, "a", 100)).await.expect_err("full");
        assert_eq!((refused.kind(), refused.retry()), (ErrorKind::Unavailable, Retry::Later), "{refused}");
        assert!(engine.ping().await.is_err());
        assert!(engine.buffer_rotate(&part, Rotate::Now, 8).await.is_err());
        assert!(engine.lock_claim(claim("l", Uuid::now_v7())).await.is_err());
        assert_eq!(pending(&engine, &part, "a").await, acknowledged + 1, "the refused one changed nothing");

        disk.mend();
        retry(&engine, &clock).await;
        engine.buffer_add(&part, hits(&part, "b", 1)).await.expect("commits");
        let found = super::engine(disk.at(disk.age(), &mut Random::new(after)).opener(), SYNC, &clock).await;
        assert_eq!(pending(&found, &part, "a").await, acknowledged + 1, "after {after} writes");
        assert_eq!(pending(&found, &part, "b").await, 1);
        engine.close().await.expect("closes");
    }
}

/// After a failed sync nobody knows what is on disk, whatever a second sync says.
#[tokio::test]
async fn a_failed_sync_stops_the_engine_until_a_restart() {
    for (after, what, kind) in
        [(0, What::Sync, FULL), (3, What::Sync, Io::Other), (5, What::Write, Io::Other)]
    {
        let (clock, disk, part) = (start(), Disk::default(), part(0));
        let engine = engine(disk.opener(), SYNC, &clock).await;
        disk.fail(Fault { after, what, kind });
        let acknowledged = write_until_it_fails(&engine).await;
        disk.mend();
        until(|| async { clock.sleepers() > 0 }).await;
        clock.advance(crate::time::secs(5));
        engine.save();
        for _ in 0..3 {
            let refused = engine.buffer_add(&part, hits(&part, "a", 1)).await.expect_err("failed");
            assert!(refused.to_string().contains("restart"), "{refused}");
        }
        assert!(engine.ping().await.is_err());
        assert!(engine.close().await.is_err());

        let found = super::engine(disk.at(disk.age(), &mut Random::new(after)).opener(), SYNC, &clock).await;
        let there = pending(&found, &part, "a").await;
        assert!((acknowledged..=acknowledged + 1).contains(&there), "{there} of {acknowledged}");
        found.close().await.expect("closes");
    }
}

#[tokio::test]
async fn all_who_wait_hear_of_a_failed_commit() {
    let (clock, disk) = (start(), Disk::default());
    let engine = engine(disk.opener(), SYNC, &clock).await;
    let waited = disk.waited();
    disk.hold(true);
    let write = |row: usize| {
        let engine = Arc::clone(&engine);
        let part = part(u16::try_from(row % 4).expect("small"));
        tokio::spawn(async move { engine.buffer_add(&part, hits(&part, &row.to_string(), 1)).await })
    };
    let first = write(0);
    until(|| async { disk.waited() > waited }).await;
    // These wait for the commit after the one that is held.
    let rest: Vec<_> = (1..40).map(write).collect();
    until(|| async { engine.buffer_stats(&part(3)).await.expect("read").live_rows == 10 }).await;
    disk.fail(Fault { after: 0, what: What::Write, kind: FULL });
    disk.hold(false);
    // The first commit may have been through with its writes.
    let _ = first.await.expect("runs");
    for writer in rest {
        let error = writer.await.expect("runs").expect_err("failed");
        assert_eq!(error.retry(), Retry::Unknown, "{error}");
    }
    disk.mend();
    retry(&engine, &clock).await;
    for row in 1..40u16 {
        assert_eq!(pending(&engine, &part(row % 4), &row.to_string()).await, 1);
    }
    engine.close().await.expect("closes");
}

/// Limits decide from memory while the disk is full; what rode along when it failed is not forgotten.
#[tokio::test]
async fn limits_and_series_outlive_a_full_disk() {
    let (clock, disk) = (start(), Disk::default());
    let engine = engine(disk.opener(), RELAXED, &clock).await;
    let limit = Name::new("l").expect("valid");
    let now = crate::Clock::from(clock.clone()).now();
    engine.take(take(&limit, "a", 3), When::EngineClock).await.expect("answers");
    let points = || vec![Point { key: "a".into(), at: now, n: 3 }];
    engine.series_add(&super::series(), points(), now).await.expect("answers");
    engine.buffer_add(&part(0), hits(&part(0), "a", 3)).await.expect("answers");
    disk.fail(Fault { after: 0, what: What::Write, kind: FULL });
    until(|| async {
        clock.advance(crate::time::millis(500));
        disk.is_failing() && engine.ping().await.is_err()
    })
    .await;
    engine.take(take(&limit, "a", 4), When::EngineClock).await.expect("limits decide on");
    assert!(engine.series_add(&super::series(), points(), now).await.is_err());
    disk.mend();
    retry(&engine, &clock).await;
    engine.save();
    // Its commit comes after what rides.
    engine.lock_claim(claim("l", Uuid::now_v7())).await.expect("commits");

    let found = super::engine(disk.at(disk.age(), &mut Random::new(1)).opener(), SYNC, &clock).await;
    let take = |key| take(&limit, key, 0);
    let (used, expected) =
        (found.take(take("a"), When::EngineClock).await, engine.take(take("a"), When::EngineClock).await);
    assert_eq!(used.expect("answers").state, expected.expect("answers").state);
    assert_eq!(pending(&found, &part(0), "a").await, 3);
    let resolution = crate::model::resolution::Resolution::defaults()[0];
    let bucket = resolution.bucket(now);
    let span = Span { key: "a", resolution, from: bucket, to: bucket + 1 };
    assert_eq!(found.series_read(&super::series(), &[span]).await.expect("answers"), [[3]]);
    engine.close().await.expect("closes");
}
