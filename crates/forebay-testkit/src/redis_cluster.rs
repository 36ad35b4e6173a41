//! A Redis Cluster.

use std::ops::Range;

use crate::{ports::free_port, redis::Redis, resp::Reply, wait::wait_until};

const SLOTS: usize = 16_384;
const NODES: usize = 3;

/// A Redis Cluster of three primaries without replicas, each with a third of the slots in ascending order.
///
/// Needs Redis 7: older ones cannot be told the port of the cluster's own traffic.
///
/// ```
/// use forebay_testkit::{RedisCluster, Reply};
///
/// # if forebay_testkit::without("redis") { return; }
/// let cluster = RedisCluster::start();
/// let Reply::Error(moved) = cluster.nodes()[0].command(["GET", "foo"]) else { panic!() };
/// assert_eq!(moved, format!("MOVED 12182 127.0.0.1:{}", cluster.nodes()[2].port()));
/// ```
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Starts the nodes and waits until all of them say that the cluster is whole.
    ///
    /// # Panics
    /// If it cannot be started, with the reason.
    #[track_caller]
    pub fn start() -> Self {
        let nodes: Vec<Node> = (0..NODES).map(|_| Node::start()).collect();
        for (number, node) in nodes.iter().enumerate() {
            // Told apart from the start: nodes that agree on an epoch settle it among themselves, by and by.
            node.cluster(["SET-CONFIG-EPOCH", &(number + 1).to_string()]);
            let slots: Vec<String> = slots_of(number).map(|slot| slot.to_string()).collect();
            node.cluster(["ADDSLOTS"].into_iter().chain(slots.iter().map(String::as_str)));
        }
        for node in &nodes[1..] {
            let (port, bus) = (node.redis.port().to_string(), node.bus.to_string());
            nodes[0].cluster(["MEET", "127.0.0.1", &port, &bus]);
        }
        for node in &nodes {
            wait_until("the cluster to be whole", || node.sees_all());
        }
        Self { nodes: nodes.into_iter().map(|node| node.redis).collect() }
    }

    /// Its nodes in the order of their slots.
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// All nodes in one `redis+cluster:` URL.
    pub fn url(&self) -> String {
        let nodes: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("redis+cluster://{}", nodes.join(","))
    }
}

struct Node {
    redis: Redis,
    /// Where the nodes talk to each other.
    bus: u16,
}

impl Node {
    #[track_caller]
    fn start() -> Self {
        let bus = free_port();
        let redis = Redis::builder()
            .option("cluster-enabled", "yes")
            .option("cluster-port", &bus.to_string())
            // How long a node may be silent before it counts as failed, in milliseconds.
            .option("cluster-node-timeout", "2000")
            .start();
        Self { redis, bus }
    }

    #[track_caller]
    fn cluster<'a>(&self, words: impl IntoIterator<Item = &'a str>) {
        let answer = self.redis.command(["CLUSTER"].into_iter().chain(words));
        assert_eq!(answer, Reply::text("OK"));
    }

    fn sees_all(&self) -> bool {
        let Reply::Text(info) = self.redis.command(["CLUSTER", "INFO"]) else { return false };
        let all = [
            format!("cluster_known_nodes:{NODES}"),
            format!("cluster_size:{NODES}"),
            "cluster_state:ok".into(),
        ];
        all.iter().all(|line| info.lines().any(|have| have == line))
    }
}

fn slots_of(node: usize) -> Range<usize> {
    node * SLOTS / NODES..(node + 1) * SLOTS / NODES
}
