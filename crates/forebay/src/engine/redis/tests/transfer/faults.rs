//! What happens to a move when something breaks in the middle of it.

use forebay_testkit::{Fault, Proxy, Redis as Server, eventually};

use super::{MARK, SEAL, all_keys, copy, dump, import, key, number, open, run, set_fence, value};
use crate::{Clock, ErrorKind, Retry, engine::redis::Redis};

const KEYS: i64 = 1_200;

fn fill(server: &Server) {
    let fill = "for i = 1, tonumber(ARGV[1]) do
        if i % 2 == 0 then redis.call('RPUSH', 'list:' .. i, i) else redis.call('SET', 'key:' .. i, i) end end";
    server.command(["EVAL", fill, "0", &KEYS.to_string()]);
}

/// Moves all plain keys of the source.
async fn move_all(source: &Redis, target: &Redis) {
    assert!(target.begin_import(MARK, SEAL).await.expect("answers"));
    let keys: Vec<_> =
        all_keys(source).await.into_iter().filter(|key| !key.starts_with(b"forebay:")).collect();
    copy(source, target, &keys, 0).await;
    source.purge(7, &keys).await.expect("removes");
    source.forget_touched().await.expect("answers");
    assert!(target.end_import(MARK).await.expect("answers"));
}

/// Each step, in turn, has its request or its reply lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_request_or_reply_is_made_up_for() {
    let (from, to) = (Server::start(), Server::start());
    let (before_source, before_target) = (Proxy::new(from.port()), Proxy::new(to.port()));
    let through = async |server: &Server, proxy: &Proxy| {
        let url = server.url_through(proxy);
        let redis = Redis::open(&url, "forebay", Clock::system()).await.expect("it runs");
        redis.forget_touched().await.expect("answers");
        redis
    };
    let (source, target) = (through(&from, &before_source).await, through(&to, &before_target).await);
    set_fence(&source, "7").await;
    let mut happened = 0;
    for proxy in [&before_source, &before_target] {
        for after in 0..9 {
            for fault in [Fault::DropReply { after }, Fault::DropRequest { after }] {
                fill(&from);
                to.command(["FLUSHALL"]);
                to.command(["SET", "forebay:cluster:placement", SEAL]);
                proxy.set(fault);
                move_all(&source, &target).await;
                happened += u32::from(proxy.fault() == Fault::Pass);
                proxy.set(Fault::Pass);
                assert_eq!(number(&from.command(["DBSIZE"])), 1, "{fault:?}: only the fence");
                assert_eq!(number(&to.command(["DBSIZE"])), KEYS + 1, "{fault:?}: and the placement");
                assert_eq!(number(&to.command(["LLEN", "list:2"])), 1, "{fault:?}");
            }
        }
    }
    assert!(happened > 20, "{happened} faults happened");
}

#[tokio::test]
async fn a_target_without_memory_says_so_and_has_it_all_after_a_repeat() {
    let (from, to) = (Server::start(), Server::start());
    let (source, target) = (open(&from).await, open(&to).await);
    fill(&from);
    from.command(["ZADD", "forebay:leases:jobs:{a}", "5", "a"]);
    import(&target, MARK).await;
    let keys = all_keys(&source).await;
    let items = dump(&source, &keys, 0).await;
    to.command(["CONFIG", "SET", "maxmemory", "1"]);
    let error = target.restore(MARK, &items).await.expect_err("no memory");
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Overloaded, Retry::Later), "{error}");
    assert!(error.to_string().contains(target.host.name()), "{error}");
    let held = number(&to.command(["DBSIZE"]));
    assert!(held <= 502, "{held}: at most one call, the mark and the placement");
    to.command(["CONFIG", "SET", "maxmemory", "0"]);
    target.restore(MARK, &items).await.expect("writes");
    assert_eq!(target.verify(&items).await.expect("answers"), []);
    assert_eq!(number(&to.command(["DBSIZE"])), KEYS + 3, "and the mark, and the placement");
}

/// Another run of a server has its keys in another order: a list that went on would leave some out.
#[tokio::test]
async fn a_list_of_keys_does_not_go_on_after_a_restart() {
    let server = Server::builder().append_only().start();
    let source = open(&server).await;
    server.command(["EVAL", "for i = 1, 3000 do redis.call('SET', i, i) end", "0"]);
    let (cursor, _) = source.scan_page(None).await.expect("answers");
    let cursor = cursor.expect("there are more");
    source.scan_page(Some(&cursor)).await.expect("goes on");
    server.restart();
    eventually("the server to be found again", async || source.scan_page(None).await.is_ok()).await;
    let error = source.scan_page(Some(&cursor)).await.expect_err("another run");
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Now));
    assert!(error.to_string().contains("restarted"), "{error}");
    assert_eq!(all_keys(&source).await.len(), 3_000);
}

#[tokio::test]
async fn a_host_that_is_down_is_one_error_and_a_repeat_goes_on() {
    let (from, to) = (Server::start(), Server::builder().append_only().start());
    let (source, target) = (open(&from).await, open(&to).await);
    fill(&from);
    import(&target, MARK).await;
    let keys = all_keys(&source).await;
    let items = dump(&source, &keys, 0).await;
    to.kill();
    let error = target.restore(MARK, &items).await.expect_err("it is down");
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Ambiguous), "{error:?}");
    to.restart();
    eventually("the target to be found again", async || target.restore(MARK, &items).await.is_ok()).await;
    assert_eq!(target.verify(&items).await.expect("answers"), []);
    assert_eq!(value(&target, b"list:2").await, value(&source, b"list:2").await);
    let _: i64 = run(&target, &[b"DEL", &key("list:2")]).await;
    assert_eq!(target.verify(&items).await.expect("answers"), [key("list:2")]);
}
