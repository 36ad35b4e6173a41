//! Keys that move from one host to another.

mod faults;
mod moved;
mod rights;
mod times;

use std::{collections::BTreeMap, sync::Arc};

use forebay_testkit::{Redis as Server, Reply, unique_prefix};
use redis::{Cmd, FromRedisValue, cmd};

use crate::{
    Clock,
    engine::redis::{Redis, transfer::Dumped},
};

type Key = Box<[u8]>;

const MARK: &str = "7 resharder";

/// The end of its table.
const SEAL: &str = "check 0123456789abcdef\n";

/// Two stores of one prefix on one server, in two databases: a source and a target that accepts [`MARK`].
async fn two() -> (Arc<Redis>, Arc<Redis>, String) {
    let (server, prefix) = (Server::shared(), unique_prefix());
    let open = async |url: String| Redis::open(&url, &prefix, Clock::system()).await.expect("it runs");
    let (source, target) = (open(server.url()).await, open(server.url_of(1)).await);
    import(&target, MARK).await;
    (source, target, prefix)
}

/// Lets a resharder write keys to a host, which has its table.
async fn import(target: &Redis, mark: &str) {
    let placement = target.keys.cluster_placement().into_bytes();
    let _: redis::Value = run(target, &[b"SET", &placement, SEAL.as_bytes()]).await;
    assert!(target.begin_import(mark, SEAL).await.expect("answers"));
}

async fn open(server: &Server) -> Arc<Redis> {
    Redis::open(&server.url(), "forebay", Clock::system()).await.expect("it runs")
}

/// Runs a command of words that may be no text.
async fn run<T: FromRedisValue>(redis: &Redis, words: &[&[u8]]) -> T {
    let mut command = Cmd::new();
    command.arg(words);
    let value = redis.host.command(&command).await.expect("answers");
    redis::from_redis_value(value).expect("of this type")
}

/// The keys of a host, each once, in order.
async fn all_keys(redis: &Redis) -> Vec<Key> {
    let (mut keys, mut cursor) = (vec![], None);
    loop {
        let (next, page) = redis.scan_page(cursor.as_ref()).await.expect("answers");
        keys.extend(page);
        cursor = next;
        if cursor.is_none() {
            keys.sort_unstable();
            keys.dedup();
            return keys;
        }
    }
}

async fn dump(source: &Redis, keys: &[Key], ahead: u64) -> Vec<Dumped> {
    source.dump(keys, ahead).await.expect("answers").into_iter().flatten().collect()
}

/// Copies keys, compares them, and returns what was copied.
async fn copy(source: &Redis, target: &Redis, keys: &[Key], ahead: u64) -> Vec<Dumped> {
    let items = dump(source, keys, ahead).await;
    target.restore(MARK, &items).await.expect("writes");
    assert_eq!(target.verify(&items).await.expect("answers"), Vec::<Key>::new());
    items
}

/// The value of a key: members of sets and hashes in order, everything else as `DUMP` answers it.
async fn value(redis: &Redis, key: &[u8]) -> Vec<Vec<u8>> {
    let kind: String = run(redis, &[b"TYPE", key]).await;
    match &*kind {
        "set" => {
            let mut members: Vec<Vec<u8>> = run(redis, &[b"SMEMBERS", key]).await;
            members.sort_unstable();
            members
        }
        "hash" => {
            let pairs: BTreeMap<Vec<u8>, Vec<u8>> = run(redis, &[b"HGETALL", key]).await;
            pairs.into_iter().flat_map(|(field, value)| [field, value]).collect()
        }
        _ => run::<Option<Vec<u8>>>(redis, &[b"DUMP", key]).await.into_iter().collect(),
    }
}

/// The time to live of a key in ms; -1: for ever, -2: it is not there.
async fn life(redis: &Redis, key: &[u8]) -> i64 {
    run(redis, &[b"PTTL", key]).await
}

fn key(text: &str) -> Key {
    text.as_bytes().into()
}

/// Sets the fence of a host.
async fn set_fence(redis: &Redis, fence: &str) {
    let set = cmd("SET").arg(redis.keys.cluster_fence()).arg(fence).to_owned();
    redis.host.command(&set).await.expect("answers");
}

fn number(reply: &Reply) -> i64 {
    match reply {
        Reply::Integer(number) => *number,
        other => panic!("not a number: {other:?}"),
    }
}
