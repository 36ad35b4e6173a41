use std::{collections::BTreeMap, sync::Arc};

use forebay_testkit::{Redis as Server, RedisCluster, Reply, eventually};
use futures::future::join_all;
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use tokio::runtime::Runtime;

use super::{across::node, engine, keys};
use crate::{
    Clock, ManualClock, Name, Timestamp, When,
    engine::{
        embedded::Embedded,
        redis::Redis,
        step::{Take, Taken},
    },
    model::rate::{
        allotments::AllotmentRequest,
        calendar::{CalendarUnit, Zone},
        rule::{Rule, State},
    },
    time::{millis, mins, secs},
};

/// Microseconds since 1970, some day in 2026.
const START: i64 = 1_790_000_000_000_000;

const KEYS: [&str; 4] = ["a", "b", "c{", "d"];

/// A zone in which it is midnight 2 s after [`START`].
fn midnight_soon() -> Zone {
    Zone::new(jiff::tz::TimeZone::posix("<XXX>-10:26:38").expect("a zone"))
}

fn rules() -> Vec<(Name, Rule)> {
    let name = |text| Name::new(text).expect("valid");
    vec![
        (name("second"), Rule::fixed_window(10, secs(1), millis(300)).expect("valid")),
        (name("minute"), Rule::fixed_window(100, mins(1), secs(0)).expect("valid")),
        (name("bucket"), Rule::token_bucket(7, secs(1), 12).expect("valid")),
        (name("slide"), Rule::sliding_window(11, secs(1)).expect("valid")),
        (name("rough"), Rule::sliding_window(1 << 28, mins(1)).expect("valid")),
        (name("coarse"), Rule::token_bucket(1_000_000, mins(60 * 24), 50).expect("valid")),
        (name("day"), Rule::calendar_window(9, CalendarUnit::Day, midnight_soon()).expect("valid")),
    ]
}

/// A cost against one of the keys and rules; the cost is cut to the quota.
#[derive(Clone, Copy, Debug)]
struct Charge {
    rule: usize,
    key: usize,
    cost: u64,
}

fn charges() -> impl Strategy<Value = Charge> {
    (0usize..7, 0usize..4, 0u64..14).prop_map(|(rule, key, cost)| Charge { rule, key, cost })
}

fn take(rules: &[(Name, Rule)], charge: Charge) -> Take<'_> {
    let (limit, rule) = &rules[charge.rule];
    Take { limit, key: KEYS[charge.key], rule: *rule, cost: charge.cost.min(rule.quota()), within: mins(1) }
}

#[derive(Clone, Debug)]
enum Step {
    Take(Charge),
    All(Vec<Charge>),
    /// Of what was charged so many windows or ticks ago, or of whatever is there.
    Refund(Charge, Option<u64>),
    Reset(Charge),
    /// By one of three processes: how long ago, in requests, what it keeps, gives back, and wants.
    Allot(Charge, u128, u64, [u64; 3]),
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => charges().prop_map(Step::Take),
        3 => vec(charges(), 0..5).prop_map(Step::All),
        2 => (charges(), ago()).prop_map(|(charge, ago)| Step::Refund(charge, ago)),
        1 => charges().prop_map(Step::Reset),
        5 => (charges(), 0u128..3, 0u64..3, [0u64..9, 0u64..4, 0u64..30])
            .prop_map(|(charge, holder, late, amounts)| Step::Allot(charge, holder, late, amounts)),
    ]
}

fn ago() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![Just(None), (0u64..3).prop_map(Some), (0u64..300_000).prop_map(Some)]
}

/// Forward mostly, back at times, far at times.
fn moves() -> impl Strategy<Value = i64> {
    prop_oneof![6 => 0i64..400_000, 1 => -2_000_000i64..0, 1 => 0i64..200_000_000]
}

#[test]
fn one_by_one_both_engines_answer_alike() {
    let runtime = Runtime::new().expect("starts");
    let rules = rules();
    let runs = vec((moves(), steps()), 1..60);
    TestRunner::new(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })
        .run(&runs, |steps| {
            runtime.block_on(async {
                let (redis, _) = engine().await;
                let clock = Clock::from(ManualClock::at(Timestamp::from_micros(START)));
                let embedded = Embedded::in_memory(clock);
                let mut now = START;
                for (number, (moved, step)) in (1..).zip(steps) {
                    now += moved;
                    let when = When::At(Timestamp::from_micros(now));
                    same(&rules, (&redis, &embedded), (number, &step), when).await;
                }
            });
            Ok(())
        })
        .expect("alike");
}

