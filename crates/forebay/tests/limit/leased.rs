//! Leased limits: they decide within local budgets, and never admit more than the rule allows.

use std::{collections::BTreeMap, time::Duration};

use forebay::{
    Forebay, Limit,
    fault::Fault,
    limit::{CalendarUnit, Decision, Kind, LimitHandle, Mode, OnError, Override, Source},
    time::{hours, millis, mins, secs},
};
use proptest::prelude::*;

use super::{KINDS, START, Store, of_kind, settle};

fn leased(bay: &Forebay, kind: Kind, quota: u64, per: Duration) -> LimitHandle {
    bay.limit(definition(kind, quota, per)).expect("valid")
}

fn definition(kind: Kind, quota: u64, per: Duration) -> Limit {
    let limit = of_kind(kind.as_str(), kind, quota, per, CalendarUnit::Day);
    limit.mode(Mode::Leased).on_error(OnError::Closed)
}

/// From the start to 10 s before midnight.
const LATE: Duration = Duration::from_secs(35_190);

/// The time to let pass so that a window ends soon.
fn until_late(kind: Kind) -> Duration {
    if kind == Kind::CalendarWindow { LATE } else { Duration::ZERO }
}

async fn take(limit: &LimitHandle) -> Decision {
    let decision = limit.take("42").await.expect("answers");
    settle().await;
    decision
}

/// Takes one at a time, `times` times. Returns how many were admitted.
async fn takes(limit: &LimitHandle, times: u64) -> u64 {
    let mut admitted = 0;
    for _ in 0..times {
        admitted += u64::from(take(limit).await.is_allowed());
    }
    admitted
}

/// The used part in the store, as seen by a handle without an allotment.
async fn used(bay: &Forebay, kind: Kind, quota: u64, per: Duration) -> u64 {
    leased(bay, kind, quota, per).peek("42").await.expect("answers").used()
}

#[tokio::test]
async fn most_takes_of_a_busy_key_do_not_reach_the_store() {
    for kind in KINDS {
        let store = Store::open().await;
        let limit = leased(&store.bay, kind, 1_000_000, hours(1));
        let mut within = 0;
        for _ in 0..1_000 {
            store.hand.advance(Duration::from_micros(100));
            within += u64::from(take(&limit).await.source() == Source::Lease);
        }
        assert!(within > 950, "{kind:?}: {within} of 1000 within slices");
        let asked = store.faults.calls("take") + store.faults.calls("allot");
        assert!(asked < 80, "{kind:?}: {asked} round trips");
    }
}

#[tokio::test]
async fn a_key_that_is_seldom_taken_is_not_held() {
    let store = Store::open().await;
    let limit = leased(&store.bay, Kind::FixedWindow, 1_000, hours(1));
    for _ in 0..20 {
        assert_eq!(take(&limit).await.source(), Source::Engine);
        store.hand.advance(secs(1));
    }
    assert_eq!(store.faults.calls("allot"), 0);
}

#[tokio::test]
async fn one_process_gets_all_of_a_quota_and_no_more() {
    for kind in KINDS {
        for quota in [1, 2, 20, 1_000] {
            let store = Store::open().await;
            let limit = leased(&store.bay, kind, quota, hours(24));
            assert_eq!(takes(&limit, quota).await, quota, "{kind:?}");
            let denied = take(&limit).await;
            assert!(!denied.is_allowed());
            assert!(denied.retry_after().is_some(), "by the store, which knows");
            assert_eq!(denied.source(), Source::Engine);
        }
    }
}

/// The process holds 4 and the store has 4. Neither is enough for a cost of 5, but both together are.
#[tokio::test]
async fn the_local_budget_and_the_rest_of_the_store_add_up() {
    for kind in KINDS {
        let store = Store::open().await;
        let limit = leased(&store.bay, kind, 100, hours(24));
        let mut spent = 0;
        while limit.take_n("42", 7).await.expect("answers").is_allowed() {
            spent += 7;
            settle().await;
        }
        assert_eq!(spent, 98, "{kind:?}: as many as there are");
        assert_eq!(takes(&limit, 5).await, 2);
    }
}

