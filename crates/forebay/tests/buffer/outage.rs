//! A database that is unreachable for an hour.

use forebay::{
    Buffer, Clock, Forebay, ManualClock, Timestamp,
    buffer::{BufferHandle, Pressure},
    time::secs,
};

use super::support::{MoodySink, total};

const ROWS: i64 = 300;
const HITS_A_SECOND: i64 = 25;

struct World {
    hand: ManualClock,
    buffer: BufferHandle,
    hits: i64,
}

impl World {
    /// Writes rows for a second, and lets the flusher run.
    async fn second(&mut self, hits: i64) {
        for _ in 0..hits {
            self.hits += 1;
            let id = (self.hits * 7) % ROWS;
            self.buffer.row(id).add("n", 1).await.expect("is taken");
        }
        self.hand.advance(secs(1));
        // The flusher runs until it sleeps again.
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }

    async fn pending(&self) -> u64 {
        self.buffer.stats().await.expect("answers").pending_rows
    }
}

#[tokio::test]
async fn an_hour_without_sql_loses_nothing_and_keeps_no_more_than_there_are_rows() {
    let hand = ManualClock::at(Timestamp::from_secs(1_790_000_000));
    let bay = Forebay::options().clock(Clock::from(hand.clone())).open("memory:").await.expect("opens");
    let definition = Buffer::new("rows").key_of("id", forebay::buffer::ColumnType::Integer).sum("n");
    let buffer = bay.buffer(definition.partitions(4)).expect("valid");
    let sink = MoodySink::default();
    let _flushing = buffer.flush_to(sink.clone()).every(secs(10)).spawn();
    let mut world = World { hand, buffer, hits: 0 };

    for _ in 0..60 {
        world.second(HITS_A_SECOND).await;
    }
    assert!(total(&world.buffer, sink.table()) > 0, "flushed while SQL is up");

    sink.set_away(true);
    let applied = total(&world.buffer, sink.table());
    let mut most = 0;
    for _ in 0..3_600 {
        world.second(HITS_A_SECOND).await;
        most = most.max(world.pending().await);
    }
    assert_eq!(total(&world.buffer, sink.table()), applied, "nothing reaches SQL");
    // Four generations wait, and later writes merge in the live one: 90 000 hits are a few rows each.
    assert!(most <= 5 * ROWS.unsigned_abs(), "{most} rows wait");
    let stats = world.buffer.stats().await.expect("answers");
    assert!(stats.oldest_age > secs(3_500) && stats.last_error.is_some(), "{stats:?}");
    assert_eq!(stats.pressure, Pressure::None);

    sink.set_away(false);
    let mut seconds = 0;
    while world.pending().await > 0 {
        world.second(0).await;
        seconds += 1;
        assert!(seconds < 120, "it drains by itself");
    }
    assert_eq!(total(&world.buffer, sink.table()), world.hits, "lost 0, doubled 0");
    assert!(world.buffer.stats().await.expect("answers").last_error.is_none());
}
