//! The reading side of `replay`, on a real log and through the thread of the feed.

use std::{
    collections::HashMap,
    io::{self, Cursor, Read},
    sync::mpsc,
    time::Duration,
};

use forebay::{
    Buffer, Clock, ErrorKind, Forebay, Limit, ManualClock, Timestamp,
    event::Cell,
    sink::MemorySink,
    time::{hours, millis, secs},
};
use forebay_server::replay::{
    Batch, Counts, Event, Feed, Input, KeyField, Reader, Run, SeriesSum, Source, Step, Tally, Target, survey,
};
use forebay_testkit::{sample_log, wait_until};

/// The sample log: 10 000 lines of May 2015, unordered within each minute. `None` where it is not available.
fn sample() -> Option<Source> {
    sample_log().map(Source::File)
}

/// A log of 5 000 lines, up to 36 s out of order. One line is bad.
fn made_up() -> Input {
    let line = |n: i64| match n {
        2_500 => "nonsense\n".to_owned(),
        _ => format!("{{\"ts\":{},\"ip\":\"10.0.0.{}\"}}\n", 1_431_857_100 + n - n * 7 % 37, n % 11),
    };
    input((0..5_000).map(line).collect::<String>())
}

fn ip() -> KeyField {
    "ip".parse().expect("a field")
}

fn input(text: impl Into<Vec<u8>>) -> Input {
    Input::new("a test".to_owned(), Cursor::new(text.into()), None).expect("a text")
}

/// All events of a log, and its faults as text.
fn read(input: Input, reorder: Duration) -> (Vec<Event>, Vec<String>, Tally) {
    let mut reader = Reader::new(input, ip(), reorder);
    let (mut events, mut bad) = (Vec::new(), Vec::new());
    loop {
        match reader.advance(|event| events.push(event)).expect("a readable log") {
            Step::Line => {}
            Step::Bad(line) => bad.push(line.to_string()),
            Step::End => return (events, bad, reader.tally()),
        }
    }
}

/// The numbers of allowed and limited events by a fixed window that is aligned to the clock.
fn fixed_window(events: &[Event], quota: u64, window: i64) -> (usize, usize) {
    let mut used: HashMap<&str, (i64, u64)> = HashMap::new();
    let allowed = events.iter().filter(|event| {
        let current = event.at.as_secs().div_euclid(window);
        let (seen, count) = used.entry(&event.key).or_default();
        if *seen != current {
            (*seen, *count) = (current, 0);
        }
        let fits = *count < quota;
        *count += u64::from(fits);
        fits
    });
    let allowed = allowed.count();
    (allowed, events.len() - allowed)
}

#[test]
fn the_sample_log_matches_an_independent_count() {
    let Some(log) = sample() else { return };
    let (events, bad, tally) = read(log.open().expect("the log"), secs(60));
    assert_eq!((events.len(), bad.len(), tally.late), (10_000, 0, 0));
    assert_eq!(tally.first.map(|at| at.to_string()).as_deref(), Some("2015-05-17T10:05:00Z"));
    assert_eq!(tally.last.map(|at| at.to_string()).as_deref(), Some("2015-05-20T21:05:59Z"));
    assert_eq!(fixed_window(&events, 20, 60), (9_069, 931));
    assert_eq!(fixed_window(&events, 5, 10), (9_378, 622));
}

#[test]
fn lines_beyond_the_bound_pass_as_late_and_are_counted() {
    let (events, _, tally) = read(made_up(), secs(10));
    assert_eq!(events.len(), 4_999);
    let on_time: Vec<_> = events.iter().filter(|event| !event.late).map(|event| event.at).collect();
    assert!(on_time.is_sorted());
    assert!(tally.late > 0);
    assert_eq!(tally.late, (events.len() - on_time.len()) as u64);
}

#[test]
fn every_line_has_a_path_and_one_is_too_long_for_a_key() {
    let Some(log) = sample() else { return };
    let field: KeyField = "path".parse().expect("a field");
    let tally = survey(&log, field, secs(60)).expect("the log");
    assert_eq!((tally.lines, tally.bad), (10_000, 1));
}

