//! A Redis Cluster.

use std::{
    ops::Range,
    process::{Command, Output},
};

use crate::{
    certificates::{Certificates, Pair},
    programs,
    proxy::Proxy,
    redis::{Redis, RedisBuilder},
    resp::Reply,
    wait::wait_until,
};

const SLOTS: usize = 16_384;
const NODES: usize = 3;

/// A Redis Cluster of three primaries without replicas, each with a third of the slots in ascending order.
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
    replicas: Vec<Redis>,
    has_tls: bool,
}

impl RedisCluster {
    /// Starts the nodes and waits until all of them say that the cluster is whole.
    ///
    /// # Panics
    /// If it cannot be started, with the reason.
    #[track_caller]
    pub fn start() -> Self {
        Self::of(|_| node(), [NODES, 0, 0])
    }

    /// Like [`start`](Self::start), with one primary, which has all slots.
    ///
    /// # Panics
    /// If it cannot be started, with the reason.
    #[track_caller]
    pub fn start_single() -> Self {
        Self::of(|_| node(), [1, 0, 0])
    }

    /// Like [`start`](Self::start), with a proxy before each node, by whose port all nodes know it.
    ///
    /// # Panics
    /// If it cannot be started, with the reason.
    #[track_caller]
    pub fn start_behind_proxies() -> (Self, Vec<Proxy>) {
        Self::start_behind_proxies_and(&[])
    }

    /// Like [`start_behind_proxies`](Self::start_behind_proxies), with further lines of the nodes' `redis.conf`.
    ///
    /// # Panics
    /// If it cannot be started, with the reason.
    #[track_caller]
    pub fn start_behind_proxies_and(options: &[(&str, &str)]) -> (Self, Vec<Proxy>) {
        // A node of version 6.2 reads what it announces of itself at its start only.
        let proxies: Vec<Proxy> = (0..NODES).map(|_| Proxy::new(0)).collect();
        let port = |number: usize| proxies[number].port().to_string();
        let builder = options.iter().fold(node(), |builder, (name, value)| builder.option(name, value));
        let announced = |number| builder.clone().option("cluster-announce-port", &port(number));
        let cluster = Self::of(announced, [NODES, 0, 0]);
        for (node, proxy) in cluster.nodes.iter().zip(&proxies) {
            proxy.lead_to(node.port());
            wait_until("a node to know the proxies", || {
                let Reply::Text(known) = node.command(["CLUSTER", "NODES"]) else { return false };
                proxies.iter().all(|proxy| known.contains(&format!(":{}@", proxy.port())))
            });
        }
        (cluster, proxies)
    }

    /// Like [`start`](Self::start), with TLS between the nodes and on their TLS ports.
    ///
    /// # Panics
    /// If it cannot be started, with the reason.
    #[track_caller]
    pub fn start_with_tls(ca: &Certificates, pair: &Pair) -> Self {
        let options = ["tls-replication", "tls-cluster"];
        let builder = options.iter().fold(node().tls(ca, pair), |builder, name| builder.option(name, "yes"));
        Self::of(|_| builder.clone(), [NODES, 0, 0])
    }

    /// Like [`start`](Self::start), with a fourth primary that has no slots.
    ///
    /// # Panics
    /// If it cannot be started, with the reason.
    #[track_caller]
    pub fn start_with_spare() -> Self {
        Self::of(|_| node(), [NODES, 1, 0])
    }

    /// Like [`start`](Self::start), with a replica of each primary. A primary that is silent for a second is replaced, and its
    /// keys alone are out until then.
    ///
    /// # Panics
    /// If it cannot be started, with the reason.
    #[track_caller]
    pub fn start_with_replicas() -> Self {
        Self::start_with_replicas_and(&[])
    }

    /// Like [`start_with_replicas`](Self::start_with_replicas), with further lines of the nodes' `redis.conf`.
    ///
    /// # Panics
    /// If it cannot be started, with the reason.
    #[track_caller]
    pub fn start_with_replicas_and(options: &[(&str, &str)]) -> Self {
        let fixed = [
            ("cluster-require-full-coverage", "no"),
            ("cluster-node-timeout", "1000"),
            ("repl-ping-replica-period", "1"),
        ];
        let all = fixed.iter().chain(options);
        let builder = all.fold(node(), |builder, (name, value)| builder.option(name, value));
        Self::of(|_| builder.clone(), [NODES, 0, NODES])
    }

