//! Denials that a process remembers. It answers them without the store, and only if the store would deny as well.

use forebay::{
    Buffer, ErrorKind, Event, Forebay, Limit,
    buffer::{BufferHandle, ColumnType},
    event::{Cell, EventHandle},
    fault::Fault,
    limit::{Charge, Decisions, Kind, LimitHandle, Mode, OnError, Override, Source},
    series::SeriesHandle,
    time::{When, hours, millis, mins, secs},
};

use super::{START, Store};

const STEPS: [&str; 5] = ["take", "take_all", "take_all_once", "refund", "series_add"];

/// The number of round trips to the store.
fn trips(store: &Store) -> u64 {
    STEPS.iter().map(|step| store.faults.calls(step)).sum()
}

fn per_minute(store: &Store, name: &str, quota: u64) -> LimitHandle {
    store.bay.limit(Limit::per_minute(name, quota)).expect("valid")
}

fn charge(limit: &LimitHandle, key: &str, cost: u64) -> Charge {
    Charge { limit: limit.clone(), key: key.into(), cost }
}

async fn take_all(bay: &Forebay, charges: &[Charge]) -> Decisions {
    bay.take_all(charges).await.expect("answers")
}

fn sources(decisions: &Decisions) -> Vec<Option<Source>> {
    decisions.limits.iter().map(|decision| decision.map(|decision| decision.source())).collect()
}

async fn used(limit: &LimitHandle, key: &str) -> u64 {
    limit.peek(key).await.expect("answers").used()
}

fn event(store: &Store, limit: &LimitHandle) -> (EventHandle, SeriesHandle) {
    let series = store.bay.series("hits").expect("valid");
    let event = Event::new("hit").limit(limit).series(&series);
    (store.bay.event(event).expect("valid"), series)
}

#[tokio::test]
async fn a_known_denial_names_the_limit_and_asks_and_charges_no_other() {
    let store = Store::open().await;
    let (narrow, wide) = (per_minute(&store, "narrow", 2), per_minute(&store, "wide", 9));
    let both = [charge(&wide, "*", 1), charge(&narrow, "42", 1)];
    for _ in 0..2 {
        assert!(take_all(&store.bay, &both).await.allowed);
    }
    let denied = take_all(&store.bay, &both).await;
    assert_eq!(sources(&denied), [Some(Source::Engine), Some(Source::Engine)], "the store names both");
    let before = trips(&store);
    for _ in 0..100 {
        let denied = take_all(&store.bay, &both).await;
        assert_eq!((denied.allowed, sources(&denied)), (false, vec![None, Some(Source::DenyCache)]));
    }
    assert_eq!(trips(&store), before);
    assert!(store.bay.known_denial(&both).expect("valid").is_some());
    assert_eq!(used(&wide, "*").await, 2, "a denied request charges none");
    assert!(take_all(&store.bay, &[charge(&wide, "*", 1), charge(&narrow, "43", 1)]).await.allowed);
    assert_eq!(narrow.top_denied(1)[0].count, 102);

    store.pass(millis(1_001)).await;
    assert!(store.bay.known_denial(&both).expect("valid").is_none());
    let asked = trips(&store);
    assert!(!take_all(&store.bay, &both).await.allowed);
    assert_eq!(trips(&store), asked + 1, "asked again after a second");
}

#[tokio::test]
async fn a_flood_of_denied_events_costs_no_round_trip_and_is_counted() {
    let store = Store::open().await;
    let limit = per_minute(&store, "hits", 3);
    let (hit, series) = event(&store, &limit);
    for n in 0..4 {
        assert_eq!(hit.hit("42", 1).await.expect("answers").is_accepted(), n < 3);
    }
    let before = trips(&store);
    for _ in 0..500 {
        assert!(!hit.hit("42", 2).await.expect("answers").is_accepted());
    }
    assert_eq!(trips(&store), before);
    store.pass(millis(1_100)).await;
    assert_eq!(trips(&store), before + 1, "one write for all");
    assert_eq!(series.limited().sum("42", hours(1)).await.expect("answers"), 1_001);
    assert_eq!(series.sum("42", hours(1)).await.expect("answers"), 3);
}

