//! Redis, a database, proxies in front of both, and processes that write and flush.

use std::collections::BTreeMap;

use forebay::{
    Clock,
    time::{millis, mins},
};
use forebay_testkit::{Fault, Proxy, Random, Redis, eventually};

use crate::{
    database::{Database, Kind},
    history::History,
    process::{Process, open},
};

/// The number of writes of each process between two faults.
const WRITES: usize = 40;

const PROCESSES: usize = 3;

pub(crate) struct World {
    redis: Redis,
    to_redis: Proxy,
    kind: Kind,
    database: Database,
    logs: tempfile::TempDir,
    processes: Vec<Process>,
    /// The events of the processes that were killed.
    history: History,
    started: usize,
    random: Random,
}

impl World {
    pub(crate) fn start(kind: Kind, seed: u64) -> Self {
        let redis = Redis::builder().append_only().start();
        let to_redis = Proxy::new(redis.port());
        let logs = tempfile::tempdir().expect("a temporary directory");
        let (database, history) = (Database::start(kind), History::default());
        let processes = vec![];
        let mut world = Self {
            redis,
            to_redis,
            kind,
            database,
            logs,
            processes,
            history,
            started: 0,
            random: Random::new(seed),
        };
        (0..PROCESSES).for_each(|_| world.add_process());
        world
    }

    fn add_process(&mut self) {
        self.started += 1;
        let (store, database) = (self.redis.url_through(&self.to_redis), self.database.url());
        self.processes.push(Process::start(self.started, self.logs.path(), &store, self.kind, &database));
    }

    /// Ends the oldest process.
    fn kill_process(&mut self) {
        let mut process = self.processes.remove(0);
        process.kill();
        self.history.extend(process.log());
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    fn left(&self) -> usize {
        self.processes.iter().map(Process::left).sum()
    }

    /// Lets all processes write, injects a fault meanwhile, and ends the fault.
    pub(crate) async fn fault(&mut self) {
        self.processes.iter_mut().for_each(|process| process.permit(WRITES));
        let at = usize::try_from(self.below((PROCESSES * WRITES) as u64)).expect("small");
        eventually("some writes", async || self.left() <= at).await;
        let (after, to_redis) = (self.below(12), self.below(2) == 0);
        let for_a_while = async || Clock::system().sleep(millis(30)).await;
        let proxy = self.database.proxy().filter(|_| !to_redis).unwrap_or(&self.to_redis);
        let server = self.database.server();
        match after % 9 {
            0 => self.redis.kill(),
            1 => server.iter().for_each(|server| server.kill()),
            2 => proxy.cut(),
            3 | 4 => proxy.set(Fault::DropReply { after }),
            5 => proxy.set(Fault::DropRequest { after }),
            6 => proxy.set(Fault::Delay(millis(10))),
            7 => proxy.set(Fault::BlackHole),
            _ => {}
        }
        for_a_while().await;
        match after % 9 {
            0 => self.redis.restart(),
            1 if server.is_some() => server.iter().for_each(|server| server.restart()),
            6 | 7 => proxy.set(Fault::Pass),
            1 | 8 => {
                self.kill_process();
                self.add_process();
            }
            _ => {}
        }
        eventually("all writes to be sent", async || self.left() == 0).await;
    }

    /// Ends all processes, flushes the rest with another one, and reads the table.
    pub(crate) async fn end(mut self) -> (History, BTreeMap<String, u64>) {
        while !self.processes.is_empty() {
            self.kill_process();
        }
        self.database.proxy().iter().chain([&&self.to_redis]).for_each(|proxy| proxy.set(Fault::Pass));
        let buffer = open(&self.redis.url_through(&self.to_redis)).await;
        let flusher = self.kind.flusher(&buffer, &self.database.url()).await;
        let _by_hand = flusher.prepare().await.expect("a table");
        let drained = Clock::system().timeout(mins(2), buffer.drain()).await;
        drained.expect("within two minutes").expect("a sink");
        (self.history, self.database.table().await)
    }
}
