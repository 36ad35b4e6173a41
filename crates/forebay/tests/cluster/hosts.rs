//! Several hosts as one store.

use std::sync::LazyLock;

use forebay::{
    Buffer, Decision, ErrorKind, Forebay, Limit, Result,
    cluster::{Fate, Health, Hosts, RouterKind, Ticket},
    limit::OnError,
    sink::MemorySink,
    time::secs,
};
use forebay_testkit::{Redis, Reply as Answer, eventually, unique_prefix, without};

/// Three servers that all tests share. No test may stop or flush them.
pub(crate) static SHARED: LazyLock<[Redis; 3]> = LazyLock::new(three);

pub(crate) fn three() -> [Redis; 3] {
    [Redis::start(), Redis::start(), Redis::start()]
}

const NAMES: [&str; 3] = ["a", "b", "c"];

/// The servers under the names a, b and c.
pub(crate) fn hosts(servers: &[Redis]) -> Hosts {
    named(&NAMES.map(String::from).into_iter().zip(servers.iter().map(Redis::url)).collect::<Vec<_>>())
}

fn named(pairs: &[(String, String)]) -> Hosts {
    pairs.iter().fold(Hosts::new(), |hosts, (name, url)| hosts.host(name, url))
}

pub(crate) async fn open(servers: &[Redis], prefix: &str) -> Result<Forebay> {
    Forebay::options().prefix(prefix).open_hosts(hosts(servers)).await
}

/// A key on the host with this name.
pub(crate) fn key_on(bay: &Forebay, host: &str) -> String {
    let mut keys = (0..).map(|i| format!("{}-{i}", unique_prefix()));
    keys.find(|key| *bay.cluster().route(key).host == *host).expect("each host has slots")
}

async fn incr(bay: &Forebay, key: &str) -> Result<i64, forebay::cluster::CommandError> {
    let mut map = bay.cluster().map();
    let ticket = map.incr(key, 1);
    map.run().await.get(ticket)
}

pub(crate) fn health(bay: &Forebay) -> Vec<Health> {
    bay.cluster().hosts().iter().map(|host| host.health).collect()
}

#[tokio::test]
async fn keys_spread_over_the_hosts_and_are_where_the_route_says() {
    if without("redis") {
        return;
    }
    let prefix = unique_prefix();
    let bay = open(&*SHARED, &prefix).await.expect("opens");
    let statuses = bay.cluster().hosts();
    let slots: Vec<u16> = statuses.iter().map(|host| host.slots.expect("by slots")).collect();
    assert_eq!(slots.iter().map(|&slots| u32::from(slots)).sum::<u32>(), 16_384);
    assert!(slots.iter().all(|slots| (5_460..=5_462).contains(slots)), "{slots:?}");

    let limit = bay.limit(Limit::per_minute("hits", 5).deadline(secs(30))).expect("valid");
    let mut seen = [0; 3];
    for i in 0..30 {
        let key = format!("{prefix}-{i}");
        incr(&bay, &key).await.expect("answers");
        assert!(limit.take(&key).await.expect("answers").is_allowed());
        let route = bay.cluster().route(&key);
        let place = NAMES.iter().position(|name| *name == &*route.host).expect("one of them");
        seen[place] += 1;
        for (number, server) in SHARED.iter().enumerate() {
            let there = i64::from(number == place);
            assert_eq!(server.command(["EXISTS", &key]), Answer::Integer(there));
            let pattern = format!("{prefix}:window:hits:60s:{{{key}}}");
            assert_eq!(server.command(["EXISTS", &pattern]), Answer::Integer(there));
        }
        let Answer::Integer(slot) = cluster_keyslot(&key) else { panic!("no slot") };
        assert_eq!(route.slot.map(i64::from), Some(slot));
    }
    assert!(seen.iter().all(|&keys| keys > 0), "{seen:?}");
}