/// Each thread counts a key by itself once it is denied often.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_flood_on_many_threads_loses_no_count() {
    let store = Store::open().await;
    let (hit, series) = event(&store, &per_minute(&store, "hits", 3));
    for _ in 0..4 {
        let _ = hit.hit("42", 1).await.expect("answers");
    }
    let before = trips(&store);
    let flood = |_| {
        let hit = hit.clone();
        tokio::spawn(async move {
            for _ in 0..5_000 {
                assert!(!hit.hit("42", 2).await.expect("answers").is_accepted());
            }
        })
    };
    for flooded in futures::future::join_all((0..4).map(flood)).await {
        flooded.expect("ends");
    }
    assert_eq!(trips(&store), before);
    store.pass(millis(1_100)).await;
    let counted = async || series.limited().sum("42", hours(1)).await.expect("answers");
    forebay_testkit::eventually("all to be counted", async || counted().await == 40_001).await;
    store.pass(millis(1_100)).await;
    assert_eq!(counted().await, 40_001, "once");
    assert_eq!(trips(&store), before + 1, "one write for all");
}

/// A hit that no row takes is a mistake, and not a denial, whatever is known of its limits. A limit of all keys denies any key.
#[tokio::test]
async fn a_hit_that_no_row_takes_is_refused_also_while_a_denial_is_known() {
    let store = Store::open().await;
    let global = per_minute(&store, "global", 1);
    let rows = |name: &str, column: ColumnType| {
        let definition = Buffer::new(name).key_of("id", column).key("day").sum("n");
        store.bay.buffer(definition).expect("valid")
    };
    let (numbers, texts) = (rows("numbers", ColumnType::Integer), rows("texts", ColumnType::Text));
    let hit = |buffer: &BufferHandle| {
        let cells = [Cell::Key, Cell::Fixed("2026-11-30".into())];
        let event = Event::new("hit").limit_key(&global, "*").buffer(buffer, cells, [("n", Cell::N)]);
        store.bay.event(event).expect("valid")
    };
    let (by_number, by_text) = (hit(&numbers), hit(&texts));
    for _ in 0..2 {
        let _ = by_number.hit("42", 1).await.expect("answers");
    }
    let before = trips(&store);
    assert!(!by_number.hit("43", 1).await.expect("answers").is_accepted());
    assert!(!by_text.hit("43", 1).await.expect("answers").is_accepted());
    let error = by_number.hit("forty", 1).await.expect_err("no number");
    assert_eq!((error.error.kind(), error.is_nothing()), (ErrorKind::Invalid, true));
    let error = by_text.hit("%".repeat(200), 1).await.expect_err("escaped, it is too long");
    assert_eq!(error.error.kind(), ErrorKind::Invalid);
    assert_eq!(trips(&store), before);
}

/// The limits of a take that is refused are not asked: an error is no denial.
#[tokio::test]
async fn a_cost_that_a_limit_never_admits_is_refused_also_while_a_denial_is_known() {
    let store = Store::open().await;
    let (narrow, wide) = (per_minute(&store, "narrow", 2), per_minute(&store, "wide", 9));
    let event = Event::new("hit").limit(&wide).limit(&narrow);
    let hit = store.bay.event(event).expect("valid");
    for _ in 0..2 {
        let _ = hit.hit("42", 2).await.expect("answers");
    }
    assert!(!hit.hit("42", 2).await.expect("answers").is_accepted());
    assert_eq!(hit.hit("42", 3).await.expect_err("above the quota").error.kind(), ErrorKind::OutOfRange);
}

#[tokio::test]
async fn closing_sends_the_counts_of_limited_hits() {
    let store = Store::open().await;
    let (hit, series) = event(&store, &per_minute(&store, "hits", 1));
    let other = store.bay.clone();
    for _ in 0..5 {
        let _ = hit.hit("42", 1).await.expect("answers");
    }
    assert_eq!(series.limited().sum("42", hours(1)).await.expect("answers"), 0);
    let before = store.faults.calls("series_add");
    other.close().await.expect("closes");
    assert_eq!(store.faults.calls("series_add"), before + 1);
}

#[tokio::test]
async fn a_denied_cost_says_nothing_of_a_smaller_one() {
    let store = Store::open().await;
    let limit = per_minute(&store, "hits", 5);
    let cost = |cost| [charge(&limit, "42", cost)];
    assert!(take_all(&store.bay, &cost(3)).await.allowed);
    assert!(!take_all(&store.bay, &cost(3)).await.allowed);
    let larger = take_all(&store.bay, &cost(4)).await;
    assert_eq!(sources(&larger), [Some(Source::DenyCache)]);
    assert!(take_all(&store.bay, &cost(2)).await.allowed, "it fits");
}

