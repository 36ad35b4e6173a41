use forebay_testkit::{RedisCluster, Reply, eventually, unique_prefix};
use tokio::task::block_in_place;

use crate::{Clock, engine::redis::Nodes, time::secs};

/// A primary whose last slot moves away becomes a replica. If that were a failure, its keys would fail until their owners are
/// known, and the writes under way would be in doubt.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_became_a_replica_is_well_and_the_owners_are_asked_for() {
    let cluster = block_in_place(RedisCluster::start_with_spare);
    let [primary, .., spare] = cluster.nodes() else { panic!("four nodes") };
    let clock = Clock::system();
    let nodes = Nodes::new(&[spare.url().into()], &unique_prefix(), clock.clone()).expect("valid");
    let engine = nodes.engine(&("127.0.0.1".into(), spare.port()));
    engine.connected().await.expect("it runs");
    engine.check_node().await.expect("it answers");
    assert_eq!(clock.timeout(secs(0), nodes.stale()).await, None, "nothing has changed yet");

    let Reply::Text(id) = primary.command(["CLUSTER", "MYID"]) else { panic!("an id") };
    eventually("the spare to replicate", async || {
        spare.command(["CLUSTER", "REPLICATE", &id]) == Reply::text("OK")
    })
    .await;
    engine.check_node().await.expect("a replica answers");
    assert_eq!(clock.timeout(secs(1), nodes.stale()).await, Some(()), "the owners may be others");
}

/// The owners of slots were read before. If that were a failure, its keys would fail until they are read again.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_a_replica_when_its_connection_is_made_sends_calls_on() {
    let cluster = block_in_place(RedisCluster::start_with_spare);
    let [primary, .., spare] = cluster.nodes() else { panic!("four nodes") };
    let Reply::Text(id) = primary.command(["CLUSTER", "MYID"]) else { panic!("an id") };
    eventually("the spare to replicate", async || {
        spare.command(["CLUSTER", "REPLICATE", &id]) == Reply::text("OK")
    })
    .await;
    let clock = Clock::system();
    let nodes = Nodes::new(&[spare.url().into()], &unique_prefix(), clock.clone()).expect("valid");
    let engine = nodes.engine(&("127.0.0.1".into(), spare.port()));
    engine.connected().await.expect("it is a node");
    assert_eq!(clock.timeout(secs(1), nodes.stale()).await, Some(()), "the owners may be others");
    let is_its = |name: &String| {
        matches!(primary.command(["CLUSTER", "KEYSLOT", &format!("{{{name}}}")]), Reply::Integer(..5_461))
    };
    let name = (0..1_000).map(|number| format!("lock{number}")).find(is_its).expect("one of a thousand");
    let state = engine.lock_state(&name).await.expect("its primary answers");
    assert!(state.holding.is_none(), "{state:?}");
}
