//! Two processes that write and flush while the primary changes, and the fate of each write.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use forebay::{
    Clock,
    buffer::Flushing,
    time::{days, millis},
};
use forebay_testkit::{eventually, unique_prefix};
use tokio::task::JoinHandle;

use super::{
    books::Books,
    process::{Process, ROWS},
    servers::Pair,
};
use crate::support::total;

/// The fate of the old primary, and of writes that the new one has not received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It stops; the new one has all writes; it follows the new one.
    Resync,
    /// It accepts writes for a while that the new one never receives, and then follows the new one.
    Crash,
    /// It stops; the new one has all writes; later traffic returns to it, and it has none of the writes in between.
    Apart,
}

/// The use of a pair of servers, and the events that it goes through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    /// Clients go to the primary; else each stays with one server.
    pub proxy: bool,
    /// All processes write and flush all the time.
    pub load: bool,
    pub way: Way,
}

/// Two servers, two processes, one database.
pub(crate) struct World {
    setting: Setting,
    pair: Pair,
    prefix: String,
    processes: Vec<Process>,
    books: Books,
    /// The maximum number of acknowledged writes that were lost with a server.
    tail: i64,
    stop: Arc<AtomicBool>,
    load: Vec<JoinHandle<()>>,
    flushers: Vec<Flushing>,
}

impl World {
    pub(crate) async fn start(setting: Setting) -> Self {
        let mut world = Self {
            setting,
            pair: Pair::start(setting.proxy).await,
            prefix: unique_prefix(),
            processes: vec![],
            books: Books::default(),
            tail: 0,
            stop: Arc::default(),
            load: vec![],
            flushers: vec![],
        };
        world.enter(0).await;
        if setting.proxy {
            world.enter(0).await;
        }
        world
    }

    /// Starts another process. Without a proxy it stays with server `at`.
    async fn enter(&mut self, at: usize) {
        let process = Process::open(&self.pair.url(at), &self.prefix, &self.books).await;
        if self.setting.load {
            for start in [0, ROWS / 2] {
                self.load.push(tokio::spawn(load(process.clone(), start, self.stop.clone())));
            }
            self.flushers.push(process.buffer.flush_to(self.books.clone()).every(millis(5)).spawn());
        }
        self.processes.push(process);
    }

    /// The process whose store is server `at`.
    pub(crate) fn at(&self, at: usize) -> &Process {
        &self.processes[if self.setting.proxy { 0 } else { at }]
    }

    /// The writes that the primary acknowledged; where clients stay with a server, those of server `at`.
    fn acknowledged(&self, at: usize) -> i64 {
        let of = |(i, process): (usize, &Process)| {
            if self.setting.proxy || i == at { process.hits.acknowledged() } else { 0 }
        };
        self.processes.iter().enumerate().map(of).sum()
    }

    /// Waits for this many more acknowledged writes at server `at`.
    async fn more(&self, at: usize, writes: i64) {
        let end = self.acknowledged(at) + writes;
        let mut row = 0;
        eventually("writes to be acknowledged", async || {
            if !self.setting.load && self.acknowledged(at) < end {
                row += i64::from(self.at(at).write(row).await);
            }
            self.acknowledged(at) >= end
        })
        .await;
    }

    /// Promotes the replica `to`, and routes the traffic there.
    async fn switch(&mut self, from: usize, to: usize) {
        let crash = self.setting.way == Way::Crash;
        if !crash {
            self.pair.hold(from);
        }
        self.pair.catch_up(to, from).await;
        let before = self.acknowledged(from);
        self.pair.promote(to);
        if crash {
            // The old primary does not know of it and goes on.
            self.more(from, 20).await;
            self.at(from).flush().await;
            self.more(from, 20).await;
        }
        let left = self.leave(from, to, self.setting.way != Way::Apart).await;
        self.pair.let_go(from);
        if crash {
            self.tail += left - before;
        }
    }

    /// Routes the traffic away from a server, and optionally makes it follow the other one. Returns the maximum number of
    /// writes that it has acknowledged.
    async fn leave(&self, from: usize, to: usize, follows: bool) -> i64 {
        self.pair.lead_to(to);
        let mut left = self.acknowledged(from);
        if follows {
            self.pair.follow(from, to).await;
        }
        if !self.setting.proxy {
            left = self.acknowledged(from);
        }
        // Each writer may have one answer that it has not counted yet.
        left + i64::try_from(self.load.len()).expect("few")
    }

    /// A fail-over to server 1, and back.
    pub(crate) async fn round(&mut self) {
        self.more(0, 30).await;
        self.switch(0, 1).await;
        if self.processes.len() == 1 {
            self.enter(1).await;
        }
        self.more(1, 30).await;
        self.at(1).flush().await;
        if self.setting.way == Way::Apart {
            // All is flushed by now. Writes that server 1 accepts until the traffic has left it are lost with it.
            let before = self.acknowledged(1);
            self.at(1).flush().await;
            self.tail += self.leave(1, 0, true).await - before;
            self.more(0, 10).await;
        } else {
            self.switch(1, 0).await;
        }
        self.more(0, 30).await;
        self.at(0).flush().await;
    }

    /// Flushes the rest, and compares the table with the acknowledged writes.
    pub(crate) async fn end(mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for load in self.load.drain(..) {
            load.await.expect("ends");
        }
        self.flushers.clear();
        let last = self.at(0).clone();
        last.flush().await;
        let stats = last.buffer.stats().await.expect("answers");
        let sum = |of: &dyn Fn(&Process) -> i64| self.processes.iter().map(of).sum::<i64>();
        let (acknowledged, unknown) = (sum(&|p| p.hits.acknowledged()), sum(&|p| p.hits.unknown()));
        let table = total(&last.buffer, &self.books.table);
        let parked: i64 = stats.parked.iter().map(|parked| self.books.kept_out(parked.id)).sum();
        let (setting, tail, batches) = (self.setting, self.tail, stats.parked.len());
        let story = format!(
            "{setting:?}: {acknowledged} acknowledged, {unknown} unknown, {table} in the table, {parked} parked in {batches} \
             batches, at most {tail} lost with a server"
        );
        eprintln!("{story}");
        assert!(table + parked <= acknowledged + unknown, "doubled: {story}");
        assert!(table + parked >= acknowledged - tail, "lost: {story}");
        assert_eq!(stats.pending_rows, stats.parked.iter().map(|parked| parked.rows).sum::<u64>(), "{story}");
        assert!(stats.parked.iter().all(|parked| parked.diverged), "{story}: {:?}", stats.parked);
        match (setting.way, setting.load) {
            (Way::Apart, false) => assert!(parked > 0, "somebody is told: {story}"),
            (Way::Apart, true) => {}
            (Way::Resync | Way::Crash, _) => assert_eq!(batches, 0, "nothing diverges: {story}"),
        }
        let counted = last.series.sum("k", days(1)).await.expect("answers");
        let counted = i64::try_from(counted).expect("small");
        let (acknowledged, unknown) = (sum(&|p| p.points.acknowledged()), sum(&|p| p.points.unknown()));
        assert!(
            counted <= acknowledged + unknown,
            "points doubled: {counted} of {acknowledged} and {unknown}"
        );
        if setting.way == Way::Resync {
            assert!(counted >= acknowledged, "points lost: {counted} of {acknowledged}");
        }
    }
}

async fn load(process: Process, mut row: i64, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::SeqCst) {
        row += 1;
        if !process.write(row).await {
            // There is no primary at the moment. The pause avoids a busy loop.
            Clock::system().sleep(millis(1)).await;
        }
    }
}
