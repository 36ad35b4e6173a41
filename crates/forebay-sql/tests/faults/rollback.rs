//! A Redis that goes back in time: exactly the writes that it forgot are lost, and nothing counts twice.

use forebay::{Buffer, Forebay, buffer::BufferHandle, time::mins};
use forebay_sql::{Migrate, Options, Postgres as Sink};
use forebay_testkit::{Postgres, Redis, Reply, eventually, without};

use crate::database::read;

async fn open(redis: &Redis, postgres: &Postgres) -> BufferHandle {
    let bay = Forebay::open(&redis.url()).await.expect("opens");
    let buffer = bay.buffer(Buffer::new("hits").key("id").sum("n").partitions(2)).expect("valid");
    let sink = Sink::open(&postgres.url("postgres")).await.expect("opens");
    let _ =
        buffer.flush_to(sink.with(Options::new().migrate(Migrate::Yes))).prepare().await.expect("a table");
    buffer
}

/// Writes 40 new rows of a group. Each is acknowledged, even if the first attempt meets a dead connection.
async fn write(buffer: &BufferHandle, group: &str) {
    for id in 0..40 {
        let acknowledged = async {
            while buffer.row(format!("{group} {id}")).add("n", 1).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        forebay::Clock::system().timeout(mins(1), acknowledged).await.expect("within a minute");
    }
}

/// The way in which Redis goes back in time.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Killed, it comes back with its last snapshot.
    Crash,
    /// A replica that lagged behind is promoted.
    Failover,
}

impl Way {
    /// Makes the present data of Redis survive, on the replica where that matters.
    async fn keep(self, redis: &Redis) -> Option<Redis> {
        let Self::Failover = self else {
            redis.command(["SAVE"]);
            return None;
        };
        let replica = Redis::builder().replica_of(redis).start();
        eventually("the replica to have all", async || {
            redis.command(["WAIT", "1", "100"]) == Reply::Integer(1)
                && replica.command(["DBSIZE"]) == redis.command(["DBSIZE"])
        })
        .await;
        // The replica is disconnected from its primary, which continues alone.
        assert_eq!(replica.command(["REPLICAOF", "NO", "ONE"]), Reply::text("OK"));
        Some(replica)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_what_was_neither_persisted_nor_flushed_is_lost() {
    if without("redis") || without("postgres") {
        return;
    }
    for (flushed, way) in
        [(true, Way::Crash), (false, Way::Crash), (true, Way::Failover), (false, Way::Failover)]
    {
        let (redis, postgres) = (Redis::start(), Postgres::start());
        let (one, other) = (open(&redis, &postgres).await, open(&redis, &postgres).await);
        write(&one, "persisted").await;
        let replica = way.keep(&redis).await;
        write(&one, "later").await;
        if flushed {
            one.flush().await.expect("flushes");
        }
        write(&one, "last").await;
        redis.kill();
        match &replica {
            None => redis.restart(),
            // The new Redis gets the old one's address, as with a proxy or a host name.
            Some(replica) => {
                let port = redis.port().to_string();
                assert_eq!(replica.command(["CONFIG", "SET", "port", &port]), Reply::text("OK"));
            }
        }
        // The restored generation may already be in SQL. Later writes must not be counted as part of it.
        write(&other, "after").await;
        write(&one, "after").await;
        other.flush().await.expect("flushes");
        one.flush().await.expect("flushes");

        let table = read(&postgres.query("postgres", "SELECT id, n FROM hits"));
        let has = |group: &str| {
            let rows: Vec<u64> =
                (0..40).filter_map(|id| table.get(&format!("{group} {id}")).copied()).collect();
            (rows.len(), rows.iter().sum::<u64>())
        };
        assert_eq!(has("persisted"), (40, 40), "flushed {flushed}, {way:?}");
        assert_eq!(has("later"), if flushed { (40, 40) } else { (0, 0) }, "flushed {flushed}, {way:?}");
        assert_eq!(has("last"), (0, 0), "flushed {flushed}, {way:?}");
        assert_eq!(has("after"), (40, 80), "flushed {flushed}, {way:?}");
    }
}
