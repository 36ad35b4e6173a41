//! Stores behind TLS, Sentinel and logins, and Redis Clusters. Every command accepts them, and no output contains a secret.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
};

use forebay_testkit::{Certificates, Redis, RedisCluster, Reply, Sentinel, wait_until, without};

use super::process::{Process, run};

const FILE: &str = "listen = \"127.0.0.1:0\"\ndatabase = \"sqlite::memory:\"\n[limits.hits]\nrate = \"20/1d\"\n\
                    [events.hit]\nlimits = [\"hits\"]\n";

fn configured(store: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("forebay.toml"), format!("store = \"{store}\"\n{FILE}")).expect("a file");
    dir
}

fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    (answer.split(' ').nth(1).expect("a status").parse().expect("a number"), answer)
}

#[test]
fn every_command_takes_a_store_by_tls_and_by_sentinel() {
    if without("redis") || without("tls") {
        return;
    }
    let ca = Certificates::new();
    let server = Redis::builder().password("s3cret").tls(&ca, &ca.issue("server", &["localhost"])).start();
    let file = ca.file();
    let tls = server.tls_url("localhost", &format!("ca={}", file.display()));
    let set = Sentinel::builder().password("s3cret").sentinel_password("s3cret").start();
    let sentinel = set.url_with(":s3cret@", "?sentinel-password=s3cret");
    every_command_takes(&tls);
    every_command_takes(&sentinel);
}

#[test]
fn every_command_takes_a_redis_cluster() {
    if without("redis") {
        return;
    }
    let cluster = RedisCluster::start();
    every_command_takes(&cluster.url());
    let dir = configured(&cluster.url());
    let output = run(dir.path(), &["cluster", "show", "--store", &cluster.url()]);
    let text = String::from_utf8_lossy(&output.stdout);
    for node in cluster.nodes() {
        assert!(text.contains(&format!("127.0.0.1:{}", node.port())), "{text}");
    }
}

/// Runs each command that takes a store. None shows the password.
fn every_command_takes(url: &str) {
    let dir = configured(url);
    let said = |args: &[&str]| {
        let output = run(dir.path(), args);
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {text}");
        assert!(!text.contains("s3cret"), "{args:?}: {text}");
    };
    said(&["check-config"]);
    said(&["limit", "hits", "42", "--store", url]);
    said(&["lock", "job", "--store", url, "--", "true"]);
    said(&["cluster", "show", "--store", url]);
    fs::write(dir.path().join("access.log"), include_str!("../../../../docs/guide/access.log"))
        .expect("a file");
    said(&["replay", "access.log", "--event", "hit", "--key", "ip", "--store", url]);
}

#[test]
fn mistakes_in_urls_name_the_line_without_the_password() {
    for (url, said) in [
        ("rediss://:s3cret@h?ca=/nowhere/ca.pem", "cannot read /nowhere/ca.pem"),
        ("redis://:s3cret@h?ca=/nowhere/ca.pem", "the parameter ca is for TLS: write rediss:"),
        ("redis+sentinel://:s3cret@a,b", "/primary[/db] is accepted"),
        ("redis-sentinel://:s3cret@a/m", "redis+sentinel"),
        ("redis://:s3cret@a?password-file=/nowhere/pw", "stands in one place"),
        ("redis://a?password-file=/nowhere/pw", "password file /nowhere/pw"),
        ("redis://:s3cret@a,rediss://b", "share its scheme"),
        ("redis+cluster://:s3cret@a,b/3", "database 3: a Redis Cluster has database 0 only"),
        ("redis+cluster://:s3cret@a,b?router=slots", "a Redis Cluster places keys itself"),
        ("redis-cluster://:s3cret@a,b", "redis+cluster"),
    ] {
        let output = run(configured(url).path(), &["check-config"]);
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("forebay.toml:1") && text.contains(said), "{url}: {text}");
        assert!(!text.contains("s3cret"), "{text}");
    }
}

