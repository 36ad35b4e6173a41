//! Requests that are carried out once.

use futures::future::join_all;

use super::fresh as fresh_name;
use crate::{
    Buffer, Event, Limit,
    bay::Forebay,
    event::{Cell, EventHandle},
    limit::LimitHandle,
    once::{InProgress, Once},
    series::SeriesHandle,
    time::hours,
};

pub(super) async fn a_request_is_the_first_once_and_then_known_by_its_answer(bay: Forebay) {
    let key = format!("POST /v1/{} {{ }} é", fresh("once"));
    let Once::First(begun) = bay.once(&key, u128::MAX).await.unwrap() else { panic!("nobody came before") };
    assert!(matches!(bay.once(&key, u128::MAX).await.unwrap(), Once::Running { .. }));
    assert!(matches!(bay.once(&key, 1).await.unwrap(), Once::Other));
    let answer = "202 {\"accepted\": 1}\n\u{0}é";
    begun.end(answer).await.unwrap();
    for _ in 0..2 {
        let Once::Done(known) = bay.once(&key, u128::MAX).await.unwrap() else { panic!("it was ended") };
        assert_eq!(&*known, answer);
        assert!(matches!(bay.once(&key, 1).await.unwrap(), Once::Other));
    }
}

pub(super) async fn a_request_that_came_to_nothing_may_be_repeated(bay: Forebay) {
    let key = fresh("once");
    for print in 0..3 {
        let Once::First(begun) = bay.once(&key, print).await.unwrap() else { panic!("it was forgotten") };
        begun.forget().await.unwrap();
    }
}

pub(super) async fn many_at_once_have_one_first(bay: Forebay) {
    let key = fresh("once");
    let answers = join_all((0..20).map(|_| bay.once(&key, 7))).await;
    let firsts = answers.into_iter().filter(|answer| matches!(answer, Ok(Once::First(_))));
    assert_eq!(firsts.count(), 1);
}

fn fresh(what: &str) -> String {
    fresh_name(what).to_string().replace('-', "_")
}

async fn begin(bay: &Forebay, key: &str, print: u128) -> InProgress {
    match bay.once(key, print).await.unwrap() {
        Once::First(begun) => begun,
        other => panic!("it can be begun: {other:?}"),
    }
}

pub(super) async fn an_attempt_that_left_is_followed_by_one_with_its_note(bay: Forebay) {
    let key = fresh("once");
    let first = begin(&bay, &key, 7).await;
    assert!(first.is_first() && first.note().is_empty());
    first.leave("line 3 is open", true).await.unwrap();
    assert!(matches!(bay.once(&key, 8).await.unwrap(), Once::Other));
    let second = begin(&bay, &key, 7).await;
    assert!(!second.is_first());
    assert_eq!(second.note(), "line 3 is open");
    assert!(matches!(bay.once(&key, 7).await.unwrap(), Once::Running { .. }));
    second.leave("line 4 is open", false).await.unwrap();
    let third = begin(&bay, &key, 7).await;
    assert_eq!(third.note(), "line 4 is open");
    third.end("over").await.unwrap();
    assert!(matches!(bay.once(&key, 7).await.unwrap(), Once::Done(answer) if &*answer == "over"));
}

/// An event with two series and two buffers, and what counts its hits.
struct Hits {
    hit: EventHandle,
    limit: LimitHandle,
    series: [SeriesHandle; 2],
    buffers: [crate::buffer::BufferHandle; 2],
}

impl Hits {
    fn new(bay: &Forebay) -> Self {
        let limit = bay.limit(Limit::per_day(fresh("limit"), 1_000).deadline(super::PATIENCE)).unwrap();
        let series = ["a", "b"].map(|what| bay.series(fresh(what)).unwrap());
        let buffers = ["c", "d"]
            .map(|what| bay.buffer(Buffer::new(fresh(what)).key("id").sum("n").partitions(3)).unwrap());
        let mut event = Event::new("hit").limit(&limit);
        for series in &series {
            event = event.series(series);
        }
        for buffer in &buffers {
            event = event.buffer(buffer, [Cell::Key], [("n", Cell::N)]);
        }
        Self { hit: bay.event(event).unwrap(), limit, series, buffers }
    }

