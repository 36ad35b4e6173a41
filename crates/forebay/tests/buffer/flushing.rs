//! Flushing: pauses, refused writes, parked batches, and several flushers at once.

use std::time::Duration;

use forebay::{
    Buffer, Clock, ErrorKind, Forebay, ManualClock, Timestamp,
    buffer::{BufferHandle, ColumnType, DeadLetters, Merge, Pressure},
    sink::MemorySink,
    time::{hours, millis, secs},
};

use crate::support::{Mood, MoodySink, shared_stores, total};

fn rows(bay: &Forebay) -> BufferHandle {
    bay.buffer(Buffer::new("rows").key("id").sum("n").partitions(2)).expect("valid")
}

async fn write(buffer: &BufferHandle, ids: std::ops::Range<i64>) {
    for id in ids {
        buffer.row(id.to_string()).add("n", 1).await.expect("acknowledged");
    }
}

async fn until<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    let done = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    Clock::system().timeout(secs(20), done).await.expect("within 20 s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_holds_for_every_process_until_somebody_resumes() {
    for [one, two] in shared_stores().await {
        let (one, two, sink) = (rows(&one), rows(&two), MemorySink::new());
        let flusher = one.flush_to(sink.clone());
        two.pause().await.expect("answers");
        write(&one, 0..10).await;
        let error = one.flush().await.expect_err("paused");
        assert!(error.to_string().contains("paused"), "{error}");
        let stats = one.stats().await.expect("answers");
        assert_eq!((stats.paused, stats.pending_rows), (true, 10));
        let flushing = flusher.every(millis(1)).spawn();
        assert_eq!(total(&one, &sink), 0);
        one.resume().await.expect("answers");
        until(|| async { total(&one, &sink) == 10 }).await;
        until(|| async {
            two.stats().await.is_ok_and(|stats| (stats.paused, stats.pending_rows) == (false, 0))
        })
        .await;
        flushing.stop().await.expect("stops");
    }
}

#[tokio::test]
async fn a_pause_outlives_the_process_that_has_the_file() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let url = format!("embedded:{}", directory.path().join("store.redb").display());
    for paused in [true, false] {
        let bay = Forebay::open(&url).await.expect("opens");
        let buffer = rows(&bay);
        if paused { buffer.pause().await } else { buffer.resume().await }.expect("commits");
        bay.close().await.expect("closes");
        let bay = Forebay::open(&url).await.expect("opens");
        assert_eq!(rows(&bay).stats().await.expect("answers").paused, paused);
        bay.close().await.expect("closes");
    }
}