#[tokio::test]
async fn resets_refunds_and_overrides_end_a_known_denial_at_once() {
    let store = Store::open().await;
    let limit = per_minute(&store, "hits", 2);
    let again = per_minute(&store, "hits", 2);
    let (hit, _) = event(&store, &limit);
    let flood = async || {
        while hit.hit("42", 1).await.expect("answers").is_accepted() {}
        assert!(!hit.hit("42", 1).await.expect("answers").is_accepted());
        store.hand.advance(millis(1));
    };
    flood().await;
    let _ = limit.reset("42").await.expect("answers");
    store.hand.advance(millis(1));
    assert!(hit.hit("42", 1).await.expect("answers").is_accepted(), "reset");
    flood().await;
    let _ = again.refund("42", 1).await.expect("answers");
    store.hand.advance(millis(1));
    assert!(hit.hit("42", 1).await.expect("answers").is_accepted(), "a part came back by another handle");
    flood().await;
    limit.set_override("42", Override::rate(3, mins(1))).await.expect("sets");
    assert!(hit.hit("42", 1).await.expect("answers").is_accepted(), "allowed more");
    flood().await;
    limit.set_override("42", Override::unlimited()).await.expect("sets");
    assert!(hit.hit("42", 9).await.expect("answers").is_accepted(), "allowed everything");
    limit.set_override("42", Override::blocked()).await.expect("sets");
    let before = trips(&store);
    assert!(!hit.hit("42", 1).await.expect("answers").is_accepted());
    assert_eq!(trips(&store), before, "blocked");
}

#[tokio::test]
async fn shadows_and_explicit_times_ask_the_store() {
    let store = Store::open().await;
    let shadow = store.bay.limit(Limit::per_minute("shadow", 1).shadow()).expect("valid");
    for n in 1..5 {
        let before = trips(&store);
        assert!(take_all(&store.bay, &[charge(&shadow, "42", 1)]).await.allowed);
        assert_eq!(trips(&store), before + 1, "take {n}");
    }
    let limit = per_minute(&store, "hits", 1);
    let charges = [charge(&limit, "42", 1)];
    for _ in 0..2 {
        let _ = take_all(&store.bay, &charges).await;
    }
    assert!(store.bay.known_denial(&charges).expect("valid").is_some());
    let later = store.bay.take_all_at(&charges, When::At(START.plus(mins(2)))).await.expect("answers");
    assert!(later.allowed, "at that time there is room");
    let denied = store.bay.take_all_at(&charges, When::At(START.plus(mins(2)))).await.expect("answers");
    assert_eq!(sources(&denied), [Some(Source::Engine)]);
}

/// A charged attempt died. Its repeat completes, even if the process has since remembered a denial of the key.
#[tokio::test]
async fn a_repeated_request_is_not_denied_by_what_the_process_knows() {
    let store = Store::open().await;
    let limit = store.bay.limit(Limit::per_hour("hits", 1)).expect("valid");
    let (hit, series) = event(&store, &limit);
    store.faults.next("series_add_once", [Some(Fault::Unreachable)]);
    let first = tokio::spawn({
        let hit = hit.clone();
        async move { hit.hit_keyed("one", "42", 1, None).await.map(|hit| hit.is_accepted()) }
    });
    store.pass(millis(10)).await;
    first.abort();
    assert_eq!(used(&limit, "42").await, 1, "charged, and not counted");
    store.pass(secs(31)).await;
    for _ in 0..2 {
        assert!(!hit.hit_keyed("other", "42", 1, None).await.expect("answers").is_accepted());
    }
    assert!(store.bay.known_denial(&[charge(&limit, "42", 1)]).expect("valid").is_some());
    assert!(hit.hit_keyed("one", "42", 1, None).await.expect("answers").is_accepted());
    assert_eq!(used(&limit, "42").await, 1);
    assert_eq!(series.sum("42", hours(1)).await.expect("answers"), 1);
}

#[tokio::test]
async fn a_keyed_event_is_denied_without_a_take_and_may_be_repeated() {
    let store = Store::open().await;
    let (hit, _) = event(&store, &per_minute(&store, "hits", 1));
    assert!(hit.hit_keyed("a", "42", 1, None).await.expect("answers").is_accepted());
    assert!(!hit.hit_keyed("b", "42", 1, None).await.expect("answers").is_accepted());
    let before = trips(&store);
    assert!(!hit.hit_keyed("b", "42", 1, None).await.expect("answers").is_accepted());
    assert!(
        hit.hit_keyed("a", "42", 1, None).await.expect("answers").is_accepted(),
        "the first answer again"
    );
    assert_eq!(trips(&store), before);
    store.pass(mins(1)).await;
    assert!(hit.hit_keyed("b", "42", 1, None).await.expect("answers").is_accepted(), "a denial is not kept");
}

