//! A host whose slots can move refuses calls that came by an earlier table.

use std::sync::Arc;

use forebay_testkit::{Redis as Server, Reply, eventually, unique_prefix};
use redis::{Value, cmd};

use super::{super::fence::Scripts, keys};
use crate::{
    Clock, Name,
    engine::{
        redis::{Fence, Redis, keys::Keys, script::Script},
        step::Take,
    },
    error::{Error, ErrorKind, Retry},
    model::{Command, Fate, Verb, rate::rule::Rule},
    time::{When, secs},
};

/// An engine for those who come by the table of epoch 3.
async fn engine() -> (Arc<Redis>, String) {
    let prefix = unique_prefix();
    let engine = Redis::start_fenced(&Server::shared().url(), &prefix, Clock::system()).expect("a good URL");
    engine.set_epoch(3);
    engine.connected().await.expect("it runs");
    (engine, prefix)
}

fn raise(prefix: &str, fence: &str) {
    Server::shared().command(["SET", &format!("{prefix}:cluster:fence"), fence]);
}

fn is_refusal(error: &Error) -> bool {
    (error.kind(), error.retry()) == (ErrorKind::Unavailable, Retry::Now)
}

fn incr(key: &str) -> Command {
    Command { key: key.as_bytes().into(), verb: Verb::Incr(1) }
}

#[tokio::test]
async fn every_script_is_refused_behind_a_later_fence() {
    let (engine, prefix) = engine().await;
    raise(&prefix, "4");
    let scripts = Script::ALL.iter().filter(|script| script.is_fenced() && !script.is_sequenced());
    for script in scripts {
        let mut call = engine.host.call(*script, 1, 0);
        call.command.arg(format!("{prefix}:key"));
        let error = engine.host.run_one(call).await.expect_err("an earlier table");
        assert!(is_refusal(&error), "{script:?}: {error:?}");
        assert!(error.to_string().contains("epoch 4"), "{error}");
    }
    assert_eq!(keys(Server::shared(), &prefix), [format!("{prefix}:cluster:fence")]);
}

#[tokio::test]
async fn an_equal_or_an_earlier_fence_lets_calls_through_and_so_does_a_later_table() {
    let (engine, prefix) = engine().await;
    let limit = Name::new("hits").expect("valid");
    let rule = Rule::fixed_window(9, secs(60), secs(0)).expect("valid");
    let take = Take { limit: &limit, key: "k", rule, cost: 1, within: secs(30) };
    for fence in ["2", "3", "2+", "3+"] {
        raise(&prefix, fence);
        assert!(engine.take(take, When::EngineClock).await.expect("answers").allowed, "{fence}");
    }
    raise(&prefix, "4+");
    assert!(is_refusal(&engine.take(take, When::EngineClock).await.expect_err("an earlier table")));
    let later = engine.of_epoch(4);
    assert!(later.take(take, When::EngineClock).await.expect("answers").allowed);
    assert!(
        is_refusal(&engine.take(take, When::EngineClock).await.expect_err("still")),
        "its own calls stay"
    );
}

#[tokio::test]
async fn what_was_read_behind_a_later_fence_is_no_answer() {
    let (engine, prefix) = engine().await;
    let limit = Name::new("hits").expect("valid");
    assert_eq!(engine.overrides(&limit).await.expect("answers"), []);
    raise(&prefix, "4");
    assert!(is_refusal(&engine.overrides(&limit).await.expect_err("it may have left")));
    // Which partitions a host knows does not depend on its slots.
    assert!(engine.buffer_parts().await.expect("answers").found.is_empty());
}

#[tokio::test]
async fn a_fence_that_tracks_notes_the_keys_of_calls() {
    let (engine, prefix) = engine().await;
    raise(&prefix, "3");
    let lock = |name: &str| format!("{prefix}:lock:{{{name}}}");
    engine.lock_state("before").await.expect("answers");
    raise(&prefix, "3+");
    for name in ["a", "b", "a"] {
        engine.lock_state(name).await.expect("answers");
    }
    engine.kv(&[&incr(&format!("{prefix}:plain"))], secs(30)).await.remove(0).expect("counts");
    let mut touched = engine.take_touched().await.expect("answers");
    touched.sort_unstable();
    let touched: Vec<String> =
        touched.into_iter().map(|key| String::from_utf8(key.into()).expect("text")).collect();
    let has = |key: String| assert!(touched.contains(&key), "{key}: {touched:?}");
    [lock("a"), lock("b"), format!("{prefix}:plain")].into_iter().for_each(has);
    assert!(!touched.contains(&lock("before")));
}

