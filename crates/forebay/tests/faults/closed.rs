//! A closed store answers no call, on every engine.

use forebay::{
    Buffer, Error, ErrorKind, Event, Forebay, Limit,
    cluster::Fate,
    event::Cell,
    fault::Faults,
    limit::{Charge, Mode, OnError, Override},
    sink::MemorySink,
    time::{days, mins},
};
use forebay_testkit::{Redis, unique_prefix, without};

async fn run(store: &str, bay: Forebay) {
    let limits = [Mode::Exact, Mode::Leased].map(|mode| {
        let name = format!("{mode:?}").to_lowercase();
        bay.limit(Limit::new(name, 100, days(300)).mode(mode).on_error(OnError::Open)).expect("valid")
    });
    let leases = bay.limit(Limit::concurrency("leases", 10, mins(10))).expect("valid");
    let series = bay.series("hits").expect("valid");
    let buffer = bay.buffer(Buffer::new("rows").key("id").sum("n").partitions(1)).expect("valid");
    let flushing = buffer.flush_to(MemorySink::new()).spawn();
    let event = Event::new("hit").limit(&limits[0]).buffer(&buffer, [Cell::Key], [("n", Cell::N)]);
    let event = bay.event(event).expect("valid");
    let guard = bay.lock("held").acquire().await.expect("free");
    for limit in &limits {
        for _ in 0..20 {
            assert!(limit.take("k").await.expect("answers").is_allowed());
        }
    }
    buffer.row("a").add("n", 1).await.expect("answers");
    bay.close().await.expect("closes");
    bay.close().await.expect("once more");

    let [exact, leased] = &limits;
    let charge = |key: &str| Charge { limit: exact.clone(), key: key.into(), cost: 1 };
    let mut map = bay.cluster().map();
    let ticket = map.get::<Option<i64>>("plain");
    let plain = map.run().await.get(ticket).expect_err("closed");
    assert_eq!(plain.fate(), Fate::NotSent, "{store}: {plain:?}");
    let answers: Vec<(&str, Result<(), Error>)> = vec![
        ("take", exact.take("k").await.map(drop)),
        ("take_n", exact.take_n("new", 3).await.map(drop)),
        ("leased", leased.take("k").await.map(drop)),
        ("take_all", bay.take_all(&[charge("k"), charge("l")]).await.map(drop)),
        ("peek", exact.peek("k").await.map(drop)),
        ("refund", exact.refund("k", 1).await.map(drop)),
        ("reset", leased.reset("k").await.map(drop)),
        ("override", exact.set_override("k", Override::blocked()).await),
        ("lease", leases.lease("k").await.map(drop)),
        ("row", buffer.row("a").add("n", 1).await),
        ("flush", buffer.flush().await.map(drop)),
        ("stats", buffer.stats().await.map(drop)),
        ("point", series.add("a", 1).await),
        ("sum", series.sum("a", mins(1)).await.map(drop)),
        ("event", event.hit("k", 1).await.map(drop).map_err(|error| error.error)),
        ("acquire", bay.lock("free").try_acquire().await.map(drop)),
        ("state", bay.lock("free").state().await.map(drop)),
        ("release", guard.release().await.map(drop)),
        ("once", bay.once("r", 1).await.map(drop)),
        ("ping", bay.ping().await),
        ("stored", bay.stored_buffers().await.map(drop)),
        ("stop", flushing.stop().await.map(drop)),
    ];
    for (what, answer) in answers {
        let error = answer.expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Closed, "{store}: {what}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn later_calls_of_a_closed_store_say_so() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let file = format!("embedded:{}", directory.path().join("store.redb").display());
    run("memory", Forebay::open("memory:").await.expect("opens")).await;
    run("faults", Forebay::options().faults(Faults::new()).open("memory:").await.expect("opens")).await;
    run("file", Forebay::open(&file).await.expect("opens")).await;
    if without("redis") {
        return;
    }
    let server = Redis::shared();
    let open = async |url: &str| Forebay::options().prefix(unique_prefix()).open(url).await.expect("opens");
    run("redis", open(&server.url()).await).await;
    let hosts = format!("redis://127.0.0.1:{0}/2,127.0.0.1:{0}/3", server.port());
    run("hosts", open(&hosts).await).await;
}

#[tokio::test]
async fn a_second_sink_is_refused_and_no_sink_too() {
    let bay = Forebay::open("memory:").await.expect("opens");
    let buffer = bay.buffer(Buffer::new("rows").key("id").sum("n")).expect("valid");
    let none = buffer.flush().await.expect_err("no sink, and nothing to flush");
    assert_eq!(none.kind(), ErrorKind::Configuration);
    buffer.row("a").add("n", 1).await.expect("answers");
    assert_eq!(buffer.flush().await.expect_err("no sink").kind(), ErrorKind::Configuration);

    let (first, second) = (MemorySink::new(), MemorySink::new());
    let flushing = buffer.flush_to(first.clone()).spawn();
    let refused = buffer.flush_to(second.clone()).prepare().await.expect_err("it has one");
    assert_eq!(refused.kind(), ErrorKind::Configuration);
    let spawned = buffer.clone().flush_to(second.clone()).spawn();
    buffer.row("a").add("n", 1).await.expect("answers");
    assert_eq!(spawned.stop().await.expect_err("it has one").kind(), ErrorKind::Configuration);
    assert!(flushing.stop().await.is_ok());
    assert_eq!((first.rows(buffer.schema()).len(), second.rows(buffer.schema()).len()), (1, 0));
}
