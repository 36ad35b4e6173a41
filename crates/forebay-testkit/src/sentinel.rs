//! Redis with Sentinels that promote the replica when the primary is gone.

use crate::{
    certificates::{Certificates, Pair},
    redis::{Redis, RedisBuilder},
    resp::Reply,
    wait::wait_until,
};

const NAME: &str = "mymaster";
const SENTINELS: usize = 3;

/// A primary, its replica, and three Sentinels. Two Sentinels have to agree.
///
/// ```
/// use forebay_testkit::{Reply, Sentinel};
///
/// # if forebay_testkit::without("redis") { return; }
/// let set = Sentinel::start();
/// assert_eq!(set.primary().command(["SET", "a", "1"]), Reply::text("OK"));
/// ```
#[derive(Debug)]
pub struct Sentinel {
    servers: [Redis; 2],
    sentinels: Vec<Redis>,
    has_tls: bool,
}

/// Options of a [`Sentinel`] set.
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until `start`"]
pub struct SentinelBuilder {
    server: RedisBuilder,
    sentinel: RedisBuilder,
    password: Option<String>,
    has_tls: bool,
}

impl SentinelBuilder {
    /// Makes all servers speak TLS to each other, and on their TLS port.
    pub fn tls(mut self, ca: &Certificates, pair: &Pair) -> Self {
        let with = |builder: RedisBuilder| builder.tls(ca, pair).option("tls-replication", "yes");
        (self.server, self.sentinel, self.has_tls) = (with(self.server), with(self.sentinel), true);
        self
    }

    /// Makes the servers ask for `password`.
    pub fn password(mut self, password: &str) -> Self {
        // The primary may become a replica later.
        self.server = self.server.password(password).option("masterauth", password);
        self.password = Some(password.to_owned());
        self
    }

    /// Makes the Sentinels ask for `password`.
    pub fn sentinel_password(mut self, password: &str) -> Self {
        self.sentinel = self.sentinel.password(password);
        self
    }

    /// Adds another line of the servers' `redis.conf`.
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.server = self.server.option(name, value);
        self
    }

    /// Starts the set and waits until every Sentinel knows every server and every other Sentinel; some seconds.
    ///
    /// # Panics
    /// If it cannot be started, with the reason.
    #[track_caller]
    pub fn start(self) -> Sentinel {
        let primary = self.server.clone().append_only().start();
        let replica = self.server.append_only().replica_of(&primary).start();
        let port = if self.has_tls { primary.tls_port() } else { primary.port() };
        let password = self.password.as_deref();
        let auth = password.map(|password| format!("auth-pass {NAME} {password}"));
        let sentinels = (0..SENTINELS).map(|_| {
            let mut builder = self
                .sentinel
                .clone()
                .sentinel()
                .option("sentinel", &format!("monitor {NAME} 127.0.0.1 {port} 2"))
                // Milliseconds of silence after which the primary is down, and until a failed promotion is repeated.
                .option("sentinel", &format!("down-after-milliseconds {NAME} 2000"))
                .option("sentinel", &format!("failover-timeout {NAME} 5000"));
            if let Some(auth) = &auth {
                builder = builder.option("sentinel", auth);
            }
            builder.start()
        });
        let sentinels: Vec<Redis> = sentinels.collect();
        for sentinel in &sentinels {
            // Several times as often as usual it asks whether its servers are alive and who they are, and tells the
            // other Sentinels. Redis 6 refuses, and is slower. In a fail-over it asks a replica once a second who it is, and
            // takes none whose answer is older than five pings: with shorter periods it would find none most of the time.
            let periods = ["PING-PERIOD", "300", "INFO-PERIOD", "1000", "PUBLISH-PERIOD", "200"];
            sentinel.command(["SENTINEL", "DEBUG"].into_iter().chain(periods));
        }
        let set = Sentinel { sentinels, servers: [primary, replica], has_tls: self.has_tls };
        let whole = format!("status=ok,address=127.0.0.1:{port},slaves=1,sentinels={SENTINELS}");
        wait_until("the sentinels to know all", || {
            set.sentinels.iter().all(|one| says(one, "sentinel", &whole))
        });
        wait_until("the replica to follow", || says(&set.servers[1], "replication", "master_link_status:up"));
        set
    }
}

impl Sentinel {
    /// Starts the set without passwords and TLS.
    ///
    /// # Panics
    /// If it cannot be started, with the reason.
    #[track_caller]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// A set with further options.
    pub fn builder() -> SentinelBuilder {
        SentinelBuilder::default()
    }