/// Not even the time as of which the key is stored, which a clock that steps back would show.
#[tokio::test]
async fn a_request_for_an_allotment_that_comes_late_changes_nothing_on_either() {
    let rules = rules();
    let (redis, _) = engine().await;
    let embedded = Embedded::in_memory(Clock::from(ManualClock::at(Timestamp::from_micros(START))));
    for rule in 0..rules.len() {
        let charge = |cost| Charge { rule, key: 0, cost };
        let steps = [
            (0, Step::Allot(charge(0), 2, 0, [0, 0, 1])),
            (1_000, Step::Allot(charge(0), 2, 1, [0, 0, 0])),
            (-300_000, Step::Take(charge(3))),
        ];
        let mut now = START;
        for (number, (moved, step)) in (1..).zip(steps) {
            now += moved;
            same(&rules, (&redis, &embedded), (number, &step), When::At(Timestamp::from_micros(now))).await;
        }
    }
}

async fn same(
    rules: &[(Name, Rule)],
    (redis, embedded): (&Redis, &Embedded),
    (number, step): (u64, &Step),
    when: When,
) {
    match step {
        Step::Take(charge) => {
            let take = take(rules, *charge);
            let (a, b) = (redis.take(take, when).await, embedded.take(take, when).await);
            assert_eq!(a.expect("answers"), b.expect("answers"), "{step:?} at {when:?}");
        }
        Step::All(charges) => {
            let takes: Vec<Take<'_>> = charges.iter().map(|&charge| take(rules, charge)).collect();
            let (a, b) = (redis.take_all(&takes, when).await, embedded.take_all(&takes, when).await);
            assert_eq!(a.expect("answers"), b.expect("answers"), "{step:?} at {when:?}");
        }
        Step::Refund(charge, ago) => {
            let take = take(rules, *charge);
            let look = embedded.take(Take { cost: 0, ..take }, when).await.expect("answers");
            let charged = ago.map(|ago| look.state.0.saturating_sub(ago));
            let (a, b) =
                (redis.refund(take, charged, when).await, embedded.refund(take, charged, when).await);
            assert_eq!(a.expect("answers"), b.expect("answers"), "{step:?} at {when:?}");
        }
        Step::Reset(charge) => {
            let take = take(rules, *charge);
            redis.reset(take, when).await.expect("resets");
            embedded.reset(take, when).await.expect("resets");
        }
        &Step::Allot(charge, holder, late, [kept, back, want]) => {
            let take = take(rules, charge);
            let sequence = number.saturating_sub(late);
            let request = AllotmentRequest { holder, sequence, kept, back, want, span: 700_001 };
            let (a, b) = (redis.allot(take, request, when).await, embedded.allot(take, request, when).await);
            assert_eq!(a.expect("answers"), b.expect("answers"), "{step:?} at {when:?}");
        }
    }
}

#[test]
fn combined_is_one_by_one() {
    check_combined(engine, |_| ());
}

#[test]
fn combined_over_several_slots_is_one_by_one() {
    let cluster = RedisCluster::start_single();
    // A request has limits of one key.
    check_combined(
        async || node(&cluster, 0).await,
        |(_, charges)| {
            let first = charges[0].key;
            for charge in charges {
                charge.key = first;
            }
        },
    );
}

/// Charges in batches, and one by one, and compares. `change` makes requests such as the engine takes.
fn check_combined<T>(engine: impl AsyncFn() -> (Arc<Redis>, T), change: impl Fn(&mut Request)) {
    // A single thread, and all requests polled before any is sent: the first goes alone, the others in one
    // batch, single charges first.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("starts");
    let rules = rules();
    // Some ask the same several times in a row.
    let request = ((0i64..3, vec(charges(), 1..4)), 1usize..5);
    let requests = vec(request, 1..20).prop_map(|mut requests| {
        for (request, _) in &mut requests {
            change(request);
        }
        requests.into_iter().flat_map(|(request, times)| std::iter::repeat_n(request, times)).collect()
    });
    let rounds = vec(requests, 1..4);
    TestRunner::new(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })
        .run(&rounds, |rounds| {
            runtime.block_on(async {
                let (redis, _kept) = engine().await;
                let mut model = BTreeMap::new();
                for (round, requests) in rounds.iter().enumerate() {
                    let requests: &Vec<Request> = requests;
                    let base = START + i64::try_from(round).expect("few") * 700_000;
                    let answers = together(&rules, &redis, base, requests).await;
                    check(&rules, &mut model, base, requests, &answers);
                }
            });
            Ok(())
        })
        .expect("the same");
}