#[tokio::test]
async fn writes_are_refused_while_too_much_waits() {
    let hand = ManualClock::at(Timestamp::from_secs(1_790_000_000));
    let bay = Forebay::options().clock(Clock::from(hand.clone())).open("memory:").await.expect("opens");
    let buffer = Buffer::new("rows").key("id").sum("n").bounds_rows(2, 4).bounds_age(None, Some(hours(1)));
    let (buffer, sink) = (bay.buffer(buffer).expect("valid"), MemorySink::new());
    let _ = buffer.flush_to(sink.clone());
    write(&buffer, 0..2).await;
    assert_eq!(buffer.stats().await.expect("answers").pressure, Pressure::Soft);
    write(&buffer, 2..6).await;
    // These are more rows than the bound, because the known pressure may be a second old.
    hand.advance(secs(1));
    let error = buffer.row("0").add("n", 1).await.expect_err("too much");
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    assert!(error.to_string().contains("below 4 rows"), "{error}");
    buffer.flush().await.expect("flushes");
    assert_eq!(buffer.stats().await.expect("answers").pressure, Pressure::None);
    write(&buffer, 0..1).await;

    hand.advance(hours(1));
    let event = buffer.row("0").add("n", 1).await.expect_err("too old");
    assert_eq!(event.kind(), ErrorKind::Overloaded);
    buffer.flush().await.expect("flushes");
    hand.advance(secs(1));
    write(&buffer, 0..1).await;
    buffer.flush().await.expect("flushes");
    assert_eq!(total(&buffer, &sink), 8, "what was refused is not there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_flushers_at_once_double_nothing() {
    for [one, two] in shared_stores().await {
        let (one, two, sink) = (rows(&one), rows(&two), MemorySink::new());
        let flushers = [&one, &two].map(|buffer| buffer.flush_to(sink.clone()).every(millis(1)).spawn());
        let writers = [&one, &two].map(|buffer| async {
            for round in 0..20 {
                write(buffer, 0..20).await;
                if round % 7 == 0 {
                    buffer.flush().await.expect("flushes");
                }
            }
        });
        futures::future::join_all(writers).await;
        for flusher in flushers {
            flusher.stop().await.expect("stops");
        }
        assert_eq!(total(&one, &sink), 800);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flusher_skips_the_partitions_of_another_flusher() {
    for [one, two] in shared_stores().await.into_iter().skip(1) {
        let schema = Buffer::new("rows").key("id").sum("n").partitions(1);
        let (one, two) = (one.buffer(schema.clone()).expect("valid"), two.buffer(schema).expect("valid"));
        let (busy, idle) = (MoodySink::default(), MoodySink::default());
        busy.next([Mood::Waits]);
        write(&one, 0..10).await;
        let first = one.flush_to(busy.clone()).every(millis(1)).spawn();
        until(|| async { busy.calls() == 1 }).await;
        let second = two.flush_to(idle.clone()).every(millis(1)).spawn();
        // It flushes later writes only after the partition is free.
        write(&two, 0..10).await;
        until(|| async { two.stats().await.is_ok_and(|stats| stats.frozen_batches >= 2) }).await;
        assert_eq!((busy.calls(), idle.calls()), (1, 0));
        // A manual flush does not wait for a lease: the ledger decides.
        two.flush().await.expect("flushes");
        assert!(idle.calls() >= 2);
        busy.go_on();
        first.stop().await.expect("stops");
        second.stop().await.expect("stops");
        assert_eq!(two.stats().await.expect("answers").pending_rows, 0);
    }
}

#[tokio::test]
async fn a_batch_that_nothing_mends_is_put_aside_and_the_others_go_on() {
    let bay = Forebay::open("memory:").await.expect("opens");
    let (buffer, sink) = (rows(&bay), MoodySink::default());
    let _ = buffer.flush_to(sink.clone());
    write(&buffer, 0..10).await;
    // There is one batch for each partition. The first one is refused permanently.
    sink.next([Mood::Refuses]);
    let error = buffer.flush().await.expect_err("not all of it");
    assert!(error.to_string().contains("refused by the test"), "{error}");
    let stats = buffer.stats().await.expect("answers");
    let [parked] = stats.parked.as_slice() else { panic!("{stats:?}") };
    assert_eq!((parked.rows, stats.frozen_batches), (stats.pending_rows, 1));
    assert_eq!(total(&buffer, sink.table()) + i64::try_from(parked.rows).expect("small"), 10);

    write(&buffer, 10..20).await;
    buffer.flush().await.expect("by hand it is tried again");
    let stats = buffer.stats().await.expect("answers");
    assert_eq!((stats.pending_rows, stats.parked.len(), total(&buffer, sink.table())), (0, 0, 20));
}

#[tokio::test]
async fn an_error_of_the_sink_is_reported_once() {
    let bay = Forebay::open("memory:").await.expect("opens");
    let (buffer, sink) = (rows(&bay), MoodySink::default());
    let _ = buffer.flush_to(sink.clone());
    write(&buffer, 0..1).await;
    sink.next([Mood::Refuses, Mood::Fails]);
    let mut errors = vec![];
    for why in ["of 1 row: refused by the test", "of 1 row: failed by the test"] {
        let error = buffer.flush().await.expect_err("not flushed");
        assert!(error.to_string().ends_with(why), "{error}");
        errors.push(error);
    }
    // This sink does not support these operations.
    errors.push(buffer.move_row(["0".into()], ["1".into()]).await.expect_err("cannot"));
    errors.push(buffer.dead_letters(0, 1).await.expect_err("cannot"));
    errors.push(buffer.replay_dead(DeadLetters::All).await.expect_err("cannot"));
    for error in errors {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        assert!(cause.is_none_or(|cause| !error.to_string().contains(&cause)), "{error:?}");
    }
}

#[tokio::test]
async fn a_parked_batch_does_not_stop_the_flusher_and_is_tried_every_minute() {
    let hand = ManualClock::at(Timestamp::from_secs(1_790_000_000));
    let bay = Forebay::options().clock(Clock::from(hand.clone())).open("memory:").await.expect("opens");
    let (buffer, sink) = (rows(&bay), MoodySink::default());
    write(&buffer, 0..10).await;
    sink.next([Mood::Refuses, Mood::Refuses]);
    let flushing = buffer.flush_to(sink.clone()).every(secs(1)).spawn();
    let step = async |span: Duration| {
        until(|| async { hand.sleepers() > 0 }).await;
        hand.advance(span);
    };
    step(secs(1)).await;
    until(|| async { buffer.stats().await.is_ok_and(|stats| stats.parked.len() == 2) }).await;
    // These are more generations than may be frozen if none is parked.
    for round in 1..=6 {
        write(&buffer, 100..120).await;
        let expected = round * 20;
        step(secs(1)).await;
        until(|| async { total(&buffer, sink.table()) == expected }).await;
    }
    let stats = buffer.stats().await.expect("answers");
    assert!(stats.last_error.is_some() && stats.parked.len() == 2, "{stats:?}");
    step(secs(60)).await;
    until(|| async { total(&buffer, sink.table()) == 130 }).await;
    until(|| async { buffer.stats().await.is_ok_and(|stats| stats.parked.is_empty()) }).await;
    flushing.stop().await.expect("stops");
}

#[tokio::test]
async fn rows_of_another_shape_are_parked_until_their_definition_flushes_them() {
    let bay = Forebay::open("memory:").await.expect("opens");
    let (old, sink) = (rows(&bay), MemorySink::new());
    write(&old, 0..10).await;
    let new = Buffer::new("rows").key("id").sum("n").column("note", Merge::Max, ColumnType::Text);
    let new = bay.buffer(new.partitions(2)).expect("valid");
    let _ = new.flush_to(sink.clone());
    write(&new, 0..10).await;
    let error = new.flush().await.expect_err("not all of it");
    assert!(error.to_string().contains("flush with the old definition first"), "{error}");
    let stats = new.stats().await.expect("answers");
    assert_eq!((stats.parked.len(), total(&new, &sink)), (2, 10));
    let _ = old.flush_to(sink.clone());
    old.flush().await.expect("flushes");
    new.flush().await.expect("flushes");
    assert_eq!((new.stats().await.expect("answers").parked.len(), total(&new, &sink)), (0, 20));
}

/// The ledger had forgotten the batch, and applying it again would have counted it twice.
#[tokio::test]
async fn a_batch_older_than_the_ledger_is_applied_only_if_that_is_known_to_be_right() {
    let hand = ManualClock::at(Timestamp::from_secs(1_790_000_000));
    let bay = Forebay::options().clock(Clock::from(hand.clone())).open("memory:").await.expect("opens");
    let buffer = bay.buffer(Buffer::new("rows").key("id").sum("n").partitions(1)).expect("valid");
    let sink = MoodySink::remembering(hours(24));
    let _ = buffer.flush_to(sink.clone());
    write(&buffer, 0..10).await;
    sink.next([Mood::LosesAnswer]);
    buffer.flush().await.expect_err("the answer was lost");
    hand.advance(hours(25));
    assert_eq!(buffer.flush().await.expect("the ledger knows it"), 0);
    assert_eq!(total(&buffer, sink.table()), 10);

    write(&buffer, 0..10).await;
    sink.next([Mood::Fails]);
    buffer.flush().await.expect_err("an outage");
    hand.advance(hours(23));
    buffer.flush().await.expect("the ledger would know it");
    write(&buffer, 0..10).await;
    sink.next([Mood::Fails]);
    buffer.flush().await.expect_err("an outage");
    hand.advance(hours(25));
    let error = buffer.flush().await.expect_err("nobody knows");
    assert!(error.to_string().contains("ledger_retention"), "{error}");
    let stats = buffer.stats().await.expect("answers");
    assert_eq!((stats.parked.len(), stats.pending_rows, total(&buffer, sink.table())), (1, 10, 20));
}

#[tokio::test(start_paused = true)]
async fn draining_outlasts_an_outage() {
    let bay = Forebay::open("memory:").await.expect("opens");
    let (buffer, sink) = (rows(&bay), MoodySink::default());
    let _ = buffer.flush_to(sink.clone());
    write(&buffer, 0..10).await;
    sink.next([Mood::Fails, Mood::LosesAnswer, Mood::Fails]);
    buffer.drain().await.expect("drains");
    assert_eq!((total(&buffer, sink.table()), buffer.stats().await.expect("answers").pending_rows), (10, 0));
}
