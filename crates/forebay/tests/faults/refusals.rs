//! Any refusal of a running Redis counts as an outage. Limits follow `on_error`, and all other calls fail with the reason
//! and a retryable error. `ping` fails, too. Everything works again without a restart once the cause is gone.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    panic::AssertUnwindSafe,
};

use forebay::{
    Buffer, Clock, Error, ErrorKind, Event, Forebay, Limit, Retry,
    buffer::{BufferHandle, Value},
    event::{Applied, Cell, EventHandle},
    limit::{Charge, Lease, LimitHandle, OnError},
    once::Once,
    series::SeriesHandle,
    sink::MemorySink,
    time::{days, hours, mins},
};
use forebay_testkit::{Redis, RedisBuilder, Reply, eventually, unique_prefix, without};
use futures::{FutureExt as _, future::join_all};

/// A way to be refused.
struct Case {
    /// The error code of the server.
    code: &'static str,
    /// Other texts that the error may contain when a connection is given up.
    or: &'static [&'static str],
    options: &'static [(&'static str, &'static str)],
    /// Commands that run before the store is opened.
    prepare: &'static [&'static [&'static str]],
    user: Option<&'static str>,
    begin: fn(&Redis) -> Vec<TcpStream>,
    end: fn(&Redis, &mut [TcpStream]),
    /// True if reads still succeed.
    reads: bool,
}

/// A case without any settings.
const PLAIN: Case = Case {
    code: "",
    or: &[],
    options: &[],
    prepare: &[],
    user: None,
    begin: |_| vec![],
    end: |_, _| {},
    reads: false,
};

struct World {
    bay: Forebay,
    limits: [LimitHandle; 3],
    leases: LimitHandle,
    series: SeriesHandle,
    buffer: BufferHandle,
    sink: MemorySink,
    event: EventHandle,
    /// Rows that were acknowledged.
    acknowledged: i64,
    /// Rows for which that is unknown.
    unknown: i64,
}

fn config(server: &Redis, name: &str, value: &str) {
    assert_eq!(server.command(["CONFIG", "SET", name, value]), Reply::text("OK"));
}

fn disconnect(server: &Redis) {
    server.command(["CLIENT", "KILL", "TYPE", "normal"]);
}

/// Sends lines on their own connection, and waits for one reply line to each except the last `unanswered`.
fn raw(server: &Redis, lines: &[&str], unanswered: usize) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).expect("listens");
    for (i, line) in lines.iter().enumerate() {
        stream.write_all(format!("{line}\r\n").as_bytes()).expect("sent");
        if i + unanswered < lines.len() {
            let mut byte = [0];
            while byte != *b"\n" {
                stream.read_exact(&mut byte).expect("answers");
            }
        }
    }
    stream
}

const USER: &[&[&str]] = &[&["ACL", "SETUSER", "app", "on", ">sesame", "~*", "&*", "+@all"]];

/// The errors of a server that has become a replica, and of clients that call it at that moment.
const REPLICA: &[&str] = &["READONLY", "this is a replica", "the connection ended"];