/// A request at one of three times.
type Request = (i64, Vec<Charge>);

fn at(base: i64, request: &Request) -> i64 {
    base + request.0 * 250_000
}

async fn together(
    rules: &[(Name, Rule)],
    redis: &Redis,
    base: i64,
    requests: &[Request],
) -> Vec<(bool, Vec<State>)> {
    let ask = async |request: &Request| {
        let when = When::At(Timestamp::from_micros(at(base, request)));
        let takes: Vec<Take<'_>> = request.1.iter().map(|&charge| take(rules, charge)).collect();
        if let [take] = takes[..] {
            let taken = redis.take(take, when).await.expect("answers");
            return (taken.allowed, vec![taken.state]);
        }
        let taken = redis.take_all(&takes, when).await.expect("answers");
        (taken.allowed, taken.states)
    };
    join_all(requests.iter().map(ask)).await
}

type Model = BTreeMap<(usize, usize), State>;

fn check(
    rules: &[(Name, Rule)],
    model: &mut Model,
    base: i64,
    requests: &[Request],
    answers: &[(bool, Vec<State>)],
) {
    // A first request over one key goes alone; over several it is in the batch, as are all others. Calls are in
    // the order in which their first request came, those over several keys last.
    let alone = usize::from(requests[0].1.len() == 1);
    let mut order: Vec<usize> = (0..requests.len()).collect();
    let call = |i: usize| {
        let (time, charges) = &requests[i];
        let like = |other: &usize| {
            let (t, c) = &requests[*other];
            t == time && c.len() == 1 && c[0].rule == charges[0].rule
        };
        let first = (alone..requests.len()).find(like).unwrap_or(usize::MAX);
        if i < alone {
            0
        } else if charges.len() == 1 {
            1 + first
        } else {
            usize::MAX
        }
    };
    order.sort_by_key(|&i| call(i));
    for i in order {
        let now = u64::try_from(at(base, &requests[i])).expect("after 1970");
        let (allowed, states) = apply(rules, model, now, &requests[i].1);
        assert_eq!(answers[i], (allowed, states), "request {i} of {requests:?}");
    }
}

