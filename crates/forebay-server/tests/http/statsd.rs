//! Counts that come as datagrams of statsd.

use std::net::UdpSocket;

use forebay_testkit::{Redis, wait_until, without};
use serde_json::json;

use crate::support::{Client, Server};

const STATSD: &str = "\n[series.requests]\nlabels = [\"endpoint\", \"status\"]\n[statsd]\nlisten = \"127.0.0.1:0\"\n\
    [[statsd.metrics]]\npattern = \"api.*.requests\"\nseries = \"requests\"\nlabels = { endpoint = \"/$1\" }\n\
    [[statsd.metrics]]\npattern = \"web.**\"\nseries = \"requests\"\n\
    labels = { endpoint = \"$[http.path]\", status = \"$1-$env\" }\n\
    [[statsd.metrics]]\npattern = \"users.*\"\nseries = \"hits\"\nkey = \"user:$1\"\n\
    [[statsd.metrics]]\npattern = \"job*\"\nseries = \"hits\"\n";

const VALUES: &str = "\n[[statsd.metrics]]\npattern = \"latency\"\nseries = \"latency\"\n\
    [series.latency]\nkind = \"percentiles\"\nresolutions = [\"1h/7d\"]\n";

fn server(change: impl FnOnce(&str) -> String) -> Server {
    Server::with(|config| config + &change(STATSD))
}

fn send(server: &Server, datagrams: &[&[u8]]) {
    let to = server.statsd();
    let socket = UdpSocket::bind((to.ip(), 0)).expect("a port");
    for datagram in datagrams {
        socket.send_to(datagram, to).expect("loopback");
    }
}

fn sum(client: &Client, series: &str, key: &str) -> u64 {
    let answer = client.get(&format!("/v1/series/{series}/sum?key={key}&from=-1h&to=%2B1m"));
    answer.expect(200)["sum"].as_u64().expect("a sum")
}

/// The value of a metric of the server.
fn metric(client: &Client, name: &str) -> u64 {
    let text = client.get("/metrics").body;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name}\n{text}")).parse().expect("a number")
}

fn refused(client: &Client, why: &str) -> u64 {
    metric(client, &format!("forebay_statsd_refused_total{{why=\"{why}\"}}"))
}

#[test]
fn counters_of_datagrams_are_counted_by_patterns_and_tags() {
    let server = server(str::to_owned);
    let client = server.client();
    send(
        &server,
        &[
            b"api.cart.requests:1|c|#status:500,env:live\napi.cart.requests:2|c|#env:live,status:500\n",
            b"api.cart.requests:1|c|@0.1|#status:200\r\n\r\nusers.42:+3|c",
            b"web.shop.page:2|c|#http.path:/a|b,env:live",
            b"web.shop.page:2|c|#http.path:/p,env:live|c:in-12",
            b"jobs:0.5|c\njobs:0.5|c\njobs_done:1e1|c\njobs:0|c",
            b"",
            b"\n\n",
        ],
    );
    wait_until("the counts", || sum(&client, "hits", "jobs_done") == 10 && sum(&client, "hits", "jobs") == 1);
    for (series, key, n) in [
        ("requests", "/cart%7C500", 3),
        ("requests", "/cart%7C200", 10),
        ("requests", "/p%7Cshop.page-live", 2),
        ("hits", "user:42", 3),
    ] {
        assert_eq!(sum(&client, series, key), n, "{key}");
    }
    let by_status =
        client.get("/v1/series/requests?label=endpoint=/cart&group_by=status&from=-1h").expect(200);
    assert_eq!(by_status["groups"].as_array().map(Vec::len), Some(2), "{by_status}");
    assert_eq!(metric(&client, "forebay_statsd_datagrams_total"), 7);
    assert_eq!(metric(&client, "forebay_statsd_lines_total"), 9);
    assert_eq!(refused(&client, "field"), 1, "a pipe in a tag ends it");
    assert_eq!(metric(&client, "forebay_statsd_pending_counts"), 0);
    assert_eq!(metric(&client, "forebay_statsd_kernel_dropped_total"), 0);
}

