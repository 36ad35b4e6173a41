//! A probe of servers that meet all needs, and of servers that do not.

use forebay::{
    ErrorKind, Forebay,
    cluster::{Outcome, ServerReport},
};
use forebay_testkit::{Proxy, Redis, RedisCluster, unique_prefix, without};

async fn probe(url: &str) -> forebay::Result<Vec<ServerReport>> {
    Forebay::options().prefix(unique_prefix()).probe(url).await
}

/// The findings that are not met, each with its words.
fn unmet(report: &ServerReport) -> Vec<(&'static str, Outcome, &str)> {
    let unmet = report.findings.iter().filter(|finding| finding.outcome != Outcome::Met);
    unmet.map(|finding| (finding.need, finding.outcome, &*finding.found)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_its_own_has_all_that_is_needed() {
    if without("redis") {
        return;
    }
    let server = Redis::start();
    let reports = probe(&server.url()).await.expect("answers");
    assert_eq!((reports.len(), unmet(&reports[0])), (1, vec![]));
    assert!(reports[0].name.contains(&server.port().to_string()), "{}", reports[0].name);
    let hosts = format!("{},127.0.0.1:{}/1", server.url_of(0), server.port());
    assert_eq!(probe(&hosts).await.expect("answers").len(), 2, "each host of a list");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_lacks_is_named() {
    if without("redis") {
        return;
    }
    let server = Redis::builder().option("maxmemory-policy", "allkeys-lru").start();
    server.command([
        "ACL",
        "SETUSER",
        "narrow",
        "on",
        ">pw",
        "~*",
        "resetchannels",
        "+@all",
        "-zadd",
        "-wait",
    ]);
    let url = format!("redis://narrow:pw@127.0.0.1:{}", server.port());
    let reports = probe(&url).await.expect("answers");
    let found = unmet(&reports[0]);
    let words = [
        ("eviction", Outcome::Limited, "allkeys-lru"),
        ("commands", Outcome::Missing, "ZADD"),
        ("messages", Outcome::Limited, "waiters of locks look again by a timer"),
    ];
    assert_eq!(found.len(), words.len(), "{found:?}");
    for ((need, outcome, text), (wanted, level, part)) in found.iter().zip(words) {
        assert_eq!((*need, *outcome), (wanted, level), "{text}");
        assert!(text.contains(part), "{text}");
    }
    let proxy = Proxy::new(server.port());
    proxy.spoil("master_replid:");
    let reports = probe(&server.url_through(&proxy)).await.expect("answers");
    let found = unmet(&reports[0]).into_iter().find(|(need, ..)| *need == "replication id");
    assert!(found.is_some_and(|(_, outcome, _)| outcome == Outcome::Limited), "{reports:?}");
    let replica = Redis::builder().replica_of(&server).start();
    let reports = probe(&replica.url()).await.expect("answers");
    let found = unmet(&reports[0]);
    assert!(
        found.iter().any(|(need, outcome, _)| (*need, *outcome) == ("role", Outcome::Missing)),
        "{found:?}"
    );
    assert!(
        found.iter().any(|(need, _, text)| *need == "commands" && text.contains("READONLY")),
        "{found:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_primary_of_a_cluster_is_probed() {
    if without("redis") {
        return;
    }
    let cluster = RedisCluster::start();
    let reports = probe(&cluster.url()).await.expect("answers");
    assert_eq!(reports.len(), 3);
    for report in &reports {
        // Redis 6.2 knows no scripts over several slots.
        let may_lack = |need| ["coverage", "keys across slots"].contains(&need);
        assert!(unmet(report).iter().all(|(need, ..)| may_lack(*need)), "{report:?}");
        let names: Vec<&str> = report.findings.iter().map(|finding| finding.need).collect();
        assert!(names.contains(&"keys across slots") && names.contains(&"coverage"), "{names:?}");
    }
}

#[tokio::test]
async fn a_probe_needs_a_server_that_answers() {
    let error = probe("memory:").await.expect_err("no server");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let error = probe("redis://127.0.0.1:1").await.expect_err("nobody listens");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let error =
        Forebay::options().prefix("a b").probe("redis://127.0.0.1:1").await.expect_err("a bad prefix");
    assert_eq!(error.kind(), ErrorKind::Invalid);
}
