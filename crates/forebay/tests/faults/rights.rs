//! Each command of each script is forbidden in turn. Every answer must be true: the call was carried out, it certainly was
//! not, or the outcome is unknown. `ping` reports the missing right.

use forebay::{
    Buffer, Error, Forebay, Limit, Retry,
    buffer::{BufferHandle, Value},
    limit::{Kind, Lease, LeaseId, LimitHandle, OnError},
    series::SeriesHandle,
    sink::MemorySink,
    time::{days, hours, mins},
};
use forebay_testkit::{Redis, eventually, without};
use futures::future::join_all;

const COMMANDS: [&str; 38] = [
    "bitfield",
    "del",
    "evalsha",
    "exists",
    "hdel",
    "hget",
    "hgetall",
    "hincrby",
    "hlen",
    "hmget",
    "hscan",
    "hset",
    "info",
    "llen",
    "lrange",
    "lrem",
    "get",
    "mget",
    "pexpire",
    "rename",
    "rpush",
    "sadd",
    "set",
    "setrange",
    "smembers",
    "time",
    "type",
    "unlink",
    "zadd",
    "zcard",
    "zcount",
    "zrange",
    "zrangebyscore",
    "zrank",
    "zrem",
    "zremrangebyscore",
    "zrevrange",
    "zscore",
];

/// A store, opened by one user.
struct World {
    bay: Forebay,
    limits: Vec<LimitHandle>,
    leases: LimitHandle,
    series: SeriesHandle,
    buffer: BufferHandle,
    sink: MemorySink,
}

impl World {
    async fn open(server: &Redis, prefix: &str, user: &str) -> Self {
        let url = format!("redis://{user}:sesame@127.0.0.1:{}/0", server.port());
        let bay = Forebay::options().prefix(prefix).open(&url).await.expect("opens");
        let limit = |kind: Kind| {
            let limit = Limit::new(kind.as_str(), 100_000, days(300)).kind(kind).on_error(OnError::Closed);
            bay.limit(limit).expect("valid")
        };
        let limits = [Kind::FixedWindow, Kind::SlidingWindow, Kind::TokenBucket].map(limit).into();
        let leases = Limit::concurrency("leases", 1_000, mins(10)).on_error(OnError::Closed);
        let leases = bay.limit(leases).expect("valid");
        let series = bay.series("hits").expect("valid");
        let buffer = bay.buffer(Buffer::new("rows").key("id").sum("n").partitions(1)).expect("valid");
        let sink = MemorySink::new();
        let _ = buffer.flush_to(sink.clone());
        Self { bay, limits, leases, series, buffer, sink }
    }

    /// The stored counts of every part, by name.
    async fn counts(&self, key: &str) -> Vec<(&'static str, i64)> {
        let used = |limit: LimitHandle| {
            let key = key.to_owned();
            async move { i64::try_from(limit.peek(key).await.expect("answers").used()).expect("small") }
        };
        let pending = self.buffer.pending([Value::from(key)]).await.expect("answers");
        let pending = if let Some(Value::Integer(n)) = pending[0] { n } else { 0 };
        let held = self.bay.lock(key).state().await.expect("answers").holding.is_some();
        let points = self.series.sum(key, hours(1)).await.expect("answers");
        vec![
            ("window", used(self.limits[0].clone()).await),
            ("sliding", used(self.limits[1].clone()).await),
            ("bucket", used(self.limits[2].clone()).await),
            ("lease", used(self.leases.clone()).await),
            ("row", pending),
            ("point", i64::try_from(points).expect("small")),
            ("lock", i64::from(held)),
        ]
    }