/// The slot of a key according to Redis itself, if it has cluster support.
fn cluster_keyslot(key: &str) -> Answer {
    SHARED[0].command(["EVAL", CRC16, "0", key])
}

/// CRC-16/XMODEM of the argument, modulo 16384, bit by bit.
const CRC16: &str = "local crc = 0 for i = 1, #ARGV[1] do crc = bit.bxor(crc, bit.lshift(ARGV[1]:byte(i), 8)) \
    for _ = 1, 8 do crc = bit.lshift(crc, 1) if crc >= 65536 then crc = bit.bxor(crc, 0x11021) end end end return crc % 16384";

#[tokio::test]
async fn the_stored_placement_outlives_processes_and_the_order_of_the_list() {
    if without("redis") {
        return;
    }
    let prefix = unique_prefix();
    let place = |bay: &Forebay| -> Vec<Box<str>> {
        (0..200).map(|i| bay.cluster().route(format!("key:{i}")).host).collect()
    };
    let before = place(&open(&*SHARED, &prefix).await.expect("opens"));
    let key = format!("{prefix}:cluster:placement");
    let texts: Vec<_> = SHARED.iter().map(|server| server.command(["GET", &key])).collect();
    assert!(matches!(&texts[0], Answer::Text(text) if text.starts_with("forebay-slots 1\nepoch 1\nhost a ")));
    assert!(texts[0] == texts[1] && texts[1] == texts[2]);

    let pairs: Vec<(String, String)> =
        [2, 0, 1].map(|i| (NAMES[i].into(), SHARED[i].url())).into_iter().collect();
    let turned = Forebay::options().prefix(&prefix).open_hosts(named(&pairs)).await.expect("opens");
    assert_eq!(place(&turned), before);
}

#[tokio::test]
async fn what_contradicts_the_stored_placement_is_an_error_that_names_both() {
    if without("redis") {
        return;
    }
    let prefix = unique_prefix();
    drop(open(&*SHARED, &prefix).await.expect("opens"));
    let url = |i: usize| SHARED[i].url();
    let refusal = async |pairs: &[(&str, String)], router: RouterKind| {
        let pairs: Vec<_> = pairs.iter().map(|(name, url)| ((*name).to_owned(), url.clone())).collect();
        let opened = Forebay::options().prefix(&prefix).open_hosts(named(&pairs).router(router)).await;
        let error = opened.expect_err("it contradicts");
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        error.to_string()
    };
    let slots = RouterKind::Slots;
    let text = refusal(&[("a", url(1)), ("b", url(0)), ("c", url(2))], slots).await;
    assert!(text.contains("configured as \"a\" is \"b\""), "{text}");
    let text = refusal(&[("a", url(0)), ("b", url(0)), ("c", url(2))], slots).await;
    assert!(text.contains("configured as \"b\" is \"a\""), "{text}");
    let text = refusal(&[("a", url(0)), ("b", url(1))], slots).await;
    assert!(text.contains("only in the table: c; only in the configuration: none"), "{text}");
    let text = refusal(&[("a", url(0)), ("b", url(1)), ("c", url(2))], RouterKind::NydusKetama).await;
    assert!(text.contains("router slots") && text.contains("router nydus-ketama"), "{text}");
}

#[tokio::test]
async fn two_urls_of_one_server_are_noticed_at_the_first_start() {
    if without("redis") {
        return;
    }
    let hosts = Hosts::new().host("a", SHARED[0].url()).host("b", SHARED[0].url());
    let opened = Forebay::options().prefix(unique_prefix()).open_hosts(hosts).await;
    assert_eq!(opened.expect_err("one server").kind(), ErrorKind::Configuration);
    // Two databases of one server are two hosts.
    let hosts = Hosts::new().host("a", SHARED[0].url_of(1)).host("b", SHARED[0].url_of(2));
    Forebay::options().prefix(unique_prefix()).open_hosts(hosts).await.expect("opens");
}

