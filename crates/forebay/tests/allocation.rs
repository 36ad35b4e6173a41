//! What a decision allocates: nothing, once its key is known.

use std::pin::pin;

use allocation_counter::{AllocationInfo, measure};
use forebay::{
    Forebay, Limit, Result,
    limit::{Decision, Kind, Mode, Source},
    time::hours,
};
use futures::FutureExt as _;

const KINDS: [Kind; 3] = [Kind::FixedWindow, Kind::SlidingWindow, Kind::TokenBucket];

/// So many decisions, none of which waits for anything: neither a timer nor another task could run here.
fn decide(times: u32, take: impl AsyncFn() -> Result<Decision>) -> (AllocationInfo, Option<Source>) {
    let mut source = None;
    let allocated = measure(|| {
        for _ in 0..times {
            let decision = pin!(take()).now_or_never().expect("decides at once").expect("answers");
            assert!(decision.is_allowed());
            source = Some(decision.source());
        }
    });
    (allocated, source)
}

#[tokio::test]
async fn no_allocation_per_embedded_decision_on_a_known_key() {
    let bay = Forebay::open("memory:").await.expect("opens");
    for kind in KINDS {
        let limit = bay.limit(Limit::new(kind.as_str(), 1 << 30, hours(1)).kind(kind)).expect("valid");
        let (first, _) = decide(1, async || limit.take("42").await);
        assert!(first.count_total > 0, "a new key is remembered: the counter counts");
        let (rest, _) = decide(1_000, async || limit.take_n("42", 3).await);
        assert_eq!(rest.count_total, 0, "{kind:?}: {} bytes", rest.bytes_total);
    }
}

#[tokio::test]
async fn no_allocation_per_decision_within_a_slice() {
    let bay = Forebay::open("memory:").await.expect("opens");
    for kind in KINDS {
        let limit = Limit::new(kind.as_str(), 1 << 30, hours(1)).kind(kind).mode(Mode::Leased);
        let limit = bay.limit(limit).expect("valid");
        let (mut within, mut allocations) = (0, 0);
        for _ in 0..10_000 {
            let (taken, source) = decide(1, async || limit.take("42").await);
            if source == Some(Source::Lease) {
                within += 1;
                // To ask for the next slice beside that does allocate, once a slice.
                allocations += u64::from(taken.count_total > 0);
            }
        }
        assert!(within > 9_900, "{kind:?}: {within} within slices");
        assert!(allocations < 100, "{kind:?}: {allocations} of {within} allocate");
    }
}
