//! Maps on one host, also when the connection breaks.

use forebay::{
    ErrorKind, Forebay, Retry,
    cluster::{Fate, Hosts, Map, Reply, Script, Ticket},
    time::{millis, secs},
};
use forebay_testkit::{
    Fault, Proxy, Redis, RedisCluster, Reply as Answer, eventually, unique_prefix, without,
};
use tokio::task::block_in_place;

/// A store behind a proxy, with its connection for maps already open.
async fn connected(server: &Redis) -> (Proxy, Forebay) {
    let proxy = Proxy::new(server.port());
    let bay = Forebay::open(&server.url_through(&proxy)).await.expect("opens");
    let mut map = bay.cluster().map();
    map.incr(unique_prefix(), 1);
    assert!(map.run().await.is_complete());
    (proxy, bay)
}

/// The cluster client of redis-rs repeats commands without an answer: one dropped reply, two increments.
#[tokio::test]
async fn a_command_without_an_answer_is_never_sent_twice() {
    if without("redis") {
        return;
    }
    let server = Redis::shared();
    let (proxy, bay) = connected(server).await;
    let key = unique_prefix();
    proxy.set(Fault::DropReply { after: 0 });
    let mut map = bay.cluster().map();
    let ticket = map.incr(&key, 1);
    let answers = map.run().await;
    let error = answers.get(ticket).expect_err("its answer was lost");
    assert_eq!((error.fate(), error.retry()), (Fate::MaybeExecuted, Retry::Unknown));
    assert_eq!(server.command(["GET", &key]), Answer::text("1"));

    proxy.set(Fault::DropRequest { after: 0 });
    eventually("the connection to be made again", async || {
        let mut map = bay.cluster().map();
        let ticket = map.incr(&key, 1);
        let answers = map.run().await;
        // First the lost request, then perhaps a failed attempt to connect, then an answer.
        answers.get(ticket).is_ok()
    })
    .await;
    assert_eq!(server.command(["GET", &key]), Answer::text("2"));
}

#[tokio::test]
async fn a_dead_host_has_executed_nothing_and_is_found_again() {
    if without("redis") {
        return;
    }
    let server = Redis::start();
    let (_proxy, bay) = connected(&server).await;
    server.kill();
    let run = async || {
        let mut map = bay.cluster().map();
        let ticket = map.incr("a", 1);
        map.run().await.get(ticket)
    };
    eventually("the loss to be noticed", async || {
        run().await.is_err_and(|error| error.fate() == Fate::NotSent)
    })
    .await;
    assert_eq!(run().await.expect_err("it is down").retry(), Retry::Later);
    server.restart();
    eventually("the host to be found again", async || run().await.is_ok()).await;
}

#[tokio::test]
async fn a_map_waits_no_longer_than_its_deadline_and_says_what_was_sent() {
    if without("redis") {
        return;
    }
    let server = Redis::start();
    let (proxy, bay) = connected(&server).await;
    proxy.set(Fault::BlackHole);
    // More than one batch: the commands after the batch without an answer are not sent.
    let value = vec![b'x'; 700_000];
    let mut map = bay.cluster().map().deadline(millis(50));
    let tickets: Vec<Ticket<()>> = (0..3).map(|i| map.set(i, &value)).collect();
    let answers = map.run().await;
    let fates: Vec<_> =
        tickets.iter().map(|ticket| answers.get(*ticket).expect_err("no answer").fate()).collect();
    assert_eq!(fates, [Fate::MaybeExecuted, Fate::NotSent, Fate::NotSent]);
    let host = answers.hosts().next().expect("one host");
    assert!(host.took >= millis(50) && host.took < secs(2), "{:?}", host.took);

    // The silent connection is abandoned, and a new one is opened.
    let before = proxy.connections();
    eventually("the silent connection to be given up", async || proxy.connections() > before).await;
    proxy.set(Fault::Pass);
    eventually("the host to answer again", async || {
        let mut map = bay.cluster().map();
        let ticket = map.get::<Option<i64>>("nothing");
        map.run().await.get(ticket).is_ok()
    })
    .await;
}

#[tokio::test]
async fn raw_commands_are_whatever_redis_has() {
    if without("redis") {
        return;
    }
    let bay = Forebay::open(&Redis::shared().url()).await.expect("opens");
    let name = unique_prefix();
    let (hash, list) = (format!("{{{name}}}:hash"), format!("{{{name}}}:list"));
    let mut map = bay.cluster().map();
    let set = map.raw::<i64>(&hash, ["HSET", &hash, "a", "1", "b", "2"]);
    let all = map.raw::<Reply>(&hash, ["HGETALL", &hash]);
    let pushed = map.raw::<i64>(&list, ["RPUSH", &list, "x", "y"]);
    let wrong = map.raw::<i64>(&list, ["HSET", &list, "a", "1"]);
    let unknown = map.raw::<Reply>(&list, ["NO-SUCH-COMMAND"]);
    let blocking = map.raw::<Reply>(&list, ["BLPOP", &list, "0"]);
    let range = map.raw::<Vec<String>>(&list, ["LRANGE", &list, "0", "-1"]);
    let parts =
        map.raw::<Vec<Reply>>(&list, ["EVAL", "return {1, redis.error_reply('no'), false, 'x'}", "0"]);
    let answers = map.run().await;

    assert_eq!((answers.get(set).expect("runs"), answers.get(pushed).expect("runs")), (2, 2));
    let text = |text: &str| Reply::Bytes(text.as_bytes().into());
    let pairs = vec![(text("a"), text("1")), (text("b"), text("2"))];
    assert_eq!(answers.get(all).expect("runs"), Reply::Map(pairs));
    assert_eq!(answers.get(range).expect("runs"), ["x", "y"]);
    let parts = answers.get(parts).expect("runs");
    assert!(matches!(&parts[1], Reply::Refused(why) if why.contains("no")), "{parts:?}");
    assert_eq!((&parts[0], &parts[2], &parts[3]), (&Reply::Integer(1), &Reply::Nil, &text("x")));

    for error in [answers.get(wrong).map(|_| ()), answers.get(unknown).map(|_| ())] {
        let error = error.expect_err("refused");
        assert_eq!((error.fate(), error.retry()), (Fate::Rejected, Retry::Never), "{error}");
    }
    let error = answers.get(blocking).expect_err("refused");
    assert_eq!((error.fate(), error.cause().kind()), (Fate::NotSent, ErrorKind::Invalid));
    assert!(error.to_string().starts_with("raw BLPOP \""), "{error}");
}

