//! Points that a stand-in takes and hands over, whatever dies in between.

use std::sync::Arc;

use forebay_testkit::{Redis as Server, Reply, unique_prefix};
use proptest::{prelude::*, test_runner::TestRunner};
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::super::stand_in::Received::{self, Added, Known};
use crate::{
    Clock, Name, Timestamp,
    engine::{
        redis::{Holding, Next, Redis},
        step::{HandedPoints, Point, SeriesPart, Span},
    },
    model::resolution::{Grid, MAX_COUNT, Resolution},
    time::{days, hours, secs},
};

/// Some noon in 2026.
const NOON: Timestamp = Timestamp::from_secs(1_790_000_000 - 1_790_000_000 % 86_400 + 43_200);

fn part() -> SeriesPart {
    let name = Name::new("hits").expect("valid");
    SeriesPart::new(
        Arc::new(Grid { name, resolutions: Resolution::defaults().into(), partitions: 1, is_ranked: false }),
        0,
    )
}

async fn open(server: &Server, prefix: &str) -> Arc<Redis> {
    Redis::open(&server.url(), prefix, Clock::system()).await.expect("it runs")
}

fn point(key: &str, at: Timestamp, n: u64) -> Point {
    Point { key: key.into(), at, n }
}

/// What a partition said of a generation.
type Outcome = Option<(Uuid, Received)>;

async fn next(source: &Redis, owner: Uuid, outcome: Outcome) -> Next {
    source.stand_in_next(&part().stand_in(1), owner, outcome).await.expect("answers")
}

/// [`next`] when all that is held was held for long enough.
async fn next_later(source: &Redis, owner: Uuid, outcome: Outcome) -> Next {
    source.stand_in_next_after(&part().stand_in(1), owner, outcome, secs(0)).await.expect("answers")
}

/// The next generation of the stand-in.
async fn handed(source: &Redis, owner: Uuid, received: Outcome) -> HandedPoints {
    match next(source, owner, received).await {
        Next::Points(handed) => handed,
        other => panic!("no points: {other:?}"),
    }
}

async fn receive(target: &Redis, handed: &HandedPoints) -> Received {
    target.series_receive(&part(), handed, NOON).await.expect("takes them")
}

/// Hands over all that the stand-in has, but for what it holds.
async fn hand_over(source: &Redis, target: &Redis, owner: Uuid) {
    let mut received = None;
    while let Next::Points(handed) = next(source, owner, received).await {
        received = Some((handed.generation, receive(target, &handed).await));
    }
}

async fn holding(source: &Redis) -> Holding {
    source.stand_ins_hold(&[&part().stand_in(1)]).await.expect("answers")[0]
}

/// The counts of a key in the last hour or day, by each resolution.
async fn sums(target: &Redis, key: &str) -> Vec<u64> {
    let part = part();
    let span = |resolution: &Resolution| Span {
        key,
        resolution: *resolution,
        from: resolution.bucket(NOON.minus(hours(1))),
        to: resolution.bucket(NOON) + 1,
    };
    let spans: Vec<Span<'_>> = part.grid.resolutions.iter().map(span).collect();
    let counts = target.series_read(&part, &spans).await.expect("answers");
    counts.into_iter().map(|counts| counts.into_iter().sum()).collect()
}

async fn add(source: &Redis, points: &[Point]) {
    source.stand_in_add(&part().stand_in(1), points, NOON).await.expect("takes them");
}

/// Two stores on one server, under prefixes of their own: a stand-in and its partition.
async fn two() -> (Arc<Redis>, Arc<Redis>) {
    let server = Server::shared();
    (open(server, &unique_prefix()).await, open(server, &unique_prefix()).await)
}

#[tokio::test]
async fn points_reach_every_resolution_that_keeps_them() {
    let (source, target) = two().await;
    add(&source, &[point("a", NOON, 1), point("a:{b", NOON.minus(secs(61)), 2)]).await;
    add(&source, &[point("a", NOON, 4), point("a", NOON.minus(days(2)), 8)]).await;
    let registered = source.registered_stand_ins(&[crate::engine::cluster::Group::default()]).await;
    assert_eq!(registered.expect("answers"), [(Name::new("hits").expect("valid"), 0, 1)]);
    let stand_in = part().stand_in(1);
    let holding_of_both = source.stand_ins_hold(&[&stand_in, &part()]).await.expect("answers");
    assert_eq!(holding_of_both, [Holding::Points, Holding::Nothing]);
    hand_over(&source, &target, Uuid::now_v7()).await;
    assert_eq!(holding(&source).await, Holding::Received);
    assert_eq!(sums(&target, "a").await, [5; 4]);
    assert_eq!(sums(&target, "a:{b").await, [2; 4]);
    // Two days ago seconds are not kept any more, minutes are.
    let minute = part().grid.resolutions[1];
    let bucket = minute.bucket(NOON.minus(days(2)));
    let span = Span { key: "a", resolution: minute, from: bucket, to: bucket + 1 };
    assert_eq!(target.series_read(&part(), &[span]).await.expect("answers"), [[8]]);
}