    /// The count of a key in every part, if they agree.
    async fn count(&self, key: &str) -> u64 {
        let mut counts = vec![self.limit.peek(key).await.unwrap().used()];
        for series in &self.series {
            counts.push(series.sum(key, hours(1)).await.unwrap());
        }
        for buffer in &self.buffers {
            let pending = buffer.pending([key.into()]).await.unwrap();
            let n = match &pending[0] {
                Some(crate::buffer::Value::Integer(n)) => n.unsigned_abs(),
                _ => 0,
            };
            counts.push(n);
        }
        assert!(counts.iter().all(|count| *count == counts[0]), "{key}: {counts:?}");
        counts[0]
    }
}

pub(super) async fn the_parts_of_a_line_are_applied_once_by_whichever_attempt(bay: Forebay) {
    let hits = Hits::new(&bay);
    let (key, request) = (fresh("key"), fresh("once"));
    // Three attempts, of which two ended without knowing anything: what is done is known by the tokens.
    for attempt in 0..3 {
        let begun = begin(&bay, &request, 7).await;
        for (item, n) in [(0, 3), (1, 5)] {
            let hit = hits.hit.hit_once(&begun.item(item), &key, n, None).await.unwrap();
            assert!(hit.is_accepted(), "attempt {attempt}");
        }
        begun.leave("", false).await.unwrap();
        assert_eq!(hits.count(&key).await, 8, "attempt {attempt}");
    }
    // Two at the same time, the same line: each is told that it is done.
    let begun = begin(&bay, &request, 7).await;
    let both = [begun.item(2), begun.item(2)];
    for hit in join_all(both.iter().map(|item| hits.hit.hit_once(item, &key, 1, None))).await {
        assert!(hit.unwrap().is_accepted());
    }
    assert_eq!(hits.count(&key).await, 9);
}

pub(super) async fn keyed_and_other_writes_to_one_row_all_count(bay: Forebay) {
    let hits = Hits::new(&bay);
    let key = fresh("key");
    let begun = begin(&bay, &fresh("once"), 7).await;
    for _ in 0..2 {
        let keyed = join_all((0..50).map(|item| {
            let (hit, item, key) = (&hits.hit, begun.item(item), &key);
            async move { hit.hit_once(&item, key, 1, None).await.unwrap().is_accepted() }
        }));
        let others = join_all((0..50).map(|_| async { hits.hit.hit(&key, 1).await.unwrap().is_accepted() }));
        let (keyed, others) = futures::join!(keyed, others);
        assert!(keyed.into_iter().chain(others).all(|accepted| accepted));
    }
    assert_eq!(hits.count(&key).await, 50 + 100);
}

pub(super) async fn a_hit_under_a_key_is_taken_once(bay: Forebay) {
    let hits = Hits::new(&bay);
    let (key, request) = (fresh("key"), fresh("once"));
    for _ in 0..3 {
        assert!(hits.hit.hit_keyed(&request, &key, 4, None).await.unwrap().is_accepted());
    }
    assert_eq!(hits.count(&key).await, 4);
    let other = hits.hit.hit_keyed(&request, &key, 5, None).await.unwrap_err();
    assert!(other.is_nothing() && other.error.kind() == crate::ErrorKind::Invalid, "{other:?}");
    // A limited hit is no hit: once there is room it is taken.
    assert!(hits.hit.hit(&key, 996).await.unwrap().is_accepted());
    let full = fresh("once");
    assert!(!hits.hit.hit_keyed(&full, &key, 1, None).await.unwrap().is_accepted());
    assert!(hits.limit.refund(&key, 1).await.unwrap().is_allowed());
    assert!(hits.hit.hit_keyed(&full, &key, 1, None).await.unwrap().is_accepted());
}