/// Reads that go together are answered as each would be by itself: a key of another type refuses, and costs the others nothing.
async fn reads_are_told_apart(bay: &Forebay) {
    let name = unique_prefix();
    let keys: Vec<String> = (0..3_000).map(|key| format!("{name}:{key}")).collect();
    let mut map = bay.cluster().map().deadline(secs(5));
    for (number, key) in keys.iter().enumerate() {
        match number % 3 {
            0 => _ = map.set(key, number),
            1 if number % 100 == 1 => _ = map.raw::<i64>(key, ["RPUSH", key, "x"]),
            _ => {}
        }
    }
    assert!(map.run().await.is_complete());

    let mut map = bay.cluster().map().deadline(secs(5));
    let values = map.mget::<Option<usize>>(&keys);
    let answers = map.run().await;
    for (number, value) in values.into_iter().enumerate() {
        let value = answers.get(value);
        if number % 3 == 1 && number % 100 == 1 {
            let error = value.expect_err("a list is no value");
            assert_eq!((error.fate(), error.retry()), (Fate::Rejected, Retry::Never), "{error}");
            assert!(error.cause().to_string().contains("WRONGTYPE"), "{}", error.cause());
        } else {
            assert_eq!(value.expect("a value or none"), (number % 3 == 0).then_some(number));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_reads_are_answered_as_each_by_itself() {
    if without("redis") {
        return;
    }
    let servers: [Redis; 3] = block_in_place(|| std::array::from_fn(|_| Redis::start()));
    let (alone, cluster) = block_in_place(|| (Redis::start(), RedisCluster::start_single()));
    for url in [alone.url(), cluster.url()] {
        reads_are_told_apart(&Forebay::open(&url).await.expect("opens")).await;
    }
    let [a, b, c] = servers.each_ref().map(Redis::url);
    let hosts = Hosts::new().host("a", a).host("b", b).host("c", c);
    reads_are_told_apart(&Forebay::options().open_hosts(hosts).await.expect("opens")).await;
    for right in ["-mget", "-exists"] {
        let words = ["ACL", "SETUSER", "reader", "reset", "on", "nopass", "~*", "&*", "+@all", right];
        assert_eq!(alone.command(words), Answer::text("OK"));
        let url = alone.url().replace("redis://", "redis://reader:x@");
        reads_are_told_apart(&Forebay::open(&url).await.expect("opens")).await;
    }
}

/// More commands than are written together.
const MANY: i64 = 5_000;

/// The tickets of so many increments of one key, some of them by a script.
fn increments(map: &mut Map, key: &str, script: Option<&Script>) -> Vec<Ticket<i64>> {
    let mut increment = |number: i64| match script.filter(|_| number % 500 == 7) {
        Some(script) => map.script(script, [key], [0_u8; 0]),
        None => map.incr(key, 1),
    };
    (0..MANY).map(&mut increment).collect()
}

#[tokio::test]
async fn a_map_that_is_written_in_pieces_is_executed_in_order() {
    if without("redis") {
        return;
    }
    let bay = Forebay::open(&Redis::shared().url()).await.expect("opens");
    let script = Script::new(format!("return redis.call('INCR', KEYS[1]) -- {}", unique_prefix()));
    for round in 0..2 {
        let mut map = bay.cluster().map().deadline(secs(60));
        let tickets = increments(&mut map, &unique_prefix(), Some(&script));
        let answers = map.run().await;
        let sums: Vec<i64> =
            tickets.into_iter().map(|ticket| answers.get(ticket).expect("executed")).collect();
        assert_eq!(sums, (1..=MANY).collect::<Vec<_>>(), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_map_in_pieces_is_executed_in_order_after_its_slot_has_moved() {
    if without("redis") {
        return;
    }
    let cluster = block_in_place(RedisCluster::start);
    let bay = Forebay::open(&cluster.url()).await.expect("opens");
    let key = unique_prefix();
    let slot = bay.cluster().route(&key).slot.expect("by slots");
    let mut map = bay.cluster().map();
    let first = map.incr(&key, 1);
    assert_eq!(map.run().await.get(first).expect("executed"), 1);
    let at = cluster.owner(slot).port();
    let to = cluster.nodes().iter().find(|node| node.port() != at).expect("three nodes");
    block_in_place(|| cluster.move_slot(slot, to, || ()));

    let mut map = bay.cluster().map().deadline(secs(60));
    let tickets = increments(&mut map, &key, None);
    let answers = map.run().await;
    let sums: Vec<i64> = tickets.into_iter().map(|ticket| answers.get(ticket).expect("executed")).collect();
    assert_eq!(sums, (2..=MANY + 1).collect::<Vec<_>>());
}
