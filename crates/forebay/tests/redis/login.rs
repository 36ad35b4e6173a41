//! Passwords that change, users with few rights, and what is never shown.

use std::fs;

use forebay::{ErrorKind, Forebay, conformance};
use forebay_testkit::{
    Certificates, Redis, RedisCluster, Reply, Sentinel, eventually, unique_prefix, without,
};
use tokio::task::block_in_place;

use crate::{open, refused, sentinel::RIGHTS as SENTINEL, text_of, without_tls};

/// The words of the documented `ACL SETUSER`, for a prefix.
fn documented(prefix: &str) -> Vec<String> {
    let text = include_str!("../../../../docs/operations.md");
    let line = text.lines().find(|line| line.starts_with("ACL SETUSER forebay ")).expect("it is documented");
    line.replace("forebay:", &format!("{prefix}:")).split(' ').map(str::to_owned).collect()
}

/// The rights that a user needs for a map's own commands, on the keys of the suite.
const MAPS: [&str; 7] = ["~*map-*", "~*diff-*", "+get", "+set", "+incrby", "+del", "+expire"];

/// Further rights that a user needs in a Redis Cluster.
const CLUSTER: &str = "+cluster|slots +cluster|nodes +asking";

/// Runs the suite as the user with the documented rights, in both protocols. `url` has a URL for the parameters at its end.
async fn the_rights_suffice(servers: &[&Redis], more: &[&str], url: impl Fn(&str) -> String) {
    let mut prefixes: Vec<String> = vec![];
    for protocol in ["resp2", "resp3"] {
        let prefix = unique_prefix();
        let words = documented(&prefix);
        for server in servers {
            let words = words.iter().map(String::as_str).chain(MAPS).chain(more.iter().copied());
            assert_eq!(server.command(words), Reply::text("OK"));
            server.command(["ACL", "LOG", "RESET"]);
        }
        let bay = Forebay::options().prefix(prefix.clone()).open(&url(&format!("protocol={protocol}"))).await;
        let bay = bay.expect("opens");
        bay.ping().await.expect("the probe passes");
        for case in conformance::cases() {
            (case.run)(bay.clone()).await;
        }
        let memory = Forebay::open("memory:").await.expect("opens");
        conformance::differential(&memory, &bay, 7, 100).await;
        for server in servers {
            let Reply::Array(mut denied) = server.command(["ACL", "LOG"]) else { panic!("a list") };
            // The store of the turn before may have had a call under way when the rights went to another prefix.
            denied.retain(|entry| prefixes.iter().all(|prefix| !format!("{entry:?}").contains(prefix)));
            assert!(denied.is_empty(), "{denied:?}");
        }
        prefixes.push(prefix);
    }
}

