//! Real servers for tests, and faults on their connections.
//!
//! Every server has a loopback port and a data directory of its own. Both are removed when its handle is dropped, when
//! the test panics, and when the test process is killed with SIGKILL: a small shell that outlives the test sees the end of
//! a pipe and cleans up.
//!
//! Starting blocks until the server answers. If it cannot start, it panics with the reason and the end of the server's
//! log, so that a test never passes because a server is missing. `scripts/test --without NAME` leaves a server out; tests
//! ask [`without`].
//!
//! ```
//! use forebay_testkit::{Redis, Reply, unique_prefix};
//!
//! # if forebay_testkit::without("redis") { return; }
//! let redis = Redis::shared();
//! let key = format!("{}:hits", unique_prefix());
//! assert_eq!(redis.command(["INCR", &key]), Reply::Integer(1));
//! ```
//!
//! Linux only: processes are looked up in `/proc`.

mod certificates;
mod chromium;
mod lock_history;
mod mariadb;
mod pgbouncer;
mod ports;
mod postgres;
mod programs;
mod prometheus;
mod proxy;
mod random;
mod redis;
mod redis_cluster;
mod replicated;
mod resp;
mod sample;
mod sentinel;
mod server;
mod sql;
mod strace;
mod supervisor;
mod unique;
mod user;
mod wait;

pub use self::{
    certificates::{Certificates, Pair},
    chromium::Chromium,
    lock_history::{Hold, LockHistory, Violation, Wait},
    mariadb::MariaDb,
    pgbouncer::PgBouncer,
    postgres::Postgres,
    programs::without,
    prometheus::Prometheus,
    proxy::{Fault, Proxy},
    random::Random,
    redis::{Redis, RedisBuilder},
    redis_cluster::{RedisCluster, SlotMove},
    replicated::{is_primary, is_replicated},
    resp::Reply,
    sample::sample_log,
    sentinel::{Sentinel, SentinelBuilder},
    server::Server,
    strace::Strace,
    unique::unique_prefix,
    wait::{eventually, wait_until},
};