#[tokio::test]
async fn typed_commands_of_a_map_are_refused_and_not_executed() {
    let (engine, prefix) = engine().await;
    let key = format!("{prefix}:n");
    Server::shared().command(["SET", &key, "9223372036854775800"]);
    let commands = [
        incr(&key),
        Command { key: key.as_bytes().into(), verb: Verb::Get },
        Command { key: format!("{prefix}:none").as_bytes().into(), verb: Verb::Get },
        Command { key: format!("{prefix}:text").as_bytes().into(), verb: Verb::Set((*b"a").into()) },
        incr(&format!("{prefix}:text")),
        Command {
            key: key.as_bytes().into(),
            verb: Verb::Raw(vec![(*b"STRLEN").into(), key.as_bytes().into()]),
        },
        Command { key: key.as_bytes().into(), verb: Verb::Expire(60_000) },
        Command { key: key.as_bytes().into(), verb: Verb::Del },
    ];
    let commands: Vec<&Command> = commands.iter().collect();
    let show = |answers: Vec<Result<crate::cluster::Reply, (Fate, Error)>>| {
        let one = |answer| match answer {
            Ok(reply) => format!("{reply:?}"),
            Err((fate, _)) => format!("{fate:?}"),
        };
        answers.into_iter().map(one).collect::<Vec<_>>()
    };
    let answers = show(engine.kv(&commands, secs(30)).await);
    // An integer that Lua would round is whole.
    assert_eq!(answers[0], "Integer(9223372036854775801)");
    assert_eq!(answers[2..4], ["Nil", "Bytes([79, 75])"], "{answers:?}");
    assert_eq!(answers[4..], ["Rejected", "Integer(19)", "Integer(1)", "Integer(1)"], "{answers:?}");

    // A server that has lost its scripts gets their texts.
    Server::shared().command(["SCRIPT", "FLUSH"]);
    assert_eq!(show(engine.kv(&[&incr(&key)], secs(30)).await), ["Integer(1)"]);
    raise(&prefix, "4");
    assert_eq!(show(engine.kv(&[&incr(&key), commands[1]], secs(30)).await), ["NotSent", "NotSent"]);
    assert_eq!(Server::shared().command(["GET", &key]), Reply::Text("1".into()));
}

/// A batch in doubt is asked for before the fence: it was applied, or certainly was not.
#[tokio::test]
async fn a_batch_that_was_applied_before_is_told_so_behind_the_fence() {
    let (engine, prefix) = engine().await;
    let own = Keys::new(&prefix, engine.keys.layout);
    let scripts = Scripts::fenced(&own);
    let info = engine.host.command(cmd("INFO").arg("replication")).await.expect("answers");
    let info = redis::from_redis_value::<String>(info).expect("text");
    let replid = info.lines().find_map(|line| line.strip_prefix("master_replid:")).expect("an id").to_owned();
    let key = |tag: &str, what: &str| format!("{prefix}:{tag}:{what}");
    let run = async |script: Script, sequence: &str, since: &str, epoch: &str| {
        let mut call = cmd("EVAL");
        call.arg(scripts.text(script)).arg(if script == Script::BufferAdd { 2 } else { 3 });
        if script == Script::SeriesAddChunks {
            for what in ["guard", "open", "10:497222:42"] {
                call.arg(key("series:{hits.3}", what));
            }
            call.arg("client")
                .arg(&replid)
                .arg(sequence)
                .arg(since)
                .arg("")
                .arg("90000000 360 0 2 0 0 12 1 0 13 5 0");
        } else if script == Script::SeriesAdd {
            for what in ["guard", "open", "open:1790000010"] {
                call.arg(key("series:{hits.4}", what));
            }
            call.arg(&["client", &replid, "90000000", "10/86400", "1", sequence, since, ""][..]);
            call.arg(&["1", "1790000010", "1", "42", "5"][..]);
        } else {
            call.arg(key("buffer:{hits.3}", "guard")).arg(key("buffer:{hits.3}", "live"));
            call.arg("client")
                .arg(&replid)
                .arg("01930000000000000000000000000000")
                .arg("shape")
                .arg("s")
                .arg(1);
            call.arg(sequence).arg(since).arg("").arg(&[1_u8][..]).arg("A42").arg("1");
        }
        let values = engine.host.command(call.arg(epoch)).await;
        match values {
            Ok(Value::Array(mut each)) => match each.swap_remove(0) {
                Value::ServerError(error) => error.to_string(),
                value => redis::from_redis_value(value).expect("text"),
            },
            Ok(value) => redis::from_redis_value::<String>(value).expect("text"),
            Err(error) => error.to_string(),
        }
    };
    let now = &Clock::system().now().as_micros().to_string();
    for script in [Script::SeriesAdd, Script::SeriesAddChunks, Script::BufferAdd] {
        raise(&prefix, "3");
        assert_eq!(run(script, "1", "0", "3").await, "applied");
        raise(&prefix, "4");
        let answer = run(script, "1", now, "3").await;
        assert!(answer.starts_with("duplicate"), "{script:?}: {answer}");
        for since in ["0", now] {
            let answer = run(script, "2", since, "3").await;
            assert!(answer.contains("FENCED"), "{script:?}: {answer}");
        }
        assert_eq!(run(script, "2", "0", "4").await, "applied");
    }
}