/// By TLS where the server has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_rights_suffice() {
    if without("redis") {
        return;
    }
    let ca = Certificates::new();
    let (server, place) = if without_tls() {
        let server = Redis::start();
        let place = format!("redis://forebay:PASSWORD@localhost:{}/0?", server.port());
        (server, place)
    } else {
        let server = Redis::builder().tls(&ca, &ca.issue("server", &["localhost"])).start();
        let (port, file) = (server.tls_port(), ca.file());
        let place = format!("rediss://forebay:PASSWORD@localhost:{port}/0?ca={}&", file.display());
        (server, place)
    };
    the_rights_suffice(&[&server], &[], |parameters| format!("{place}{parameters}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_rights_suffice_in_a_cluster() {
    if without("redis") {
        return;
    }
    let operations = include_str!("../../../../docs/operations.md");
    assert!(operations.contains(CLUSTER) && operations.contains("`+config|get`"), "they are documented");
    let ca = Certificates::new();
    let (cluster, trust) = block_in_place(|| {
        if without_tls() {
            return (RedisCluster::start(), String::new());
        }
        let pair = ca.issue("server", &["127.0.0.1"]);
        (RedisCluster::start_with_tls(&ca, &pair), format!("ca={}&", ca.file().display()))
    });
    let more: Vec<&str> = CLUSTER.split(' ').chain(["+config|get"]).collect();
    let url = |parameters: &str| cluster.url_with("forebay:PASSWORD@", &format!("?{trust}{parameters}"));
    let nodes: Vec<&Redis> = cluster.nodes().iter().collect();
    the_rights_suffice(&nodes, &more, url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_rights_suffice_behind_sentinels() {
    if without("redis") {
        return;
    }
    let ca = Certificates::new();
    let (mut builder, mut trust) = (Sentinel::builder(), String::new());
    if !without_tls() {
        builder = builder.tls(&ca, &ca.issue("server", &["127.0.0.1"]));
        trust = format!("ca={}&", ca.file().display());
    }
    let set = block_in_place(|| builder.start());
    let user = ["ACL", "SETUSER", "app", "reset", "on", ">sesame", "resetchannels"];
    for sentinel in set.sentinels() {
        let words = user.into_iter().chain(SENTINEL.split(' '));
        assert_eq!(sentinel.command(words), Reply::text("OK"));
    }
    let login = "sentinel-user=app&sentinel-password=sesame";
    let url = |parameters: &str| set.url_with("forebay:PASSWORD@", &format!("?{trust}{login}&{parameters}"));
    the_rights_suffice(&[set.primary()], &[], url).await;
    for sentinel in set.sentinels() {
        let Reply::Array(denied) = sentinel.command(["ACL", "LOG"]) else { panic!("a list") };
        assert!(denied.is_empty(), "{denied:?}");
    }
}

#[tokio::test]
async fn a_password_in_a_file_is_read_for_each_connection() {
    if without("redis") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("password");
    fs::write(&file, "first\r\n").expect("written");
    let server = Redis::start();
    server.command(["ACL", "SETUSER", "app", "on", ">first", "~*", "&*", "+@all"]);
    let url = format!("redis://app@127.0.0.1:{}/0?password-file={}", server.port(), file.display());
    let bay = open(&url).await.expect("opens");

    server.command(["ACL", "SETUSER", "app", "resetpass", ">second"]);
    bay.ping().await.expect("a connection that stands is not asked again");
    server.command(["CLIENT", "KILL", "USER", "app"]);
    let wrong = |error: &forebay::Error| {
        assert!(!text_of(error).contains("first"), "{error}");
        error.to_string().contains("WRONGPASS") && error.kind() == ErrorKind::Unavailable
    };
    eventually("the old password to be refused", async || bay.ping().await.is_err_and(|e| wrong(&e))).await;
    fs::write(&file, "second\n").expect("written");
    eventually("the new password to be used", async || bay.ping().await.is_ok()).await;
}

#[tokio::test]
async fn a_login_is_renewed_on_a_connection_that_stands() {
    if without("redis") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("password");
    fs::write(&file, "first").expect("written");
    let server = Redis::start();
    let user = ["on", ">first", "~*", "&*", "+@all"];
    server.command(["ACL", "SETUSER", "app"].into_iter().chain(user));
    let url = format!("redis://app@127.0.0.1:{}/0?password-file={}", server.port(), file.display());
    let bay = open(&url).await.expect("opens");
    bay.renew_login().await.expect("the same");

    fs::write(&file, "second").expect("written");
    let error = bay.renew_login().await.expect_err("the server does not know it");
    assert!(error.to_string().contains("WRONGPASS") && !text_of(&error).contains("second"), "{error}");
    bay.ping().await.expect("goes on");
    server.command(["ACL", "SETUSER", "app", ">second", "<first"]);
    bay.renew_login().await.expect("is taken");

    // Its connections end, as with a user that was removed; the next ones have the new password.
    server.command(["CLIENT", "KILL", "USER", "app"]);
    eventually("the store to be back", async || bay.ping().await.is_ok()).await;
    fs::remove_file(&file).expect("removed");
    let error = bay.renew_login().await.expect_err("no file");
    assert!(error.to_string().contains("password file"), "{error}");
    server.command(["CLIENT", "KILL", "USER", "app"]);
    eventually("the reason to be told", async || {
        bay.ping().await.is_err_and(|error| {
            error.to_string().contains("password file") && error.kind() == ErrorKind::Unavailable
        })
    })
    .await;
    fs::write(&file, "second").expect("written");
    eventually("the store to be back", async || bay.ping().await.is_ok()).await;
}

#[tokio::test]
async fn a_password_may_stand_in_a_variable_and_have_any_letter() {
    if without("redis") {
        return;
    }
    // A variable that cargo sets for every test.
    let password = std::env::var("CARGO_MANIFEST_DIR").expect("set by cargo");
    let server = Redis::builder().password(&password).start();
    let url = format!("redis://127.0.0.1:{}/0?password-env=CARGO_MANIFEST_DIR", server.port());
    open(&url).await.expect("opens");

    let server = Redis::start();
    let odd = "p@s:s/w?o#r%d";
    server.command(["ACL", "SETUSER", "a@b", "on", &format!(">{odd}"), "~*", "&*", "+@all"]);
    let url = format!("redis://a%40b:p%40s%3As%2Fw%3Fo%23r%25d@127.0.0.1:{}/0", server.port());
    open(&url).await.expect("opens");
}

#[tokio::test]
async fn no_secret_is_shown() {
    if without("redis") {
        return;
    }
    let server = Redis::builder().password("other").start();
    let port = server.port();
    for url in [
        format!("redis://:s3cret@127.0.0.1:{port}/0"),
        format!("redis://s3cret@127.0.0.1:{port}/0"),
        format!("redis://user:s3cret@127.0.0.1:{port}/0"),
        format!("redis+sentinel://user:s3cret@127.0.0.1:{port}/mymaster?sentinel-password=s3cret"),
        "redis+sentinel://user:s3cret@127.0.0.1:1/mymaster?sentinel-user=s3cret&sentinel-password=s3cret"
            .into(),
    ] {
        let text = refused(&url).await;
        assert!(!text.contains("s3cret"), "{text}");
    }
    for url in [
        "redis://:s3cret@h/0?password-file=/nowhere",
        "redis://:s3cret@h/x",
        "redis+sentinel://:s3cret@h",
        "redis+sentinel://:s3cret@h,i:x/m",
        "redis+sentinel://h/m?sentinel-password=s3cret&sentinel-password-env=X",
        "rediss+sentinel://:s3cret@h/m/x",
    ] {
        let error = Forebay::check_url(url).expect_err(url);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
        assert!(!text_of(&error).contains("s3cret"), "{url}: {error:?}");
    }
    for (url, said) in [
        ("redis://h?password-file=/nowhere/pw", "password file /nowhere/pw"),
        ("redis://h?password-env=FOREBAY_NO_SUCH", "environment variable FOREBAY_NO_SUCH"),
        ("redis://:a@h?password-env=PATH", "one place"),
    ] {
        let error = Forebay::check_url(url).expect_err(url);
        assert!(error.to_string().contains(said), "{url}: {error}");
    }
}