#[test]
fn both_formats_and_bad_lines_may_be_mixed() {
    let long = "x".repeat(70_000);
    let text = format!(
        "{}\n\n  \r\nnonsense \x1b[2J\n{}\n{{\"ts\":1431857104,\"ip\":\"::2\"}}\r\n{{\"ip\":1}}\n{long}\n{}",
        "::1 - - [17/May/2015:10:05:03 +0000] \"GET / HTTP/1.1\" 200 1",
        "::3 - - [17/May/2015:10:05:02 +0000] \"GET / HTTP/1.1\" 200 1",
        "::4 - - [17/May/2015:10:05:05 +0000] \"GET / HTTP/1.1\" 200 1",
    );
    let (events, bad, tally) = read(input(text), secs(60));
    let keys: Vec<_> = events.iter().map(|event| event.key.as_str()).collect();
    assert_eq!(keys, ["::3", "::1", "::2", "::4"]);
    assert_eq!((tally.lines, tally.bad, tally.late), (7, 3, 0));
    assert!(bad[0].starts_with("line 4, column 10: expected the identity"), "{bad:?}");
    assert!(bad[1].starts_with("line 7, column 1: no time"), "{bad:?}");
    assert!(bad[2].starts_with("line 8, column 65537: longer than 65536 bytes: xxx"), "{bad:?}");
    assert!(bad.iter().all(|line| line.len() < 200 && !line.contains('\x1b')), "{bad:?}");
}

#[test]
fn standard_input_cannot_be_surveyed() {
    let error = survey(&Source::Stdin, ip(), secs(60)).expect_err("cannot be read twice");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

async fn collect(mut feed: Feed) -> (Vec<Batch>, Option<forebay::Error>) {
    let mut batches = Vec::new();
    loop {
        match feed.next().await {
            Ok(Some(batch)) => batches.push(batch),
            Ok(None) => return (batches, None),
            Err(error) => return (batches, Some(error)),
        }
    }
}

#[tokio::test]
async fn the_feed_gives_what_the_reader_gives() {
    let expected = read(made_up(), secs(60));
    let feed = Feed::start(made_up(), ip(), secs(60)).expect("a thread");
    let (batches, error) = collect(feed).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(batches.last().expect("a batch").tally, expected.2);
    assert!(batches.iter().all(|batch| batch.events.len() <= 1_024));
    let events: Vec<Event> = batches.into_iter().flat_map(|batch| batch.events).collect();
    assert_eq!(events, expected.0);
}

#[tokio::test]
async fn ten_bad_lines_are_shown_and_all_are_counted() {
    let feed = Feed::start(input("nonsense\n".repeat(5_000)), ip(), secs(60)).expect("a thread");
    let (batches, error) = collect(feed).await;
    assert!(error.is_none(), "{error:?}");
    assert!(batches.len() > 2, "progress is told although there is no event");
    assert_eq!(batches.last().expect("a batch").tally.bad, 5_000);
    let numbers: Vec<_> = batches.iter().flat_map(|batch| &batch.bad).map(|line| line.number).collect();
    assert_eq!(numbers, (1..=10).collect::<Vec<_>>());
}

/// Yields its input, then fails.
struct Fails {
    text: Cursor<Vec<u8>>,
}

impl Read for Fails {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        match self.text.read(space)? {
            0 => Err(io::Error::other("the disk is gone")),
            read => Ok(read),
        }
    }
}

#[tokio::test]
async fn a_failing_file_is_an_error_after_what_was_read() {
    let text = Cursor::new(b"{\"ts\":1,\"ip\":\"::a\"}\n{\"ts\":9,\"ip\":\"::b\"}\n".to_vec());
    let input = Input::new("a test".to_owned(), Fails { text }, None).expect("a text");
    let (batches, error) = collect(Feed::start(input, ip(), millis(0)).expect("a thread")).await;
    let keys: Vec<_> = batches.iter().flat_map(|batch| &batch.events).map(|event| &event.key).collect();
    assert_eq!(keys, ["::a", "::b"]);
    assert_eq!(error.expect("an error").to_string(), "reading a test: the disk is gone");
}