#[tokio::test]
async fn an_answer_within_an_allotment_shows_the_state_known_to_the_process() {
    let store = Store::open().await;
    let limit = leased(&store.bay, Kind::FixedWindow, 1_000, hours(1));
    takes(&limit, 10).await;
    let taken = take(&limit).await;
    assert_eq!((taken.source(), taken.used(), taken.remaining()), (Source::Lease, 11, 989));
    assert!(!taken.is_degraded());
    assert!(taken.reset_after() <= hours(1) && taken.reset_after() > secs(1));
    assert_eq!(limit.peek("42").await.expect("answers").used(), 11, "what is held is not used");
    assert!(used(&store.bay, Kind::FixedWindow, 1_000, hours(1)).await > 11, "for others it is");
}

#[tokio::test]
async fn an_unspent_allotment_is_returned() {
    for kind in KINDS {
        let look = async |store: &Store| used(&store.bay, kind, 1_000, hours(24)).await;
        let holding = async || {
            let store = Store::open().await;
            let limit = leased(&store.bay, kind, 1_000, hours(24));
            assert_eq!(takes(&limit, 50).await, 50);
            assert!(look(&store).await > 50, "{kind:?}: something is held");
            (store, limit)
        };
        let (store, limit) = holding().await;
        limit.give_back().await;
        assert_eq!(look(&store).await, 50, "{kind:?}: given back");
        assert_eq!(takes(&limit, 1).await, 1, "it goes on");

        let (store, limit) = holding().await;
        drop(limit);
        settle().await;
        assert_eq!(look(&store).await, 50, "{kind:?}: dropped");

        let (store, _limit) = holding().await;
        store.pass(millis(1_100)).await;
        assert_eq!(look(&store).await, 50, "{kind:?}: idle");

        let directory = tempfile::tempdir().expect("temporary directory");
        let file = format!("embedded:{}", directory.path().join("limits.redb").display());
        let bay = Forebay::open(&file).await.expect("opens");
        let limit = leased(&bay, kind, 1_000, hours(24));
        assert_eq!(takes(&limit, 50).await, 50);
        bay.close().await.expect("closes");
        let error = limit.take("42").await.expect_err("closed");
        assert_eq!(error.kind(), forebay::ErrorKind::Closed, "{kind:?}");
        drop((limit, bay));
        let bay = Forebay::open(&file).await.expect("opens");
        let used = used(&bay, kind, 1_000, hours(24)).await;
        // The bucket has leaked a little.
        assert!((49..=50).contains(&used), "{kind:?}: closed: {used}");
    }
}

/// A process that dies returns nothing. Its allotment counts as used until its deadline, and no longer.
#[tokio::test]
async fn the_allotment_of_a_dead_process_returns_at_the_deadline() {
    for kind in KINDS {
        let store = Store::open().await;
        // Moves the clock to the middle of a window, or to 5 s before the end of a day.
        store.hand.advance(until_late(kind) + secs(5));
        let limit = leased(&store.bay, kind, 1_000, secs(10));
        assert_eq!(takes(&limit, 50).await, 50);
        store.faults.always(Some(Fault::Refused));
        drop(limit);
        settle().await;
        store.faults.always(None);
        let other = leased(&store.bay, kind, 1_000, secs(10));
        let rest = takes(&other, 1_000).await;
        assert!(rest < 950, "{kind:?}: {rest}");
        // The windows that were charged end, or the allotment ends and the bucket refills.
        store.pass(secs(21)).await;
        assert_eq!(takes(&other, 1_000).await, 1_000, "{kind:?}");
    }
}

#[tokio::test]
async fn a_reset_leaves_what_others_hold_charged() {
    for kind in KINDS {
        let store = Store::open().await;
        let (one, other) =
            (leased(&store.bay, kind, 1_000, hours(24)), leased(&store.bay, kind, 1_000, hours(24)));
        takes(&one, 100).await;
        other.reset("42").await.expect("resets");
        let theirs = takes(&other, 1_000).await;
        let rest = takes(&one, 1_000).await;
        assert!(rest > 0, "{kind:?}: it goes on with its slice");
        // The part that the other process had spent before the reset, without a report, is charged as well.
        assert!((900..=1_000).contains(&(theirs + rest)), "{kind:?}: {theirs} and {rest}");
        one.reset("42").await.expect("resets");
        assert_eq!(takes(&one, 10).await, 10, "{kind:?}");
    }
}

