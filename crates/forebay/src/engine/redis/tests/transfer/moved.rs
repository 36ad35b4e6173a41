//! What arrives is what was there.

use forebay_testkit::{Redis as Server, eventually};

use super::{Key, MARK, all_keys, copy, dump, import, key, life, number, open, run, set_fence, two, value};
use crate::{ErrorKind, Retry, engine::redis::transfer::clock_offset, time::secs};

#[tokio::test]
async fn values_of_every_type_arrive_with_their_times_to_live() {
    let (source, target, prefix) = two().await;
    let name = |text: &[u8]| [prefix.as_bytes(), b":{", text, b"}"].concat();
    let make = async |text: &[u8], words: &[&[u8]]| {
        let key = name(text);
        let words: Vec<&[u8]> = [&[words[0], &key], &words[1..]].concat();
        let _: redis::Value = run(&source, &words).await;
        key.into_boxed_slice()
    };
    let long = vec![7; 100_000];
    let keys = [
        make(b"text", &[b"SET", b"a\0\xff\r\n"]).await,
        make(b"empty", &[b"SET", b""]).await,
        make(b"number", &[b"SET", b"12345"]).await,
        make(b"long", &[b"SET", &long]).await,
        make(b"lives", &[b"SET", b"a", b"PX", b"100000"]).await,
        make(b"\xff\0\r\n", &[b"SET", b"a", b"PX", b"200000"]).await,
        make(b"list", &[b"RPUSH", b"a", b"", b"\0"]).await,
        make(b"set", &[b"SADD", b"1", b"2", b"a"]).await,
        make(b"ints", &[b"SADD", b"1", b"2"]).await,
        make(b"zset", &[b"ZADD", b"0.1", b"a", b"-inf", b"b", b"1e300", b"\0"]).await,
        make(b"hash", &[b"HSET", b"a", b"1", b"\0", b""]).await,
        make(b"stream", &[b"XADD", b"1-1", b"a", b"1"]).await,
    ];
    let _: redis::Value = run(&source, &[b"XGROUP", b"CREATE", &keys[11], b"group", b"0"]).await;
    let _: redis::Value = run(&source, &[b"PEXPIRE", &keys[10], b"300000"]).await;
    // What is there of another type is replaced.
    let _: redis::Value = run(&target, &[b"SADD", &keys[0], b"x"]).await;
    let _: redis::Value = run(&target, &[b"SET", &keys[6], b"x", b"PX", b"1000"]).await;
    for _ in 0..2 {
        let items = copy(&source, &target, &keys, 0).await;
        assert_eq!(items.len(), keys.len());
        for key in &keys {
            assert_eq!(value(&target, key).await, value(&source, key).await, "{key:?}");
            let (left, there) = (life(&source, key).await, life(&target, key).await);
            assert!((left == -1) == (there == -1) && left.abs_diff(there) < 2_000, "{left} {there}");
        }
    }
}

#[tokio::test]
async fn a_key_that_expires_on_its_way_lives_nowhere_for_ever() {
    let (source, target, prefix) = two().await;
    let keys = ["gone", "late", "stays"].map(|text| key(&format!("{prefix}:{text}")));
    let _: redis::Value = run(&source, &[b"SET", &keys[1], b"a", b"PX", b"300"]).await;
    let _: redis::Value = run(&source, &[b"RPUSH", &keys[2], b"a"]).await;
    let found = source.dump(&keys, 0).await.expect("answers");
    assert!(found[0].is_none() && found[2].is_some());
    eventually("the source to have forgotten it", async || life(&source, &keys[1]).await == -2).await;
    let items: Vec<_> = found.into_iter().flatten().collect();
    target.restore(MARK, &items).await.expect("writes");
    assert_ne!(life(&target, &keys[1]).await, -1);
    eventually("the target to have forgotten it", async || life(&target, &keys[1]).await == -2).await;
    assert_eq!(target.verify(&items).await.expect("answers"), []);
    assert_eq!(life(&target, &keys[2]).await, -1);
}

