//! Limits in front of a real axum server.
#![cfg(feature = "axum")]

use std::net::SocketAddr;

use axum::{Router, routing::get};
use forebay::{
    Forebay, Limit,
    limit::{LimitHandle, Override},
    time::secs,
};
use forebay_tower::{Decided, Key, LimitLayer};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

async fn store() -> Forebay {
    Forebay::open("memory:").await.expect("opens")
}

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await.expect("serves") });
    address
}

/// The status, the head in lower case, and the body.
async fn ask(address: SocketAddr, headers: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let request = format!("GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.expect("sends");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head.to_lowercase(), body.to_owned())
}

async fn remaining(decided: Decided) -> String {
    decided
        .limits
        .iter()
        .map(|(_, decision)| decision.expect("was asked").remaining().to_string())
        .collect::<Vec<_>>()
        .join(",")
}

#[tokio::test]
async fn each_key_has_its_quota_and_every_answer_its_headers() {
    let bay = store().await;
    let hits = bay.limit(Limit::per_day("hits", 2)).expect("valid");
    let layer = LimitLayer::new(&bay, hits, Key::header("x-api-key"));
    let address = serve(Router::new().route("/", get(remaining)).layer(layer)).await;
    let (status, head, body) = ask(address, "x-api-key: 42\r\n").await;
    assert_eq!((status, body.as_str()), (200, "1"));
    assert!(head.contains("ratelimit-policy: \"hits\";q=2;w=86400"), "{head}");
    assert!(head.contains("ratelimit: \"hits\";r=1;t=") && !head.contains("retry-after"), "{head}");
    assert_eq!(ask(address, "x-api-key: 42\r\n").await.0, 200);
    let (status, head, body) = ask(address, "x-api-key: 42\r\n").await;
    assert_eq!((status, body.as_str()), (429, ""));
    assert!(head.contains("retry-after: ") && head.contains("x-ratelimit-remaining: 0"), "{head}");
    assert_eq!(ask(address, "x-api-key: 43\r\n").await.0, 200, "others have their own");
    for status in [200, 200, 429] {
        assert_eq!(
            ask(address, "").await.0,
            status,
            "who does not say shares a key with those who do not either"
        );
    }
    let long = format!("x-api-key: {}\r\n", "a".repeat(513));
    assert_eq!(ask(address, &long).await.0, 400, "no key that a limit takes");
}

#[tokio::test]
async fn with_several_limits_a_denied_request_is_charged_to_none() {
    let bay = store().await;
    let all = bay.limit(Limit::per_day("all", 5)).expect("valid");
    let peers = bay.limit(Limit::per_day("peers", 2)).expect("valid");
    let layer = LimitLayer::new(&bay, all.clone(), Key::all()).and(peers, Key::connect_info([]));
    let address = serve(Router::new().route("/", get(remaining)).layer(layer)).await;
    assert_eq!(ask(address, "").await.2, "4,1");
    assert_eq!(ask(address, "x-forwarded-for: 1.1.1.1\r\n").await.2, "3,0", "nobody is trusted to forward");
    for _ in 0..5 {
        assert_eq!(ask(address, "").await.0, 429);
    }
    assert_eq!(all.peek("*").await.expect("answers").used(), 2);
}

#[tokio::test]
async fn a_lease_lasts_as_long_as_the_request() {
    let bay = store().await;
    let jobs = bay.limit(Limit::concurrency("jobs", 1, secs(30))).expect("valid");
    let (go, gone) = watch::channel(false);
    let (began, mut begun) = watch::channel(0);
    let work = move || {
        let (mut gone, began) = (gone.clone(), began.clone());
        async move {
            began.send_modify(|number| *number += 1);
            gone.wait_for(|gone| *gone).await.map(drop).expect("told to go");
            "done"
        }
    };
    let layer = LimitLayer::new(&bay, jobs.clone(), Key::all());
    let address = serve(Router::new().route("/", get(work)).layer(layer)).await;
    let first = tokio::spawn(ask(address, ""));
    begun.wait_for(|number| *number == 1).await.expect("begins");
    let (status, head, _) = ask(address, "").await;
    assert_eq!(status, 429);
    assert!(head.contains("qu=\"concurrent-requests\""), "{head}");
    go.send_replace(true);
    assert_eq!(first.await.expect("ends").2, "done");
    forebay_eventually(&jobs).await;
    assert_eq!(ask(address, "").await.0, 200);
}

/// The lease goes back in the background.
async fn forebay_eventually(jobs: &LimitHandle) {
    while jobs.peek("*").await.expect("answers").used() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_shadow_and_an_unlimited_key_are_served_without_a_word() {
    let bay = store().await;
    let limit = Limit::per_day("hits", 1).allow("vip", Override::unlimited());
    let hits = bay.limit(limit).expect("valid");
    let shadow = bay.limit(Limit::per_day("shadow", 1).shadow()).expect("valid");
    let layer = LimitLayer::new(&bay, hits, Key::header("x-api-key")).and(shadow, Key::all());
    let address = serve(Router::new().route("/", get(|| async { "hello" })).layer(layer)).await;
    for _ in 0..3 {
        let (status, head, _) = ask(address, "x-api-key: vip\r\n").await;
        assert_eq!(status, 200);
        assert!(!head.contains("ratelimit"), "{head}");
    }
}

#[tokio::test]
async fn without_a_layer_there_is_nothing_to_extract() {
    let address = serve(Router::new().route("/", get(remaining))).await;
    assert_eq!(ask(address, "").await.0, 500);
}