#[tokio::test]
async fn buckets_that_have_expired_meanwhile_are_dropped() {
    let (source, target) = two().await;
    add(&source, &[point("a", NOON, 1)]).await;
    let handed = handed(&source, Uuid::now_v7(), None).await;
    target.series_receive(&part(), &handed, NOON.plus(days(3))).await.expect("takes what is kept");
    assert_eq!(sums(&target, "a").await, [0, 1, 1, 1], "buckets of 10 s are kept for a day");
    target.series_receive(&part(), &handed, NOON.plus(days(4_000))).await.expect("takes nothing");
}

#[tokio::test]
async fn a_generation_is_small_enough_for_one_call_and_nothing_is_lost_between_two() {
    let (source, target) = two().await;
    let points: Vec<Point> = (0..1_000).map(|i| point(&format!("k{}", i % 400), NOON, 1)).collect();
    add(&source, &points).await;
    let (owner, mut received, mut sum) = (Uuid::now_v7(), None, 0);
    while let Next::Points(handed) = next(&source, owner, received).await {
        assert!(handed.points.len() * part().grid.resolutions.len() <= 500, "{}", handed.points.len());
        sum += handed.points.iter().map(|point| point.n).sum::<u64>();
        received = Some((handed.generation, receive(&target, &handed).await));
    }
    assert_eq!(sum, 1_000);
    for i in 0..400 {
        let expected = if i < 200 { 3 } else { 2 };
        assert_eq!(sums(&target, &format!("k{i}")).await, [expected; 4]);
    }
}

#[tokio::test]
async fn one_process_hands_over_at_a_time_and_two_do_no_harm() {
    let (source, target) = two().await;
    add(&source, &[point("a", NOON, 1)]).await;
    let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
    let generation = handed(&source, first, None).await;
    assert_eq!(next(&source, second, None).await, Next::Busy);
    assert_eq!(handed(&source, first, None).await, generation, "the same until it was received");
    assert_eq!(receive(&target, &generation).await, Added);
    assert_eq!(receive(&target, &generation).await, Known);
    let (added, known) = (Some((generation.generation, Added)), Some((generation.generation, Known)));
    assert_eq!(next(&source, first, added).await, Next::None);
    assert_eq!(next(&source, second, known).await, Next::None);
    assert_eq!(holding(&source).await, Holding::Received, "it was not held for long enough");
    assert_eq!(sums(&target, "a").await, [1; 4]);
    // One that says it late removes nothing else.
    add(&source, &[point("a", NOON, 2)]).await;
    let other = handed(&source, second, known).await;
    assert_ne!(other.generation, generation.generation);
    assert_eq!(handed(&source, second, known).await, other);
}

#[tokio::test]
async fn a_source_that_goes_back_in_time_offers_again_what_was_received() {
    let (server, prefix) = (Server::start(), unique_prefix());
    let (source, target) = (open(&server, &prefix).await, two().await.1);
    add(&source, &[point("a", NOON, 1)]).await;
    server.command(["SAVE"]);
    add(&source, &[point("a", NOON, 2)]).await;
    hand_over(&source, &target, Uuid::now_v7()).await;
    assert_eq!(sums(&target, "a").await, [3; 4]);
    server.restart();
    // The generation is there again, without its second point. A new point must not become a part of it.
    let source = open(&server, &prefix).await;
    add(&source, &[point("a", NOON, 4)]).await;
    hand_over(&source, &target, Uuid::now_v7()).await;
    assert_eq!(sums(&target, "a").await, [7; 4]);
}

#[tokio::test]
async fn a_target_that_goes_back_in_time_gets_again_what_was_not_removed() {
    let (server, prefix) = (Server::start(), unique_prefix());
    let (source, target) = (two().await.0, open(&server, &prefix).await);
    add(&source, &[point("a", NOON, 1)]).await;
    let generation = handed(&source, Uuid::now_v7(), None).await;
    server.command(["SAVE"]);
    receive(&target, &generation).await;
    assert_eq!(sums(&target, "a").await, [1; 4]);
    server.restart();
    let target = open(&server, &prefix).await;
    assert_eq!(sums(&target, "a").await, [0; 4], "the mark and the points are lost together");
    receive(&target, &generation).await;
    receive(&target, &generation).await;
    assert_eq!(sums(&target, "a").await, [1; 4]);
}

/// It was told that it has the points, and loses them all the same.
#[tokio::test]
async fn a_target_that_loses_what_it_received_a_moment_ago_gets_it_again() {
    let (server, prefix) = (Server::start(), unique_prefix());
    let (source, target) = (two().await.0, open(&server, &prefix).await);
    let owner = Uuid::now_v7();
    for n in [1, 2] {
        add(&source, &[point("a", NOON, n)]).await;
        // Each is a generation of its own.
        let generation = handed(&source, owner, None).await;
        server.command(["SAVE"]);
        assert_eq!(receive(&target, &generation).await, Added);
        assert_eq!(next(&source, owner, Some((generation.generation, Added))).await, Next::None);
    }
    assert_eq!(sums(&target, "a").await, [3; 4]);
    server.restart();
    let target = open(&server, &prefix).await;
    assert_eq!(sums(&target, "a").await, [1; 4], "the save has the first");
    assert_eq!(next(&source, owner, None).await, Next::None, "they were not held for long enough");
    let (mut outcome, mut outcomes) = (None, vec![]);
    while let Next::Points(held) = next_later(&source, owner, outcome).await {
        outcomes.push(receive(&target, &held).await);
        outcome = outcomes.last().map(|outcome| (held.generation, *outcome));
    }
    assert_eq!(outcomes, [Known, Added, Known], "what was added now is held once more");
    assert_eq!((sums(&target, "a").await, holding(&source).await), (vec![3; 4], Holding::Nothing));
}

