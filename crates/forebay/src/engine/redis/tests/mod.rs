//! The engine against a real server.

mod across;
mod buffer;
mod cluster_node;
mod connection;
mod fence;
mod limit;
mod moves;
mod rollback;
mod seal_faults;
mod sealing;
mod series;
mod stand_in;
mod summary;
mod transfer;

use std::sync::Arc;

use forebay_testkit::{Redis as Server, Reply, unique_prefix};

use super::Redis;
use crate::Clock;

/// An engine on the shared server, under a prefix of its own.
async fn engine() -> (Arc<Redis>, String) {
    let prefix = unique_prefix();
    let engine = Redis::open(&Server::shared().url(), &prefix, Clock::system()).await.expect("it runs");
    (engine, prefix)
}

/// The keys under a prefix.
fn keys(server: &Server, prefix: &str) -> Vec<String> {
    let Reply::Array(keys) = server.command(["KEYS", &format!("{prefix}:*")]) else { panic!("not an array") };
    let text = |reply| match reply {
        Reply::Text(key) => key,
        other => panic!("not a key: {other:?}"),
    };
    keys.into_iter().map(text).collect()
}
