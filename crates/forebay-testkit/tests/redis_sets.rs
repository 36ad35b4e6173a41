//! Sets of Redis servers: a cluster, and Sentinels.

use forebay_testkit::{RedisCluster, Reply, Sentinel, wait_until, without};

#[test]
fn a_cluster_serves_every_slot_at_one_of_its_nodes() {
    if without("redis") {
        return;
    }
    let cluster = RedisCluster::start();
    let ports: Vec<u16> = cluster.nodes().iter().map(|node| node.port()).collect();
    assert_eq!(
        cluster.url(),
        format!("redis+cluster://127.0.0.1:{},127.0.0.1:{},127.0.0.1:{}", ports[0], ports[1], ports[2])
    );
    // According to the specification of Redis Cluster the slots of these keys are 15495, 3300 and 7365.
    for (key, owner) in [("a", 2), ("b", 0), ("c", 1)] {
        for (number, node) in cluster.nodes().iter().enumerate() {
            let answer = node.command(["SET", key, "1"]);
            assert_eq!(answer == Reply::text("OK"), number == owner, "{key} at node {number}: {answer:?}");
        }
    }
}

#[test]
fn a_cluster_node_comes_back_with_its_slots() {
    if without("redis") {
        return;
    }
    let cluster = RedisCluster::start();
    cluster.nodes()[2].restart();
    wait_until("the node to serve", || cluster.nodes()[2].command(["SET", "a", "1"]) == Reply::text("OK"));
}

#[test]
fn sentinels_promote_the_replica_and_take_the_old_primary_back() {
    if without("redis") {
        return;
    }
    let set = Sentinel::start();
    let (old, new) = (set.primary(), set.replica());
    old.command(["SET", "a", "1"]);
    wait_until("the replica to have it", || new.command(["GET", "a"]) == Reply::text("1"));
    set.fail_over();
    assert_eq!(set.primary().port(), new.port());
    assert_eq!(new.command(["GET", "a"]), Reply::text("1"));
    assert_eq!(new.command(["INCR", "a"]), Reply::Integer(2));
    old.restart();
    let follows = || old.try_command(["GET", "a"]).is_ok_and(|value| value == Reply::text("2"));
    wait_until("the old primary to follow", follows);
}
