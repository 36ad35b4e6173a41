//! The same server on Redis, by its configuration alone, and its answers while Redis is down.

use std::time::Duration;

use forebay_testkit::{Certificates, Proxy, Redis, RedisCluster, Reply, Sentinel, wait_until, without};
use serde_json::json;

use crate::{
    event::{of_25_hits_20_are_accepted, rows},
    support::Server,
};

/// The example on another store. Its windows outlast a test, and only explicit requests flush.
pub(crate) fn on(store: &str) -> Server {
    with_limit(store, "20/1d\"")
}

/// Like [`on`], with a deadline so long that a busy machine causes no decision without the store.
fn patiently_on(store: &str) -> Server {
    with_limit(store, "20/1d\"\ndeadline = \"30s\"")
}

/// Like [`on`], with another rate and what follows it.
pub(crate) fn with_limit(store: &str, rate: &str) -> Server {
    let line = |line: &str| if line.starts_with("store = ") { store.to_owned() } else { line.to_owned() };
    Server::with(|example| {
        let example =
            example.replace("20/1m\"", rate).replace("flush_every = \"10s\"", "flush_every = \"1d\"");
        let lines: Vec<String> = example.lines().map(line).collect();
        assert!(lines.iter().any(|line| line == store), "the example names its store");
        lines.join("\n")
    })
}

#[test]
fn the_example_holds_on_one_redis() {
    if without("redis") {
        return;
    }
    let redis = Redis::start();
    of_25_hits_20_are_accepted(patiently_on(&format!("store = {:?}", redis.url())));
}

#[test]
fn the_example_holds_on_a_redis_cluster() {
    if without("redis") {
        return;
    }
    let cluster = RedisCluster::start();
    of_25_hits_20_are_accepted(patiently_on(&format!("store = {:?}", cluster.url())));
}

#[test]
fn the_example_holds_by_tls() {
    if without("redis") || without("tls") {
        return;
    }
    let ca = Certificates::new();
    let redis = Redis::builder().tls(&ca, &ca.issue("server", &["127.0.0.1"])).start();
    let url = redis.tls_url("127.0.0.1", &format!("ca={}", ca.file().display()));
    of_25_hits_20_are_accepted(patiently_on(&format!("store = {url:?}")));
}

#[test]
fn the_example_holds_behind_sentinel() {
    if without("redis") {
        return;
    }
    let set = Sentinel::start();
    of_25_hits_20_are_accepted(patiently_on(&format!("store = {:?}", set.url())));
}

#[test]
fn the_example_holds_on_three_hosts_listed_in_a_url() {
    if without("redis") {
        return;
    }
    let redis: Vec<Redis> = (0..3).map(|_| Redis::start()).collect();
    let ports: Vec<String> = redis.iter().map(|redis| format!("127.0.0.1:{}", redis.port())).collect();
    of_25_hits_20_are_accepted(patiently_on(&format!("store = \"redis://{}\"", ports.join(","))));
}

#[test]
fn the_example_holds_on_hosts_by_name_found_by_an_older_router() {
    if without("redis") {
        return;
    }
    let redis: Vec<Redis> = (0..3).map(|_| Redis::start()).collect();
    let hosts: Vec<String> =
        redis.iter().enumerate().map(|(id, redis)| format!("{id} = {:?}", redis.url())).collect();
    let cluster = format!("cluster = {{ router = \"nydus-partition\", hosts = {{ {} }} }}", hosts.join(", "));
    of_25_hits_20_are_accepted(patiently_on(&cluster));
}

/// Some managed servers hide it.
#[test]
fn readyz_says_that_a_server_does_not_tell_its_replication_id() {
    if without("redis") {
        return;
    }
    let redis = Redis::start();
    let proxy = Proxy::new(redis.port());
    proxy.spoil("master_replid:");
    let server = patiently_on(&format!("store = {:?}", redis.url_through(&proxy)));
    let ready = server.client().get("/readyz").expect(200);
    let warnings = ready["warnings"].to_string();
    assert!(warnings.contains("INFO does not tell master_replid") && warnings.contains("unknown"), "{ready}");
    of_25_hits_20_are_accepted(server);
}

