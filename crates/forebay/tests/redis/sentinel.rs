//! Sentinel: the primary is found, followed, and never confused with another.

use forebay::{ErrorKind, Forebay, conformance};
use forebay_testkit::{Certificates, Redis, Reply, Sentinel, eventually, unique_prefix, without};

use crate::{open, refused, without_tls};

/// The rights of a user of Sentinels, as `docs/operations.md` names them.
pub(crate) const RIGHTS: &str = "+sentinel|master +sentinel|masters +subscribe +ping &+switch-master";

/// A single Sentinel that names this port.
fn naming(name: &str, port: u16) -> Redis {
    Redis::builder()
        .sentinel()
        .option("sentinel", &format!("monitor {name} 127.0.0.1 {port} 1"))
        .option("sentinel", &format!("down-after-milliseconds {name} 600000"))
        .start()
}

fn url_of(sentinels: &[&Redis], primary: &str) -> String {
    let hosts: Vec<_> = sentinels.iter().map(|one| format!("127.0.0.1:{}", one.port())).collect();
    format!("redis+sentinel://{}/{primary}", hosts.join(","))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_of_the_seam() {
    if without("redis") {
        return;
    }
    let set = Sentinel::start();
    let bay = open(&set.url()).await.expect("opens");
    for case in conformance::cases() {
        (case.run)(bay.clone()).await;
    }
    let memory = Forebay::open("memory:").await.expect("opens");
    conformance::differential(&memory, &bay, 11, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_primary_is_followed_with_logins_and_tls() {
    if without("redis") {
        return;
    }
    let ca = Certificates::new();
    let trust = if without_tls() { "?".into() } else { format!("?ca={}&", ca.file().display()) };
    let mut builder = Sentinel::builder().password("servers").sentinel_password("sentinels");
    if !without_tls() {
        builder = builder.tls(&ca, &ca.issue("server", &["127.0.0.1"]));
    }
    let set = builder.start();
    let parameters = format!("{trust}sentinel-password=sentinels");
    let url = set.url_with(":servers@", &parameters);
    let bay = open(&url).await.expect("opens");
    let lock = bay.lock("report");
    let fence = lock.acquire().await.expect("answers").fence();
    set.fail_over();
    eventually("the new primary to be used", async || bay.ping().await.is_ok()).await;
    let _ = lock.force_release().await;
    let again = lock.acquire().await.expect("answers").fence();
    assert!(again > fence, "{again} after {fence}");

    let text = refused(&set.url_with(":servers@", &trust)).await;
    assert!(text.contains("NOAUTH") && text.contains("sentinel-password-file="), "{text}");
    let text = refused(&set.url_with(":sentinels@", &parameters)).await;
    assert!(text.contains("WRONGPASS") && text.contains(" at 127.0.0.1:"), "{text}");
    if without_tls() {
        return;
    }
    let text = refused(&set.url_with(":servers@", &format!("{parameters}&sentinel-tls=off"))).await;
    assert!(text.contains("sentinel 127.0.0.1") && text.contains("speaks TLS on this port"), "{text}");
}

/// A connection that stands to a primary that becomes a replica: nothing is written to that one.
#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_switch_is_followed_at_once() {
    if without("redis") {
        return;
    }
    let set = Sentinel::start();
    // One that nobody reaches, first.
    let url = set.url().replace("redis+sentinel://", "redis+sentinel://127.0.0.1:1,");
    let bay = open(&url).await.expect("opens");
    let (old, new) = (set.primary(), set.replica());
    eventually("the Sentinels to agree to a switch", async || {
        set.sentinels()[0].command(["SENTINEL", "FAILOVER", "mymaster"]) == Reply::text("OK")
    })
    .await;
    set.await_promotion(new);
    let series = bay.series("hits").expect("valid");
    // The old one is a primary until the Sentinels tell it, so a write may be acknowledged there.
    eventually("the new primary to take a write", async || {
        series.add("a", 1).await.is_ok() && matches!(new.command(["DBSIZE"]), Reply::Integer(1..))
    })
    .await;
    set.await_replica(old);
    bay.ping().await.expect("answers");
}

#[tokio::test]
async fn a_wrong_name_is_told_with_the_right_ones() {
    if without("redis") {
        return;
    }
    let server = Redis::start();
    let sentinel = naming("orders", server.port());
    let error = open(&url_of(&[&sentinel], "order")).await.expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(
        error.to_string().contains("no sentinel knows a primary \"order\": they watch orders"),
        "{error}"
    );
    open(&url_of(&[&sentinel], "orders/3")).await.expect("opens");

    let text = refused(&url_of(&[&server], "orders")).await;
    assert!(text.contains("a server and not a Sentinel"), "{text}");
}

/// The rights that `docs/operations.md` names suffice to ask and to listen.
#[tokio::test]
async fn a_user_of_sentinels_needs_few_rights() {
    if without("redis") {
        return;
    }
    assert!(include_str!("../../../../docs/operations.md").contains(RIGHTS), "they are documented");
    let server = Redis::start();
    let sentinel = naming("mymaster", server.port());
    let user = ["ACL", "SETUSER", "app", "reset", "on", ">sesame", "resetchannels"];
    assert_eq!(sentinel.command(user.into_iter().chain(RIGHTS.split(' '))), Reply::text("OK"));
    let login = "?sentinel-user=app&sentinel-password=sesame";
    let _bay = open(&url_of(&[&sentinel], &format!("mymaster{login}"))).await.expect("opens");
    let listens = |line: &str| line.contains(" user=app ") && line.contains(" sub=1 ");
    eventually("the subscription", async || {
        matches!(sentinel.command(["CLIENT", "LIST"]), Reply::Text(list) if list.lines().any(listens))
    })
    .await;
}

#[tokio::test]
async fn sentinels_of_two_sets_are_refused() {
    if without("redis") {
        return;
    }
    let servers = [Redis::start(), Redis::start()];
    let sentinels = servers.each_ref().map(|server| naming("mymaster", server.port()));
    let text = refused(&url_of(&sentinels.each_ref(), "mymaster")).await;
    assert!(text.contains("the sentinels disagree on the primary mymaster"), "{text}");
    for server in &servers {
        assert!(text.contains(&format!("names 127.0.0.1:{}", server.port())), "{text}");
    }
}

#[tokio::test]
async fn a_replica_that_is_named_is_not_written_to() {
    if without("redis") {
        return;
    }
    let primary = Redis::start();
    let replica = Redis::builder().replica_of(&primary).start();
    let sentinel = Redis::builder()
        .sentinel()
        .option("sentinel", &format!("monitor mymaster 127.0.0.1 {} 9", replica.port()))
        .start();
    let text = refused(&url_of(&[&sentinel], "mymaster")).await;
    assert!(text.contains("this is a replica; its primary is needed"), "{text}");
    assert!(text.contains(&format!("at 127.0.0.1:{}", replica.port())), "{text}");
}

#[tokio::test]
async fn nobody_to_ask_and_nobody_there_are_told_apart() {
    if without("redis") {
        return;
    }
    let text = refused("redis+sentinel://127.0.0.1:1,[::1]:2/mymaster").await;
    assert!(text.contains("no sentinel of mymaster answers"), "{text}");
    assert!(text.contains("sentinel 127.0.0.1:1") && text.contains("sentinel [::1]:2"), "{text}");

    // As in containers: the Sentinel knows an address that only they can reach.
    let sentinel = naming("mymaster", 1);
    let text = refused(&url_of(&[&sentinel], "mymaster")).await;
    assert!(text.contains("at 127.0.0.1:1") && text.contains("replica-announce-ip"), "{text}");
}

#[tokio::test]
async fn a_cluster_of_hosts_may_have_sentinels() {
    if without("redis") {
        return;
    }
    let servers = [Redis::start(), Redis::start()];
    let sentinels = servers.each_ref().map(|server| naming("mymaster", server.port()));
    let hosts =
        sentinels.iter().zip(["a", "b"]).fold(forebay::cluster::Hosts::new(), |hosts, (sentinel, name)| {
            hosts.host(name, url_of(&[sentinel], "mymaster"))
        });
    let bay = Forebay::options().prefix(unique_prefix()).open_hosts(hosts).await.expect("opens");
    bay.ping().await.expect("answers");
    assert_eq!(bay.cluster().hosts().len(), 2);
}

#[test]
fn urls_of_sentinels_are_checked() {
    for url in [
        "redis+sentinel://a/mymaster",
        "redis+sentinel://u:p@a:1,b,[::1]:2/my-master.1/3?sentinel-user=v&sentinel-password=q",
        "redis+sentinel://a,b/m?protocol=resp2&sentinel-tls=off",
    ] {
        Forebay::check_url(url).expect(url);
    }
    for (url, said) in [
        ("redis+sentinel://a,b", "/primary[/db] is accepted"),
        ("redis+sentinel://a,b/", "/primary[/db] is accepted"),
        ("redis+sentinel://a,,b/m", "/primary[/db] is accepted"),
        ("redis+sentinel://a:x/m", "/primary[/db] is accepted"),
        ("redis+sentinel://a/my master", "/primary[/db] is accepted"),
        ("redis+sentinel://a/m/x", "is accepted"),
        ("redis+sentinel://a/m?sentinel-tls=maybe", "on or off"),
        ("redis+sentinel://a/m?sentinel-pasword=x", "did you mean \"sentinel-password\"?"),
        ("redis+sentinel://a,redis+sentinel://b/m", "share its scheme"),
        ("redis-sentinel://a/m", "redis+sentinel:"),
    ] {
        let error = Forebay::check_url(url).expect_err(url);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
        assert!(error.to_string().contains(said), "{url}: {error}");
    }
}
