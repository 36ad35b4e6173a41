//! A route names the host that has the key.

use forebay::{
    Buffer, Forebay, Limit, Timestamp,
    buffer::ColumnType,
    cluster::{Hosts, Route, RouterKind},
    time::mins,
};
use forebay_testkit::{Redis, Reply as Answer, unique_prefix, without};

use super::hosts::SHARED;

/// Keys that could end a hash tag early, or look like an escape.
const KEYS: [&str; 12] =
    ["42", "a{b}c", "{a}b", "}{", "{}", "{", "}", "50%", "%7B", "%257B", "a{b}{c}d", "ü|%7D{"];

async fn open(router: RouterKind, prefix: &str) -> Forebay {
    let hosts = (0..).zip(SHARED.iter());
    let hosts = hosts.fold(Hosts::new(), |hosts, (i, server)| hosts.host(i.to_string(), server.url()));
    Forebay::options().prefix(prefix).open_hosts(hosts.router(router)).await.expect("opens")
}

/// The numbers of the servers for which this is true.
fn servers(holds: impl Fn(usize, &Redis) -> bool) -> Vec<usize> {
    SHARED.iter().enumerate().filter(|(i, server)| holds(*i, server)).map(|(i, _)| i).collect()
}

/// The server that a route names. Ketama rings use the address as the name.
fn named(route: &Route) -> Vec<usize> {
    let has_port = |server: &Redis| route.host.contains(&server.port().to_string());
    servers(|i, server| *route.host == i.to_string() || has_port(server))
}

/// A separate prefix for each key: everything under it belongs to that key.
#[tokio::test]
async fn each_kind_of_structure_is_where_the_route_says() {
    if without("redis") {
        return;
    }
    let routers =
        [RouterKind::Slots, RouterKind::NydusPartition, RouterKind::NydusKetama, RouterKind::TwemproxyKetama];
    for router in routers {
        let mut elsewhere = 0;
        for key in KEYS {
            let prefix = unique_prefix();
            let bay = open(router, &prefix).await;
            let cluster = bay.cluster();
            let is_there = |what: &str, route: &Route| {
                let pattern = format!("{prefix}:{what}");
                let has = |server: &Redis| server.command(["KEYS", &pattern]) != Answer::Array(vec![]);
                assert_eq!(servers(|_, server| has(server)), named(route), "{router:?}, {key:?}: {what}");
                assert_eq!(route.slot.is_some(), router == RouterKind::Slots);
            };

            let limit = bay.limit(Limit::per_minute("hits", 9)).expect("valid");
            assert!(limit.take(key).await.expect("answers").is_allowed());
            is_there("window:*", &cluster.route_limit(key));
            let guard = bay.lock(key).ttl(mins(1)).try_acquire().await.expect("answers");
            is_there("lock:*", &cluster.route_lock(key));
            drop(guard);

            let series = bay.series("hits").expect("valid");
            series.add(key, 1).await.expect("answers");
            let route = cluster.route_series(&series, key);
            let partition = route.partition.expect("it has partitions");
            is_there(&format!("series:{{hits.{partition}}}:open*"), &route);

            let buffer = bay.buffer(Buffer::new("rows").key("id").sum("n")).expect("valid");
            buffer.row(key).add("n", 1).await.expect("answers");
            let route = cluster.route_row(&buffer, [key.into()]).expect("a key");
            let partition = route.partition.expect("it has partitions");
            is_there(&format!("buffer:{{rows.{partition}}}:live"), &route);

            let plain = format!("{key}-{prefix}");
            let mut map = cluster.map();
            map.set(&plain, "1");
            assert!(map.run().await.is_complete());
            let route = cluster.route(&plain);
            let has = servers(|_, server| server.command(["GET", &plain]) == Answer::text("1"));
            assert_eq!(has, named(&route), "{router:?}, {plain:?}");
            assert_eq!(route.partition, None);
            elsewhere += u32::from(cluster.route(key).host != cluster.route_limit(key).host);
        }
        assert!(elsewhere > 0, "{router:?}: a plain key and a limit's key are not the same");
    }
}

#[tokio::test]
async fn one_host_has_all_and_a_row_needs_its_key() {
    let bay = Forebay::open("memory:").await.expect("opens");
    let cluster = bay.cluster();
    let buffer = Buffer::new("rows").key("id").key_of("day", ColumnType::Timestamp).sum("n").partitions(1);
    let buffer = bay.buffer(buffer).expect("valid");
    let day = Timestamp::from_secs(1_790_000_000);
    let route = cluster.route_row(&buffer, ["a".into(), day.into()]).expect("a key");
    assert_eq!((&*route.host, route.slot, route.partition), ("embedded", None, Some(0)));
    cluster.route_row(&buffer, ["a".into()]).expect_err("half a key");
    assert_eq!(cluster.route_limit("{"), cluster.route_lock("}"));
}
