//! Servers whose `INFO` does not tell the replication id: nobody can know whether they still remember a write in doubt.

use forebay::Retry;
use forebay_testkit::{Fault, Proxy, Redis, RedisCluster, without};
use tokio::task::block_in_place;

use crate::lost::{Fates, World};

/// The line of `INFO` that the servers do not have, for the client and for its scripts.
const LINE: &str = "master_replid:";

/// What a fault loses.
#[derive(Clone, Copy)]
enum Loss {
    Request,
    Reply,
}

impl Loss {
    fn fault(self) -> Fault {
        match self {
            Self::Request => Fault::DropRequest { after: 0 },
            Self::Reply => Fault::DropReply { after: 0 },
        }
    }
}

/// Lets the next exchange with the host of a row and of a series fail, `drops` times for each.
async fn write_under(loss: Loss, drops: u64, world: &World<'_>) -> ([Fates; 2], [u64; 2]) {
    let (key, cluster) = (forebay_testkit::unique_prefix(), world.bay.cluster());
    let mut fates = [Fates::default(), Fates::default()];
    for _ in 0..drops {
        world.settle(&key).await;
        // On each new connection the first write tells the server of its partition.
        world.buffer.row(key.as_str()).add("n", 0).await.expect("buffered");
        let row = cluster.route_row(&world.buffer, [key.as_str().into()]).expect("valid");
        world.inject(&row.host, loss.fault());
        let row = world.buffer.row(key.as_str()).add("n", 1).await;
        world.settle(&key).await;
        world.inject(&cluster.route_series(&world.series, &key).host, loss.fault());
        let point = world.series.add(&key, 1).await;
        for (fates, answer) in fates.iter_mut().zip([row, point]) {
            match answer {
                Ok(()) => fates.acknowledged += 1,
                Err(error) => {
                    assert_eq!(error.retry(), Retry::Unknown, "{error}");
                    fates.unknown += 1;
                }
            }
        }
    }
    world.settle(&key).await;
    let counted = world.counted(&key).await;
    (fates, counted)
}

/// What is in doubt stays so: a write whose request was lost is not counted, one whose reply was lost is counted once.
async fn nothing_in_doubt_is_sent_again(world: &World<'_>) {
    let warnings = world.bay.warnings();
    let told = warnings.iter().filter(|warning| warning.contains("INFO does not tell master_replid"));
    assert_eq!(told.count(), world.proxies.len(), "{warnings:?}");
    let mut unknown = [0; 2];
    for drops in [1, 5] {
        let (requests, counted) = write_under(Loss::Request, drops, world).await;
        assert_eq!(requests.each_ref().map(|fates| fates.acknowledged), counted, "{requests:?}");
        let (replies, counted) = write_under(Loss::Reply, drops, world).await;
        assert_eq!(counted, [drops; 2], "each was carried out: {replies:?}");
        for (place, unknown) in unknown.iter_mut().enumerate() {
            *unknown += requests[place].unknown + replies[place].unknown;
        }
    }
    // A fault may meet a question of the store itself.
    assert!(unknown.iter().all(|unknown| *unknown > 0), "nothing was lost: {unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_one_host_nothing_in_doubt_is_sent_again() {
    if without("redis") {
        return;
    }
    let server = Redis::start();
    let proxy = Proxy::new(server.port());
    proxy.spoil(LINE);
    let world = World::open(&server.url_through(&proxy), std::slice::from_ref(&proxy)).await;
    nothing_in_doubt_is_sent_again(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_cluster_nothing_in_doubt_is_sent_again() {
    if without("redis") {
        return;
    }
    let (_cluster, proxies) = block_in_place(RedisCluster::start_behind_proxies);
    for proxy in &proxies {
        proxy.spoil(LINE);
    }
    let url = format!("redis+cluster://127.0.0.1:{}", proxies[0].port());
    nothing_in_doubt_is_sent_again(&World::open(&url, &proxies).await).await;
}