#[tokio::test]
async fn what_differs_is_named() {
    let (source, target, prefix) = two().await;
    let keys =
        ["text", "life", "type", "length", "gone", "same"].map(|text| key(&format!("{prefix}:{text}")));
    let [text, lives, other, length, gone, same] = &keys;
    for (name, value) in [(text, b"a"), (lives, b"a"), (other, b"a"), (gone, b"a"), (same, b"a")] {
        let _: redis::Value = run(&source, &[b"SET", name, value]).await;
    }
    let _: redis::Value = run(&source, &[b"RPUSH", length, b"a"]).await;
    let items = copy(&source, &target, &keys, 0).await;
    let _: redis::Value = run(&target, &[b"SET", text, b"b"]).await;
    let _: redis::Value = run(&target, &[b"PEXPIRE", lives, b"1000"]).await;
    let _: redis::Value = run(&target, &[b"DEL", other, gone]).await;
    let _: redis::Value = run(&target, &[b"SADD", other, b"a"]).await;
    let _: redis::Value = run(&target, &[b"RPUSH", length, b"a"]).await;
    assert_eq!(target.verify(&items).await.expect("answers"), keys[..5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_keys_move_in_bounded_time() {
    let (from, to) = (Server::start(), Server::start());
    let (source, target) = (open(&from).await, open(&to).await);
    let fill = "for i = 1, 100000 do
        if i % 4 == 0 then redis.call('SADD', 'set:' .. i, i, 'a')
        elseif i % 4 == 1 then redis.call('SET', 'life:' .. i, i, 'PX', 1000000 + i)
        else redis.call('SET', 'key:' .. i, string.rep('x', i % 300)) end end";
    from.command(["EVAL", fill, "0"]);
    let began = source.clock().monotonic();
    set_fence(&source, "7").await;
    import(&target, MARK).await;
    let keys = all_keys(&source).await;
    assert_eq!(keys.len(), 100_001, "and the fence");
    for keys in keys.chunks(1_000) {
        let keys: Vec<_> = keys.iter().filter(|key| !key.starts_with(b"forebay:")).cloned().collect();
        copy(&source, &target, &keys, 0).await;
        source.purge(7, &keys).await.expect("removes");
    }
    assert!(target.end_import(MARK).await.expect("answers"));
    let took = source.clock().monotonic().saturating_sub(began);
    assert_eq!((number(&from.command(["DBSIZE"])), number(&to.command(["DBSIZE"]))), (1, 100_001));
    let lives = life(&target, b"life:1").await;
    assert!((900_000..1_000_002).contains(&lives), "{lives}");
    // Six seconds of a processor; the machine may have other work.
    assert!(took < secs(180), "{took:?}");
}

#[tokio::test]
async fn a_large_value_moves_and_tells_its_size() {
    let (from, to) = (Server::start(), Server::start());
    let (source, target) = (open(&from).await, open(&to).await);
    import(&target, MARK).await;
    from.command(["SETRANGE", "text", "40000000", "x"]);
    let fill = "for i = 1, 40000 do redis.call('HSET', 'hash', i, string.rep('xy' .. i, 60)) end";
    from.command(["EVAL", fill, "0"]);
    let keys = [key("text"), key("small"), key("hash")];
    from.command(["SET", "small", "a"]);
    let items = copy(&source, &target, &keys, 0).await;
    assert!(items[0].bytes() > 40_000_000 && items[1].bytes() < 100, "{}", items[0].bytes());
    assert!(items[2].bytes() > 1_000_000, "{}", items[2].bytes());
    for key in &keys {
        assert!(value(&source, key).await == value(&target, key).await);
    }
}

#[tokio::test]
async fn keys_that_calls_came_with_are_taken_once() {
    let (source, ..) = two().await;
    let take = async || {
        let mut keys = source.take_touched().await.expect("answers");
        keys.sort_unstable();
        keys.dedup();
        keys
    };
    assert!(take().await.is_empty());
    let (touched, taken) =
        (source.keys.cluster_touched().into_bytes(), source.keys.cluster_taken().into_bytes());
    for i in 0..3_000 {
        let _: i64 = run(&source, &[b"SADD", &touched, format!("{i}\0").as_bytes()]).await;
    }
    // Those that were taken by a resharder that did not read them.
    let _: i64 = run(&source, &[b"SADD", &taken, b"before"]).await;
    assert_eq!(take().await.len(), 3_001);
    assert!(take().await.is_empty());
    for key in [&touched, &taken] {
        let _: i64 = run(&source, &[b"SADD", key, b"a"]).await;
    }
    source.forget_touched().await.expect("answers");
    assert!(take().await.is_empty());
}

#[tokio::test]
async fn only_the_last_resharder_writes() {
    let (source, target, prefix) = two().await;
    let name = key(&format!("{prefix}:a"));
    let _: redis::Value = run(&source, &[b"SET", &name, b"1"]).await;
    let items = dump(&source, std::slice::from_ref(&name), 0).await;
    assert!(!target.begin_import("9 late", "check of another table").await.expect("answers"));
    import(&target, "8 other").await;
    for (mark, there) in [(MARK, "\"8 other\""), ("", "\"8 other\"")] {
        let error = target.restore(mark, &items).await.expect_err("another one");
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Never));
        let text = error.to_string();
        assert!(text.contains(there) && text.contains(&format!("{prefix}:a")), "{text}");
        assert!(text.contains(target.host.name()), "{text}");
    }
    assert!(!target.end_import(MARK).await.expect("does nothing"));
    target.restore("8 other", &items).await.expect("writes");
    let _: redis::Value = run(&target, &[b"DEL", &name]).await;
    assert!(target.end_import("8 other").await.expect("ends"));
    assert!(target.end_import("8 other").await.expect("was at its end"));
    let error = target.restore("8 other", &items).await.expect_err("it has ended").to_string();
    assert!(error.contains("none"), "{error}");
    assert_eq!(life(&target, &name).await, -2, "nothing was written");
}

#[tokio::test]
async fn keys_are_removed_under_the_fence_of_their_move_alone() {
    let (source, _, prefix) = two().await;
    let make = async |text: &str| {
        let name = key(&format!("{prefix}:{text}"));
        let _: redis::Value = run(&source, &[b"SET", &name, b"a"]).await;
        name
    };
    let mut keys = vec![];
    for text in ["lock:{a}", "series:{hits.0}:10:1:guard", "window:hits:60s:{live}", "buffer:{rows.0}:once:5"]
    {
        keys.push(make(text).await);
    }
    let moves = keys.len();
    for text in [
        "series:{hits.0}:guard",
        "buffer:{rows.0}:guard",
        "buffer:{rows.0}:live",
        "buffer:{rows.0}:frozen",
        "buffer:{rows.0}:frozen:1",
        "buffer:{rows}:paused",
        "buffers",
        "cluster:name",
    ] {
        keys.push(make(text).await);
    }
    let count = async || {
        let exists: Vec<&[u8]> =
            std::iter::once(&b"EXISTS"[..]).chain(keys.iter().map(|key| &**key)).collect();
        run::<usize>(&source, &exists).await
    };
    for fence in [None, Some("6"), Some("8"), Some("77"), Some("8+"), Some("7 ")] {
        if let Some(fence) = fence {
            set_fence(&source, fence).await;
        }
        let error = source.purge(7, &keys).await.expect_err("another epoch");
        assert_eq!(error.retry(), Retry::Never);
        let text = error.to_string();
        let shown = fence.map_or("none".to_owned(), |fence| format!("{fence:?}"));
        assert!(text.contains(&format!("is {shown}, not that of epoch 7")), "{text}");
        assert!(text.contains(source.host.name()) && text.contains("lock:{a}"), "{text}");
    }
    assert_eq!(count().await, keys.len());
    set_fence(&source, "7+").await;
    source.purge(7, &keys).await.expect("removes");
    assert_eq!(count().await, keys.len() - moves);
    for key in &keys[moves..] {
        assert_eq!(life(&source, key).await, -1, "{}", String::from_utf8_lossy(key));
    }
    set_fence(&source, "7").await;
    source.purge(7, &keys).await.expect("has nothing to do");
    source.purge(9, &[]).await.expect("has nothing to do");
}

#[tokio::test]
async fn the_clocks_of_one_machine_are_as_far_apart_as_can_be_told() {
    let (source, target, _) = two().await;
    let found = clock_offset(&source, &target).await.expect("near");
    assert!(found.offset.unsigned_abs() <= found.uncertainty, "{found:?}");
    assert!(found.ahead() <= 2 * found.uncertainty, "{found:?}");
}

/// By a process that does not know the host that joins.
#[tokio::test]
async fn a_buffer_that_is_resumed_while_its_host_gives_slots_away_is_not_paused_on_the_next_one() {
    let (source, target, prefix) = two().await;
    let key = |name: &str| format!("{prefix}:buffer:{{{name}}}:paused").into_bytes();
    let keys: Vec<Key> = ["rows", "resumed", "again", "own"].map(|name| key(name).into()).into();
    for (key, since) in keys.iter().zip(["1", "2", "3", "4"]) {
        let _: redis::Value = run(&source, &[b"SET", key, since.as_bytes()]).await;
    }
    let _: redis::Value = run(&target, &[b"SET", &keys[3], b"9"]).await;
    let copied = source.copy_paused(&keys, &target).await.expect("answers");
    assert_eq!(copied.iter().map(|(key, _)| key).collect::<Vec<_>>(), [&keys[0], &keys[1], &keys[2]]);

    for key in &keys[1..] {
        let _: redis::Value = run(&source, &[b"DEL", key]).await;
    }
    // Paused anew meanwhile, by a process that knows it.
    let _: redis::Value = run(&target, &[b"SET", &keys[2], b"7"]).await;
    source.resume_on(&copied, &target).await.expect("answers");
    let mut there: Vec<Option<String>> = vec![];
    for key in &keys {
        there.push(run(&target, &[b"GET", key]).await);
    }
    assert_eq!(there, [Some("1".to_owned()), None, Some("7".to_owned()), Some("9".to_owned())]);
}
