//! Every step of a flush and of a hit fails once before its effect, and once after it. Acknowledged writes count once.

mod closed;
mod foreign;
mod refusals;
mod rights;

use forebay::{
    Buffer, Clock, Event, Forebay, Limit, ManualClock, Timestamp,
    buffer::{BufferHandle, Value},
    event::{Applied, Cell},
    fault::{Fault, Faults},
    limit::LimitHandle,
    sink::MemorySink,
};

const START: Timestamp = Timestamp::from_secs(1_790_000_000 - 1_790_000_000 % 60);

struct World {
    bay: Forebay,
    faults: Faults,
    buffer: BufferHandle,
    sink: MemorySink,
    limit: LimitHandle,
}

async fn open() -> World {
    let faults = Faults::default();
    let options = Forebay::options().clock(Clock::from(ManualClock::at(START))).faults(faults.clone());
    let bay = options.open("memory:").await.expect("opens");
    let buffer = bay.buffer(Buffer::new("rows").key("id").sum("n").partitions(2)).expect("valid");
    let sink = MemorySink::new();
    let _ = buffer.flush_to(sink.clone());
    let limit = bay.limit(Limit::per_minute("hits", 5)).expect("valid");
    World { bay, faults, buffer, sink, limit }
}

fn total(world: &World) -> i64 {
    let number = |cell: &Option<Value>| if let Some(Value::Integer(n)) = cell { *n } else { 0 };
    world.sink.rows(world.buffer.schema()).iter().map(|row| number(&row.cells[0])).sum()
}

#[tokio::test]
async fn a_flush_that_fails_anywhere_is_made_good_by_the_next() {
    for step in ["buffer_frozen", "buffer_rotate", "buffer_read", "buffer_ack"] {
        for (fault, before) in
            [(Fault::Refused, 0), (Fault::Refused, 1), (Fault::AnswerLost, 0), (Fault::AnswerLost, 1)]
        {
            let world = open().await;
            for id in 0..20 {
                world.buffer.row(id.to_string()).add("n", 1 + i64::from(id)).await.expect("answers");
            }
            world.faults.next(step, vec![None; before].into_iter().chain([Some(fault)]));
            assert!(world.buffer.flush().await.is_err(), "{step} {fault:?}");
            assert!(world.buffer.stats().await.expect("answers").last_error.is_some());

            world.buffer.row("0").add("n", 1_000).await.expect("answers");
            world.buffer.flush().await.expect("flushes");
            assert_eq!(total(&world), 210 + 1_000, "{step} {fault:?}");
            let stats = world.buffer.stats().await.expect("answers");
            assert_eq!((stats.pending_rows, stats.last_error), (0, None));
        }
    }
}

#[tokio::test]
async fn a_hit_that_cannot_be_buffered_stays_charged_if_it_was_counted() {
    let world = open().await;
    let series = world.bay.series("hits").expect("valid");
    let event = Event::new("hit").limit(&world.limit).series(&series).buffer(
        &world.buffer,
        [Cell::Key],
        [("n", Cell::N)],
    );
    let hit = world.bay.event(event).expect("valid");
    for (fault, buffer, used) in [(Fault::Refused, Applied::No, 2), (Fault::AnswerLost, Applied::Unknown, 4)]
    {
        world.faults.next("buffer_add", [Some(fault)]);
        let error = hit.hit("42", 2).await.expect_err("fails");
        assert_eq!((error.limit, error.series.summary()), (Applied::Yes, Some(Applied::Yes)));
        assert_eq!(error.buffer.summary(), Some(buffer));
        assert_eq!(world.limit.peek("42").await.expect("answers").used(), used);
    }
    for _ in 0..2 {
        world.faults.next("series_add", [Some(Fault::Refused)]);
        world.faults.next("buffer_add", [Some(Fault::Refused)]);
        let error = hit.hit("42", 1).await.expect_err("fails");
        assert!(error.is_nothing(), "{error:?}");
        assert_eq!(world.limit.peek("42").await.expect("answers").used(), 4);
    }
}