    #[track_caller]
    fn of(builder: impl Fn(usize) -> RedisBuilder, [owners, spares, replicas]: [usize; 3]) -> Self {
        let primaries = owners + spares;
        let mut nodes: Vec<Redis> = (0..primaries + replicas).map(|number| builder(number).start()).collect();
        for (number, node) in nodes.iter().enumerate() {
            // The epochs differ from the start. Nodes with equal epochs would resolve that among themselves, slowly.
            cluster(node, ["SET-CONFIG-EPOCH", &(number + 1).to_string()]);
            if number < owners {
                let slots: Vec<String> = slots_of(number, owners).map(|slot| slot.to_string()).collect();
                cluster(node, ["ADDSLOTS"].into_iter().chain(slots.iter().map(String::as_str)));
            }
        }
        for node in &nodes[1..] {
            cluster(&nodes[0], ["MEET", "127.0.0.1", &node.own_port().to_string()]);
        }
        for node in &nodes {
            wait_until("the cluster to be whole", || sees_all(node, nodes.len(), owners));
        }
        for (primary, replica) in nodes.iter().zip(&nodes[primaries..]) {
            cluster(replica, ["REPLICATE", &id_of(primary)]);
        }
        for primary in &nodes[..replicas] {
            wait_until("a replica to follow", || info(primary).contains("state=online"));
        }
        let replicas = nodes.split_off(primaries);
        let has_tls = nodes[0].has_tls();
        Self { nodes, replicas, has_tls }
    }

    /// Its replicas, in the order of their first primaries.
    pub fn replicas(&self) -> &[Redis] {
        &self.replicas
    }

    /// The node that has a slot, according to the cluster.
    ///
    /// # Panics
    /// If no node answers, or no node has the slot.
    #[track_caller]
    pub fn owner(&self, slot: u16) -> &Redis {
        let all = || self.nodes.iter().chain(&self.replicas);
        let known =
            all().find_map(|node| node.try_command(["CLUSTER", "SLOTS"]).ok()).expect("a node answers");
        let Reply::Array(ranges) = known else { panic!("ranges of slots") };
        let port = ranges.iter().find_map(|range| match range {
            Reply::Array(words) => match &words[..] {
                [Reply::Integer(first), Reply::Integer(last), Reply::Array(node), ..]
                    if (*first..=*last).contains(&slot.into()) =>
                {
                    Some(node[1].clone())
                }
                _ => None,
            },
            _ => None,
        });
        let owner = all().find(|node| port == Some(Reply::Integer(node.port().into())));
        owner.unwrap_or_else(|| panic!("nobody has slot {slot}"))
    }

    /// Moves a slot with its keys to another primary, as `redis-cli --cluster reshard` does. `between` is called when half of
    /// the keys are there.
    ///
    /// # Panics
    /// If a node refuses.
    #[track_caller]
    pub fn move_slot(&self, slot: u16, to: &Redis, between: impl FnOnce()) {
        if self.owner(slot).port() == to.port() {
            return;
        }
        let moving = self.begin_move(slot, to);
        let keys = moving.keys();
        moving.migrate(&keys[..keys.len().div_ceil(2)]);
        between();
        moving.end();
    }

    /// Begins to move a slot to another primary. Its keys stay.
    ///
    /// # Panics
    /// If a node refuses.
    #[track_caller]
    pub fn begin_move<'a>(&'a self, slot: u16, to: &'a Redis) -> SlotMove<'a> {
        let (from, slot) = (self.owner(slot), slot.to_string());
        cluster(to, ["SETSLOT", &slot, "IMPORTING", &id_of(from)]);
        cluster(from, ["SETSLOT", &slot, "MIGRATING", &id_of(to)]);
        SlotMove { cluster: self, slot, from, to }
    }

    /// Moves the lowest slots of a primary by `redis-cli --cluster reshard`, key by key, within five minutes.
    ///
    /// # Panics
    /// If it fails, with what it printed last.
    #[track_caller]
    pub fn reshard(&self, from: &Redis, to: &Redis, slots: usize) {
        // It refuses while the nodes do not agree.
        wait_until("the nodes to agree", || redis_cli("check", to, &[]).status.success());
        let (from, into, slots) = (id_of(from), id_of(to), slots.to_string());
        let options = [
            "--cluster-from",
            &from,
            "--cluster-to",
            &into,
            "--cluster-slots",
            &slots,
            "--cluster-yes",
            "--cluster-pipeline",
            "1",
        ];
        let done = redis_cli("reshard", to, &options);
        let printed = String::from_utf8_lossy(&done.stdout);
        let last: Vec<&str> = printed.lines().rev().take(5).collect();
        assert!(done.status.success(), "redis-cli: {}, last lines first: {last:#?}", done.status);
    }

    /// Moves slots at once by the atomic migration of Valkey 9.
    ///
    /// # Panics
    /// If a node refuses, or the migration fails.
    #[track_caller]
    pub fn migrate_slots(&self, from: &Redis, to: &Redis, slots: &[u16]) {
        let slots: Vec<String> = slots.iter().map(u16::to_string).collect();
        let id = id_of(to);
        let mut command = vec!["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE"];
        command.extend(slots.iter().flat_map(|slot| [slot.as_str(); 2]));
        command.extend(["NODE", &id]);
        assert_eq!(from.command(command), Reply::text("OK"));
        wait_until("the slots to move", || {
            let jobs = from.command(["CLUSTER", "GETSLOTMIGRATIONS"]);
            let Reply::Array(jobs) = &jobs else { panic!("migrations, not {jobs:?}") };
            // The newest is the first.
            let Some(Reply::Array(job)) = jobs.first() else { panic!("a migration, not {jobs:?}") };
            let state = job.iter().position(|word| *word == Reply::text("state")).map(|name| &job[name + 1]);
            let ended = ["failed", "cancelled"].map(Reply::text);
            assert!(!ended.iter().any(|end| state == Some(end)), "{job:?}");
            state == Some(&Reply::text("success"))
        });
    }

