//! Real servers for tests, and the faults that happen to them.
//!
//! Every server listens on a loopback port of its own, keeps its data in a directory of its own, and is gone,
//! directory included, when its handle is dropped, when the test panics, and when the test process is killed
//! with SIGKILL: a small shell that outlives the test sees the end of a pipe and cleans up.
//!
//! Starting blocks until the server answers. What cannot be started panics with the reason and the end of the
//! server's log: a test never passes because a server was missing. Who means to leave a server out says so
//! with `scripts/test --without NAME`; tests ask [`without`].
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

mod chromium;
mod mariadb;
mod pgbouncer;
mod ports;
mod postgres;
mod programs;
mod proxy;
mod redis;
mod redis_cluster;
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
    chromium::Chromium,
    mariadb::MariaDb,
    pgbouncer::PgBouncer,
    postgres::Postgres,
    programs::without,
    proxy::{Fault, Proxy},
    redis::{Redis, RedisBuilder},
    redis_cluster::RedisCluster,
    resp::Reply,
    sample::sample_log,
    sentinel::Sentinel,
    server::Server,
    strace::Strace,
    unique::unique_prefix,
    wait::{eventually, wait_until},
};