const CASES: [Case; 12] = [
    Case {
        code: "NOAUTH",
        begin: |server| {
            let admin = raw(server, &["CONFIG SET requirepass sesame"], 0);
            raw(server, &["AUTH sesame", "CLIENT KILL TYPE normal"], 0);
            vec![admin]
        },
        end: |server, _| drop(raw(server, &["AUTH sesame", "CONFIG SET requirepass \"\""], 0)),
        ..PLAIN
    },
    Case {
        code: "WRONGPASS",
        prepare: USER,
        user: Some("app:sesame"),
        begin: |server| {
            server.command(["ACL", "SETUSER", "app", "resetpass", ">other"]);
            disconnect(server);
            vec![]
        },
        end: |server, _| drop(server.command(["ACL", "SETUSER", "app", "resetpass", ">sesame"])),
        ..PLAIN
    },
    Case {
        code: "NOPERM",
        prepare: USER,
        user: Some("app:sesame"),
        begin: |server| {
            server.command(["ACL", "SETUSER", "app", "-@all", "+ping", "+info", "+time"]);
            vec![]
        },
        end: |server, _| drop(server.command(["ACL", "SETUSER", "app", "+@all"])),
        ..PLAIN
    },
    Case {
        code: "NOPERM",
        prepare: USER,
        user: Some("app:sesame"),
        begin: |server| {
            server.command(["ACL", "SETUSER", "app", "resetkeys", "~other:*"]);
            vec![]
        },
        end: |server, _| drop(server.command(["ACL", "SETUSER", "app", "~*"])),
        ..PLAIN
    },
    Case {
        code: "BUSY",
        options: &[("lua-time-limit", "10")],
        begin: |server| vec![raw(server, &["EVAL \"while true do end\" 0"], 1)],
        end: |server, _| drop(server.command(["SCRIPT", "KILL"])),
        ..PLAIN
    },
    Case {
        code: "READONLY",
        or: REPLICA,
        begin: |server| {
            server.command(["REPLICAOF", "127.0.0.1", "1"]);
            vec![]
        },
        end: |server, _| drop(server.command(["REPLICAOF", "NO", "ONE"])),
        ..PLAIN
    },
    Case {
        code: "MASTERDOWN",
        or: REPLICA,
        options: &[("replica-serve-stale-data", "no")],
        begin: |server| {
            server.command(["REPLICAOF", "127.0.0.1", "1"]);
            vec![]
        },
        end: |server, _| drop(server.command(["REPLICAOF", "NO", "ONE"])),
        ..PLAIN
    },
    Case {
        code: "OOM",
        begin: |server| {
            config(server, "maxmemory", "1");
            vec![]
        },
        end: |server, _| config(server, "maxmemory", "0"),
        reads: true,
        ..PLAIN
    },
    Case {
        code: "NOREPLICAS",
        begin: |server| {
            config(server, "min-replicas-to-write", "1");
            vec![]
        },
        end: |server, _| config(server, "min-replicas-to-write", "0"),
        reads: true,
        ..PLAIN
    },
    Case {
        code: "MISCONF",
        options: &[("enable-protected-configs", "yes")],
        begin: |server| {
            config(server, "save", "100000 1000000");
            // Files cannot be written in this directory.
            config(server, "dir", "/proc");
            server.command(["BGSAVE"]);
            forebay_testkit::wait_until("the snapshot to fail", || {
                let Reply::Text(info) = server.command(["INFO", "persistence"]) else { return false };
                info.contains("rdb_last_bgsave_status:err")
            });
            vec![]
        },
        end: |server, _| config(server, "stop-writes-on-bgsave-error", "no"),
        reads: true,
        ..PLAIN
    },
    Case {
        code: "LOADING",
        options: &[
            ("enable-debug-command", "yes"),
            ("loading-process-events-interval-bytes", "1024"),
            ("rdbcompression", "no"),
        ],
        prepare: &[&["DEBUG", "POPULATE", "4000", "filling", "1000"]],
        begin: |server| {
            config(server, "key-load-delay", "20000");
            vec![raw(server, &["DEBUG RELOAD"], 1)]
        },
        end: |server, _| config(server, "key-load-delay", "0"),
        ..PLAIN
    },
    Case {
        code: "max number of clients",
        // The server also closes the connection. The client may see only that.
        or: &["cannot connect", "the connection ended"],
        begin: |server| {
            // The connection of this command stays open.
            let mut admin = raw(server, &["CONFIG SET maxclients 1"], 0);
            admin.write_all(b"CLIENT KILL TYPE normal\r\n").expect("sent");
            vec![admin]
        },
        end: |_, admin| admin[0].write_all(b"CONFIG SET maxclients 1000\r\n").expect("sent"),
        ..PLAIN
    },
];