/// Processes with different weights would create different tables: the first one decides for all.
#[tokio::test]
async fn processes_that_start_together_agree() {
    if without("redis") {
        return;
    }
    for _ in 0..5 {
        let prefix = unique_prefix();
        let opens = (1..=6).map(|weight| {
            let hosts = hosts(&*SHARED).weighted("d", SHARED[0].url_of(5), weight);
            Forebay::options().prefix(&prefix).open_hosts(hosts)
        });
        let opened = futures::future::join_all(opens).await;
        let slots = |bay: &Forebay| bay.cluster().hosts().iter().map(|host| host.slots).collect::<Vec<_>>();
        let slots: Vec<_> = opened.iter().map(|bay| slots(bay.as_ref().expect("opens"))).collect();
        assert!(slots.windows(2).all(|pair| pair[0] == pair[1]), "{slots:?}");
    }
}

/// With Nydus and rb the whole map fails. A ring that ejects a host splits its counters.
#[tokio::test]
async fn a_dead_host_costs_its_own_keys_only_and_comes_back_by_itself() {
    if without("redis") {
        return;
    }
    let servers = three();
    let bay = open(&servers, "forebay").await.expect("opens");
    let keys = NAMES.map(|name| key_on(&bay, name));
    let mut map = bay.cluster().map();
    for key in &keys {
        map.incr(key, 1);
    }
    assert!(map.run().await.is_complete());

    servers[1].kill();
    eventually("the host to be found dead", async || health(&bay)[1] == Health::Down).await;
    let mut map = bay.cluster().map();
    let tickets: Vec<Ticket<i64>> = keys.iter().cycle().take(30).map(|key| map.incr(key, 1)).collect();
    let answers = map.run().await;
    for (number, ticket) in tickets.into_iter().enumerate() {
        match answers.get(ticket) {
            Ok(count) => assert_eq!(count, 2 + i64::try_from(number / 3).expect("small")),
            Err(error) => {
                assert_eq!((number % 3, error.fate(), error.host()), (1, Fate::NotSent, "b"), "{error}");
            }
        }
    }
    let of_b = answers.hosts().find(|host| *host.name == *"b").expect("had a part");
    assert_eq!((of_b.commands, of_b.failed), (10, 10));

    let closed = Limit::per_minute("hits", 1_000).on_error(OnError::Closed).deadline(secs(30));
    let limit = bay.limit(closed).expect("valid");
    for (key, name) in keys.iter().zip(NAMES) {
        let Decision::Allow { .. } = limit.take(key).await.expect("answers") else {
            assert_eq!(name, "b");
            continue;
        };
        assert_ne!(name, "b", "a closed limit on a dead host");
    }
    bay.ping().await.expect("the others answer");
    let warnings = bay.warnings();
    assert!(warnings.iter().any(|warning| warning.contains("host \"b\" is down")), "{warnings:?}");

    servers[1].restart();
    eventually("the host to be found again", async || health(&bay) == [Health::Up; 3]).await;
    assert_eq!(incr(&bay, &keys[1]).await.expect("answers"), 1, "it was empty, and nobody else had its keys");
    assert_eq!(bay.warnings(), Vec::<String>::new());
}

/// A server without persistence loses everything on a restart, the placement too.
#[tokio::test]
async fn a_host_that_lost_everything_gets_its_name_and_the_placement_back() {
    if without("redis") {
        return;
    }
    let servers = three();
    let bay = open(&servers, "forebay").await.expect("opens");
    let placement = servers[0].command(["GET", "forebay:cluster:placement"]);
    servers[2].restart();
    eventually("the placement to be back", async || {
        servers[2].command(["GET", "forebay:cluster:placement"]) == placement
    })
    .await;
    assert_eq!(servers[2].command(["GET", "forebay:cluster:name"]), Answer::text("c"));
    drop(bay);

    // The same while no process runs: the other hosts tell the next process.
    servers[2].restart();
    open(&servers, "forebay").await.expect("opens");
    assert_eq!(servers[2].command(["GET", "forebay:cluster:placement"]), placement);
}