fn apply(rules: &[(Name, Rule)], model: &mut Model, now: u64, charges: &[Charge]) -> (bool, Vec<State>) {
    let mut next = model.clone();
    let mut allowed = true;
    for charge in charges {
        let take = take(rules, *charge);
        let place = (charge.rule, charge.key);
        let advanced = take.rule.advance(next.get(&place).copied(), now);
        allowed = allowed && take.cost <= take.rule.room(advanced);
        if allowed && take.cost > 0 {
            next.insert(place, take.rule.charge(advanced, take.cost));
        }
    }
    if allowed {
        *model = next;
    }
    let settle =
        |charge: &Charge| rules[charge.rule].1.advance(model.get(&(charge.rule, charge.key)).copied(), now);
    (allowed, charges.iter().map(settle).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_on_a_cold_key_get_the_quota_and_no_more() {
    let (_, prefix) = engine().await;
    let url = Server::shared().url();
    let clients = join_all((0..4).map(|_| Redis::open(&url, &prefix, Clock::system()))).await;
    let name = Name::new("hot").expect("valid");
    for rule in [
        Rule::fixed_window(1_000, mins(60 * 24 * 365), secs(0)).expect("valid"),
        Rule::token_bucket(1, mins(60 * 24 * 30), 1_000).expect("valid"),
        Rule::sliding_window(1_000, mins(60 * 24 * 365)).expect("valid"),
        Rule::calendar_window(1_000, CalendarUnit::Month, Zone::new(jiff::tz::TimeZone::UTC)).expect("valid"),
    ] {
        let calls = clients.iter().map(|client| client.as_ref().expect("opens")).flat_map(|client| {
            let (client, name) = (client.clone(), name.clone());
            (0..128).map(move |_| {
                let (client, name) = (client.clone(), name.clone());
                tokio::spawn(async move {
                    let mut granted = 0u64;
                    for _ in 0..20 {
                        let take = Take { limit: &name, key: "k", rule, cost: 1, within: mins(1) };
                        let taken = client.take(take, When::EngineClock).await.expect("answers");
                        granted += u64::from(taken.allowed);
                    }
                    granted
                })
            })
        });
        let granted: u64 = join_all(calls).await.into_iter().map(|granted| granted.expect("ends")).sum();
        assert_eq!(granted, 1_000, "{rule:?}");
    }
}

#[tokio::test]
async fn every_key_of_a_limit_lives_for_a_stated_time_and_a_look_makes_none() {
    let (redis, prefix) = engine().await;
    let rules = rules();
    let lives = |prefix: &str| -> Vec<(String, i64)> {
        let server = Server::shared();
        let ttl = |key: &String| match server.command(["PTTL", key]) {
            Reply::Integer(ttl) => ttl,
            other => panic!("not a time: {other:?}"),
        };
        keys(server, prefix).into_iter().map(|key| (key.clone(), ttl(&key))).collect()
    };
    for rule in 0..rules.len() {
        let look = take(&rules, Charge { rule, key: 0, cost: 0 });
        redis.take(look, When::EngineClock).await.expect("answers");
        redis.take_all(&[look, look], When::EngineClock).await.expect("answers");
        redis.refund(Take { cost: 1, ..look }, None, When::EngineClock).await.expect("answers");
    }
    assert_eq!(lives(&prefix), []);
    for rule in 0..rules.len() {
        for key in 0..4 {
            let one = take(&rules, Charge { rule, key, cost: 1 });
            for _ in 0..=key {
                redis.take(one, When::EngineClock).await.expect("answers");
            }
            redis.take_all(&[one, one], When::EngineClock).await.expect("answers");
            redis.refund(one, None, When::EngineClock).await.expect("answers");
        }
    }
    let lives = lives(&prefix);
    // The windows of a second may be gone by now.
    assert!(lives.len() >= 12, "{lives:?}");
    for (key, ttl) in lives {
        let most = if key.contains(":minute:") || key.contains(":bucket:") || key.contains(":second:") {
            120_002
        } else if key.contains(":slide:") || key.contains(":rough:") {
            180_002
        } else {
            2 * 86_400_000
        };
        assert!((1..=most).contains(&ttl), "{key} lives {ttl} ms");
    }
}

#[tokio::test]
async fn a_key_that_holds_something_else_costs_nobody_else_an_answer() {
    let (redis, prefix) = engine().await;
    let rules = rules();
    let server = Server::shared();
    server.command(["SET", &format!("{prefix}:window:minute:60s:{{a}}"), "not a state"]);
    server.command(["LPUSH", &format!("{prefix}:window:minute:60s:{{b}}"), "not a state"]);
    let asked =
        (0..4).map(|key| redis.take(take(&rules, Charge { rule: 1, key, cost: 3 }), When::EngineClock));
    for (key, taken) in join_all(asked).await.into_iter().enumerate() {
        if key < 2 {
            assert_eq!(taken.expect_err("something else").kind(), crate::ErrorKind::Corrupt);
            continue;
        }
        let Taken { allowed, state, .. } = taken.expect("answers");
        assert!(allowed);
        assert_eq!(state.1, 3);
    }
}

#[tokio::test]
async fn a_request_dropped_before_it_is_sent_charges_nothing() {
    let (redis, _) = engine().await;
    let rules = rules();
    let one = take(&rules, Charge { rule: 1, key: 0, cost: 1 });
    let mut asked: Vec<_> = (0..10).map(|_| Box::pin(redis.take(one, When::EngineClock))).collect();
    for ask in &mut asked {
        assert!(futures::poll!(ask).is_pending());
    }
    // The first is on its way; of those that wait every other one gives up.
    let mut turn = 0;
    asked.retain(|_| {
        turn += 1;
        turn % 2 == 1
    });
    let answers = join_all(asked).await;
    let used = answers.into_iter().map(|taken| taken.expect("answers").state.1);
    assert_eq!(used.collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_time_that_scripts_cannot_count_is_refused() {
    let (redis, _) = engine().await;
    let rules = rules();
    for micros in [-1, 1 << 52] {
        let when = When::At(Timestamp::from_micros(micros));
        let refused = redis.take(take(&rules, Charge { rule: 0, key: 0, cost: 1 }), when).await;
        assert_eq!(refused.expect_err("out of range").kind(), crate::ErrorKind::OutOfRange);
    }
}

/// All that the server holds under a prefix.
fn bytes(prefix: &str) -> Vec<(String, Reply)> {
    let server = Server::shared();
    let dump = |key: String| (key.clone(), server.command(["DUMP", &key]));
    let mut all: Vec<_> = keys(server, prefix).into_iter().map(dump).collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

#[tokio::test]
async fn a_take_of_several_that_is_denied_changes_not_one_byte() {
    let (redis, prefix) = engine().await;
    let rules = rules();
    // By an explicit time, so that no window ends in between.
    let when = When::At(Timestamp::from_micros(START));
    let one = |rule, key, cost| take(&rules, Charge { rule, key, cost });
    let all: Vec<Take<'_>> = (0..rules.len()).map(|rule| one(rule, 0, 3)).collect();
    assert!(redis.take_all(&all, when).await.expect("answers").allowed);
    // Whichever of them is full: first, last, or in between.
    for full in 0..rules.len() {
        let room = rules[full].1.quota() - 3;
        let fill = Take { cost: room, ..one(full, 0, 1) };
        let filled = redis.take_up_to(fill, when).await.expect("answers");
        assert_eq!(filled.0, room);
        let before = bytes(&prefix);
        assert_eq!(before.len(), rules.len());
        let denied = redis.take_all(&all, when).await.expect("answers");
        assert!(!denied.allowed);
        assert_eq!(bytes(&prefix), before, "{:?}", rules[full]);
        redis.refund(fill, None, when).await.expect("answers");
    }
}

/// The scripts have a path of their own for calls that cost one.
#[tokio::test]
async fn a_take_of_one_that_is_denied_changes_not_one_byte() {
    let (redis, prefix) = engine().await;
    let rules = rules();
    let when = When::At(Timestamp::from_micros(START));
    for rule in 0..rules.len() {
        let one = |key| take(&rules, Charge { rule, key, cost: 1 });
        for key in 0..KEYS.len() {
            let fill = Take { cost: rules[rule].1.quota(), ..one(key) };
            assert!(redis.take(fill, when).await.expect("answers").allowed);
        }
        let before = bytes(&prefix);
        // Alone; and together, one call of each key.
        assert!(!redis.take(one(0), when).await.expect("answers").allowed);
        let together = join_all((0..KEYS.len()).map(|key| redis.take(one(key), when))).await;
        assert!(together.into_iter().all(|taken| !taken.expect("answers").allowed));
        assert_eq!(bytes(&prefix), before, "{:?}", rules[rule]);
    }
}

#[tokio::test]
async fn keys_that_come_once_are_gone_two_windows_later() {
    let (redis, prefix) = engine().await;
    let limit = Name::new("once").expect("valid");
    let rules = [
        Rule::fixed_window(5, millis(200), secs(0)).expect("valid"),
        Rule::sliding_window(5, millis(200)).expect("valid"),
        Rule::token_bucket(5, millis(200), 5).expect("valid"),
    ];
    let ask = async |n: u32| {
        let (key, rule) = (n.to_string(), rules[n as usize % 3]);
        let take = Take { limit: &limit, key: &key, rule, cost: 1, within: mins(1) };
        assert!(redis.take(take, When::EngineClock).await.expect("answers").allowed);
    };
    // `scripts/faults limit` sets a million.
    let keys_in_all = std::env::var("FOREBAY_TEST_KEYS").map_or(9_000, |n| n.parse().expect("a number"));
    for first in (0..keys_in_all).step_by(9_000) {
        join_all((first..keys_in_all.min(first + 9_000)).map(ask)).await;
    }
    eventually("all keys to be gone", async || keys(Server::shared(), &prefix).is_empty()).await;
}