/// Each thousand sampled lines is exact, over many datagrams and many writes.
#[test]
fn sampled_counts_are_exact_over_many_datagrams() {
    let server = server(str::to_owned);
    let client = server.client();
    for round in 1..=3_u64 {
        let datagram = "users.7:1|c|@0.7\n".repeat(70);
        for _ in 0..10 {
            send(&server, &[datagram.as_bytes()]);
        }
        wait_until("the counts", || sum(&client, "hits", "user:7") == round * 1_000);
    }
}

#[test]
fn what_cannot_be_counted_is_told_by_its_reason_and_nothing_else_is_lost() {
    let server = server(str::to_owned);
    let client = server.client();
    let long = format!("users.{}:1|c", "x".repeat(600));
    let large = format!("users.big:1|c\n{}users.big:1|c", "x".repeat(65_000));
    let many = format!("users.big:{}1|c", "1:".repeat(30_000));
    send(
        &server,
        &[
            b"users.1:1|c\nusers.2:NaN|c\nusers.1:1|c",
            b"users.1:-1|c",
            b"users.1:1|c|@0",
            b"users.1:1|x",
            b"users.1:1|g\nusers.1:320|ms\nusers.1:a|s",
            b":1|c",
            b"users.\xff:1|c",
            b"_e{1,1}:a|b\n_sc|a|0",
            b"unknown:1|c\nUsers.1:1|c\nusers.a.b:1|c",
            b"web.a:1|c",
            b"users.1:1|c|T1000000000",
            long.as_bytes(),
            large.as_bytes(),
            many.as_bytes(),
            &[0; 1_000],
            b"users.3:1|c",
        ],
    );
    wait_until("the last one", || sum(&client, "hits", "user:3") == 1 && refused(&client, "refused") == 1);
    assert_eq!((sum(&client, "hits", "user:1"), sum(&client, "hits", "user:big")), (2, 30_002));
    for (why, count) in [
        ("name", 1),
        ("value", 3),
        ("rate", 1),
        ("type", 4),
        ("encoding", 1),
        ("unsupported", 2),
        ("unmapped", 4),
        ("key", 1),
        ("overflow", 0),
        ("unknown", 0),
        ("source", 0),
    ] {
        assert_eq!(refused(&client, why), count, "{why}");
    }
    // Of a series with labels, the tags that are missing leave their values empty.
    let keys = client.get("/v1/series/requests/keys").expect(200);
    assert_eq!(keys["keys"], json!(["|a-"]));
}

#[test]
fn only_allowed_addresses_are_counted() {
    let server = server(|statsd| statsd.replace("127.0.0.1:0\"", "127.0.0.1:0\"\nallow = [\"10.0.0.0/8\"]"));
    let client = server.client();
    send(&server, &[b"users.1:1|c\nusers.1:1|c", b"users.1:1|c"]);
    wait_until("the refusals", || refused(&client, "source") == 2);
    assert_eq!(sum(&client, "hits", "user:1"), 0);
}

#[test]
fn it_listens_on_ipv6_and_a_line_may_have_a_time() {
    let server = server(|statsd| statsd.replace("127.0.0.1:0", "[::1]:0"));
    let client = server.client();
    let now = forebay::Clock::system().now();
    let line = format!("users.1:2|c|T{}", now.as_secs() - 7_200);
    send(&server, &[line.as_bytes(), b"users.1:1|c"]);
    wait_until("the recent one", || sum(&client, "hits", "user:1") == 1);
    let all = client.get("/v1/series/hits/sum?key=user:1&from=-3h&to=%2B1m").expect(200);
    assert_eq!(all["sum"], json!(3));
}

/// The datagrams that have come when the server stops are in the store when it starts again.
#[test]
fn a_stop_writes_what_is_pending() {
    let mut server = server(str::to_owned);
    let lines = "users.1:1|c\n".repeat(100);
    for _ in 0..20 {
        send(&server, &[lines.as_bytes()]);
    }
    server.stop();
    server.start();
    assert_eq!(sum(&server.client(), "hits", "user:1"), 2_000);
}