#[tokio::test]
async fn a_store_that_fails_is_noticed_when_the_slice_is_spent() {
    let store = Store::open().await;
    let limit = leased(&store.bay, Kind::FixedWindow, 1_000, hours(24));
    takes(&limit, 100).await;
    store.faults.always(Some(Fault::Refused));
    let within = takes(&limit, 1_000).await;
    assert!((1..500).contains(&within), "{within}");
    let denied = take(&limit).await;
    assert!(denied.is_degraded() && !denied.is_allowed(), "closed");
    store.faults.always(None);
    store.hand.advance(secs(1));
    assert_eq!(takes(&limit, 1_000).await, 900 - within);
}

#[tokio::test]
async fn an_override_counts_at_once() {
    let store = Store::open().await;
    let limit = leased(&store.bay, Kind::FixedWindow, 1_000, hours(24));
    takes(&limit, 100).await;
    limit.set_override("42", Override::rate(5, hours(24))).await.expect("valid");
    assert_eq!(takes(&limit, 10).await, 0);
    limit.set_override("42", Override::rate(200, hours(24))).await.expect("valid");
    assert_eq!(takes(&limit, 1_000).await, 100);
    limit.set_override("42", Override::blocked()).await.expect("valid");
    assert_eq!(takes(&limit, 1).await, 0);
    limit.remove_override("42").await.expect("answers");
    assert_eq!(takes(&limit, 1_000).await, 800);
}