#[tokio::test]
async fn a_count_stops_where_that_of_a_chunk_does_and_the_others_go_on() {
    let (source, target) = two().await;
    add(&source, &[point("a", NOON, MAX_COUNT - 1)]).await;
    add(&source, &[point("a", NOON, 5), point("b", NOON, 7)]).await;
    add(&source, &[point("a", NOON, 5), point("c", NOON, 9)]).await;
    hand_over(&source, &target, Uuid::now_v7()).await;
    assert_eq!(sums(&target, "a").await, [MAX_COUNT; 4]);
    assert_eq!((sums(&target, "b").await, sums(&target, "c").await), (vec![7; 4], vec![9; 4]));
}

#[tokio::test]
async fn an_emptied_host_is_told_again_which_stand_ins_it_has() {
    let server = Server::start();
    let source = open(&server, &unique_prefix()).await;
    let registered = async || {
        let registers = [crate::engine::cluster::Group::default()];
        source.registered_stand_ins(&registers).await.expect("answers").len()
    };
    add(&source, &[point("a", NOON, 1)]).await;
    server.command(["FLUSHALL"]);
    assert_eq!(registered().await, 0);
    add(&source, &[point("a", NOON, 1)]).await;
    assert_eq!(registered().await, 1);
}

#[tokio::test]
async fn a_key_of_somebody_else_is_refused_before_anything_is_added() {
    let (source, target) = two().await;
    add(&source, &[point("a", NOON, 1), point("b", NOON, 1)]).await;
    let generation = handed(&source, Uuid::now_v7(), None).await;
    let prefix = unique_prefix();
    let target_of_other = open(Server::shared(), &prefix).await;
    let key = {
        target_of_other.series_add(&part(), vec![point("b", NOON, 1)], NOON).await.expect("counts");
        super::keys(Server::shared(), &prefix).into_iter().find(|key| key.contains(":86400:")).expect("there")
    };
    Server::shared().command(["DEL", &key]);
    assert_eq!(Server::shared().command(["SADD", &key, "x"]), Reply::Integer(1));
    target_of_other.series_receive(&part(), &generation, NOON).await.expect_err("a set is no chunk");
    Server::shared().command(["DEL", &key]);
    receive(&target_of_other, &generation).await;
    assert_eq!(sums(&target_of_other, "a").await, [1; 4]);
    drop(target);
}

/// An event in the life of a stand-in and its partition.
#[derive(Clone, Debug)]
enum Act {
    Add(u64),
    /// Receives the next generation, and removes it or dies before.
    HandOver {
        removes: bool,
    },
    /// Offers what was held, whether or not it was for long enough.
    OfferHeld,
    /// Offers the last generation once more.
    Repeat,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        (1u64..9).prop_map(Act::Add),
        any::<bool>().prop_map(|removes| Act::HandOver { removes }),
        Just(Act::OfferHeld),
        Just(Act::Repeat),
    ];
    prop::collection::vec(act, 1..30)
}

#[test]
fn in_any_order_each_point_is_added_once() {
    let runtime = Runtime::new().expect("starts");
    let config = ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&acts(), |acts| {
            runtime.block_on(async {
                let (source, target) = two().await;
                let (owner, mut sum, mut last) = (Uuid::now_v7(), 0, None);
                for act in acts {
                    match act {
                        Act::Add(n) => {
                            add(&source, &[point("a", NOON, n)]).await;
                            sum += n;
                        }
                        Act::HandOver { removes } => {
                            let Next::Points(handed) = next(&source, owner, None).await else { continue };
                            let outcome = receive(&target, &handed).await;
                            if removes {
                                next(&source, owner, Some((handed.generation, outcome))).await;
                            }
                            last = Some(handed);
                        }
                        Act::OfferHeld => {
                            let Next::Points(held) = next_later(&source, owner, None).await else { continue };
                            let outcome = receive(&target, &held).await;
                            next_later(&source, owner, Some((held.generation, outcome))).await;
                        }
                        Act::Repeat => {
                            if let Some(handed) = &last {
                                receive(&target, handed).await;
                            }
                        }
                    }
                    assert!(sums(&target, "a").await[0] <= sum);
                }
                hand_over(&source, &target, owner).await;
                assert_eq!(sums(&target, "a").await, [sum; 4]);
            });
            Ok(())
        })
        .expect("each once");
}