#[tokio::test]
async fn another_host_behind_the_same_address_gets_no_keys() {
    if without("redis") {
        return;
    }
    let servers = three();
    let bay = open(&servers, "forebay").await.expect("opens");
    let key = key_on(&bay, "b");
    servers[1].command(["SET", "forebay:cluster:name", "z"]);
    eventually("the stranger to be noticed", async || health(&bay)[1] == Health::Down).await;
    let error = incr(&bay, &key).await.expect_err("not its host");
    assert_eq!(error.fate(), Fate::NotSent);
    let reason = bay.cluster().hosts()[1].reason.clone().expect("down for a reason");
    assert!(reason.contains("configured as \"b\" is \"z\""), "{reason}");
}

#[tokio::test]
async fn a_host_that_hangs_is_left_alone_until_it_answers() {
    if without("redis") {
        return;
    }
    let servers = three();
    let bay = open(&servers, "forebay").await.expect("opens");
    let (silent, sound) = (key_on(&bay, "a"), key_on(&bay, "c"));
    let limit = bay.limit(Limit::per_minute("hits", 1_000)).expect("valid");
    let patient = bay.limit(Limit::per_minute("hits", 1_000_000).deadline(secs(30))).expect("valid");
    servers[0].pause();
    eventually("the silence to be noticed", async || {
        assert!(!patient.take(&sound).await.expect("answers").is_degraded());
        let _ = limit.take(&silent).await;
        health(&bay)[0] == Health::Down
    })
    .await;
    let error = incr(&bay, &silent).await.expect_err("it hangs");
    assert_eq!((error.fate(), error.cause().kind()), (Fate::NotSent, ErrorKind::Unavailable));
    servers[0].resume();
    eventually("the host to be found again", async || health(&bay) == [Health::Up; 3]).await;
    assert_eq!(incr(&bay, &silent).await.expect("answers"), 1);
}