    /// Its primaries in the order of their slots, then the one without slots.
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// All nodes in one `redis+cluster:` URL, or `rediss+cluster:` with TLS.
    pub fn url(&self) -> String {
        self.url_with("", "")
    }

    /// Like [`url`](Self::url), with a login (`user:password@`) and parameters (`?…`).
    pub fn url_with(&self, login: &str, parameters: &str) -> String {
        let nodes: Vec<String> =
            self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.own_port())).collect();
        let scheme = if self.has_tls { "rediss" } else { "redis" };
        format!("{scheme}+cluster://{login}{}{parameters}", nodes.join(","))
    }
}

/// A slot that moves by hand: what is on which node is for the test to say.
#[derive(Debug)]
#[must_use = "a slot moves until `end`"]
pub struct SlotMove<'a> {
    cluster: &'a RedisCluster,
    slot: String,
    from: &'a Redis,
    to: &'a Redis,
}

impl SlotMove<'_> {
    /// The first thousand of its keys that have not moved.
    ///
    /// # Panics
    /// If the node does not tell.
    #[track_caller]
    pub fn keys(&self) -> Vec<String> {
        let Reply::Array(keys) = self.from.command(["CLUSTER", "GETKEYSINSLOT", &self.slot, "1000"]) else {
            panic!("the keys of a slot")
        };
        let text = |key| match key {
            Reply::Text(key) => key,
            other => panic!("a key, not {other:?}"),
        };
        keys.into_iter().map(text).collect()
    }

    /// Moves some of its keys.
    ///
    /// # Panics
    /// If the node refuses.
    #[track_caller]
    pub fn migrate(&self, keys: &[String]) {
        if keys.is_empty() {
            return;
        }
        let port = self.to.port().to_string();
        let command = ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
        let moved = self.from.command(command.into_iter().chain(keys.iter().map(String::as_str)));
        assert!(moved == Reply::text("OK") || moved == Reply::text("NOKEY"), "{moved:?}");
    }

    /// Moves the keys that are left, and then the slot.
    ///
    /// # Panics
    /// If a node refuses.
    #[track_caller]
    pub fn end(self) {
        loop {
            let keys = self.keys();
            if keys.is_empty() {
                break;
            }
            self.migrate(&keys);
        }
        let (to, from) = (self.to, self.from);
        let others =
            self.cluster.nodes.iter().filter(|node| ![to.port(), from.port()].contains(&node.port()));
        let id = id_of(to);
        for node in [to, from].into_iter().chain(others) {
            // A replica or a dead node learns it from the others.
            let _ = node.try_command(["CLUSTER", "SETSLOT", &self.slot, "NODE", &id]);
        }
    }
}

/// A node that counts as failed after two seconds of silence.
fn node() -> RedisBuilder {
    Redis::builder().cluster().option("cluster-node-timeout", "2000")
}

#[track_caller]
fn cluster<'a>(node: &Redis, words: impl IntoIterator<Item = &'a str>) {
    let answer = node.command(["CLUSTER"].into_iter().chain(words));
    assert_eq!(answer, Reply::text("OK"));
}

fn sees_all(node: &Redis, nodes: usize, owners: usize) -> bool {
    let Reply::Text(info) = node.command(["CLUSTER", "INFO"]) else { return false };
    let all =
        [format!("cluster_known_nodes:{nodes}"), format!("cluster_size:{owners}"), "cluster_state:ok".into()];
    all.iter().all(|line| info.lines().any(|have| have == line))
}

/// Runs `redis-cli --cluster`, for five minutes at most, and returns its output.
#[track_caller]
fn redis_cli(command: &str, node: &Redis, options: &[&str]) -> Output {
    let mut cli = Command::new("timeout");
    cli.arg("300").arg(programs::find("redis", "redis-cli"));
    cli.args(["--cluster", command, &format!("127.0.0.1:{}", node.port())]).args(options);
    cli.output().unwrap_or_else(|error| panic!("cannot run redis-cli: {error}"))
}

#[track_caller]
fn id_of(node: &Redis) -> String {
    match node.command(["CLUSTER", "MYID"]) {
        Reply::Text(id) => id,
        other => panic!("an id, not {other:?}"),
    }
}

fn info(node: &Redis) -> String {
    match node.command(["INFO", "replication"]) {
        Reply::Text(info) => info,
        other => panic!("INFO, not {other:?}"),
    }
}

fn slots_of(node: usize, owners: usize) -> Range<usize> {
    node * SLOTS / owners..(node + 1) * SLOTS / owners
}