/// Never ends, and reports when it is dropped.
struct Endless {
    _alive: mpsc::Sender<()>,
}

impl Read for Endless {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        b"{\"ts\":1,\"ip\":\"::a\"}\n".as_slice().read(space)
    }
}

#[tokio::test]
async fn dropping_the_feed_ends_its_thread() {
    let (alive, ended) = mpsc::channel();
    let input = Input::new("a test".to_owned(), Endless { _alive: alive }, None).expect("a text");
    let mut feed = Feed::start(input, ip(), millis(0)).expect("a thread");
    let first = feed.next().await.expect("no error").expect("a batch");
    assert_eq!(first.events[0].at, Timestamp::from_secs(1));
    drop(feed);
    wait_until("the thread to end", || ended.try_recv() == Err(mpsc::TryRecvError::Disconnected));
}

/// Replays a log into a store in memory. `follow` makes the store's clock follow the log.
async fn run(log: Input, follow: bool) -> (Counts, SeriesSum, u64) {
    let clock = follow.then(|| ManualClock::at(Timestamp::UNIX_EPOCH));
    let of_store = clock.clone().map_or_else(Clock::system, Clock::from);
    let bay = Forebay::options().clock(of_store).open("memory:").await.expect("a store");
    let limit = bay.limit(Limit::new("hits", 3, secs(60))).expect("a limit");
    let series = bay.series("hits").expect("a series");
    let buffer = bay.buffer(Buffer::new("projects").key("id").sum("hits")).expect("a buffer");
    let _flusher = buffer.flush_to(MemorySink::default()).prepare().await.expect("a sink");
    let event = forebay::Event::new("hit").limit(&limit).series(&series).buffer(
        &buffer,
        [Cell::Key],
        [("hits", Cell::N)],
    );
    let event = bay.event(event).expect("an event");
    let target = Target { event, buffers: vec![buffer], series: vec![series], clock, flush_every: hours(1) };
    let mut run = Run::new(target, Counts::new([limit.name().clone()]), 0);
    let mut feed = Feed::start(log, ip(), secs(60)).expect("a thread");
    let mut seen = 0;
    run.all(&mut feed, |tally| seen = tally.lines).await.expect("a whole log");
    assert_eq!(seen, run.counts.tally.lines);
    let rows = run.flush().await.expect("a flush");
    let sum = run.series_sums().await.expect("sums").remove(0);
    (run.counts, sum, rows)
}

/// A remote store gets many hits per call, and a store in this process gets them one by one. Both decide alike.
#[tokio::test]
async fn hits_one_by_one_and_in_batches_match_an_independent_count() {
    let (events, _, _) = read(made_up(), secs(60));
    let (accepted, limited) = fixed_window(&events, 3, 60);
    let expected = (accepted as u64, limited as u64);
    assert!(accepted > 1_000 && limited > 1_000, "{expected:?}");
    for follow in [true, false] {
        let (counts, sum, rows) = run(made_up(), follow).await;
        assert_eq!((counts.accepted, counts.limited), expected);
        assert_eq!(counts.denied_by()[0].1, counts.limited);
        assert_eq!(sum, SeriesSum { sum: counts.accepted, expected: (counts.accepted, counts.accepted) });
        assert_eq!((rows, counts.keys().len()), (11, 11));
    }
}

/// The store's clock ran ahead of the log at every block of lines. So the store forgot charges whose window was open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_many_blocks_matches_an_independent_count() {
    // One key has seven lines within one window. The next key's seven lines follow 50 minutes later.
    let line = |n: i64| {
        format!("{{\"ts\":{},\"ip\":\"10.0.0.{}\"}}\n", 1_431_857_100 + n / 7 * 3_000 + n % 7, n / 7 % 11)
    };
    let log = (0..100_000).map(line).collect::<String>();
    let (events, _, _) = read(input(log.clone()), secs(60));
    let (accepted, limited) = fixed_window(&events, 3, 60);
    let (counts, _, _) = run(input(log), true).await;
    assert_eq!((counts.accepted, counts.limited), (accepted as u64, limited as u64));
}
