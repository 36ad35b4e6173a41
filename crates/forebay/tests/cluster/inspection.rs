//! Hosts that are looked at without opening a store on them.

use std::collections::BTreeMap;

use forebay::{
    Buffer, ErrorKind, Forebay, Limit,
    cluster::{Hosts, Inspection, Plan, RouterKind, Verification},
    lock::Release,
    series::Series,
    time::secs,
};
use forebay_testkit::{Redis, Reply as Answer, unique_prefix, without};

use crate::hosts::{hosts, open, three};

async fn inspect(hosts: Hosts, prefix: &str) -> Inspection {
    Forebay::options().prefix(prefix).inspect_hosts(hosts).await.expect("all answer")
}

/// Writes a plain key, limits, a lock, a series and a buffer for each of so many keys.
async fn fill(bay: &Forebay, keys: u64) {
    let limit = bay.limit(Limit::per_minute("hits", 5).deadline(secs(30))).expect("valid");
    let series = bay.series(Series::new("points")).expect("valid");
    let buffer = bay.buffer(Buffer::new("rows").key("id").sum("n")).expect("valid");
    buffer.pause().await.expect("pauses");
    for key in (0..keys).map(|key| format!("key:{key}")) {
        let mut map = bay.cluster().map();
        let set = map.set(&key, 1);
        map.run().await.get(set).expect("set");
        assert!(limit.take(&key).await.expect("answers").is_allowed());
        series.add(key.as_str(), 1).await.expect("answers");
        buffer.row(key.as_str()).add("n", 1).await.expect("answers");
    }
    let lock = bay.lock("nightly").acquire().await.expect("free");
    assert_eq!(lock.release().await.expect("an answer"), Release::Released);
}

fn keys(server: &Redis) -> Vec<String> {
    let Answer::Array(keys) = server.command(["KEYS", "*"]) else { panic!("no keys") };
    let text = |key| match key {
        Answer::Text(text) => text,
        other => panic!("a text, not {other:?}"),
    };
    keys.into_iter().map(text).collect()
}

fn total(verified: &[Verification]) -> (u64, u64) {
    verified.iter().fold((0, 0), |sum, host| (sum.0 + host.keys, sum.1 + host.misplaced))
}

/// The slots that a host gets and gives.
fn flows(plan: &Plan) -> BTreeMap<&str, (usize, usize)> {
    let mut flows = BTreeMap::<&str, (usize, usize)>::new();
    for it in &plan.moves {
        flows.entry(&it.to).or_default().0 += 1;
        flows.entry(&it.from).or_default().1 += 1;
    }
    flows
}