const KINDS: &str = "\n[series.level]\nkind = \"gauge\"\nresolutions = [\"1m/1d\"]\n\
    [series.latency]\nkind = \"percentiles\"\nresolutions = [\"1h/7d\"]\n\
    [series.visitors]\nkind = \"distinct\"\nresolutions = [\"1h/7d\"]\n\
    [statsd]\nlisten = \"127.0.0.1:0\"\n\
    [[statsd.metrics]]\npattern = \"*.all\"\nseries = \"level\"\nkey = \"$1\"\n\
    [[statsd.metrics]]\npattern = \"*.all\"\nseries = \"latency\"\nkey = \"$1\"\n\
    [[statsd.metrics]]\npattern = \"*.all\"\nseries = \"visitors\"\nkey = \"$1\"\n\
    [[statsd.metrics]]\npattern = \"*.all\"\nseries = \"hits\"\nkey = \"$1\"\n";

/// One name may be a gauge, a timer, a set and a counter: the type chooses among the patterns that fit.
#[test]
fn gauges_timers_and_sets_are_of_the_series_of_their_kind() {
    let server = Server::with(|config| config + KINDS);
    let client = server.client();
    send(
        &server,
        &[
            b"a.all:333|g\na.all:-10|g\na.all:+4|g\nb.all:-5|g\nc.all:7|g\nc.all:3|g",
            b"a.all:1:2:3|ms\na.all:4|h|@0.5\na.all:-1|d\na.all:1|ms|@0.0001",
            b"a.all:ada|s\na.all:bob|s\na.all:ada|s|#x:y\na.all:42|c",
            b"a.all:1e300|g\na.all:1e291|ms",
            b"b.all:1|ms\nb.all:9|ms|T1000000000\nb.all:2|ms\nb.all:x|s\nb.all:y|s|T1000000000",
        ],
    );
    let total = |series: &str, key: &str, rest: &str| {
        client.get(&format!("/v1/series/{series}?key={key}&last=2&step=1h{rest}")).expect(200)["total"]
            .clone()
    };
    wait_until("the last ones", || sum(&client, "hits", "a") == 42 && total("visitors", "b", "") == 1);
    let level = |key: &str| total("level", key, "");
    assert_eq!(
        (&level("a")["last"], &level("a")["min"], &level("a")["count"]),
        (&json!(327.0), &json!(323.0), &json!(3))
    );
    assert_eq!(
        (&level("b")["last"], &level("c")["last"]),
        (&json!(-5.0), &json!(3.0)),
        "the last of a datagram"
    );
    let latency = total("latency", "a", "&quantiles=1");
    assert_eq!((&latency["count"], &latency["min"], &latency["max"]), (&json!(6), &json!(-1.0), &json!(4.0)));
    assert_eq!(total("latency", "b", "")["count"], json!(2), "the old one alone is refused");
    assert_eq!(total("visitors", "a", ""), json!(2));
    for (why, count) in [("rate", 1), ("value", 2), ("refused", 2), ("type", 0), ("unmapped", 0)] {
        assert_eq!(refused(&client, why), count, "{why}");
    }
    wait_until("nothing to wait", || metric(&client, "forebay_statsd_pending_counts") == 0);
}

/// While the store is away counts wait, and are written once when it is back.
#[test]
fn counts_wait_for_a_store_that_is_away() {
    if without("redis") {
        return;
    }
    let redis = Redis::builder().append_only().start();
    let server = Server::with(|config| {
        let line = config.lines().find(|line| line.starts_with("store = ")).expect("a store").to_owned();
        config.replace(&line, &format!("store = {:?}", redis.url())) + STATSD + VALUES
    });
    let client = server.client();
    send(&server, &[b"users.1:1|c"]);
    wait_until("the first count", || sum(&client, "hits", "user:1") == 1);
    redis.kill();
    // From now on nothing is sent, so that nothing can be in doubt.
    wait_until("/readyz to notice", || client.get("/readyz").status == 503);
    for _ in 0..40 {
        send(&server, &[b"users.1:1|c|@0.5\nlatency:7|ms|@0.5"]);
    }
    wait_until("counts that wait", || metric(&client, "forebay_statsd_pending_counts") > 0);
    redis.restart();
    wait_until("all counts", || client.get("/readyz").status == 200 && sum(&client, "hits", "user:1") == 81);
    wait_until("nothing to wait", || metric(&client, "forebay_statsd_pending_counts") == 0);
    let latency = client.get("/v1/series/latency?key=latency&last=2&step=1h").expect(200);
    assert_eq!(latency["total"]["count"], json!(80));
    assert_eq!((refused(&client, "unknown"), refused(&client, "overflow")), (0, 0));
}
