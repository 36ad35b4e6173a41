//! An event end to end, in memory and on a clock that the test moves.

use forebay::{
    Buffer, Clock, ErrorKind, Event, Forebay, Limit, ManualClock, Timestamp,
    buffer::{BufferHandle, Value},
    event::{Cell, EventHandle},
    series::SeriesHandle,
    sink::MemorySink,
    time::{hours, mins, secs},
};

const START: Timestamp = Timestamp::from_secs(1_790_000_000 - 1_790_000_000 % 60);

struct Talk {
    hand: ManualClock,
    hit: EventHandle,
    series: SeriesHandle,
    buffer: BufferHandle,
    sink: MemorySink,
}

/// The talk's example: 20 hits a minute, counted, and buffered in front of `projects`.
async fn talk() -> Talk {
    let hand = ManualClock::at(START);
    let bay = Forebay::options().clock(Clock::from(hand.clone())).open("memory:").await.expect("opens");
    let limit = bay.limit(Limit::per_minute("hits", 20)).expect("valid");
    let series = bay.series("hits").expect("valid");
    let buffer = bay.buffer(Buffer::new("projects").key("id").sum("hits").max("last_seen")).expect("valid");
    let cells = [("hits", Cell::N), ("last_seen", Cell::At)];
    let event = Event::new("hit").limit(&limit).series(&series).buffer(&buffer, [Cell::Key], cells);
    let sink = MemorySink::new();
    let _ = buffer.flush_to(sink.clone());
    Talk { hand, hit: bay.event(event).expect("valid"), series, buffer, sink }
}

#[tokio::test]
async fn twenty_of_twenty_five_hits_are_accepted_counted_and_flushed() {
    let talk = talk().await;
    let mut accepted = 0;
    for _ in 0..25 {
        talk.hand.advance(secs(1));
        accepted += u32::from(talk.hit.hit("42", 1).await.expect("answers").is_accepted());
    }
    assert_eq!(accepted, 20);
    assert_eq!(talk.series.sum("42", hours(1)).await.expect("answers"), 20);
    assert_eq!(talk.series.limited().sum("42", hours(1)).await.expect("answers"), 5);

    assert_eq!(talk.buffer.stats().await.expect("answers").pending_rows, 1);
    assert_eq!(talk.buffer.flush().await.expect("flushes"), 1);
    assert_eq!(talk.buffer.stats().await.expect("answers").pending_rows, 0);
    let rows = talk.sink.rows(talk.buffer.schema());
    let last = Value::from(START.plus(secs(20)));
    assert_eq!(rows.len(), 1);
    assert_eq!(*rows[0].cells, [Some(20.into()), Some(last.clone())]);
    assert_eq!(*talk.buffer.value(["42".into()]).await.expect("answers"), [Some(20.into()), Some(last)]);
}

#[tokio::test]
async fn a_back_dated_hit_dates_the_point_and_does_not_evade_the_limit() {
    let talk = talk().await;
    let then = START.minus(hours(5));
    for _ in 0..20 {
        assert!(talk.hit.hit_at("42", 1, then).await.expect("answers").is_accepted());
    }
    assert!(!talk.hit.hit_at("42", 1, then).await.expect("answers").is_accepted());
    let counted = talk.series.sum_between("42", then, then.plus(secs(1))).await.expect("answers");
    assert_eq!(counted, 20);
    assert_eq!(talk.series.sum("42", hours(1)).await.expect("answers"), 0);
}

#[tokio::test]
async fn what_is_refused_counts_nowhere() {
    let talk = talk().await;
    let far = START.plus(mins(6));
    for (key, n, at) in
        [("", 1, START), ("42", 0, START), ("42", 21, START), ("42", 1 << 40, START), ("42", 1, far)]
    {
        let error = talk.hit.hit_at(key, n, at).await.expect_err("refused").error;
        assert!(matches!(error.kind(), ErrorKind::Invalid | ErrorKind::OutOfRange), "{error}");
    }
    assert!(talk.hit.hit_at("x".repeat(513), 1, START).await.is_err());
    assert_eq!(talk.buffer.stats().await.expect("answers").pending_rows, 0);
    assert_eq!(talk.series.sum("42", hours(1)).await.expect("answers"), 0);
    assert!(talk.hit.hit("42", 20).await.expect("answers").is_accepted(), "nothing was charged");
}