#[tokio::test]
async fn a_table_is_stored_in_place_of_an_earlier_one_and_fences_only_rise() {
    use crate::engine::cluster::{Host, Placement, SlotTable};
    let (engine, prefix) = engine().await;
    let hosts = [Host::new("a").expect("valid"), Host::new("b").expect("valid")];
    let table = SlotTable::fill(&hosts).expect("two hosts");
    let tables: Vec<Placement> =
        [table.clone(), table.with_transits([]), table.with_transits([]).with_transits([])]
            .map(Placement::of_table)
            .into();
    let fence = |epoch, tracks| Some(Fence { epoch, tracks });
    let there = || Server::shared().command(["GET", &format!("{prefix}:cluster:fence")]);
    let store =
        async |number: usize, fence| engine.store_placement(&tables[number], fence).await.expect("answers");
    assert!(store(1, fence(2, true)).await);
    assert_eq!(there(), Reply::Text("2+".into()));
    assert!(!store(0, fence(9, false)).await, "an earlier one");
    assert!(store(1, fence(2, false)).await, "the same");
    assert_eq!(there(), Reply::Text("2".into()));
    assert!(store(2, fence(1, true)).await && store(2, None).await);
    assert_eq!(there(), Reply::Text("2".into()), "it does not fall");
    let other = Placement::of_table(
        table.with_owners([(crate::engine::cluster::Slot::numbered(0), 1)]).with_transits([]),
    );
    assert!(!engine.store_placement(&other, None).await.expect("answers"), "another one of its epoch");
}

#[tokio::test]
async fn one_resharder_claims_a_store_and_another_may_displace_it() {
    let (engine, _) = engine().await;
    let claim =
        async |mark: &str, take_over| engine.claim_reshard(mark, secs(30), take_over).await.expect("answers");
    assert_eq!(claim("one", false).await, None);
    assert_eq!(claim("one", false).await, None, "it renews");
    assert_eq!(claim("two", false).await.as_deref(), Some("one"));
    assert_eq!(claim("two", true).await, None);
    assert_eq!(claim("one", false).await.as_deref(), Some("two"));
}

/// The replica would take over without the fence.
#[tokio::test]
async fn a_fence_is_awaited_on_all_replicas() {
    let primary = Server::start();
    let redis = Redis::open(&primary.url(), "forebay", Clock::system()).await.expect("it runs");
    redis.await_replicas().await.expect("there are none");
    let replica = Server::builder().replica_of(&primary).start();
    eventually("the replica to follow", async || {
        matches!(primary.command(["WAIT", "1", "10"]), Reply::Integer(1))
    })
    .await;
    primary.command(["SET", "forebay:cluster:fence", "7+"]);
    redis.await_replicas().await.expect("it follows");
    assert_eq!(replica.command(["GET", "forebay:cluster:fence"]), Reply::text("7+"));

    replica.pause();
    primary.command(["SET", "forebay:cluster:fence", "8+"]);
    let error = redis.await_replicas().await.expect_err("it is stopped");
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Later));
    assert!(error.to_string().contains("0 of 1 replicas have the fence after 1s"), "{error}");
    replica.resume();
    redis.await_replicas().await.expect("it follows");
}
