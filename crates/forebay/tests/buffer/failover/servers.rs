//! Two Redis servers, a primary and a replica, and changes of their roles.

use forebay_testkit::{Proxy, Redis, Reply, eventually};

/// Two servers, and the route of the traffic.
pub(crate) struct Pair {
    servers: [Redis; 2],
    /// The proxy through which clients reach the primary. Without it each client stays with one of the servers.
    pub proxy: Option<Proxy>,
}

impl Pair {
    /// Server 0 is the primary, server 1 its replica.
    pub(crate) async fn start(with_proxy: bool) -> Self {
        let pair = if with_proxy { Self::alone_behind_a_proxy() } else { Self::alone() };
        pair.follow(1, 0).await;
        pair
    }

    /// Two primaries that never had a replica.
    pub(crate) fn alone() -> Self {
        Self { servers: [Redis::start(), Redis::start()], proxy: None }
    }

    pub(crate) fn alone_behind_a_proxy() -> Self {
        let pair = Self::alone();
        let proxy = Some(Proxy::new(pair.servers[0].port()));
        Self { proxy, ..pair }
    }

    pub(crate) fn server(&self, at: usize) -> &Redis {
        &self.servers[at]
    }

    /// The address that client `number` connects to.
    pub(crate) fn url(&self, number: usize) -> String {
        match &self.proxy {
            Some(proxy) => self.servers[0].url_through(proxy),
            None => self.servers[number].url(),
        }
    }

    /// Makes `replica` follow `primary`, and waits until it has all data.
    pub(crate) async fn follow(&self, replica: usize, primary: usize) {
        let port = self.servers[primary].port().to_string();
        self.command(replica, &["REPLICAOF", "127.0.0.1", &port]);
        // Writes that were held back there are refused now. If they were still held, the replica could not apply its stream.
        self.let_go(replica);
        let up = async || self.info(replica, "master_link_status") == "up";
        eventually("the replica to follow", up).await;
        self.catch_up(replica, primary).await;
    }

    /// Waits until `replica` has the current data of `primary`.
    pub(crate) async fn catch_up(&self, replica: usize, primary: usize) {
        let offset = |at, field| self.info(at, field).parse::<u64>().unwrap_or(0);
        let end = offset(primary, "master_repl_offset");
        eventually("the replica to have it", async || offset(replica, "slave_repl_offset") >= end).await;
    }

    /// Holds back the writes to a server until further notice.
    pub(crate) fn hold(&self, at: usize) {
        self.command(at, &["CLIENT", "PAUSE", "60000", "WRITE"]);
    }

    pub(crate) fn let_go(&self, at: usize) {
        self.command(at, &["CLIENT", "UNPAUSE"]);
    }

    pub(crate) fn promote(&self, at: usize) {
        self.command(at, &["REPLICAOF", "NO", "ONE"]);
    }

    /// Routes the traffic to a server, if there is a proxy.
    pub(crate) fn lead_to(&self, at: usize) {
        if let Some(proxy) = &self.proxy {
            proxy.lead_to(self.servers[at].port());
        }
    }

    pub(crate) fn command(&self, at: usize, words: &[&str]) {
        let reply = self.servers[at].command(words.iter().copied());
        // "OK Already connected to specified master"
        assert!(matches!(&reply, Reply::Text(text) if text.starts_with("OK")), "{words:?}: {reply:?}");
    }

    /// A field of the server's `INFO replication`.
    pub(crate) fn info(&self, at: usize, field: &str) -> String {
        let Reply::Text(info) = self.servers[at].command(["INFO", "replication"]) else { panic!("no text") };
        let value = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.unwrap_or_default().to_owned()
    }
}
