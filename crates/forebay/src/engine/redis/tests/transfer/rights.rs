//! The documented rights suffice to move keys, and each of them is needed.

use std::sync::Arc;

use forebay_testkit::{Redis as Server, Reply};

use super::{MARK, SEAL, all_keys, set_fence};
use crate::{
    Clock, Result,
    engine::redis::{Redis, transfer::clock_offset},
};

/// The words of the documented `ACL SETUSER` that begin so.
fn documented(begin: &str) -> Vec<&'static str> {
    let text = include_str!("../../../../../../../docs/operations.md");
    let line = text.lines().find(|line| line.starts_with(begin)).expect("it is documented");
    line.split(' ').collect()
}

/// Each step once. The mark of the target and what is there of values are left.
async fn move_all(source: &Redis, target: &Redis) -> Result<()> {
    let ahead = clock_offset(source, target).await?.ahead();
    assert!(target.begin_import(MARK, SEAL).await?);
    source.take_touched().await?;
    source.await_replicas().await?;
    let (_, keys) = source.scan_page(None).await?;
    let items: Vec<_> = source.dump(&keys, ahead).await?.into_iter().flatten().collect();
    target.restore(MARK, &items).await?;
    assert_eq!(target.verify(&items).await?, []);
    source.purge(7, &keys).await?;
    source.forget_touched().await?;
    assert!(target.end_import(MARK).await?);
    Ok(())
}

fn fill(server: &Server) {
    for words in [
        &["SET", "user:1", "a"][..],
        &["SADD", "set", "a"],
        &["HSET", "hash", "a", "1"],
        &["RPUSH", "list", "a"],
        &["ZADD", "zset", "1", "a"],
        &["XADD", "stream", "1-1", "a", "1"],
        &["ZADD", "forebay:leases:jobs:{a}", "5", "a"],
    ] {
        server.command(words.iter().copied());
    }
}

#[tokio::test]
async fn the_documented_rights_suffice_to_move_keys_and_none_is_spare() {
    let servers = [Server::start(), Server::start()];
    let (all, more) = (documented("ACL SETUSER forebay reset "), documented("ACL SETUSER forebay ~* "));
    let mut stores: Vec<Arc<Redis>> = vec![];
    for server in &servers {
        for words in [&all, &more] {
            assert_eq!(server.command(words.iter().copied()), Reply::text("OK"));
        }
        let url = format!("redis://forebay:PASSWORD@127.0.0.1:{}/0", server.port());
        stores.push(Redis::open(&url, "forebay", Clock::system()).await.expect("opens"));
    }
    let [source, target] = &stores[..] else { panic!("two") };
    set_fence(source, "7").await;
    servers[1].command(["SET", "forebay:cluster:placement", SEAL]);
    fill(&servers[0]);
    move_all(source, target).await.expect("may do all of it");
    for server in &servers {
        let Reply::Array(denied) = server.command(["ACL", "LOG"]) else { panic!("a list") };
        assert!(denied.is_empty(), "{denied:?}");
    }
    assert_eq!(all_keys(source).await.len(), 1, "the fence");
    let rights: Vec<&str> = more.iter().copied().filter(|word| word.starts_with('+')).collect();
    assert!(rights.len() > 5, "{rights:?}");
    for right in rights {
        fill(&servers[0]);
        let set = |word: &str| {
            for server in &servers {
                server.command(["ACL", "SETUSER", "forebay", word]);
            }
        };
        set(&right.replace('+', "-"));
        let error = move_all(source, target).await.expect_err(right).to_string();
        assert!(error.to_lowercase().contains("noperm"), "{right}: {error}");
        set(right);
        move_all(source, target).await.expect("may do all of it");
    }
}
