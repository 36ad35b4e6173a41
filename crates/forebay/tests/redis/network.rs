//! Names with several addresses, IPv6, and peers that vanish without a word.

use forebay::cluster::Health;
use forebay_testkit::{Fault, Proxy, Redis, eventually, without};

use crate::open;

/// The name has an address of IPv6 first, on which nobody listens.
#[tokio::test]
async fn every_address_of_a_name_is_tried() {
    if without("redis") {
        return;
    }
    let server = Redis::shared();
    open(&format!("redis://localhost:{}/0", server.port())).await.expect("opens");
}

#[tokio::test]
async fn an_address_of_ipv6_stands_in_brackets() {
    if without("redis") {
        return;
    }
    let server = Redis::builder().option("bind", "127.0.0.1 ::1").start();
    let bay = open(&format!("redis://[::1]:{}/0", server.port())).await.expect("opens");
    bay.ping().await.expect("answers");
    assert_eq!(bay.cluster().hosts()[0].name.to_string(), format!("[::1]:{}/0", server.port()));
}

/// Nothing is in flight, and the peer is gone: the next call need not find that out.
#[tokio::test]
async fn a_black_hole_is_found_while_nothing_is_asked() {
    if without("redis") {
        return;
    }
    let server = Redis::shared();
    let proxy = Proxy::new(server.port());
    let bay = open(&server.url_through(&proxy)).await.expect("opens");
    proxy.set(Fault::BlackHole);
    eventually("the host to be down", async || bay.cluster().hosts()[0].health == Health::Down).await;
    let reason = bay.cluster().hosts()[0].reason.clone().expect("a reason");
    assert!(reason.contains("cannot connect within"), "{reason}");
    proxy.set(Fault::Pass);
    eventually("the host to be up", async || bay.ping().await.is_ok()).await;
}
