//! Stores that went back in time: nothing counts twice in SQL, and a batch that may be affected is reported.

use forebay::{Buffer, ErrorKind, Forebay, buffer::BufferHandle, sink::MemorySink};
use forebay_testkit::{Redis, Reply, eventually, unique_prefix, without};

use crate::support::{Mood, MoodySink, total};

/// A buffer of one partition in a store, and a sink.
fn hits(bay: &Forebay) -> (BufferHandle, MemorySink) {
    let buffer = bay.buffer(Buffer::new("hits").key("id").sum("n").partitions(1)).expect("valid");
    let sink = MemorySink::new();
    let _ = buffer.flush_to(sink.clone());
    (buffer, sink)
}

async fn write(buffer: &BufferHandle, times: usize) {
    for i in 0..times {
        buffer.row(format!("{}", i % 3)).add("n", 1).await.expect("acknowledged");
    }
}

/// A store on the shared server that can restore the keys of the live generation to an earlier state, as if the server had
/// come back without a new replication id.
struct Rewound {
    prefix: String,
    bay: Forebay,
}

impl Rewound {
    async fn open() -> Self {
        let prefix = unique_prefix();
        let bay = Forebay::options().prefix(&prefix).open(&Redis::shared().url()).await.expect("opens");
        Self { prefix, bay }
    }

    fn key(&self, name: &str) -> String {
        format!("{}:buffer:{{hits.0}}:{name}", self.prefix)
    }

    /// The key of the only frozen generation.
    fn frozen(&self) -> String {
        match Redis::shared().command(["KEYS", &self.key("frozen:*")]) {
            Reply::Array(keys) => match keys.as_slice() {
                [Reply::Text(key)] => key.clone(),
                other => panic!("expected one, got {other:?}"),
            },
            other => panic!("expected keys, got {other:?}"),
        }
    }

    fn remember(&self) {
        Redis::shared().command(["COPY", &self.key("live"), &self.key("earlier")]);
    }

    fn rewind(&self) {
        Redis::shared().command(["RENAME", &self.key("earlier"), &self.key("live")]);
    }
}

/// The promoted server flushes five hits. Then traffic returns to the old primary, which still has them, under its old id.
#[tokio::test]
async fn writes_to_a_generation_that_sql_has_are_parked_and_named() {
    if without("redis") {
        return;
    }
    let store = Rewound::open().await;
    let (buffer, sink) = hits(&store.bay);
    write(&buffer, 5).await;
    store.remember();
    buffer.flush().await.expect("flushes");
    store.rewind();
    write(&buffer, 7).await;
    for _ in 0..2 {
        let error = buffer.flush().await.expect_err("acknowledged writes are not in the table");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let stats = buffer.stats().await.expect("answers");
        let [parked] = stats.parked.as_slice() else { panic!("{stats:?}") };
        assert!(parked.diverged && parked.rows == 3, "{parked:?}");
        assert!(parked.reason.contains(&parked.id.to_string()), "{}", parked.reason);
        assert_eq!((stats.pending_rows, stats.frozen_batches, stats.replays), (3, 1, 0));
        assert!(stats.last_error.is_some());
        assert_eq!(total(&buffer, &sink), 5);
    }
    // It does not stop later batches.
    write(&buffer, 4).await;
    buffer.flush().await.expect_err("still there");
    assert_eq!(total(&buffer, &sink), 9);
}

#[tokio::test]
async fn a_generation_that_came_back_as_sql_has_it_is_a_replay() {
    if without("redis") {
        return;
    }
    for later in [0, 3] {
        let store = Rewound::open().await;
        let (buffer, sink) = hits(&store.bay);
        write(&buffer, 5).await;
        store.remember();
        // The restored rows are those that SQL has, or an earlier state of them.
        write(&buffer, later).await;
        buffer.flush().await.expect("flushes");
        store.rewind();
        buffer.flush().await.expect("a replay");
        let stats = buffer.stats().await.expect("answers");
        assert_eq!((stats.pending_rows, stats.replays, stats.parked.len()), (0, 1, 0));
        assert_eq!(total(&buffer, &sink), 5 + i64::try_from(later).expect("small"));
    }
}