/// Mistakes that only a connection finds. `serve` ends, says what it found and what to write instead, and never goes on by plain
/// text.
#[test]
fn what_servers_are_not_is_told_by_serve_with_what_to_write() {
    if without("redis") || without("tls") {
        return;
    }
    let (ca, other) = (Certificates::new(), Certificates::new());
    let by_tls =
        Redis::builder().password("s3cret").tls(&ca, &ca.issue("server", &["redis.internal"])).start();
    let [good, wrong] = [&ca, &other].map(|ca| format!("ca={}", ca.file().display()));
    let primary = Redis::start();
    let replica = Redis::builder().replica_of(&primary).start();
    let set = Sentinel::start();
    let cluster = RedisCluster::start();
    for node in cluster.nodes() {
        node.command(["CLUSTER", "DELSLOTS", "7", "8", "9", "100"]);
    }
    for (url, found, write) in [
        (by_tls.tls_url("localhost", &wrong), "not issued by a CA in", "ca=FILE"),
        (by_tls.tls_url("localhost", &good), "is for redis.internal, not for localhost", "server-name="),
        (
            by_tls.tls_url_at("localhost", by_tls.port(), &good),
            "speaks plain text on this port",
            "write its TLS port",
        ),
        (
            format!("redis://:s3cret@localhost:{}/0", by_tls.tls_port()),
            "speaks TLS on this port",
            "write rediss:",
        ),
        (replica.url(), "this is a replica", &*format!("write 127.0.0.1:{}", primary.port())),
        (
            set.url().replace("mymaster", "mymaste"),
            "no sentinel knows a primary \"mymaste\"",
            "they watch mymaster",
        ),
        (
            by_tls.url().replace("redis:", "redis+cluster:").replace("/0", ""),
            "cluster support is disabled",
            "write redis:",
        ),
        (cluster.nodes()[0].url(), "a node of a Redis Cluster", "write redis+cluster:"),
        (cluster.url(), "has the slots 7-9, 100", "see CLUSTER ADDSLOTS"),
    ] {
        let dir = configured(&url);
        assert_eq!(
            run(dir.path(), &["check-config"]).status.code(),
            Some(0),
            "{url}: it connects to nothing"
        );
        let output = run(dir.path(), &["serve"]);
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.code().is_some_and(|code| code != 0), "{url}: {text}");
        assert!(text.contains(found) && text.contains(write), "{url}: {text}");
        assert!(!text.contains("s3cret"), "{url}: {text}");
    }
}

/// The password changes on the server and in the file. SIGHUP renews the login, and no output shows it.
#[test]
fn a_login_is_renewed_on_sighup_and_never_shown() {
    if without("redis") {
        return;
    }
    let redis = Redis::start();
    let acl = |words: &[&str]| {
        let words = ["ACL", "SETUSER", "app"].iter().chain(words).copied();
        assert_eq!(redis.command(words), Reply::text("OK"));
    };
    acl(&["on", ">s3cret1", "~*", "&*", "+@all"]);
    let dir = configured(&format!("redis://app@127.0.0.1:{}/0?password-file=password", redis.port()));
    fs::write(dir.path().join("password"), "s3cret1\n").expect("a file");
    let process = Process::start(dir.path(), &["serve"]);
    let address = process.line_after("  URL       http://");
    assert_eq!(get(&address, "/readyz").0, 200);

    // The reload is refused, because the server does not know this password yet. The connection stays open.
    fs::write(dir.path().join("password"), "s3cret2\n").expect("a file");
    process.signal("HUP");
    acl(&["resetpass", ">s3cret2"]);
    assert_eq!(get(&address, "/readyz").0, 200);
    process.signal("HUP");
    redis.command(["CLIENT", "KILL", "USER", "app"]);
    wait_until("the store to be back", || get(&address, "/readyz").0 == 200);

    acl(&["resetpass", ">s3cret3"]);
    redis.command(["CLIENT", "KILL", "USER", "app"]);
    wait_until("the reason to be shown", || get(&address, "/readyz").1.contains("WRONGPASS"));
    let shown = ["/readyz", "/metrics", "/v1/cluster"].map(|path| get(&address, path).1).concat();
    assert!(shown.contains("WRONGPASS") && !shown.contains("s3cret"), "{shown}");
    fs::write(dir.path().join("password"), "s3cret3\n").expect("a file");
    wait_until("the store to be back", || get(&address, "/readyz").0 == 200);
    process.signal("TERM");
    let (status, log) = process.end();
    assert_eq!(status, 0, "{log}");
    assert!(log.contains("SIGHUP") && !log.contains("s3cret"), "{log}");
}
