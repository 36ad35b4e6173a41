//! The hosts of the store, as operators see them, and what one dead host costs callers.

use forebay_testkit::{Redis, wait_until, without};
use serde_json::{Value, json};

use crate::{
    event::rows,
    redis::on,
    support::{Client, Server},
};

#[test]
fn a_store_of_one_host_shows_that() {
    let server = Server::example();
    let client = server.client();
    let alone = json!({
        "name": "embedded", "health": "up", "since": null, "lasted": null, "changes": 0, "slots": null, "reason": null,
        "calls": null, "latency": { "count": 0, "p50": null, "p99": null, "buckets": [] },
        "redirects": { "moved": 0, "ask": 0, "try_again": 0 }, "memory": null, "skew": null, "breaker_open": false,
    });
    assert_eq!(
        client.get("/v1/cluster").expect(200),
        json!({ "router": null, "epoch": null, "hosts": [alone] })
    );
    let route = client.get("/v1/cluster/route?key=42").expect(200);
    let here = |partition: &Value| json!({ "partition": partition, "slot": null, "host": "embedded" });
    let partitions = [&route["series"]["hits"]["partition"], &route["buffers"]["projects"]["partition"]];
    assert!(partitions.iter().all(|partition| partition.as_u64().is_some_and(|n| n < 16)), "{route}");
    let plain = json!({ "slot": null, "host": "embedded" });
    assert_eq!(
        route,
        json!({
            "slot": null, "host": "embedded", "limit": plain, "lock": plain, "map": plain,
            "series": { "hits": here(partitions[0]) }, "buffers": { "projects": here(partitions[1]) },
        })
    );
    for query in ["", "?key=", "?kez=42", "?key=42&more=1"] {
        client.get(&format!("/v1/cluster/route{query}")).problem(422);
    }
}

/// Three servers under the names a, b and c, and Forebay on them.
pub(crate) fn three() -> (Vec<Redis>, Server) {
    let redis: Vec<Redis> = (0..3).map(|_| Redis::start()).collect();
    let hosts: Vec<String> = ["a", "b", "c"]
        .iter()
        .zip(&redis)
        .map(|(name, redis)| format!("{name} = {:?}", redis.url()))
        .collect();
    let server = on(&format!("cluster = {{ hosts = {{ {} }} }}", hosts.join(", ")));
    (redis, server)
}

pub(crate) fn health(client: &Client) -> Vec<Value> {
    let cluster = client.get("/v1/cluster").expect(200);
    cluster["hosts"].as_array().expect("hosts").iter().map(|host| host["health"].clone()).collect()
}

/// For each of 40 keys: whether its hits are accepted.
fn accepted(client: &Client) -> Vec<bool> {
    let hit = |key: usize| client.post("/v1/events/hit", format!(r#"{{"key":"{key}"}}"#));
    (0..40)
        .map(|key| hit(key).status)
        .inspect(|status| assert!([202, 503].contains(status)))
        .map(|status| status == 202)
        .collect()
}

/// Each host has its state, latency, calls, memory and skew.
fn check_figures(client: &Client) {
    for host in client.get("/v1/cluster").expect(200)["hosts"].as_array().expect("hosts") {
        assert!(host["since"].as_str().is_some_and(|since| since.ends_with('Z')), "{host}");
        let (calls, p99) = (host["calls"]["begun"].as_u64(), host["latency"]["p99"].as_f64());
        assert!(calls > Some(0) && p99 > Some(0.0), "{host}");
        let used = host["memory"]["used"].as_u64();
        assert!(used > Some(100_000) && host["skew"]["slots"].is_number(), "{host}");
    }
}

#[test]
fn one_dead_host_of_three_costs_no_hit_and_is_named() {
    if without("redis") {
        return;
    }
    let (redis, server) = three();
    let client = server.client();
    let cluster = client.get("/v1/cluster").expect(200);
    assert_eq!((&cluster["router"], &cluster["epoch"]), (&json!("slots"), &json!(1)));
    let slots = |host: &Value| host["slots"].as_u64().expect("by slots");
    assert_eq!(cluster["hosts"].as_array().expect("hosts").iter().map(slots).sum::<u64>(), 16_384);
    // Redis gives the same answer to `CLUSTER KEYSLOT foo`.
    let foo = client.get("/v1/cluster/route?key=foo").expect(200);
    assert_eq!(
        (&foo["slot"], &foo["limit"]["slot"], &foo["map"]["slot"]),
        (&json!(12_182), &json!(12_182), &json!(12_182))
    );
    // A limit's key and a lock are placed by `a%7Bfoo%7D`, a plain key by the text in its braces.
    let braces = client.get("/v1/cluster/route?key=a%7Bfoo%7D").expect(200);
    assert_eq!(braces["map"]["slot"], 12_182);
    assert!(braces["slot"] != 12_182 && braces["slot"] == braces["limit"]["slot"], "{braces}");
    assert_eq!(braces["limit"], braces["lock"]);
    assert_eq!(accepted(&client), [true; 40]);
    check_figures(&client);

    redis[1].kill();
    wait_until("the host to be found dead", || health(&client) == ["up", "down", "up"]);
    let metrics = client.get("/metrics").body;
    let has = |line: &str| metrics.lines().any(|found| found == line);
    for line in [
        "forebay_host_state{host=\"b\",state=\"down\"} 1",
        "forebay_host_state{host=\"b\",state=\"up\"} 0",
        "forebay_host_state{host=\"a\",state=\"up\"} 1",
        "# TYPE forebay_host_round_trip_seconds histogram",
    ] {
        assert!(has(line), "{line}\n{metrics}");
    }
    assert!(
        metrics.contains("forebay_host_round_trip_seconds_bucket{host=\"a\",le=\"0.000032\"} "),
        "{metrics}"
    );
    let ready = client.get("/readyz").expect(200);
    assert_eq!(ready["store"], "ok", "the other two serve");
    assert!(ready["warnings"][0].as_str().is_some_and(|text| text.contains("host \"b\" is down")), "{ready}");
    assert_eq!(
        accepted(&client),
        [true; 40],
        "its limits are open, and its rows and points go to the others"
    );

    redis[1].restart();
    wait_until("the host to be found again", || health(&client) == ["up"; 3]);
    assert_eq!(accepted(&client), [true; 40]);
    assert_eq!(client.get("/readyz").expect(200)["warnings"], json!([]));

    for redis in &redis {
        redis.kill();
    }
    wait_until("/readyz to notice", || client.get("/readyz").status == 503);
    let reason = client.get("/readyz").json()["store"].to_string();
    assert!(reason.contains("none of the hosts takes writes") && reason.contains("\\\"c\\\": "), "{reason}");
    // The server flushes once more when it stops.
    for redis in &redis {
        redis.restart();
    }
    wait_until("the hosts to be found again", || health(&client) == ["up"; 3]);
}

/// The server asked all partitions for their state before it flushed any. So one dead host kept the rows of the others.
#[test]
fn a_flush_by_hand_brings_what_the_living_hosts_have() {
    if without("redis") {
        return;
    }
    let (redis, server) = three();
    let client = server.client();
    assert_eq!(accepted(&client), [true; 40]);
    redis[1].kill();
    wait_until("the host to be found dead", || health(&client) == ["up", "down", "up"]);
    client.post("/v1/buffers/projects/flush", "").problem(503);
    let there = rows(&server).len();
    assert!((1..40).contains(&there), "{there}");

    redis[1].restart();
    wait_until("the host to be found again", || health(&client) == ["up"; 3]);
}