#[tokio::test]
async fn while_the_store_is_out_a_known_denial_holds_and_then_on_error_decides() {
    for (on_error, passes) in [(OnError::Open, true), (OnError::Closed, false), (OnError::Local, true)] {
        let store = Store::open().await;
        let limit = Limit::per_minute("hits", 1).on_error(on_error);
        let charges = [charge(&store.bay.limit(limit).expect("valid"), "42", 1)];
        for _ in 0..2 {
            let _ = take_all(&store.bay, &charges).await;
        }
        store.faults.always(Some(Fault::Refused));
        let known = take_all(&store.bay, &charges).await;
        assert_eq!(sources(&known), [Some(Source::DenyCache)]);
        assert!(known.limits.iter().flatten().all(|limit| !limit.is_degraded()));
        store.hand.advance(secs(1));
        let degraded = take_all(&store.bay, &charges).await;
        assert_eq!((degraded.allowed, sources(&degraded)), (passes, vec![Some(Source::Fallback)]));
    }
}

#[tokio::test]
async fn a_limit_and_key_that_stand_twice_are_refused_though_a_denial_is_known() {
    let store = Store::open().await;
    let limit = per_minute(&store, "hits", 1);
    let twice = [charge(&limit, "42", 1), charge(&limit, "42", 1)];
    for _ in 0..2 {
        let _ = limit.take("42").await.expect("answers");
    }
    assert!(store.bay.take_all(&twice).await.is_err());
    assert!(store.bay.known_denial(&twice).is_err());
}

fn leased(store: &Store, quota: u64) -> LimitHandle {
    let limit = Limit::new("leased", quota, hours(1)).kind(Kind::FixedWindow).mode(Mode::Leased);
    store.bay.limit(limit).expect("valid")
}

#[tokio::test]
async fn several_limits_spend_from_local_budgets() {
    let store = Store::open().await;
    let (all, each) = (leased(&store, 1_000_000), leased_other(&store));
    let both = [charge(&all, "*", 1), charge(&each, "42", 1)];
    let mut within = 0;
    for _ in 0..1_000 {
        store.hand.advance(std::time::Duration::from_micros(100));
        let taken = take_all(&store.bay, &both).await;
        super::settle().await;
        assert!(taken.allowed);
        within += u64::from(taken.limits.iter().flatten().all(|limit| limit.source() == Source::Lease));
    }
    assert!(within > 900, "{within} of 1000 within local budgets");
    assert!(trips(&store) < 100, "{} round trips", trips(&store));
    all.give_back().await;
    assert_eq!(used(&all, "*").await, 1_000);
}

fn leased_other(store: &Store) -> LimitHandle {
    store.bay.limit(Limit::new("other", 1_000_000, hours(1)).mode(Mode::Leased)).expect("valid")
}

/// A local budget is spent after the store has admitted the others.
#[tokio::test]
async fn a_denied_request_spends_no_local_budget_and_none_is_admitted_beyond_the_quota() {
    let store = Store::open().await;
    let (all, exact) = (leased(&store, 400), per_minute(&store, "exact", 150));
    let both = [charge(&all, "*", 1), charge(&exact, "42", 1)];
    let mut admitted = 0;
    for _ in 0..300 {
        store.hand.advance(std::time::Duration::from_micros(100));
        admitted += u64::from(take_all(&store.bay, &both).await.allowed);
        super::settle().await;
    }
    assert_eq!(admitted, 150);
    all.give_back().await;
    assert_eq!(used(&all, "*").await, 150, "denied requests charged nothing");
    let mut alone = 0;
    for _ in 0..400 {
        store.hand.advance(std::time::Duration::from_micros(100));
        alone += u64::from(take_all(&store.bay, &[charge(&all, "*", 1)]).await.allowed);
        super::settle().await;
    }
    assert_eq!(alone, 250, "all of the quota, and no more");
}

/// Two processes share one store: one resets a key, and the other one takes within a second.
#[tokio::test]
async fn another_process_notices_a_reset_within_a_second() {
    let server = forebay_testkit::Redis::start();
    let open = async || Forebay::open(&server.url()).await.expect("opens");
    let (one, two) = (open().await, open().await);
    let limit = |bay: &Forebay| bay.limit(Limit::per_day("hits", 1)).expect("valid");
    let charges = [charge(&limit(&one), "42", 1)];
    for _ in 0..2 {
        let _ = take_all(&one, &charges).await;
    }
    assert!(one.known_denial(&charges).expect("valid").is_some());
    let _ = limit(&two).reset("42").await.expect("answers");
    let asks_again = async || take_all(&one, &charges).await.allowed;
    forebay_testkit::eventually("the process that remembers the denial to ask again", asks_again).await;
}
