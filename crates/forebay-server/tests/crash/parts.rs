//! Events with two series and two buffers. Each hit has a key and is repeated until it is settled, while servers and hosts
//! die, stop, or are cut off. Every limit, series and table counts all accepted hits, and at most the hits of unknown fate
//! in addition.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use forebay_testkit::{Fault, Proxy, Redis, wait_until, without};

use super::process::Process;

const CONFIG: &str = r#"
[limits.hits]
rate = "1000000/300d"
on_error = "closed"
deadline = "5s"
[series.first]
[series.second]
[buffers.rows]
key = { id = "text" }
columns = { n = "sum" }
flush_every = "1h"
partitions = 3
[buffers.more]
key = { id = "text" }
columns = { n = "sum" }
flush_every = "1h"
partitions = 3
[events.hit]
limits = ["hits"]
series = ["first", "second"]
buffers = [
    { name = "rows", row = { id = "$key" }, columns = { n = "$n" } },
    { name = "more", row = { id = "$key" }, columns = { n = "$n" } },
]
"#;

/// A store, a database, and the servers on them.
pub(super) struct World {
    pub(super) dir: tempfile::TempDir,
    store: Option<String>,
}

impl World {
    pub(super) fn new(store: Option<String>, hosts: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("forebay.toml"), format!("{hosts}\n{CONFIG}")).expect("a file");
        Self { dir, store }
    }

    fn start(&self, failpoint: Option<&str>) -> (Process, String) {
        let mut args = vec!["serve", "--listen", "127.0.0.1:0", "--database", "sqlite:app.db"];
        args.extend(self.store.iter().flat_map(|store| ["--store", store]));
        let process = Process::start_with(self.dir.path(), failpoint, &args);
        let address = process.line_after("  URL       http://");
        (process, address)
    }

    /// The count of each of the five parts, by key.
    fn counts(&self, keys: &BTreeSet<String>) -> BTreeMap<String, [u64; 5]> {
        let (process, address) = self.start(None);
        for buffer in ["rows", "more"] {
            wait_until("the flush", || {
                send(&address, "POST", &format!("/v1/buffers/{buffer}/flush"), "", "").0 == Some(200)
            });
        }
        let ask = |path: &str, member: &str| {
            let (status, body) = send(&address, "GET", path, "", "");
            assert_eq!(status, Some(200), "{path}: {body}");
            number(&body, member)
        };
        let (rows, more) = (self.rows("rows"), self.rows("more"));
        let count = |key: &String| {
            let series =
                |name: &str| ask(&format!("/v1/series/{name}/sum?key={key}&from=-1d&to=%2B1m"), "sum");
            let used = ask(&format!("/v1/limits/hits?key={key}"), "used");
            let table = |rows: &BTreeMap<String, u64>| rows.get(key).copied().unwrap_or(0);
            (key.clone(), [used, series("first"), series("second"), table(&rows), table(&more)])
        };
        let counts = keys.iter().map(count).collect();
        process.signal("TERM");
        let (code, log) = process.end();
        assert_eq!(code, 0, "{log}");
        counts
    }

    fn rows(&self, table: &str) -> BTreeMap<String, u64> {
        use sqlx::Connection;
        let url = format!("sqlite:{}", self.dir.path().join("app.db").display());
        tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
            let mut connection = sqlx::SqliteConnection::connect(&url).await.expect("the database");
            let query = format!("SELECT id, n FROM {table}");
            let rows: Vec<(String, i64)> = sqlx::query_as(sqlx::AssertSqlSafe(query))
                .fetch_all(&mut connection)
                .await
                .expect("the table");
            rows.into_iter().map(|(id, n)| (id, n.unsigned_abs())).collect()
        })
    }
}

/// Finds the number of a member of a JSON object by a text search. The members it reads contain no nested objects.
fn number(body: &str, member: &str) -> u64 {
    let (_, rest) = body.split_once(&format!("\"{member}\":")).unwrap_or_else(|| panic!("{member}: {body}"));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("{member}: {body}"))
}

