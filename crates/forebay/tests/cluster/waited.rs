//! With a replica that has acknowledged each write (`WAIT`), a fail-over loses none, and no lock has two holders.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use forebay::{
    Buffer, Clock, Decision, Forebay, Limit,
    buffer::{BufferHandle, Value},
    limit::{LimitHandle, OnError},
    lock::Attempt,
    sink::MemorySink,
    time::{days, millis, secs},
};
use forebay_testkit::{eventually, is_primary, is_replicated};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::shared::{Hold, TTL, in_turn};

/// Writers of rows and takers of a limit.
const WRITERS: usize = 3;

const QUOTA: u64 = 1_000_000;

/// Between two writes of a client.
const PAUSE: Duration = millis(5);

/// Two servers of which one is the primary, and a plain key that is theirs.
#[derive(Clone, Debug)]
pub(crate) struct Shard {
    pub ports: [u16; 2],
    pub key: String,
}

/// What all clients share.
#[derive(Clone)]
struct Clients {
    shards: Arc<[Shard]>,
    stop: Arc<AtomicBool>,
    /// How many writes a replica has.
    confirmed: Arc<AtomicU64>,
}

/// Clients that count a write only when it was acknowledged by a replica.
pub(crate) struct Waited {
    clients: Clients,
    limit: LimitHandle,
    buffer: BufferHandle,
    writers: Vec<JoinHandle<Vec<usize>>>,
    holders: Vec<[JoinHandle<Vec<Hold>>; 2]>,
}

impl Waited {
    pub(crate) async fn start(prefix: &str, url: &str, shards: Vec<Shard>) -> Self {
        let open = async || Forebay::options().prefix(prefix).open(url).await.expect("opens");
        let bays = [open().await, open().await];
        let clients = Clients { shards: shards.into(), stop: Arc::default(), confirmed: Arc::default() };
        let limit = Limit::new("waited", QUOTA, days(366)).on_error(OnError::Closed).deadline(secs(1));
        let limit = bays[0].limit(limit).expect("valid");
        let buffer = bays[0].buffer(Buffer::new("waited").key("id").sum("n")).expect("valid");
        let writer = |number| {
            let (limit, buffer) = (limit.clone(), buffer.clone());
            tokio::spawn(write(number, limit, buffer, clients.clone()))
        };
        let writers = (0..WRITERS).map(writer).collect();
        let holders = (0..clients.shards.len()).map(|number| {
            let name = format!("waited-{number}");
            bays.each_ref().map(|bay| tokio::spawn(hold(bay.clone(), name.clone(), clients.clone())))
        });
        let holders = holders.collect();
        Self { clients, limit, buffer, writers, holders }
    }

    /// Waits until replicas have some more writes of all kinds.
    pub(crate) async fn more(&self) {
        let end = self.clients.confirmed.load(Ordering::Relaxed) + 50;
        eventually("writes to be replicated", async || self.clients.confirmed.load(Ordering::Relaxed) >= end)
            .await;
    }