#[tokio::test]
async fn a_plan_moves_the_fewest_slots_and_counts_what_is_in_them() {
    if without("redis") {
        return;
    }
    let servers = three();
    let prefix = unique_prefix();
    let bay = open(&servers, &prefix).await.expect("opens");
    fill(&bay, 300).await;
    let before: Vec<Vec<String>> = servers.iter().map(keys).collect();
    let inspection = inspect(hosts(&servers), &prefix).await;

    // The new host need not run.
    let four = hosts(&servers).host("d", "redis://127.0.0.1:1");
    let plan = inspection.plan(&four).await.expect("planned");
    assert_eq!((plan.epoch, plan.moves.len()), (1, 4_096));
    let flow = flows(&plan);
    assert_eq!((flow["d"], flow.len()), ((4_096, 0), 4), "{flow:?}");

    // Each key of a slot that moves counts once, and none of any other.
    let slots: BTreeMap<u16, &str> = plan.moves.iter().map(|it| (it.slot, &*it.from)).collect();
    let (mut copied, mut drained) = (0, 0);
    for key in before.iter().flatten() {
        let route = bay.cluster().route(key);
        let own = key.strip_prefix(&format!("{prefix}:"));
        let is_of_host = own.is_some_and(|own| !own.contains('{') || own.ends_with("}:paused"));
        if let Some(from) = slots.get(&route.slot.expect("by slots"))
            && !is_of_host
        {
            assert_eq!(*from, &*route.host, "{key}");
            *if own.is_some_and(|own| own.starts_with("buffer:")) { &mut drained } else { &mut copied } += 1;
        }
    }
    let planned = |count: fn(&forebay::cluster::SlotMove) -> u64| plan.moves.iter().map(count).sum::<u64>();
    assert_eq!((planned(|it| it.keys), planned(|it| it.buffer_keys)), (copied, drained));
    assert!(copied > 100, "{copied} keys");
    for it in &plan.moves {
        let bytes = it.bytes.expect("measured");
        assert_eq!(bytes > 0, it.keys > 0, "{it:?}");
        assert!(bytes >= 30 * it.keys, "{it:?}");
    }

    // A host that leaves gives all that it has.
    let two = inspection.plan(&hosts(&servers[..2])).await.expect("planned");
    assert_eq!(flows(&two)["c"], (0, two.moves.len()));
    assert_eq!(Some(two.moves.len()), bay.cluster().hosts()[2].slots.map(usize::from));
    assert_eq!(inspection.plan(&hosts(&servers)).await.expect("planned").moves, []);
    assert_eq!(
        servers.iter().map(|server| keys(server).len()).collect::<Vec<_>>(),
        before.iter().map(Vec::len).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn keys_are_where_their_router_looks_and_not_where_another_one_does() {
    if without("redis") {
        return;
    }
    let servers = three();
    let prefix = unique_prefix();
    let numbered = |order: [usize; 3]| {
        let host =
            |hosts: Hosts, (id, server): (usize, usize)| hosts.host(id.to_string(), servers[server].url());
        order.into_iter().enumerate().fold(Hosts::new(), host)
    };
    let fleet = Forebay::options().prefix(&*prefix);
    let router = RouterKind::NydusPartition;
    let bay = fleet.open_hosts(numbered([0, 1, 2]).router(router)).await.expect("opens");
    fill(&bay, 300).await;
    bay.close().await.expect("closes");

    let right = inspect(numbered([0, 1, 2]).router(router), &prefix).await;
    let verified = right.verify(1_000_000).await.expect("verified");
    let (all, misplaced) = total(&verified);
    assert!(all > 600, "{all} keys");
    assert_eq!((misplaced, verified.len()), (0, 3));
    let error = right.plan(&numbered([0, 1, 2])).await.expect_err("no table");
    assert!(error.to_string().contains("router nydus-partition"), "{error}");

    // As before Forebay was there: nothing is stored, and nothing is written by looking.
    for server in &servers {
        server.command(["DEL", &format!("{prefix}:cluster:name"), &format!("{prefix}:cluster:placement")]);
    }
    for wrong in [numbered([0, 2, 1]).router(router), numbered([0, 1, 2])] {
        let verified = inspect(wrong, &prefix).await.verify(1_000_000).await.expect("verified");
        let (same, misplaced) = total(&verified);
        assert_eq!(same, all);
        assert!(misplaced * 10 > all * 5, "{misplaced} of {all} keys");
        let named = verified.iter().find(|host| host.misplaced > 5).expect("a host");
        assert_eq!(named.examples.len(), 5);
    }
    for server in &servers {
        assert!(keys(server).iter().all(|key| !key.contains(":cluster:")));
    }
}

#[tokio::test]
async fn a_sample_is_bounded_and_a_dead_host_is_an_error() {
    if without("redis") {
        return;
    }
    let servers = three();
    let prefix = unique_prefix();
    let bay = open(&servers, &prefix).await.expect("opens");
    let mut map = bay.cluster().map();
    (0..20_000).for_each(|key| {
        map.set(format!("key:{key}"), 1);
    });
    assert_eq!(map.deadline(secs(30)).run().await.failed().count(), 0);
    for host in inspect(hosts(&servers), &prefix).await.verify(1_500).await.expect("verified") {
        // By pages of about a thousand.
        assert!((1_500..4_000).contains(&host.keys), "{host:?}");
    }
    let dead = hosts(&servers[..2]).host("c", "redis://127.0.0.1:1");
    let error = Forebay::options().prefix(&*prefix).inspect_hosts(dead).await.expect_err("nobody answers");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

/// A user without the right to `MEMORY USAGE` gets a plan without bytes.
#[tokio::test]
async fn bytes_are_unknown_to_a_user_who_may_not_ask() {
    if without("redis") {
        return;
    }
    let servers = three();
    let prefix = unique_prefix();
    let bay = open(&servers, &prefix).await.expect("opens");
    let mut map = bay.cluster().map();
    let keys: Vec<_> = (0..500).map(|key| map.set(format!("key:{key}"), 1)).collect();
    let answers = map.run().await;
    for key in keys {
        answers.get(key).expect("set");
    }
    let named = |hosts: Hosts, (name, server): (&str, &Redis)| {
        server.command(["ACL", "SETUSER", "looker", "on", ">pw", "~*", "+@all", "-memory"]);
        hosts.host(name, server.url().replacen("redis://", "redis://looker:pw@", 1))
    };
    let limited = ["a", "b", "c"].into_iter().zip(&servers).fold(Hosts::new(), named);
    let plan = inspect(limited, &prefix).await.plan(&hosts(&servers[..2])).await.expect("planned");
    assert!(plan.moves.iter().map(|it| it.keys).sum::<u64>() > 50);
    assert!(plan.moves.iter().filter(|it| it.keys > 0).all(|it| it.bytes.is_none()), "{plan:?}");
}