impl World {
    async fn open(server: &Redis, case: &Case) -> Self {
        let url = match case.user {
            Some(user) => format!("redis://{user}@127.0.0.1:{}/0", server.port()),
            None => server.url(),
        };
        let bay = Forebay::open(&url).await.expect("opens");
        let policies = [("open", OnError::Open), ("closed", OnError::Closed), ("local", OnError::Local)];
        let limits = policies.map(|(name, on_error)| {
            bay.limit(Limit::new(name, 1_000, days(300)).on_error(on_error)).expect("valid")
        });
        let leases = bay.limit(Limit::concurrency("leases", 10, mins(10)).on_error(OnError::Closed));
        let series = bay.series("hits").expect("valid");
        let buffer = bay.buffer(Buffer::new("rows").key("id").sum("n").partitions(1)).expect("valid");
        let sink = MemorySink::new();
        let _ = buffer.flush_to(sink.clone());
        let event = Event::new("hit").limit(&limits[0]).series(&series);
        let event = event.buffer(&buffer, [Cell::Key], [("n", Cell::N)]);
        let event = bay.event(event).expect("valid");
        let leases = leases.expect("valid");
        Self { bay, limits, leases, series, buffer, sink, event, acknowledged: 0, unknown: 0 }
    }

    async fn write(&mut self) -> Result<(), Error> {
        let answer = self.buffer.row("a").add("n", 1).await;
        match &answer {
            Ok(()) => self.acknowledged += 1,
            Err(error) => self.unknown += i64::from(error.retry() == Retry::Unknown),
        }
        answer
    }

    async fn hit(&mut self) -> Result<(), Error> {
        let answer = self.event.hit("a", 1).await;
        if answer.as_ref().is_err_and(|error| !error.buffer.all(Applied::No)) {
            self.unknown += 1;
        }
        self.acknowledged += i64::from(answer.is_ok());
        answer.map(drop).map_err(|error| error.error)
    }

    /// Calls everything that writes and has no `on_error`. Returns the results.
    async fn changes(&mut self) -> Vec<(&'static str, Result<(), Error>)> {
        let closed = self.limits[1].clone();
        vec![
            ("ping", self.bay.ping().await),
            ("refund", closed.refund("k", 1).await.map(drop)),
            ("reset", closed.reset("other").await.map(drop)),
            ("buffer", self.write().await),
            ("series", self.series.add("a", 1).await),
            ("event", self.hit().await),
            ("lock", self.bay.lock("free").try_acquire().await.map(drop)),
            // The id is new each time, because a known id in progress is answered without a write.
            ("once", self.bay.once(&unique_prefix(), 1).await.map(drop)),
        ]
    }

    /// A flush frees memory, and it has to rotate the live rows first.
    async fn flush_without_memory(&self) {
        assert_eq!(self.buffer.flush().await.expect("is flushed"), 1);
        assert_eq!(self.counted(), self.acknowledged);
    }

    async fn questions(&self) -> Vec<(&'static str, Result<(), Error>)> {
        vec![
            ("sum", self.series.sum("a", hours(1)).await.map(drop)),
            ("stats", self.buffer.stats().await.map(drop)),
            ("state", self.bay.lock("held").state().await.map(drop)),
        ]
    }

    /// Checks the decisions of the limits, which follow their `on_error`.
    async fn limits(&self, code: &str) {
        for (limit, allowed) in self.limits.iter().zip([true, false, true]) {
            let decision = limit.take("k").await.expect("a policy decides");
            assert!(decision.is_degraded(), "{code}: {}: {decision:?}", limit.name());
            assert_eq!(decision.is_allowed(), allowed, "{code}: {}", limit.name());
        }
        let charge =
            |limit: &LimitHandle, key: &str| Charge { limit: limit.clone(), key: key.into(), cost: 1 };
        let [open, closed, _] = &self.limits;
        let both = self.bay.take_all(&[charge(open, "k"), charge(open, "l")]).await.expect("decides");
        assert!(both.allowed && both.limits.iter().flatten().all(forebay::Decision::is_degraded));
        let both = self.bay.take_all(&[charge(open, "k"), charge(closed, "k")]).await.expect("decides");
        assert!(!both.allowed);
        if code == "OOM" {
            // The script begins with a removal. Redis then lets the rest of it run.
            return;
        }
        match self.leases.lease("new").await.expect("decides") {
            Lease::Denied { decision, .. } => assert!(decision.is_degraded()),
            Lease::Granted(guard) => panic!("{code}: {guard:?}"),
        }
    }