    /// The Sentinels.
    pub fn sentinels(&self) -> &[Redis] {
        &self.sentinels
    }

    /// The server that the Sentinels regard as the primary.
    ///
    /// # Panics
    /// If they do not answer, or with something else than one of the two.
    #[track_caller]
    pub fn primary(&self) -> &Redis {
        let answer = self.sentinels[0].command(["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]);
        let port_of = |server: &Redis| Reply::text(self.port_of(server).to_string());
        let is_named = |server: &&Redis| matches!(&answer, Reply::Array(pair) if pair[1] == port_of(server));
        self.servers.iter().find(is_named).unwrap_or_else(|| panic!("expected a primary, got {answer:?}"))
    }

    /// The other server.
    ///
    /// # Panics
    /// Like [`primary`](Self::primary).
    #[track_caller]
    pub fn replica(&self) -> &Redis {
        let primary = self.primary().port();
        self.servers.iter().find(|server| server.port() != primary).expect("two servers have two ports")
    }

    /// Kills the primary, and waits until all Sentinels name the other server, and it accepts writes. This takes some
    /// seconds.
    ///
    /// Writes that the replica had not received are lost. The killed server stays down until
    /// [`restart`](crate::Server::restart). Then it follows the new primary.
    ///
    /// # Panics
    /// If the replica is not promoted.
    #[track_caller]
    pub fn fail_over(&self) {
        let (old, new) = (self.primary(), self.replica());
        old.kill();
        self.await_promotion(new);
    }

    /// Waits until all Sentinels name `new`, and it accepts writes.
    ///
    /// # Panics
    /// If it is not promoted.
    #[track_caller]
    pub fn await_promotion(&self, new: &Redis) {
        let promoted = format!("address=127.0.0.1:{},", self.port_of(new));
        wait_until("the sentinels to agree", || {
            self.sentinels.iter().all(|one| says(one, "sentinel", &promoted))
        });
        wait_until("the replica to be the primary", || says(new, "replication", "role:master"));
    }

    /// Waits until `server` follows the other one as its replica.
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn await_replica(&self, server: &Redis) {
        let follows = || {
            says(server, "replication", "role:slave") && says(server, "replication", "master_link_status:up")
        };
        wait_until("the old primary to follow the new one", follows);
        // A replica gets no commands until its first acknowledgement, which may come a second later.
        let sent = offset(self.primary(), "master_repl_offset:");
        wait_until("the primary to feed it", || offset(server, "slave_repl_offset:") >= sent);
        let whole = format!("slaves=1,sentinels={SENTINELS}");
        wait_until("the sentinels to know all", || {
            self.sentinels
                .iter()
                .all(|one| says(one, "sentinel", &whole) && says(one, "sentinel", "status=ok"))
        });
    }

    fn port_of(&self, server: &Redis) -> u16 {
        if self.has_tls { server.tls_port() } else { server.port() }
    }

    /// All Sentinels in one `redis+sentinel:` URL, or `rediss+sentinel:` with TLS; without passwords.
    pub fn url(&self) -> String {
        self.url_with("", "")
    }

    /// Like [`url`](Self::url), with a login (`user:password@`) and parameters (`?…`).
    pub fn url_with(&self, login: &str, parameters: &str) -> String {
        let all: Vec<String> =
            self.sentinels.iter().map(|one| format!("127.0.0.1:{}", self.port_of(one))).collect();
        let scheme = if self.has_tls { "rediss" } else { "redis" };
        format!("{scheme}+sentinel://{login}{}/{NAME}{parameters}", all.join(","))
    }
}

/// A test that fails shows what the Sentinels did.
impl Drop for Sentinel {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for sentinel in &self.sentinels {
                eprintln!("the sentinel on port {}:\n{}", sentinel.port(), sentinel.log());
            }
        }
    }
}

/// The position of a server's replication stream; 0 while the server does not answer.
fn offset(server: &Redis, field: &str) -> u64 {
    let Ok(Reply::Text(info)) = server.try_command(["INFO", "replication"]) else { return 0 };
    info.lines().find_map(|line| line.strip_prefix(field)?.parse().ok()).unwrap_or(0)
}

/// Returns whether a section of the server's INFO contains `text`.
fn says(server: &Redis, section: &str, text: &str) -> bool {
    // Sentinels close a server's connections when they change its role.
    matches!(server.try_command(["INFO", section]), Ok(Reply::Text(info)) if info.contains(text))
}