#[tokio::test]
async fn idle_keys_are_forgotten_and_busy_ones_held_again() {
    let store = Store::open().await;
    let limit = leased(&store.bay, Kind::TokenBucket, 1_000, secs(1));
    for _ in 0..5 {
        assert_eq!(takes(&limit, 100).await, 100);
        assert_eq!(take(&limit).await.source(), Source::Lease);
        store.pass(secs(3)).await;
        assert_eq!(take(&limit).await.source(), Source::Engine, "nothing is held any more");
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Pass(u64),
    Take {
        holder: usize,
        cost: u64,
        times: u64,
    },
    GiveBack(usize),
    /// The process dies, and its allotment is lost.
    Kill(usize),
    Reset(usize),
    /// The next request for an allotment fails.
    Fail(Fault),
}

fn steps() -> impl Strategy<Value = Step> {
    let holder = 0usize..3;
    let fault = prop_oneof![Just(Fault::Refused), Just(Fault::AnswerLost)];
    prop_oneof![
        5 => (0u64..700).prop_map(Step::Pass),
        8 => (holder.clone(), 1u64..4, 1u64..30)
            .prop_map(|(holder, cost, times)| Step::Take { holder, cost, times }),
        1 => holder.clone().prop_map(Step::GiveBack),
        1 => holder.clone().prop_map(Step::Kill),
        1 => holder.prop_map(Step::Reset),
        1 => fault.prop_map(Step::Fail),
    ]
}

/// The admitted costs with their times in milliseconds, since the last reset.
type Admitted = Vec<(u64, u64)>;

/// Checks the guarantee of a kind for a quota per second, or per day.
fn check(kind: Kind, quota: u64, admitted: &Admitted) -> Result<(), String> {
    let window = if kind == Kind::CalendarWindow { 86_400_000 } else { 1_000 };
    let mut windows: BTreeMap<u64, u64> = BTreeMap::new();
    let (mut then, mut level) = (0, 0);
    for &(at, cost) in admitted {
        *windows.entry(at / window).or_default() += cost;
        let sum = |nth| windows.get(&nth).copied().unwrap_or(0);
        let (now, before) = (sum(at / window), sum(at / window - 1));
        // The level counts thousandths. `quota` of them leak per millisecond.
        level = level.max((at - then) * quota) - (at - then) * quota + cost * 1_000;
        then = at;
        let over = match kind {
            Kind::FixedWindow | Kind::CalendarWindow => now > quota,
            Kind::SlidingWindow => before * (1_000 - at % 1_000) + now * 1_000 > quota * 1_000,
            _ => level > quota * 1_000,
        };
        if over {
            return Err(format!("{before} and {now} of {quota}, level {level}"));
        }
    }
    Ok(())
}

async fn run(kind: Kind, quota: u64, steps: &[Step]) -> Result<(), String> {
    let store = Store::open().await;
    let open = || leased(&store.bay, kind, quota, secs(1));
    let mut holders = [open(), open(), open()];
    store.hand.advance(until_late(kind));
    let mut now = START.plus(until_late(kind)).as_millis().unsigned_abs();
    let mut admitted = Admitted::new();
    for step in steps {
        match *step {
            Step::Pass(span) => {
                store.hand.advance(millis(span));
                now += span;
                settle().await;
            }
            Step::Take { holder, cost, times } => {
                for _ in 0..times {
                    let decision = holders[holder].take_n("42", cost.min(quota)).await.expect("answers");
                    if decision.is_allowed() {
                        admitted.push((now, cost.min(quota)));
                    }
                    settle().await;
                }
            }
            Step::GiveBack(holder) => holders[holder].give_back().await,
            // The handle is never dropped, so it returns nothing.
            Step::Kill(holder) => std::mem::forget(std::mem::replace(&mut holders[holder], open())),
            Step::Reset(holder) => {
                holders[holder].reset("42").await.expect("resets");
                admitted.clear();
            }
            Step::Fail(fault) => store.faults.next("allot", [Some(fault)]),
        }
        check(kind, quota, &admitted).map_err(|why| format!("{kind:?}, {step:?}: {why}"))?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn holders_together_never_exceed_the_rule(
        kind in 0..KINDS.len(), quota in 1u64..120, steps in prop::collection::vec(steps(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("starts");
        let checked = runtime.block_on(run(KINDS[kind], quota, &steps));
        prop_assert!(checked.is_ok(), "{:?}", checked);
    }
}

/// A reset also voids the spent part of an allotment, on every store. The store keeps the allotment until the next report.
#[tokio::test]
async fn a_reset_voids_what_this_process_has_spent() {
    for store in ["memory:", "faults", "embedded", "redis", "hosts"] {
        if matches!(store, "redis" | "hosts") && forebay_testkit::without("redis") {
            continue;
        }
        let directory = tempfile::tempdir().expect("temporary directory");
        let file = format!("embedded:{}", directory.path().join("limits.redb").display());
        let prefix = forebay_testkit::unique_prefix();
        let options = Forebay::options().prefix(&prefix);
        let server = forebay_testkit::Redis::shared();
        let bay = match store {
            "faults" => options.faults(forebay::fault::Faults::new()).open("memory:").await,
            "embedded" => options.open(&file).await,
            "redis" => options.open(&server.url()).await,
            "hosts" => options.open(&format!("{},127.0.0.1:{}/1", server.url(), server.port())).await,
            memory => options.open(memory).await,
        };
        let bay = bay.expect("opens");
        for kind in KINDS {
            // On a busy machine a store may take longer than the usual deadline, and the take is then denied.
            let patient = || bay.limit(definition(kind, 10, hours(24)).deadline(mins(1))).expect("valid");
            let limit = patient();
            for takes in [1, 3, 6, 9, 10] {
                let mut admitted = 0;
                for _ in 0..takes {
                    admitted += u64::from(limit.take("42").await.expect("answers").is_allowed());
                    settle().await;
                }
                assert_eq!(admitted, takes, "{store}, {kind:?}");
                assert_eq!(limit.reset("42").await.expect("resets"), None, "{store}, {kind:?}, {takes}");
                assert_eq!(limit.peek("42").await.expect("answers").used(), 0, "{store}, {kind:?}, {takes}");
                let fresh = patient().peek("42").await.expect("answers").used();
                assert_eq!(fresh, 0, "{store}, {kind:?}, {takes}: also for others");
            }
            assert_eq!(takes(&limit, 10).await, 10, "{store}, {kind:?}");
            assert!(!take(&limit).await.is_allowed(), "{store}, {kind:?}");
        }
    }
}

#[tokio::test]
async fn a_reset_says_what_others_hold_and_until_when() {
    for kind in KINDS {
        let store = Store::open().await;
        let (one, other) =
            (leased(&store.bay, kind, 1_000, hours(24)), leased(&store.bay, kind, 1_000, hours(24)));
        takes(&one, 100).await;
        let left = other.reset("42").await.expect("resets").expect("one holds some");
        assert_eq!(used(&store.bay, kind, 1_000, hours(24)).await, left.amount, "{kind:?}");
        let longest = if kind == Kind::TokenBucket { secs(2) } else { hours(24) };
        assert!(
            left.until > START && left.until <= START.plus(secs(1)).plus(longest),
            "{kind:?}: {}",
            left.until
        );
        assert_eq!(one.reset("42").await.expect("resets"), None, "{kind:?}: its own is voided");
        assert_eq!(used(&store.bay, kind, 1_000, hours(24)).await, 0, "{kind:?}");
        // A dropped handle has reported its spending.
        takes(&one, 100).await;
        drop(one);
        settle().await;
        assert_eq!(other.reset("42").await.expect("resets"), None, "{kind:?}");
    }
}