/// A batch is applied while traffic returns to the old primary, where the same generation was frozen with more rows. The
/// acknowledgement arrives there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledgement_does_not_remove_what_was_written_since() {
    if without("redis") {
        return;
    }
    let store = Rewound::open().await;
    let (buffer, _) = hits(&store.bay);
    let sink = MoodySink::default();
    sink.next([Mood::Waits]);
    let other = store.bay.buffer(Buffer::new("hits").key("id").sum("n").partitions(1)).expect("valid");
    let _ = other.flush_to(sink.clone());
    write(&buffer, 5).await;
    store.remember();
    let flush = tokio::spawn({
        let other = other.clone();
        async move { other.flush().await }
    });
    eventually("the batch to be applied", async || sink.calls() == 1).await;
    let frozen = store.frozen();
    Redis::shared().command(["DEL", &frozen]);
    store.rewind();
    write(&buffer, 7).await;
    Redis::shared().command(["RENAME", &store.key("live"), &frozen]);
    sink.go_on();
    flush.await.expect("ends").expect("five are in the table");
    assert_eq!(store.frozen(), frozen, "it stays");
    other.flush().await.expect_err("seven are not in the table");
    assert!(other.stats().await.expect("answers").parked[0].diverged);
    assert_eq!(total(&other, sink.table()), 5);
}

/// The time of the last write goes forward, although the server's clock was set back in between.
#[tokio::test]
async fn the_time_of_the_last_write_goes_forward_when_the_clock_does_not() {
    if without("redis") {
        return;
    }
    let store = Rewound::open().await;
    let (buffer, sink) = hits(&store.bay);
    write(&buffer, 1).await;
    let ahead = "9000000000000000";
    Redis::shared().command(["HSET", &store.key("live"), "#last", ahead]);
    store.remember();
    buffer.flush().await.expect("flushes");
    store.rewind();
    write(&buffer, 1).await;
    buffer.flush().await.expect_err("one is not in the table");
    assert_eq!(buffer.stats().await.expect("answers").parked.len(), 1);
    assert_eq!(total(&buffer, &sink), 1);
}

/// An embedded store freezes the rows that it finds when it opens. An older copy of the file has rows that SQL has already,
/// and no write is added to them.
#[tokio::test]
async fn an_older_copy_of_the_file_doubles_nothing_and_hides_nothing() {
    for flushed_before in [false, true] {
        let directory = tempfile::tempdir().expect("temporary directory");
        let [file, copy] = ["store.redb", "copy.redb"].map(|name| directory.path().join(name));
        let url = format!("embedded:{}", file.display());
        let sink = MemorySink::new();
        let open = async || {
            let bay = Forebay::open(&url).await.expect("opens");
            let buffer = bay.buffer(Buffer::new("hits").key("id").sum("n").partitions(1)).expect("valid");
            let _ = buffer.flush_to(sink.clone());
            (bay, buffer)
        };
        let (bay, buffer) = open().await;
        write(&buffer, 5).await;
        bay.close().await.expect("closes");
        std::fs::copy(&file, &copy).expect("copies");

        let (bay, buffer) = open().await;
        write(&buffer, 3).await;
        if flushed_before {
            buffer.flush().await.expect("flushes");
        }
        bay.close().await.expect("closes");
        std::fs::copy(&copy, &file).expect("copies");

        let (bay, buffer) = open().await;
        write(&buffer, 7).await;
        buffer.flush().await.expect("flushes");
        let stats = buffer.stats().await.expect("answers");
        assert_eq!((stats.pending_rows, stats.parked.len()), (0, 0));
        // Writes that the copy does not have are lost if SQL does not have them either. Nothing else is lost.
        let tail = if flushed_before { 3 } else { 0 };
        assert_eq!(total(&buffer, &sink), 5 + tail + 7, "flushed before: {flushed_before}");
        bay.close().await.expect("closes");
    }
}
