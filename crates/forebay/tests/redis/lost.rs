//! A reply that is lost, by TLS and behind Sentinel: what was sent is never sent again.

use forebay::{Forebay, Retry, cluster::Fate};
use forebay_testkit::{Certificates, Fault, Proxy, Redis, Reply, eventually, unique_prefix, without};

use crate::without_tls;

/// Loses replies, one after the other: each increment is applied once, or nobody knows, and then it is.
async fn counts_once(server: &Redis, proxy: &Proxy, url: &str) {
    let bay = Forebay::options().prefix(unique_prefix()).open(url).await.expect("opens");
    let incr = async |key: &str| {
        let mut map = bay.cluster().map();
        let ticket = map.incr(key, 1);
        map.run().await.get(ticket)
    };
    for drops in [1, 5] {
        let (key, warm) = (unique_prefix(), unique_prefix());
        let (mut acknowledged, mut unknown) = (0, 0);
        for _ in 0..drops {
            eventually("the connection to stand", async || incr(&warm).await.is_ok()).await;
            proxy.set(Fault::DropReply { after: 0 });
            match incr(&key).await {
                Ok(_) => acknowledged += 1,
                Err(error) => {
                    assert_eq!(
                        (error.fate(), error.retry()),
                        (Fate::MaybeExecuted, Retry::Unknown),
                        "{error}"
                    );
                    unknown += 1;
                }
            }
        }
        assert!(unknown > 0, "no reply was lost");
        let Reply::Text(counted) = server.command(["GET", &key]) else { panic!("no counter") };
        let counted: u64 = counted.parse().expect("a number");
        assert!(
            counted >= acknowledged && counted <= acknowledged + unknown,
            "{counted}: {acknowledged} + {unknown}"
        );
        assert_eq!(counted, drops, "what was sent was carried out once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_tls() {
    if without_tls() {
        return;
    }
    let ca = Certificates::new();
    let server = Redis::builder().tls(&ca, &ca.issue("server", &["localhost"])).start();
    let proxy = Proxy::new(server.tls_port());
    let url = server.tls_url_at("localhost", proxy.port(), &format!("ca={}", ca.file().display()));
    counts_once(&server, &proxy, &url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_sentinel() {
    if without("redis") {
        return;
    }
    let server = Redis::start();
    let proxy = Proxy::new(server.port());
    let sentinel = Redis::builder()
        .sentinel()
        .option("sentinel", &format!("monitor mymaster 127.0.0.1 {} 1", proxy.port()))
        .option("sentinel", "down-after-milliseconds mymaster 600000")
        .start();
    // Its own questions would be exchanges, too.
    let periods = ["PING-PERIOD", "600000", "INFO-PERIOD", "600000", "PUBLISH-PERIOD", "600000"];
    sentinel.command(["SENTINEL", "DEBUG"].into_iter().chain(periods));
    let url = format!("redis+sentinel://127.0.0.1:{}/mymaster", sentinel.port());
    counts_once(&server, &proxy, &url).await;
}