    /// Adds one to every part. Returns whether that was done, or whether it is unknown.
    async fn one_more(&self, key: &str) -> Vec<(&'static str, Answer)> {
        let take = async |limit: &LimitHandle| {
            let decision = limit.take(key).await.expect("a policy decides");
            if decision.is_degraded() { Answer::Unknown } else { Answer::Done }
        };
        let lease = match self.leases.lease_as(key, LeaseId::random()).await.expect("a policy decides") {
            Lease::Granted(_) => Answer::Done,
            Lease::Denied { .. } => Answer::Unknown,
        };
        let lock = self.bay.lock(key).ttl(hours(1)).try_acquire().await;
        let lock = lock.map(|attempt| std::mem::forget(attempt.acquired().expect("nobody has it")));
        vec![
            ("window", take(&self.limits[0]).await),
            ("sliding", take(&self.limits[1]).await),
            ("bucket", take(&self.limits[2]).await),
            ("lease", lease),
            ("row", Answer::of(&self.buffer.row(key).add("n", 1).await)),
            ("point", Answer::of(&self.series.add(key, 1).await)),
            ("lock", Answer::of(&lock)),
        ]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Done,
    /// It was certainly not done.
    Nothing,
    Unknown,
}

impl Answer {
    fn of(answer: &Result<(), Error>) -> Self {
        match answer {
            Ok(()) => Self::Done,
            Err(error) if error.retry() == Retry::Unknown => Self::Unknown,
            Err(_) => Self::Nothing,
        }
    }
}

/// Takes away and gives back each right of one user in turn.
async fn run(server: &Redis, user: &str, commands: &[&str]) {
    let acl = |change: &str| server.command(["ACL", "SETUSER", user, change]);
    let (app, admin) = (World::open(server, user, user).await, World::open(server, user, "admin").await);
    let (mut done, mut unknown) = (0, 0);
    for command in commands {
        // One key exists, and the other one does not.
        let keys = ["old".to_owned(), format!("{command}-new")];
        let _ = admin.bay.lock("old").force_release().await.expect("answers");
        for (name, answer) in admin.one_more("old").await {
            done += i64::from((name, answer) == ("row", Answer::Done));
        }
        let _ = admin.bay.lock("old").force_release().await.expect("answers");
        let before = [admin.counts(&keys[0]).await, admin.counts(&keys[1]).await];
        acl(&format!("-{command}"));
        let answers = [app.one_more(&keys[0]).await, app.one_more(&keys[1]).await];
        let names = |error: &Error| {
            let said = error.to_string().to_lowercase();
            let quoted = said.contains(&format!("({command})")) || said.contains(&format!("'{command}'"));
            // The first write of the probe only repeats the message of Redis.
            said.contains("noperm") && (quoted || *command == "set" && !said.contains('('))
        };
        let is_told = async || app.bay.ping().await.is_err_and(|error| names(&error));
        eventually(&format!("ping to tell of {command}"), is_told).await;
        if let Err(error) = app.buffer.flush().await {
            assert_ne!(error.retry(), Retry::Never, "{command}: {error:?}");
        }
        acl(&format!("+{command}"));
        for ((key, before), answers) in keys.iter().zip(before).zip(answers) {
            for (((name, before), (_, after)), (_, answer)) in
                before.into_iter().zip(admin.counts(key).await).zip(answers)
            {
                let more = after - before;
                let fits = match answer {
                    // A flush removes rows from the pending ones, so they are counted at the end.
                    _ if name == "row" => true,
                    Answer::Done => more == 1,
                    Answer::Nothing => more == 0,
                    Answer::Unknown => (0..=1).contains(&more),
                };
                assert!(fits, "without {command}, {name} of {key:?}: {answer:?}, and {more} more");
                done += i64::from((name, answer) == ("row", Answer::Done));
                unknown += i64::from((name, answer) == ("row", Answer::Unknown));
            }
        }
    }
    eventually("the rights to be back", async || app.bay.ping().await.is_ok()).await;
    app.buffer.flush().await.expect("answers");
    let number = |cell: &Option<Value>| if let Some(Value::Integer(n)) = cell { *n } else { 0 };
    let rows = app.sink.rows(app.buffer.schema());
    let counted: i64 = rows.iter().map(|row| number(&row.cells[0])).sum();
    assert_eq!((counted, unknown), (done, 0), "rows are written last: it is always known");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_a_right_are_true() {
    if without("redis") {
        return;
    }
    let server = Redis::start();
    let users = (0..).map(|number| format!("app{number}")).zip(COMMANDS.chunks(3));
    let users: Vec<_> = users.collect();
    for user in users.iter().map(|(user, _)| &**user).chain(["admin"]) {
        server.command(["ACL", "SETUSER", user, "on", ">sesame", "~*", "&*", "+@all"]);
    }
    // The users run concurrently, because each waits a second for the cached result of `ping`.
    join_all(users.iter().map(|(user, commands)| run(&server, user, commands))).await;
}
