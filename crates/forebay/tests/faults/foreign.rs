//! A key that holds data of another program. Its data is not overwritten, and the error names the key and both types.
//! Calls for other keys succeed, and a reset or a force-release removes the data.

use std::time::Duration;

use forebay::{
    Buffer, Error, ErrorKind, Forebay, Limit, Retry,
    limit::{Charge, Kind, LimitHandle, OnError, Override},
    sink::MemorySink,
    time::{days, mins, secs},
};
use forebay_testkit::{Redis, Reply, unique_prefix, without};
use futures::future::join_all;

/// The commands that store other data under a key, and the type of that data.
const OTHERS: [(&[&str], &str); 5] = [
    (&["RPUSH", "KEY", "theirs"], "list"),
    (&["HSET", "KEY", "theirs", "1"], "hash"),
    (&["SADD", "KEY", "theirs"], "set"),
    (&["ZADD", "KEY", "1", "theirs"], "zset"),
    (&["SET", "KEY", "theirs!"], "string"),
];

struct Store {
    server: &'static Redis,
    prefix: String,
    bay: Forebay,
}

impl Store {
    async fn open() -> Self {
        let (server, prefix) = (Redis::shared(), unique_prefix());
        let bay = Forebay::options().prefix(&prefix).open(&server.url()).await.expect("opens");
        Self { server, prefix, bay }
    }

    fn limit(&self, kind: Kind) -> LimitHandle {
        // `on_error = open` must not hide the error.
        let limit = match kind {
            Kind::CalendarWindow => Limit::per_week(kind.as_str(), 10),
            kind => Limit::new(kind.as_str(), 10, days(300)).kind(kind),
        };
        self.bay.limit(limit.on_error(OnError::Open).deadline(mins(1))).expect("valid")
    }

    fn command(&self, words: &[&str]) -> Reply {
        self.server.command(words.iter().copied())
    }

