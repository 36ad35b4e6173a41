//! Redis with Sentinels that promote the replica when the primary is gone.

use crate::{redis::Redis, resp::Reply, wait::wait_until};

const NAME: &str = "mymaster";
const SENTINELS: usize = 3;

/// A primary, its replica, and three Sentinels of which two have to agree.
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
}

impl Sentinel {
    /// Starts the set and waits until every Sentinel knows every server and every other Sentinel; some seconds.
    ///
    /// # Panics
    /// If it cannot be started, with the reason.
    #[track_caller]
    pub fn start() -> Self {
        let primary = Redis::builder().append_only().start();
        let replica = Redis::builder().append_only().replica_of(&primary).start();
        let port = primary.port();
        let sentinels = (0..SENTINELS).map(|_| {
            Redis::builder()
                .sentinel()
                .option("sentinel", &format!("monitor {NAME} 127.0.0.1 {port} 2"))
                // Milliseconds of silence after which the primary is down, and until a failed promotion is repeated.
                .option("sentinel", &format!("down-after-milliseconds {NAME} 2000"))
                .option("sentinel", &format!("failover-timeout {NAME} 5000"))
                .start()
        });
        let sentinels: Vec<Redis> = sentinels.collect();
        for sentinel in &sentinels {
            // Ten times as often as usual it asks whether its servers are alive and who they are, and tells the
            // other Sentinels. Redis 6 refuses, and is slower.
            let periods = ["PING-PERIOD", "100", "INFO-PERIOD", "1000", "PUBLISH-PERIOD", "200"];
            sentinel.command(["SENTINEL", "DEBUG"].into_iter().chain(periods));
        }
        let set = Self { sentinels, servers: [primary, replica] };
        let whole = format!("status=ok,address=127.0.0.1:{port},slaves=1,sentinels={SENTINELS}");
        wait_until("the sentinels to know all", || {
            set.sentinels.iter().all(|one| says(one, "sentinel", &whole))
        });
        wait_until("the replica to follow", || says(&set.servers[1], "replication", "master_link_status:up"));
        set
    }

    /// The server that the Sentinels take for the primary.
    ///
    /// # Panics
    /// If they do not answer, or with something else than one of the two.
    #[track_caller]
    pub fn primary(&self) -> &Redis {
        let answer = self.sentinels[0].command(["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]);
        let port_of = |server: &Redis| Reply::text(server.port().to_string());
        let is_named = |server: &&Redis| matches!(&answer, Reply::Array(pair) if pair[1] == port_of(server));
        self.servers.iter().find(is_named).unwrap_or_else(|| panic!("expected a primary, got {answer:?}"))
    }

    /// The other server.
    ///
    /// # Panics
    /// As [`primary`](Self::primary).
    #[track_caller]
    pub fn replica(&self) -> &Redis {
        let primary = self.primary().port();
        self.servers.iter().find(|server| server.port() != primary).expect("two servers have two ports")
    }

    /// Kills the primary and waits until all Sentinels name the other, and it takes writes; some seconds.
    ///
    /// What the replica had not yet received is lost. The killed one stays down until
    /// [`restart`](crate::Server::restart), and follows the new primary then.
    ///
    /// # Panics
    /// If the replica is not promoted.
    #[track_caller]
    pub fn fail_over(&self) {
        let (old, new) = (self.primary(), self.replica());
        old.kill();
        let promoted = format!("address=127.0.0.1:{},", new.port());
        wait_until("the sentinels to agree", || {
            self.sentinels.iter().all(|one| says(one, "sentinel", &promoted))
        });
        wait_until("the replica to be the primary", || says(new, "replication", "role:master"));
    }

    /// All Sentinels in one `redis+sentinel:` URL.
    pub fn url(&self) -> String {
        let all: Vec<String> = self.sentinels.iter().map(|one| format!("127.0.0.1:{}", one.port())).collect();
        format!("redis+sentinel://{}/{NAME}", all.join(","))
    }
}

/// Whether a section of the server's INFO contains `text`.
fn says(server: &Redis, section: &str, text: &str) -> bool {
    // Sentinels close a server's connections when they change its role.
    matches!(server.try_command(["INFO", section]), Ok(Reply::Text(info)) if info.contains(text))
}
