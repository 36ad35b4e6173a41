//! An event end to end, in memory and on a clock that the test moves.

use forebay::{
    Buffer, Clock, ErrorKind, Event, Forebay, Limit, ManualClock, Retry, Series, Timestamp,
    buffer::{BufferHandle, Value},
    event::{Applied, Cell, EventHandle, Parts},
    fault::{Fault, Faults},
    limit::LimitHandle,
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
async fn a_refused_hit_counts_nowhere() {
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

/// An event with two series and two buffers. The second buffer takes a single row.
async fn two_of_each(faults: &Faults) -> (Forebay, ManualClock, EventHandle, LimitHandle) {
    let hand = ManualClock::at(START);
    let options = Forebay::options().clock(Clock::from(hand.clone())).faults(faults.clone());
    let bay = options.open("memory:").await.expect("opens");
    let limit = bay.limit(Limit::per_minute("hits", 20)).expect("valid");
    let [first, second] = ["first", "second"].map(|name| bay.series(name).expect("valid"));
    let all = bay.buffer(Buffer::new("all").key("id").sum("n")).expect("valid");
    let few = bay.buffer(Buffer::new("few").key("id").sum("n").bounds_rows(1, 1)).expect("valid");
    let event = Event::new("hit").limit(&limit).series(&first).series(&second);
    let event = event.buffer(&all, [Cell::Key], [("n", Cell::N)]).buffer(&few, [Cell::Key], [("n", Cell::N)]);
    let hit = bay.event(event).expect("valid");
    (bay, hand, hit, limit)
}

fn words(parts: &Parts) -> Vec<(&str, &str)> {
    parts.iter().map(|part| (part.name.as_str(), part.applied.as_str())).collect()
}

/// The second of two buffers is full at `hard_rows = 1`. The answer once said that no buffer had taken the hit.
#[tokio::test]
async fn a_buffer_that_is_full_says_so_for_itself_alone() {
    let (bay, hand, hit, _limit) = two_of_each(&Faults::new()).await;
    assert!(hit.hit("1", 1).await.expect("both are empty").is_accepted());
    hand.advance(secs(2));
    // The first write that checks the pressure records it for the next write.
    let mut failed = None;
    for key in 2..20 {
        match hit.hit(key.to_string(), 1).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    let failed = failed.expect("the second buffer is full");
    assert_eq!(failed.error.kind(), ErrorKind::Overloaded);
    assert_eq!(words(&failed.buffer), [("all", "yes"), ("few", "no")]);
    assert_eq!((failed.buffer.summary(), failed.series.summary()), (None, Some(Applied::Yes)));
    // The applied parts stay charged. A repeat would count them twice.
    assert_eq!((failed.limit, failed.error.retry()), (Applied::Yes, Retry::Unknown));
    let all = bay.buffer(Buffer::new("all").key("id").sum("n")).expect("valid");
    assert!(all.stats().await.expect("answers").pending_rows >= 2);
}

#[tokio::test]
async fn each_part_of_a_hit_answers_for_itself() {
    use Fault::{AnswerLost, Refused};
    // The faults of the two series and of the two buffers, the words of the answer, the advice about a repeat, and the
    // charge that remains.
    let cases = [
        ([None, Some(Refused)], [None, None], ["yes", "no", "yes", "yes"], Retry::Unknown, 1),
        ([Some(Refused), None], [None, None], ["no", "yes", "yes", "yes"], Retry::Unknown, 1),
        ([Some(AnswerLost), Some(Refused)], [None, None], ["unknown", "no", "yes", "yes"], Retry::Unknown, 1),
        ([None, None], [Some(Refused), Some(AnswerLost)], ["yes", "yes", "no", "unknown"], Retry::Unknown, 1),
        (
            [Some(Refused); 2],
            [Some(Refused), Some(AnswerLost)],
            ["no", "no", "no", "unknown"],
            Retry::Unknown,
            1,
        ),
        ([Some(Refused); 2], [Some(Refused), None], ["no", "no", "no", "yes"], Retry::Unknown, 1),
        ([Some(AnswerLost); 2], [Some(AnswerLost); 2], ["unknown"; 4], Retry::Unknown, 1),
        ([Some(Refused); 2], [Some(Refused); 2], ["no"; 4], Retry::Later, 0),
    ];
    for (series, buffers, want, retry, charged) in cases {
        let faults = Faults::new();
        let (_bay, _hand, hit, limit) = two_of_each(&faults).await;
        faults.next("series_add", series);
        faults.next("buffer_add", buffers);
        let failed = hit.hit("42", 1).await.expect_err("a part failed");
        let said: Vec<&str> =
            failed.series.iter().chain(&failed.buffer).map(|part| part.applied.as_str()).collect();
        assert_eq!(said, want);
        let names: Vec<&str> =
            failed.series.iter().chain(&failed.buffer).map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["first", "second", "all", "few"]);
        assert_eq!(failed.error.retry(), retry, "{want:?}");
        assert_eq!(limit.peek("42").await.expect("answers").used(), charged, "{want:?}");
        assert_eq!(failed.limit == Applied::No, charged == 0, "{want:?}");
        assert_eq!(failed.is_nothing(), retry == Retry::Later);
    }
}

/// The store refuses the refund, so the charge remains. A repeat would charge twice.
#[tokio::test]
async fn later_is_said_only_when_the_charge_is_back() {
    for (fault, limit_word) in [(Fault::Refused, Applied::Yes), (Fault::AnswerLost, Applied::Unknown)] {
        let faults = Faults::new();
        let (_bay, _hand, hit, _limit) = two_of_each(&faults).await;
        faults.next("series_add", [Some(Fault::Refused); 2]);
        faults.next("buffer_add", [Some(Fault::Refused); 2]);
        faults.next("refund", [Some(fault)]);
        let failed = hit.hit("42", 1).await.expect_err("no part took it");
        assert_eq!((failed.limit, failed.error.retry()), (limit_word, Retry::Unknown));
    }
    // The take may have been charged although its answer was lost. `on_error` admitted the hit.
    let faults = Faults::new();
    let (_bay, _hand, hit, _limit) = two_of_each(&faults).await;
    faults.next("take_all", [Some(Fault::AnswerLost)]);
    faults.next("series_add", [Some(Fault::Refused); 2]);
    faults.next("buffer_add", [Some(Fault::Refused); 2]);
    let failed = hit.hit("42", 1).await.expect_err("no part took it");
    assert_eq!((failed.limit, failed.error.retry()), (Applied::Unknown, Retry::Unknown));
}

#[tokio::test]
async fn an_event_that_names_a_column_twice_is_refused_when_it_is_defined() {
    let bay = Forebay::open("memory:").await.expect("opens");
    let buffer = bay.buffer(Buffer::new("projects").key("id").sum("hits")).expect("valid");
    let cells = [("hits", Cell::N), ("hits", Cell::N)];
    let error = bay.event(Event::new("hit").buffer(&buffer, [Cell::Key], cells)).expect_err("twice");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("column \"hits\" of buffer projects twice"), "{error}");
}

/// Each series has its own labels of the hit, also when it was denied; the limit has the key.
#[tokio::test]
async fn labels_of_a_hit_are_the_keys_of_its_labelled_series() {
    let bay = Forebay::open("memory:").await.expect("opens");
    let limit = bay.limit(Limit::per_minute("users", 4)).expect("valid");
    let requests = bay.series(Series::new("requests").labels(["endpoint", "status"])).expect("valid");
    let statuses = bay.series(Series::new("statuses").labels(["status"])).expect("valid");
    let users = bay.series("users").expect("valid");
    let event = Event::new("request").limit(&limit).series(&requests).series(&users).series(&statuses);
    let event = bay.event(event).expect("valid");
    let labelled = event.labelled([("status", "500"), ("endpoint", "/a|b")]).expect("known labels");
    assert!(labelled.hit("user:42", 2).await.expect("answers").is_accepted());
    for _ in 0..2 {
        // Both attempts are one hit; another label makes it another one.
        let answer = labelled.hit_keyed("request 7", "user:42", 1, None).await;
        assert!(answer.expect("answers").is_accepted());
    }
    let other = event.labelled([("status", "200")]).expect("known labels");
    let error = other.hit_keyed("request 7", "user:42", 1, None).await.expect_err("another hit");
    assert_eq!(error.error.kind(), ErrorKind::Invalid);
    assert!(!labelled.hit("user:42", 2).await.expect("answers").is_accepted());
    for (series, key, counted) in [
        (&requests, "/a\\|b|500", 3),
        (&statuses, "500", 3),
        (&users, "user:42", 3),
        (&requests, "user:42", 0),
    ] {
        assert_eq!(series.sum(key, hours(1)).await.expect("answers"), counted, "{key}");
        let limited = series.limited().sum(key, hours(1)).await.expect("answers");
        assert_eq!(limited, if counted > 0 { 2 } else { 0 }, "{key}");
    }
    // Without labels, the key counts.
    assert!(event.hit("user:42", 1).await.expect("answers").is_accepted());
    assert_eq!(requests.sum("user:42", hours(1)).await.expect("answers"), 1);

    for (labels, told) in [
        (&[("stat", "500")][..], "the labels of its series are: endpoint, status"),
        (&[("status", "1"), ("status", "2")], "is there twice"),
        (&[("endpoint", "/a")], "all labels are empty"),
        (&[], "no labels"),
    ] {
        let error = event.labelled(labels.iter().copied()).expect_err(told);
        assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains(told), "{error}");
    }
    let plain = bay.event(Event::new("plain").series(&users)).expect("valid");
    let error = plain.labelled([("status", "500")]).expect_err("no labels").to_string();
    assert!(error.contains("event plain: label \"status\": no series of the event has labels"), "{error}");
}