    /// Stops, and checks that nothing was lost and no lock was held twice.
    pub(crate) async fn check(self) {
        self.clients.stop.store(true, Ordering::Relaxed);
        let mut confirmed = vec![];
        for writer in self.writers {
            confirmed.push(writer.await.expect("it ends"));
        }
        let sink = MemorySink::new();
        let _ = self.buffer.flush_to(sink.clone());
        eventually("all to be flushed", async || self.buffer.flush().await.is_ok()).await;
        let rows = sink.rows(self.buffer.schema());
        let times = |id: &str| -> i64 {
            let of = |row: &forebay::buffer::Row| match row.cells[0] {
                Some(Value::Integer(n)) if row.key.values(self.buffer.schema()).ok()? == [id.into()] => {
                    Some(n)
                }
                _ => None,
            };
            rows.iter().filter_map(of).sum()
        };
        let mut count = 0;
        for (writer, numbers) in confirmed.iter().enumerate() {
            count += numbers.len();
            let wrong: Vec<_> =
                numbers.iter().filter(|number| times(&format!("{writer}-{number}")) != 1).collect();
            assert!(wrong.is_empty(), "writer {writer}: lost or doubled: {wrong:?}");
            let key = writer.to_string();
            let mut used = None;
            eventually("the limit to answer", async || {
                used = self.limit.peek(&key).await.ok().map(|peeked| peeked.used());
                used.is_some()
            })
            .await;
            assert!(used >= Some(numbers.len() as u64), "{used:?} used, {} taken", numbers.len());
        }
        let mut holds = 0;
        for holders in self.holders {
            let all = in_turn(holders).await;
            holds += all.len();
            for pair in all.windows(2) {
                assert!(pair[0].until <= pair[1].from, "two holders: {pair:?}");
            }
        }
        println!("with WAIT: {count} rows and takes, none lost; {holds} holders, one at a time");
        assert!(count > 10 && holds > 10, "{count} writes, {holds} holders");
    }
}

impl Clients {
    /// Runs a write, and says whether a replica has it. `None`: there was no answer, or no primary before.
    async fn waited<T>(&self, write: impl Future<Output = Option<T>>) -> Option<(T, bool)> {
        // The server that takes the write is one that is a primary now, or the question afterwards fails: one that was killed or
        // replaced meanwhile takes no write any more.
        let shards = self.shards.clone();
        let primaries = blocking(move || {
            let of = |shard: &Shard| shard.ports.into_iter().filter(|port| is_primary(*port)).collect();
            shards.iter().map(of).collect::<Vec<Vec<u16>>>()
        })
        .await;
        if primaries.iter().any(Vec::is_empty) {
            return None;
        }
        let answer = write.await?;
        // A row or lock may be on any shard.
        let shards = self.shards.clone();
        let has_all = blocking(move || {
            let mut each = shards.iter().zip(&primaries);
            each.all(|(shard, ports)| ports.iter().all(|port| is_replicated(*port, &shard.key)))
        })
        .await;
        self.confirmed.fetch_add(u64::from(has_all), Ordering::Relaxed);
        Some((answer, has_all))
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    spawn_blocking(work).await.expect("it ends")
}

/// Takes and adds one to a row of its own, again and again. Answers the numbers of the rows that a replica has.
async fn write(writer: usize, limit: LimitHandle, buffer: BufferHandle, clients: Clients) -> Vec<usize> {
    let (clock, key) = (Clock::system(), writer.to_string());
    let mut confirmed = vec![];
    let mut number = 0;
    while clients.goes_on() {
        let both = async {
            let taken = limit.take(&key).await.expect("a policy decides");
            buffer.row(format!("{writer}-{number}")).add("n", 1).await.ok()?;
            matches!(taken, Decision::Allow { degraded: false, .. }).then_some(())
        };
        if let Some(((), true)) = clients.waited(both).await {
            confirmed.push(number);
        }
        number += 1;
        clock.sleep(PAUSE).await;
    }
    confirmed
}

/// Acquires a lock, and holds it for a moment if a replica has that, again and again.
async fn hold(bay: Forebay, name: String, clients: Clients) -> Vec<Hold> {
    let (lock, clock) = (bay.lock(&name).ttl(TTL), Clock::system());
    let mut holds = vec![];
    while clients.goes_on() {
        let acquire = async { lock.acquire_within(secs(1)).await.ok().and_then(Attempt::acquired) };
        if let Some((guard, has_it)) = clients.waited(acquire).await {
            let from = clock.monotonic();
            clock.sleep(PAUSE).await;
            if has_it && guard.is_held() {
                holds.push(Hold { fence: guard.fence(), from, until: clock.monotonic() });
            }
            let _ = guard.release().await;
        }
        clock.sleep(PAUSE).await;
    }
    holds
}