    /// The only key in the store, which holds Forebay's data.
    fn key(&self) -> String {
        match self.command(&["KEYS", &format!("{}:*", self.prefix)]) {
            Reply::Array(keys) => match &keys[..] {
                [Reply::Text(key)] => key.clone(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    /// Replaces a key by other data, and returns that data.
    fn put(&self, key: &str, other: &[&str]) -> Reply {
        self.command(&["DEL", key]);
        let words: Vec<&str> = other.iter().map(|word| if *word == "KEY" { key } else { *word }).collect();
        self.command(&words);
        self.command(&["DUMP", key])
    }

    fn check<T: std::fmt::Debug>(&self, key: &str, kind: &str, was: &Reply, answer: Result<T, Error>) {
        let error = answer.expect_err("something else is there");
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Corrupt, Retry::Never), "{key}: {error:?}");
        let text = error.to_string();
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        assert!(cause.is_none_or(|cause| !text.contains(&cause)), "a cause is told once: {error:?}");
        assert!(text.contains(key) && text.contains(&format!("holds a {kind}")), "{text}");
        assert!(text.contains("of forebay is kept there"), "{text}");
        assert_eq!(self.command(&["DUMP", key]), *was, "{key}: nothing is overwritten");
    }
}

const KINDS: [Kind; 4] = [Kind::FixedWindow, Kind::SlidingWindow, Kind::TokenBucket, Kind::CalendarWindow];

#[tokio::test]
async fn a_limit_overwrites_nothing_and_a_reset_cures_it() {
    if without("redis") {
        return;
    }
    for kind in KINDS {
        let store = Store::open().await;
        let limit = store.limit(kind);
        let _ = limit.take("k").await.expect("answers");
        let key = store.key();
        for (other, name) in OTHERS {
            let was = store.put(&key, other);
            store.check(&key, name, &was, limit.take("k").await);
            store.check(&key, name, &was, limit.take_n("k", 3).await);
            store.check(&key, name, &was, limit.peek("k").await);
            store.check(&key, name, &was, limit.refund("k", 1).await);
            assert_eq!(limit.reset("k").await.expect("cures"), None);
            assert_eq!(limit.take("k").await.expect("answers").used(), 1, "{kind:?}, {name}");
        }
    }
}

/// Many callers share one script call.
#[tokio::test]
async fn only_the_takes_of_a_foreign_key_fail_in_a_batch() {
    if without("redis") {
        return;
    }
    for kind in KINDS {
        for cost in [1, 2] {
            let store = Store::open().await;
            let limit = store.limit(kind);
            let _ = limit.take_n("bad", cost).await.expect("answers");
            let key = store.key();
            for (other, name) in OTHERS {
                let was = store.put(&key, other);
                let keys = ["a", "bad", "b", "bad", "c", "a"];
                let answers = join_all(keys.map(|key| limit.take_n(key, cost))).await;
                for (asked, answer) in keys.into_iter().zip(answers) {
                    if asked == "bad" {
                        store.check(&key, name, &was, answer);
                    } else {
                        assert!(answer.expect("answers").is_allowed(), "{kind:?}");
                    }
                }
                for (asked, used) in [("a", 2 * cost), ("b", cost), ("c", cost)] {
                    assert_eq!(limit.peek(asked).await.expect("answers").used(), used, "{kind:?}");
                    limit.reset(asked).await.expect("resets");
                }
            }
        }
    }
}

/// Nothing is charged, whether or not the keys before the bad one exist.
#[tokio::test]
async fn a_take_over_several_limits_with_a_foreign_key_charges_nothing() {
    if without("redis") {
        return;
    }
    let store = Store::open().await;
    let limits = KINDS.map(|kind| store.limit(kind));
    for bad in 0..limits.len() {
        let charge = |(i, limit): (usize, &LimitHandle), key: &str| Charge {
            limit: limit.clone(),
            key: if i == bad { "bad".into() } else { key.into() },
            cost: 2,
        };
        let _ = limits[bad].take("bad").await.expect("answers");
        let key = store.key();
        for (other, name) in OTHERS {
            let was = store.put(&key, other);
            for warm in [false, true] {
                let others = limits.iter().enumerate().filter(|(i, _)| *i != bad);
                for (_, limit) in others.clone().filter(|_| warm) {
                    let _ = limit.take("k").await.expect("answers");
                }
                let all =
                    |key: &str| limits.iter().enumerate().map(|all| charge(all, key)).collect::<Vec<_>>();
                let good: Vec<Charge> = others.clone().map(|all| charge(all, "k")).collect();
                let (all, more) = (all("k"), all("l"));
                // They share one script call with a take that succeeds.
                let (first, second, third) = tokio::join!(
                    store.bay.take_all(&all),
                    store.bay.take_all(&good),
                    store.bay.take_all(&more),
                );
                store.check(&key, name, &was, first);
                store.check(&key, name, &was, third);
                assert!(second.expect("answers").allowed);
                for (_, limit) in others {
                    let used = limit.peek("k").await.expect("answers").used();
                    assert_eq!(used, 2 + u64::from(warm), "{name}, {warm}");
                    assert_eq!(limit.peek("l").await.expect("answers").used(), 0);
                    limit.reset("k").await.expect("resets");
                }
            }
        }
        limits[bad].reset("bad").await.expect("cures");
    }
}

#[tokio::test]
async fn leases_and_locks_are_cured_by_reset_and_force() {
    if without("redis") {
        return;
    }
    let store = Store::open().await;
    let leases = store.bay.limit(Limit::concurrency("jobs", 2, mins(10))).expect("valid");
    let key = format!("{}:leases:jobs:{{k}}", store.prefix);
    for (other, name) in OTHERS.into_iter().filter(|(_, name)| *name != "zset") {
        let was = store.put(&key, other);
        store.check(&key, name, &was, leases.lease("k").await);
        store.check(&key, name, &was, leases.peek("k").await);
        assert_eq!(leases.reset("k").await.expect("cures"), None);
        let guard = leases.lease("k").await.expect("answers").granted().expect("free");
        let left = leases.reset("k").await.expect("answers").expect("leases stand");
        assert_eq!(left.amount, 1);
        assert!(guard.release().await.expect("answers"));
    }
    let lock = store.bay.lock("l");
    for part in ["", ":queue", ":heard"] {
        let key = format!("{}:lock:{{l}}{part}", store.prefix);
        for (other, name) in OTHERS.into_iter().filter(|(_, name)| part.is_empty() || *name != "zset") {
            let was = store.put(&key, other);
            store.check(&key, name, &was, lock.try_acquire().await);
            if part != ":queue" {
                store.check(&key, name, &was, lock.state().await);
            }
            assert!(lock.force_release().await.expect("cures"), "{part}, {name}");
            let guard = lock.try_acquire().await.expect("answers").acquired().expect("free");
            let _ = guard.release().await.expect("answers");
        }
    }
}

/// The default steps of a series in seconds, each with a span that is read at that step.
const STEPS: [(u64, Duration); 4] = [(10, mins(10)), (60, days(2)), (900, days(20)), (86_400, days(60))];

#[tokio::test]
async fn a_series_is_refused_before_anything_of_it_is_written() {
    if without("redis") {
        return;
    }
    let store = Store::open().await;
    let series = store.bay.series("hits").expect("valid");
    series.add("k", 1).await.expect("answers");
    let all = |pattern: &str| match store.command(&["KEYS", &format!("{}:series:*:{pattern}", store.prefix)])
    {
        Reply::Array(keys) => keys,
        other => panic!("{other:?}"),
    };
    for key in all("*").into_iter().chain(all("guard")) {
        let Reply::Text(key) = key else { panic!("no text") };
        let Reply::Text(kept) = store.command(&["TYPE", &key]) else { panic!("no text") };
        for (other, name) in OTHERS.into_iter().filter(|(_, name)| **name != *kept || *name == "string") {
            let was = store.put(&key, other);
            store.check(&key, name, &was, series.add("k", 1).await);
            for (step, span) in STEPS.into_iter().filter(|(step, _)| key.contains(&format!("}}:{step}:"))) {
                store.check(&key, name, &was, series.last("k", span, Some(secs(step))).await);
            }
            store.command(&["DEL", &key]);
        }
        series.delete("k").await.expect("cures");
        series.add("k", 1).await.expect("answers");
        assert_eq!(series.sum("k", mins(10)).await.expect("answers"), 1);
    }
}

#[tokio::test]
async fn buffers_overrides_and_requests_name_the_key() {
    if without("redis") {
        return;
    }
    let store = Store::open().await;
    let buffer = store.bay.buffer(Buffer::new("rows").key("id").sum("n").partitions(1)).expect("valid");
    let _ = buffer.flush_to(MemorySink::new());
    let limit = store.limit(Kind::FixedWindow);
    let key = |rest: &str| format!("{}:{rest}", store.prefix);
    for (other, name) in OTHERS {
        for (rest, _) in [("live", "hash"), ("guard", "hash")].into_iter().filter(|(_, kept)| *kept != name) {
            let key = key(&format!("buffer:{{rows.0}}:{rest}"));
            let was = store.put(&key, other);
            store.check(&key, name, &was, buffer.row("a").add("n", 1).await);
            store.command(&["DEL", &key]);
            buffer.row("a").add("n", 1).await.expect("answers");
        }
        if name != "list" {
            let key = key("buffer:{rows.0}:frozen");
            let was = store.put(&key, other);
            store.check(&key, name, &was, buffer.flush().await);
            store.command(&["DEL", &key]);
            buffer.flush().await.expect("answers");
        }
        if name != "hash" {
            let key = key("{overrides}:limit:fixed-window");
            let was = store.put(&key, other);
            store.check(&key, name, &was, limit.set_override("k", Override::rate(1, mins(1))).await);
            store.command(&["DEL", &key]);
        }
        let key = key("once:{r}");
        let was = store.put(&key, other);
        if name != "string" {
            store.check(&key, name, &was, store.bay.once("r", 1).await);
        }
        store.command(&["DEL", &key]);
    }
}