    fn counted(&self) -> i64 {
        let number = |cell: &Option<Value>| if let Some(Value::Integer(n)) = cell { *n } else { 0 };
        self.sink.rows(self.buffer.schema()).iter().map(|row| number(&row.cells[0])).sum()
    }
}

fn says(case: &Case, error: &Error) -> bool {
    let said = error.to_string();
    said.contains(case.code) || case.or.iter().any(|or| said.contains(or))
}

fn check(case: &Case, what: &str, answer: &Result<(), Error>) {
    let code = case.code;
    let Err(error) = answer else { panic!("{code}: {what} is answered") };
    let outage = [ErrorKind::Unavailable, ErrorKind::Overloaded, ErrorKind::Timeout, ErrorKind::Ambiguous];
    assert!(outage.contains(&error.kind()), "{code}: {what}: {error:?}");
    assert_ne!(error.retry(), Retry::Never, "{code}: {what}: {error:?}");
    assert!(says(case, error), "{code}: {what}: {error}");
}

async fn run(case: Case) {
    let builder = case
        .options
        .iter()
        .fold(Redis::builder(), |builder: RedisBuilder, (name, value)| builder.option(name, value));
    let server = builder.start();
    for command in case.prepare {
        assert_eq!(server.command(command.iter().copied()), Reply::text("OK"));
    }
    let mut world = World::open(&server, &case).await;
    let (code, clock) = (case.code, Clock::system());
    let guard = world.bay.lock("held").ttl(hours(1)).acquire().await.expect("free");
    let Once::First(begun) = world.bay.once("begun", 1).await.expect("answers") else { panic!("first") };
    let Lease::Granted(lease) = world.leases.lease("held").await.expect("answers") else { panic!("free") };
    for limit in &world.limits {
        assert!(!limit.take("k").await.expect("answers").is_degraded(), "{code}");
    }
    let _ = world.limits[1].take_n("k", 10).await.expect("answers");
    for (what, answer) in world.changes().await {
        answer.unwrap_or_else(|error| panic!("{code}: {what}: {error:?}"));
    }

    let mut connections = (case.begin)(&server);
    eventually(code, async || world.bay.ping().await.is_err_and(|error| says(&case, &error))).await;
    for (what, answer) in world.changes().await {
        // A removal needs no memory.
        if (code, what) != ("OOM", "reset") {
            check(&case, what, &answer);
        }
    }
    if code == "OOM" {
        world.flush_without_memory().await;
    }
    world.limits(code).await;
    let peek = world.limits[1].peek("k").await.expect("a policy decides");
    assert_eq!(peek.is_degraded(), !case.reads, "{code}");
    for (what, answer) in world.questions().await {
        if case.reads {
            answer.unwrap_or_else(|error| panic!("{code}: {what}: {error:?}"));
        } else {
            check(&case, what, &answer);
        }
    }
    check(&case, "end", &begun.end("done").await);
    check(&case, "release", &guard.release().await.map(drop));
    if code != "OOM" {
        check(&case, "lease", &lease.release().await.map(drop));
    }

    (case.end)(&server, &mut connections);
    drop(connections);
    eventually("the store to answer", async || world.bay.ping().await.is_ok()).await;
    for (what, answer) in world.changes().await {
        // The lock from before is still held.
        answer.unwrap_or_else(|error| panic!("{code}: {what}: {error:?}"));
    }
    for limit in &world.limits {
        assert!(!limit.take("k").await.expect("answers").is_degraded(), "{code}");
    }
    let flushed = clock.timeout(mins(1), world.buffer.flush()).await.expect("ends");
    flushed.unwrap_or_else(|error| panic!("{code}: {error:?}"));
    let (counted, least) = (world.counted(), world.acknowledged);
    assert!((least..=least + world.unknown).contains(&counted), "{code}: {counted} of {least}");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_refusal_of_a_running_server_is_an_outage_and_passes() {
    if without("redis") {
        return;
    }
    // All cases run to their end, so that one failure does not hide others.
    let cases = CASES.into_iter().map(|case| AssertUnwindSafe(run(case)).catch_unwind());
    let failed = join_all(cases).await.iter().filter(|case| case.is_err()).count();
    assert_eq!(failed, 0, "see above");
}