/// The status and the body of an answer, `None` if the connection ended before.
fn send(address: &str, method: &str, path: &str, headers: &str, body: &str) -> (Option<u16>, String) {
    let talk = || {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(Duration::from_mins(1))).ok()?;
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    };
    talk().map_or((None, String::new()), |(status, body): (u16, String)| (Some(status), body))
}

/// Sends the hit `id` under its idempotency key, on one of `KEYS` limit keys.
fn post(address: &str, id: u64) -> (Option<u16>, String) {
    let body = format!(r#"{{"key":"{}","n":1}}"#, id % KEYS);
    send(address, "POST", "/v1/events/hit", &format!("Idempotency-Key: hit-{id}\r\n"), &body)
}

/// A small number, so that several hits share one row and one key.
const KEYS: u64 = 17;

/// The results of the hits, by key.
#[derive(Debug, Default)]
pub(super) struct Tally {
    accepted: BTreeMap<String, u64>,
    /// The fate of some part stays unknown.
    pub(super) unknown: BTreeMap<String, u64>,
    pub(super) lines: Vec<String>,
}

impl Tally {
    pub(super) fn total(of: &BTreeMap<String, u64>) -> u64 {
        of.values().sum()
    }

    /// Records an answer if it settles the hit.
    fn settles(&mut self, id: u64, (status, body): &(Option<u16>, String)) -> bool {
        let key = (id % KEYS).to_string();
        let of = match status {
            Some(202) => &mut self.accepted,
            Some(503) if body.contains(r#""retry":"never""#) => {
                self.lines.push(format!("hit {id}: {body}"));
                &mut self.unknown
            }
            // No answer, another attempt under way, a host down, or a limit that could not decide: the hit is sent again.
            None | Some(503 | 409 | 429 | 500) => return false,
            Some(status) => panic!("hit {id}: {status} {body}"),
        };
        *of.entry(key).or_default() += 1;
        true
    }

    pub(super) fn check(&self, world: &World) {
        let keys: BTreeSet<String> = self.accepted.keys().chain(self.unknown.keys()).cloned().collect();
        for (key, counts) in world.counts(&keys) {
            let accepted = self.accepted.get(&key).copied().unwrap_or(0);
            let most = accepted + self.unknown.get(&key).copied().unwrap_or(0);
            for (part, count) in ["limit", "first", "second", "rows", "more"].iter().zip(counts) {
                assert!(
                    (accepted..=most).contains(&count),
                    "{part} counts {count} of key {key}: {accepted} accepted, {most} with the unknown; {:#?}",
                    self.lines
                );
            }
        }
    }
}

/// The failpoints before and after each step of a hit with two series and two buffers.
const POINTS: [&str; 14] = [
    "once_before_begin",
    "once_after_begin",
    "hit_before_charge",
    "hit_after_charge",
    "part_before",
    "part_before:2",
    "part_before:3",
    "part_before:4",
    "part_after",
    "part_after:2",
    "part_after:3",
    "part_after:4",
    "once_before_end",
    "once_after_end",
];

/// Servers die at each point, one after the other. Each hit is repeated on the next server. The hosts stay alive, so no
/// fate is unknown.
fn dies_at_each_point(world: &World) {
    let mut tally = Tally::default();
    let mut open = None;
    for (round, point) in POINTS.iter().enumerate() {
        let (process, address) = world.start(Some(point));
        if let Some(id) = open.take() {
            // The repeat may die at the same point, too. The next server then gets it.
            let mut answer = (None, String::new());
            let mut died = false;
            wait_until("the repeat to be settled", || {
                answer = post(&address, id);
                died = answer.0.is_none();
                died || tally.settles(id, &answer)
            });
            if died {
                open = Some(id);
            }
        }
        let first = round as u64 * 1_000;
        for id in first..first + 40 {
            if open.is_some() {
                break;
            }
            let answer = post(&address, id);
            if answer.0.is_none() {
                open = Some(id);
            } else {
                assert!(tally.settles(id, &answer), "{point}: {answer:?}");
            }
        }
        let id = open.unwrap_or_else(|| panic!("{point}: it did not die"));
        assert!(id >= first || round > 0, "{point}");
        process.end();
    }
    let (process, address) = world.start(None);
    let id = open.expect("the last one died");
    wait_until("the last repeat", || {
        let answer = post(&address, id);
        tally.settles(id, &answer)
    });
    process.signal("KILL");
    process.end();
    assert_eq!(Tally::total(&tally.unknown), 0, "{:?}", tally.lines);
    tally.check(world);
}

#[test]
fn a_hit_whose_server_dies_at_any_step_is_completed_once_on_a_file() {
    dies_at_each_point(&World::new(Some("embedded:forebay.redb".into()), ""));
}

#[test]
fn a_hit_whose_server_dies_at_any_step_is_completed_once_on_redis() {
    if without("redis") {
        return;
    }
    let redis = Redis::builder().append_only().start();
    dies_at_each_point(&World::new(Some(redis.url()), ""));
}

/// A limit of the calendar, and an event that charges it.
const WEEKLY: &str = r#"
[limits.week]
rate = "30/week"
zone = "Asia/Tokyo"
on_error = "closed"
deadline = "5s"
[events.weekly]
limits = ["week"]
series = ["first"]
"#;

/// The file has the number of the week, not a time at which it began. The charge of a hit with a key is in the file before
/// the answer.
#[test]
fn a_calendar_limit_goes_on_counting_after_the_servers_death() {
    let world = World::new(Some("embedded:forebay.redb".into()), WEEKLY);
    let hit = |address: &str, n: u64, id: u64| {
        let body = format!(r#"{{"key":"42","n":{n}}}"#);
        send(address, "POST", "/v1/events/weekly", &format!("Idempotency-Key: {id}\r\n"), &body).0
    };
    for round in 0..4 {
        let (process, address) = world.start(None);
        let (status, body) = send(&address, "GET", "/v1/limits/week?key=42", "", "");
        assert_eq!((status, number(&body, "used")), (Some(200), round * 7), "{body}");
        assert_eq!(hit(&address, 7, 2 * round), Some(202));
        assert_eq!(hit(&address, 30, 2 * round + 1), Some(429), "more than is left");
        process.signal("KILL");
        process.end();
    }
}

/// A failure that strikes hosts or servers while hits are sent.
#[derive(Clone, Copy, Debug)]
enum Strike {
    /// A server dies.
    Server,
    /// A host is killed, and restarts with its data on disk.
    Host,
    /// A host stops for a while.
    Stop,
    /// All connections of a host are cut.
    Cut,
    /// Nothing passes to or from a host for a while.
    Hole,
}

/// Hosts behind proxies.
pub(super) struct Hosts {
    pub(super) redis: Vec<Redis>,
    proxies: Vec<Proxy>,
}

impl Hosts {
    pub(super) fn new(number: usize) -> Self {
        let redis: Vec<Redis> = (0..number).map(|_| Redis::builder().append_only().start()).collect();
        let proxies = redis.iter().map(|redis| Proxy::new(redis.port())).collect();
        Self { redis, proxies }
    }

    pub(super) fn config(&self) -> String {
        let host = |(name, (redis, proxy)): (&str, (&Redis, &Proxy))| {
            format!("{name} = {:?}", redis.url_through(proxy))
        };
        let hosts = ["a", "b", "c"].into_iter().zip(self.redis.iter().zip(&self.proxies)).map(host);
        format!("cluster = {{ hosts = {{ {} }} }}", hosts.collect::<Vec<_>>().join(", "))
    }
}

/// Two servers on three hosts, and four callers that send hits until a given number is reached.
pub(super) struct Run<'a> {
    world: &'a World,
    hosts: &'a Hosts,
    wanted: u64,
    pub(super) servers: [Mutex<(Option<Process>, String)>; 2],
    tally: Mutex<Tally>,
    next: AtomicU64,
    under_way: AtomicU64,
    /// The number of hits that were under way when a host was killed.
    doubtful: AtomicU64,
    /// Whether nothing more happens but hits.
    acted: AtomicBool,
}

impl<'a> Run<'a> {
    pub(super) fn new(world: &'a World, hosts: &'a Hosts, wanted: u64) -> Self {
        let start = || {
            let (process, address) = world.start(None);
            Mutex::new((Some(process), address))
        };
        let [next, under_way, doubtful] = std::array::from_fn(|_| AtomicU64::new(0));
        let servers = [start(), start()];
        let acted = AtomicBool::new(false);
        Self { world, hosts, wanted, servers, tally: Mutex::default(), next, under_way, doubtful, acted }
    }

    /// Injects failures while hits are sent, one after every few hits. Returns the results of the hits, and the number of
    /// hits under way when hosts were killed.
    fn struck(self, strikes: &[Strike]) -> (Tally, u64) {
        self.during(|run| {
            for (nth, strike) in strikes.iter().enumerate() {
                let share = run.wanted * (nth as u64 + 1) / (strikes.len() as u64 + 1);
                wait_until("more hits", || run.done() >= share);
                run.strike(nth, *strike);
            }
        })
    }

    /// Acts while hits are sent, and goes on until there are enough. Returns as [`struck`](Self::struck).
    pub(super) fn during(self, act: impl FnOnce(&Self)) -> (Tally, u64) {
        std::thread::scope(|scope| {
            let run = &self;
            let callers: Vec<_> = (0..4).map(|caller| scope.spawn(move || run.call(caller))).collect();
            act(run);
            self.acted.store(true, Ordering::Relaxed);
            for caller in callers {
                caller.join().expect("no caller panics");
            }
        });
        for server in self.servers {
            if let (Some(process), _) = server.into_inner().expect("no caller panics") {
                process.signal("TERM");
                process.end();
            }
        }
        (self.tally.into_inner().expect("no caller panics"), self.doubtful.into_inner())
    }

    /// Sends hits, and repeats each until it is settled.
    fn call(&self, caller: usize) {
        loop {
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            if id >= self.wanted && self.acted.load(Ordering::Relaxed) {
                return;
            }
            self.under_way.fetch_add(1, Ordering::Relaxed);
            let mut server = caller;
            // A restart, the detection of a dead host and the end of a lease all take time.
            wait_until("a hit to be settled", || {
                server += 1;
                let address = self.servers[server % 2].lock().expect("no caller panics").1.clone();
                let answer = post(&address, id);
                self.tally.lock().expect("no caller panics").settles(id, &answer)
            });
            self.under_way.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(super) fn done(&self) -> u64 {
        let tally = self.tally.lock().expect("no caller panics");
        Tally::total(&tally.accepted) + Tally::total(&tally.unknown)
    }

    /// Waits longer than a connection's timeout, unless the other hosts settle some hits earlier.
    fn meanwhile(&self) {
        let clock = forebay::Clock::system();
        let (before, until) = (self.done(), clock.monotonic() + Duration::from_secs(3));
        wait_until("hits, or time", || self.done() >= before + 30 || clock.monotonic() > until);
    }

    fn strike(&self, nth: usize, strike: Strike) {
        let (redis, proxy) = (&self.hosts.redis[nth % 3], &self.hosts.proxies[nth % 3]);
        match strike {
            Strike::Server => {
                let server = &self.servers[nth % 2];
                let old = server.lock().expect("no caller panics").0.take().expect("one runs");
                old.signal("KILL");
                old.end();
                let (new, address) = self.world.start(None);
                *server.lock().expect("no caller panics") = (Some(new), address);
            }
            Strike::Host => {
                redis.kill();
                self.doubtful.fetch_add(self.under_way.load(Ordering::Relaxed), Ordering::Relaxed);
                redis.restart();
            }
            Strike::Stop => {
                redis.pause();
                self.meanwhile();
                redis.resume();
            }
            Strike::Cut => proxy.cut(),
            Strike::Hole => {
                proxy.set(Fault::BlackHole);
                self.meanwhile();
                proxy.set(Fault::Pass);
            }
        }
    }
}

/// One of two hosts is dead while 60 hits are sent, with a key or without. They are repeated once it is back. Those
/// without a key use the key of their answer. Before the fix, 29 of 200 such hits counted twice.
#[test]
fn hits_while_one_of_two_hosts_is_dead_are_completed_once_it_is_back() {
    if without("redis") {
        return;
    }
    let hosts = Hosts::new(2);
    let world = World::new(None, &hosts.config());
    let (process, address) = world.start(None);
    hosts.redis[1].kill();
    wait_until("the host to be found dead", || {
        send(&address, "GET", "/v1/cluster", "", "").1.contains("\"health\":\"down\"")
    });
    let hit = |id: u64, key: Option<&str>| {
        let header = key.map(|key| format!("Idempotency-Key: {key}\r\n")).unwrap_or_default();
        send(&address, "POST", "/v1/events/hit", &header, &format!(r#"{{"key":"{id}","n":1}}"#))
    };
    let (mut again, mut in_part) = (vec![], 0);
    for id in 0_u64..60 {
        let key = id.is_multiple_of(2).then(|| format!("hit-{id}"));
        let (status, body) = hit(id, key.as_deref());
        if status == Some(202) {
            continue;
        }
        in_part += u64::from(body.contains("\"yes\""));
        let offered = body.split_once("\"idempotency_key\":\"").map(|(_, rest)| rest[..32].to_owned());
        assert!(key.is_some() || offered.is_some() || !body.contains("\"yes\""), "{body}");
        again.push((id, key.or(offered)));
    }
    assert!(in_part > 0, "no hit was applied in part");
    hosts.redis[1].restart();
    for (id, key) in again {
        wait_until("a hit to be completed", || {
            let (status, body) = hit(id, key.as_deref());
            assert!(!body.contains("never"), "{body}");
            status == Some(202)
        });
    }
    process.signal("TERM");
    process.end();
    let keys = (0..60).map(|id: u64| id.to_string()).collect();
    for (key, counts) in world.counts(&keys) {
        assert_eq!(counts, [1; 5], "key {key}");
    }
}

/// The number of hits; the long form (`scripts/faults event`) raises it.
pub(super) fn wanted() -> u64 {
    std::env::var("FOREBAY_EVENT_HITS").ok().and_then(|hits| hits.parse().ok()).unwrap_or(500)
}

#[test]
fn servers_that_die_leave_nothing_unknown_over_three_hosts() {
    if without("redis") {
        return;
    }
    let hosts = Hosts::new(3);
    let world = World::new(None, &hosts.config());
    let strikes = [Strike::Server, Strike::Cut, Strike::Server, Strike::Server].repeat(rounds());
    let (tally, _) = Run::new(&world, &hosts, wanted()).struck(&strikes);
    assert_eq!(Tally::total(&tally.unknown), 0, "{:#?}", tally.lines);
    tally.check(&world);
}

#[test]
fn hosts_that_die_leave_unknown_only_what_was_under_way() {
    if without("redis") {
        return;
    }
    let hosts = Hosts::new(3);
    let world = World::new(None, &hosts.config());
    let strikes = [Strike::Host, Strike::Server, Strike::Stop, Strike::Cut, Strike::Host, Strike::Hole]
        .repeat(rounds());
    let (tally, doubtful) = Run::new(&world, &hosts, wanted()).struck(&strikes);
    let unknown = Tally::total(&tally.unknown);
    assert!(unknown <= doubtful, "{unknown} unknown, {doubtful} under way: {:#?}", tally.lines);
    println!("{} accepted, {unknown} unknown of {doubtful} under way", Tally::total(&tally.accepted));
    tally.check(&world);
}

/// The number of rounds through all failures.
fn rounds() -> usize {
    std::env::var("FOREBAY_EVENT_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1)
}