#[test]
fn while_redis_is_down_limits_degrade_events_fail_and_nothing_acknowledged_is_lost() {
    if without("redis") {
        return;
    }
    let redis = Redis::builder().append_only().start();
    let server = on(&format!("store = {:?}", redis.url()));
    let client = server.client();
    client.post("/v1/events/hit", r#"{"key":"42","n":5}"#).expect(202);
    assert_eq!(client.get("/readyz").expect(200)["store"], "ok");

    redis.kill();
    wait_until("/readyz to notice", || client.get("/readyz").status == 503);
    let ready = client.get("/readyz");
    ready.problem(503);
    assert_eq!(ready.json()["database"], "ok", "{}", ready.body);
    assert_ne!(ready.json()["store"], "ok", "{}", ready.body);
    assert_eq!(client.get("/healthz").status, 200);

    // `on_error = "open"` decides within its deadline of 50 ms, with some tolerance for a busy machine.
    let clock = forebay::Clock::system();
    let began = clock.monotonic();
    let taken = client.post("/v1/limits/hits", r#"{"key":"42"}"#).expect(200);
    assert!(clock.monotonic().saturating_sub(began) < Duration::from_secs(2));
    assert_eq!(
        (&taken["allowed"], &taken["degraded"], &taken["source"]),
        (&json!(true), &json!(true), &json!("fallback"))
    );
    let failed = client.post("/v1/events/hit", r#"{"key":"42"}"#);
    failed.problem(503);
    let applied = failed.json()["applied"].clone();
    assert!(applied["series"] != "yes" && applied["buffer"] != "yes", "{applied}");
    assert!(failed.header("retry-after").is_some());
    let metrics = client.get("/metrics").body;
    assert!(metrics.lines().any(|line| line == "forebay_event_failed_total{event=\"hit\"} 1"), "{metrics}");

    redis.restart();
    wait_until("/readyz to recover", || client.get("/readyz").status == 200);
    wait_until("the next hit", || client.post("/v1/events/hit", r#"{"key":"43","n":2}"#).status == 202);
    client.post("/v1/buffers/projects/flush", "").expect(200);
    let found = rows(&server);
    let hits = |key: &str| found.iter().find(|(id, _)| id == key).map(|(_, hits)| *hits);
    assert!(
        hits("42") == Some(5) || (applied["buffer"] == "unknown" && hits("42") == Some(6)),
        "{found:?} {applied}"
    );
    assert!(hits("43") >= Some(2), "{found:?}");
    assert_eq!(client.get("/v1/limits/hits?key=42").expect(200)["used"], 5);
}

/// Traffic returns to an old primary that has not seen the flushes of the new one. It has the same generation in its old
/// state, under the same replication id.
#[test]
fn hits_that_the_database_does_not_have_are_named_everywhere() {
    if without("redis") {
        return;
    }
    let redis = Redis::start();
    let server = on(&format!("store = {:?}", redis.url()));
    let client = server.client();
    let hit = |n: u64| client.post("/v1/events/hit", format!(r#"{{"key":"42","n":{n}}}"#)).expect(202);
    hit(5);
    let Reply::Array(keys) = redis.command(["KEYS", "*:buffer:*:live"]) else { panic!("no keys") };
    let [Reply::Text(live)] = keys.as_slice() else { panic!("expected one, got {keys:?}") };
    redis.command(["COPY", live, "earlier"]);
    client.post("/v1/buffers/projects/flush", "").expect(200);
    redis.command(["RENAME", "earlier", live]);
    hit(7);
    let flush = client.post("/v1/buffers/projects/flush", "");
    assert!(flush.status >= 500, "{}", flush.body);

    let stats = client.get("/v1/buffers/projects/stats").expect(200);
    let id = stats["parked"][0]["id"].as_str().expect("an id");
    assert_eq!((&stats["pending_rows"], &stats["parked"][0]["rows"]), (&json!(1), &json!(1)), "{stats}");
    let ready = client.get("/readyz").expect(200);
    let named = ready["warnings"].as_array().expect("warnings").iter().any(|warning| {
        let text = warning.as_str().expect("a text");
        text.contains("projects") && text.contains("the database does not have") && text.contains(id)
    });
    assert!(named, "{ready}");
    let metrics = client.get("/metrics").body;
    let gauge = "forebay_buffer_diverged_batches{buffer=\"projects\"} 1";
    assert!(metrics.lines().any(|line| line == gauge), "{metrics}");
    assert_eq!(rows(&server), [("42".to_owned(), 5)]);
    assert_eq!(client.get("/v1/buffers/projects?id=42").expect(200)["value"]["hits"], 5);
    // Later hits are still counted.
    hit(3);
    client.post("/v1/buffers/projects/flush", "");
    assert_eq!(client.get("/v1/buffers/projects?id=42").expect(200)["value"]["hits"], 8);
    // The repair that docs/operations.md describes.
    let list = live.replace(":live", ":frozen");
    let Reply::Array(entries) = redis.command(["LRANGE", &list, "0", "-1"]) else { panic!("no list") };
    let [Reply::Text(entry)] = entries.as_slice() else { panic!("expected one, got {entries:?}") };
    assert_eq!(redis.command(["DEL", &format!("{list}:{id}")]), Reply::Integer(1));
    assert_eq!(redis.command(["LREM", &list, "1", entry]), Reply::Integer(1));
    client.post("/v1/buffers/projects/flush", "").expect(200);
    assert_eq!(client.get("/v1/buffers/projects/stats").expect(200)["parked"], json!([]));
}

/// The error code, the commands that make Redis refuse, and the commands that end that.
type Refusal = (&'static str, &'static [&'static str], &'static [&'static str]);

/// Redis refuses commands while it runs. `on_error` decides, events answer 503, `/readyz` gives the reason, and nothing is
/// lost.
#[test]
fn a_redis_that_refuses_is_an_outage() {
    if without("redis") {
        return;
    }
    let admin = ["ACL", "SETUSER", "admin", "on", ">sesame", "~*", "&*", "+@all"];
    let cases: [Refusal; 4] = [
        ("OOM", &["CONFIG", "SET", "maxmemory", "1"], &["CONFIG", "SET", "maxmemory", "0"]),
        (
            "NOREPLICAS",
            &["CONFIG", "SET", "min-replicas-to-write", "1"],
            &["CONFIG", "SET", "min-replicas-to-write", "0"],
        ),
        ("NOPERM", &["ACL", "SETUSER", "app", "-evalsha"], &["ACL", "SETUSER", "app", "+evalsha"]),
        ("NOPERM", &["ACL", "SETUSER", "app", "-hset"], &["ACL", "SETUSER", "app", "+hset"]),
    ];
    let redis = Redis::builder().append_only().start();
    redis.command(admin);
    redis.command(["ACL", "SETUSER", "app", "on", ">sesame", "~*", "&*", "+@all"]);
    let url = format!("redis://app:sesame@127.0.0.1:{}/0", redis.port());
    let server = on(&format!("store = {url:?}"));
    let client = server.client();
    client.post("/v1/events/hit", r#"{"key":"42","n":5}"#).expect(202);
    for (code, begin, end) in cases {
        redis.command(begin.iter().copied());
        wait_until("/readyz to notice", || client.get("/readyz").status == 503);
        let ready = client.get("/readyz").json();
        assert!(ready["store"].as_str().expect("a text").contains(code), "{ready}");
        let failed = client.post("/v1/events/hit", r#"{"key":"42"}"#);
        let detail = failed.problem(503);
        assert!(detail.contains(code), "{detail}");
        assert!(failed.header("retry-after").is_some());
        if code != "NOPERM" || begin.contains(&"-evalsha") {
            let taken = client.post("/v1/limits/hits", r#"{"key":"42"}"#).expect(200);
            assert_eq!((&taken["degraded"], &taken["source"]), (&json!(true), &json!("fallback")), "{code}");
        }
        redis.command(end.iter().copied());
        wait_until("/readyz to recover", || client.get("/readyz").status == 200);
    }
    client.post("/v1/buffers/projects/flush", "").expect(200);
    assert_eq!(rows(&server), [("42".to_owned(), 5)], "what was refused is not there, and the rest is");
}

/// The store does not know the lease, but its holder keeps it.
#[test]
fn a_lease_granted_without_the_store_is_renewed_and_released_without_it() {
    if without("redis") {
        return;
    }
    let redis = Redis::builder().append_only().start();
    let store = format!("store = {:?}", redis.url());
    let server = Server::with(|example| {
        let line = |line: &str| if line.starts_with("store = ") { store.clone() } else { line.to_owned() };
        // The deadline is so long that a busy machine grants no lease without the store once it answers again.
        let jobs = "kind = \"concurrency\"\nmax = 1\nttl = \"1h\"\ndeadline = \"30s\"";
        let example = format!("{example}\n[limits.jobs]\n{jobs}\n");
        example.lines().map(line).collect::<Vec<_>>().join("\n")
    });
    let client = server.client();
    redis.kill();
    wait_until("/readyz to notice", || client.get("/readyz").status == 503);
    let lent = client.post("/v1/limits/jobs/leases", r#"{"key":"k"}"#).expect(201);
    assert_eq!(lent["degraded"], true);
    let lease = format!("/v1/limits/jobs/leases/{}", lent["lease"].as_str().expect("a text"));
    assert_eq!(client.request("PUT", &lease, b"").expect(200)["degraded"], true);
    redis.restart();
    wait_until("/readyz to recover", || client.get("/readyz").status == 200);
    assert_eq!(client.request("PUT", &lease, b"").expect(200)["degraded"], true);
    assert_eq!(client.delete(&lease).status, 204);
    let lent = client.post("/v1/limits/jobs/leases", r#"{"key":"k"}"#).expect(201);
    let lease = format!("/v1/limits/jobs/leases/{}", lent["lease"].as_str().expect("a text"));
    assert_eq!(client.request("PUT", &lease, b"").expect(200)["degraded"], false);
}

#[test]
fn a_key_of_another_type_is_named_and_a_reset_removes_it() {
    if without("redis") {
        return;
    }
    let redis = Redis::start();
    let server = patiently_on(&format!("store = {:?}", redis.url()));
    let client = server.client();
    redis.command(["RPUSH", "forebay:window:hits:86400s:{k}", "theirs"]);
    let detail = client.post("/v1/limits/hits", r#"{"key":"k"}"#).problem(500);
    assert!(
        detail.contains("limit hits, key \"k\"")
            && detail.contains("holds a list")
            && detail.contains("reset"),
        "{detail}"
    );
    assert_eq!(client.delete("/v1/limits/hits?key=k").status, 204);
    assert_eq!(client.post("/v1/limits/hits", r#"{"key":"k"}"#).expect(200)["used"], 1);
}