#[tokio::test]
async fn a_store_opens_with_a_dead_host_once_the_others_know_the_placement() {
    if without("redis") {
        return;
    }
    let servers = three();
    servers[0].kill();
    let error = open(&servers, "forebay").await.expect_err("nobody knows whether it has the placement");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("\"a\""), "{error}");
    servers[0].restart();
    drop(open(&servers, "forebay").await.expect("opens"));

    servers[0].kill();
    let bay = open(&servers, "forebay").await.expect("two know");
    assert_eq!(health(&bay), [Health::Down, Health::Up, Health::Up]);
    let key = key_on(&bay, "a");
    assert_eq!(incr(&bay, &key).await.expect_err("it is down").fate(), Fate::NotSent);
    servers[0].restart();
    eventually("the host to be found", async || health(&bay) == [Health::Up; 3]).await;
    assert_eq!(incr(&bay, &key).await.expect("answers"), 1);

    drop(bay);
    for server in &servers {
        server.kill();
    }
    assert_eq!(open(&servers, "forebay").await.expect_err("all dead").kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_store_opens_while_its_hosts_take_no_writes() {
    if without("redis") {
        return;
    }
    let (servers, prefix) = ([Redis::start(), Redis::start()], unique_prefix());
    let buffer = || Buffer::new("rows").key("id").sum("n").partitions(2);
    let bay = open(&servers, &prefix).await.expect("opens");
    let rows = bay.buffer(buffer()).expect("valid");
    for id in 0..20 {
        rows.row(id.to_string()).add("n", 1).await.expect("acknowledged");
    }
    drop(bay);
    let set = |setting, value| {
        for server in &servers {
            assert_eq!(server.command(["CONFIG", "SET", setting, value]), Answer::text("OK"));
        }
    };
    // A server without memory is flushed, which frees some.
    for (setting, flushed) in [("min-replicas-to-write", None), ("maxmemory", Some(20))] {
        set(setting, "1");
        let bay = open(&servers, &prefix).await.unwrap_or_else(|error| panic!("{setting}: {error:?}"));
        let rows = bay.buffer(buffer()).expect("valid");
        let _ = rows.flush_to(MemorySink::new());
        assert_eq!(rows.flush().await.ok(), flushed, "{setting}");
        set(setting, "0");
    }
}

/// The expected hosts and answers come from Nydus under Python 2.7, in the order of integer ids.
#[tokio::test]
async fn keys_of_a_nydus_fleet_are_found() {
    if without("redis") {
        return;
    }
    let ids = ["2", "0", "1"].map(String::from);
    let pairs: Vec<_> = ids
        .into_iter()
        .map(|id| (id.clone(), SHARED[id.parse::<usize>().expect("a number")].url()))
        .collect();
    let hosts = named(&pairs).router(RouterKind::NydusPartition);
    let bay = Forebay::options().prefix(unique_prefix()).open_hosts(hosts).await.expect("opens");
    for (key, host) in [("foo", "1"), ("bar", "2"), ("a", "2"), ("hello", "1"), ("1", "1")] {
        assert_eq!(&*bay.cluster().route(key).host, host, "{key}");
    }
    assert_eq!(&*bay.cluster().route(1).host, "1", "an integer key is its decimal text");
    assert_eq!(bay.cluster().route("foo").slot, None);

    let key = unique_prefix();
    let place: usize = bay.cluster().route(&key).host.parse().expect("an id");
    SHARED[place].command(["SET", &key, "7"]);
    let mut map = bay.cluster().map();
    let ticket = map.get::<Option<i64>>(&key);
    assert_eq!(map.run().await.get(ticket).expect("answers"), Some(7));
}

#[tokio::test]
async fn a_fanout_asks_each_host_it_names() {
    if without("redis") {
        return;
    }
    let bay = open(&*SHARED, &unique_prefix()).await.expect("opens");
    let cluster = bay.cluster();
    let some = cluster.target(["c", "a"]).expect("they are there");
    let error = cluster.target(["a", "z"]).expect_err("no such host");
    assert!(error.to_string().contains("the hosts are a, b, c"), "{error}");
    let mut map = cluster.map();
    let all: Vec<Ticket<Vec<String>>> = map.fanout(&cluster.all(), ["CONFIG", "GET", "port"]);
    let two: Vec<Ticket<Vec<String>>> = map.fanout(&some, ["CONFIG", "GET", "port"]);
    let answers = map.run().await;
    let hosts: Vec<_> =
        all.iter().chain(&two).map(|ticket| answers.host(*ticket).expect("its own")).collect();
    assert_eq!(hosts, ["a", "b", "c", "c", "a"]);
}

#[tokio::test]
async fn a_dropped_store_leaves_no_connection() {
    if without("redis") {
        return;
    }
    let servers = three();
    let connections = || {
        let Answer::Text(clients) = servers[0].command(["CLIENT", "LIST"]) else { panic!("no list") };
        clients.lines().count()
    };
    let bay = open(&servers, "forebay").await.expect("opens");
    incr(&bay, &key_on(&bay, "a")).await.expect("answers");
    assert_eq!(connections(), 3, "for steps, for maps, and the one that asks");
    drop(bay);
    eventually("the connections to end", async || connections() == 1).await;
}

#[tokio::test]
async fn a_wrong_password_on_one_host_is_an_error_and_not_an_outage() {
    if without("redis") {
        return;
    }
    let guarded = Redis::builder().password("secret").start();
    let wrong = guarded.url().replace("secret", "wrong");
    let hosts = Hosts::new().host("a", SHARED[0].url()).host("b", wrong);
    let error =
        Forebay::options().prefix(unique_prefix()).open_hosts(hosts).await.expect_err("wrong password");
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(!format!("{error:?}").contains("wrong"), "{error:?}");
}
