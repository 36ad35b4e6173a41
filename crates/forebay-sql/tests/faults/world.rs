//! Redis, Postgres, proxies in front of both, and processes that write and flush.

use std::{collections::BTreeMap, sync::Arc};

use forebay::{
    Buffer, Clock, Error, Forebay, Retry,
    buffer::{BufferHandle, Flushing},
    time::{millis, mins},
};
use forebay_sql::{Migrate, Options, Postgres as Sink};
use forebay_testkit::{Fault, Postgres, Proxy, Redis, eventually};
use tokio::{sync::Semaphore, task::JoinHandle};

use crate::history::{History, hot, own};

/// Writes from one fault to the next.
const WRITES: usize = 120;

pub(crate) struct World {
    redis: Redis,
    to_redis: Proxy,
    postgres: Postgres,
    to_postgres: Proxy,
    history: Arc<History>,
    /// How many writes may still be sent.
    writes: Arc<Semaphore>,
    processes: Vec<Process>,
    random: u64,
}

/// A handle of its own on the store, with writers and a flusher.
struct Process {
    writers: Vec<JoinHandle<()>>,
    _flushing: Flushing,
}

impl Process {
    async fn start(world: &World) -> Self {
        let buffer = world.buffer().await;
        let flusher = buffer.flush_to(world.sink().await).every(millis(20));
        let mut prepared = flusher.clone().prepare().await;
        while prepared.is_err() {
            prepared = flusher.clone().prepare().await;
        }
        let flushing = flusher.spawn();
        let write =
            |_| tokio::spawn(keep_writing(buffer.clone(), world.history.clone(), world.writes.clone()));
        Self { writers: (0..4).map(write).collect(), _flushing: flushing }
    }

    /// Ends in the middle of whatever it is at, and says nothing to anybody.
    fn kill(self) {
        self.writers.iter().for_each(JoinHandle::abort);
    }
}

async fn keep_writing(buffer: BufferHandle, history: Arc<History>, writes: Arc<Semaphore>) {
    loop {
        writes.acquire().await.expect("is open").forget();
        let id = history.send();
        let rows = [own(id), hot(id)].map(|row| buffer.row(row).add("n", 1).into_row().expect("fits"));
        let answers = buffer.add_rows(rows.into()).await;
        let nothing =
            |answer: &Result<(), Error>| answer.as_ref().is_err_and(|error| error.retry() != Retry::Unknown);
        if answers.iter().all(Result::is_ok) {
            history.acknowledge(id);
        } else if answers.iter().all(nothing) {
            history.refuse(id);
        }
        // Else the rows fared differently, or nobody knows: it stays open.
    }
}

impl World {
    pub(crate) async fn start(seed: u64) -> Self {
        let (redis, postgres) = (Redis::builder().append_only().start(), Postgres::start());
        let (to_redis, to_postgres) = (Proxy::new(redis.port()), Proxy::new(postgres.port()));
        let mut world = Self {
            redis,
            to_redis,
            postgres,
            to_postgres,
            history: Arc::default(),
            writes: Arc::new(Semaphore::new(0)),
            processes: vec![],
            random: seed,
        };
        for _ in 0..3 {
            let process = Process::start(&world).await;
            world.processes.push(process);
        }
        world
    }

    async fn buffer(&self) -> BufferHandle {
        let url = self.redis.url_through(&self.to_redis);
        let mut bay = Forebay::open(&url).await;
        // A fault that was set to happen later may have met the connection.
        while bay.as_ref().is_err_and(|error| error.retry() != Retry::Never) {
            bay = Forebay::open(&url).await;
        }
        let definition = Buffer::new("hits").key("id").sum("n").partitions(4);
        bay.expect("is open").buffer(definition).expect("valid")
    }

    async fn sink(&self) -> Sink {
        let url = self.postgres.url_through(&self.to_postgres, "postgres");
        let mut sink = Sink::open(&url).await;
        while sink.is_err() {
            sink = Sink::open(&url).await;
        }
        sink.expect("is open").with(Options::new().migrate(Migrate::Yes))
    }

    fn below(&mut self, bound: u64) -> u64 {
        // SplitMix64.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    /// Lets everybody write, does something in the middle of it, and mends it.
    pub(crate) async fn fault(&mut self) {
        self.writes.add_permits(WRITES);
        let at = usize::try_from(self.below(WRITES as u64)).expect("small");
        eventually("some writes", async || self.writes.available_permits() <= at).await;
        let after = self.below(12);
        let proxy = if self.below(2) == 0 { &self.to_redis } else { &self.to_postgres };
        let (redis, postgres) = (&self.redis, &self.postgres);
        let for_a_while = async || Clock::system().sleep(millis(30)).await;
        match after % 9 {
            0 => redis.kill(),
            1 => postgres.kill(),
            2 => proxy.cut(),
            3 | 4 => proxy.set(Fault::DropReply { after }),
            5 => proxy.set(Fault::DropRequest { after }),
            6 => proxy.set(Fault::Delay(millis(10))),
            7 => proxy.set(Fault::BlackHole),
            _ => {}
        }
        for_a_while().await;
        match after % 9 {
            0 => redis.restart(),
            1 => postgres.restart(),
            6 | 7 => proxy.set(Fault::Pass),
            8 => {
                self.processes.remove(0).kill();
                let process = Process::start(self).await;
                self.processes.push(process);
            }
            _ => {}
        }
        eventually("all writes to be sent", async || self.writes.available_permits() == 0).await;
    }

    /// Ends all processes, lets another one flush what they left, and reads the table.
    pub(crate) async fn end(mut self) -> (Arc<History>, BTreeMap<String, u64>) {
        for process in self.processes.drain(..) {
            process.kill();
        }
        for proxy in [&self.to_redis, &self.to_postgres] {
            proxy.set(Fault::Pass);
        }
        let buffer = self.buffer().await;
        let _ = buffer.flush_to(self.sink().await).prepare().await.expect("a table");
        let drained = Clock::system().timeout(mins(2), buffer.drain()).await;
        drained.expect("within two minutes").expect("a sink");
        (self.history.clone(), table(&self.postgres))
    }
}

/// The table, by row.
pub(crate) fn table(postgres: &Postgres) -> BTreeMap<String, u64> {
    let rows = postgres.query("postgres", "SELECT id, n FROM hits");
    let row = |line: &str| {
        let (id, n) = line.split_once('\t').expect("two columns");
        (id.to_owned(), n.parse().expect("a count"))
    };
    rows.lines().map(row).collect()
}
