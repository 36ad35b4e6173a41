//! The fault suite: callers of a lock meet faults, and a checker that knows nothing of it reads what they have seen.
//!
//! A short form runs with the other tests. `scripts/faults lock` repeats it: `FOREBAY_ROUNDS` rounds of each fault, whose choices
//! `FOREBAY_SEED` repeats.

use std::{
    env, fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use forebay::{
    Clock, Forebay, LockHandle,
    lock::{Attempt, Loss},
    time::{millis, secs},
};
use forebay_testkit::{
    Fault, Hold, LockHistory, Proxy, Random, Redis, RedisCluster, Sentinel, Violation, Wait,
};

use crate::planted::Planted;

/// The ttl of the lock.
pub(crate) const TTL: Duration = millis(400);

/// The longest wait for it.
const WAIT: Duration = millis(900);

/// The slot of the lock in a Redis Cluster.
const SLOT: u16 = 11510;

/// The callers of each of two processes.
const CALLERS: u64 = 3;

/// Each asks so many times.
const TURNS: u64 = 6;

/// Beyond its wait a call may take this long: that of a step that gets no answer, and of a busy machine.
const MARGIN: Duration = secs(8);

/// A lock under test.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    Forebay(LockHandle),
    Planted(Arc<Planted>),
}

/// What happens in the middle of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    None,
    RequestsLost,
    AnswersLost,
    AnswersLate,
    ConnectionsCut,
    Silence,
    ServerStopped,
    ServerKilled,
    KeyDeleted,
    Flushed,
    /// In a Redis Cluster, while the lock is held and while others wait for it.
    SlotMoved,
    /// By Sentinels. What the replica did not have is lost.
    FailedOver,
}

const ALL: [Trouble; 12] = [
    Trouble::None,
    Trouble::RequestsLost,
    Trouble::AnswersLost,
    Trouble::AnswersLate,
    Trouble::ConnectionsCut,
    Trouble::Silence,
    Trouble::ServerStopped,
    Trouble::ServerKilled,
    Trouble::KeyDeleted,
    Trouble::Flushed,
    Trouble::SlotMoved,
    Trouble::FailedOver,
];

impl Trouble {
    /// Makes it happen some times. What the store lost is noted.
    async fn happen(self, on: &Scene, random: &mut Random, history: &mut LockHistory) {
        match &on.store {
            Store::One(server, proxies) => self.happen_to(on, (server, proxies), random, history).await,
            Store::Cluster(cluster) => {
                let nodes = cluster.nodes();
                for turn in 0..4 {
                    on.pause(300, random).await;
                    // With the half of its keys moved it is asked for a while.
                    let pause = millis(random.below(200));
                    let wait = || tokio::runtime::Handle::current().block_on(on.clock.sleep(pause));
                    tokio::task::block_in_place(|| cluster.move_slot(SLOT, &nodes[turn % nodes.len()], wait));
                }
            }
            Store::Sentinel(sentinel) => {
                on.pause(300, random).await;
                let begun = on.clock.monotonic();
                tokio::task::block_in_place(|| sentinel.fail_over());
                history.losses.push(begun..on.clock.monotonic());
            }
        }
    }

    async fn happen_to(
        self,
        on: &Scene,
        (server, proxies): (&Redis, &[Proxy; 2]),
        random: &mut Random,
        history: &mut LockHistory,
    ) {
        for turn in 0..4 {
            on.pause(300, random).await;
            let proxy = &proxies[turn % 2];
            let fault = match self {
                Self::RequestsLost => Some(Fault::DropRequest { after: random.below(4) }),
                Self::AnswersLost => Some(Fault::DropReply { after: random.below(4) }),
                Self::AnswersLate => Some(Fault::Delay(millis(random.below(200)))),
                Self::Silence => Some(Fault::BlackHole),
                _ => None,
            };
            if let Some(fault) = fault {
                proxy.set(fault);
                on.pause(300, random).await;
                proxy.set(Fault::Pass);
            }
            let begun = on.clock.monotonic();
            match self {
                Self::ConnectionsCut => proxy.cut(),
                Self::ServerStopped => {
                    server.pause();
                    on.pause(600, random).await;
                    server.resume();
                }
                Self::ServerKilled => tokio::task::block_in_place(|| server.restart()),
                Self::KeyDeleted => _ = server.command(["DEL", "forebay:lock:{section}"]),
                Self::Flushed => _ = server.command(["FLUSHALL"]),
                _ => {}
            }
            if matches!(self, Self::KeyDeleted | Self::Flushed) {
                history.losses.push(begun..on.clock.monotonic());
            }
        }
    }
}

/// The servers of a round.
enum Store {
    /// With the proxies through which two processes call it.
    One(Redis, [Proxy; 2]),
    Cluster(RedisCluster),
    Sentinel(Sentinel),
}

struct Scene {
    store: Store,
    clock: Clock,
}

impl Scene {
    fn of(trouble: Trouble) -> Self {
        let store = match trouble {
            Trouble::SlotMoved => Store::Cluster(RedisCluster::start()),
            Trouble::FailedOver => Store::Sentinel(Sentinel::start()),
            _ => {
                let server = Redis::builder().append_only().start();
                let proxies = [Proxy::new(server.port()), Proxy::new(server.port())];
                Store::One(server, proxies)
            }
        };
        Self { store, clock: Clock::system() }
    }

    /// The URLs of two processes.
    fn urls(&self) -> [String; 2] {
        match &self.store {
            Store::One(server, proxies) => [0, 1].map(|process| server.url_through(&proxies[process])),
            Store::Cluster(cluster) => [cluster.url(), cluster.url()],
            Store::Sentinel(sentinel) => [sentinel.url(), sentinel.url()],
        }
    }

    async fn pause(&self, most: u64, random: &mut Random) {
        self.clock.sleep(millis(50 + random.below(most))).await;
    }
}

/// One round on a server of its own.
async fn round(trouble: Trouble, seed: u64) -> LockHistory {
    let mut random = Random::new(seed);
    let scene = tokio::task::block_in_place(|| Scene::of(trouble));
    let (mut locks, mut callers, is_over) = (vec![], vec![], Arc::new(AtomicBool::new(false)));
    for url in scene.urls() {
        let bay = Forebay::open(&url).await.expect("it runs");
        locks.push(bay.lock("section").ttl(TTL));
    }
    for (number, lock) in (0..CALLERS).flat_map(|_| &locks).enumerate() {
        let own = Random::new(seed ^ (number as u64 + 1) << 32);
        callers.push(tokio::spawn(call(
            Subject::Forebay(lock.clone()),
            scene.clock.clone(),
            own,
            is_over.clone(),
        )));
    }
    let mut history = LockHistory::default();
    trouble.happen(&scene, &mut random, &mut history).await;
    is_over.store(true, Ordering::Relaxed);
    for caller in callers {
        history.extend(caller.await.expect("no panic"));
    }
    // Nothing that was left behind keeps it for longer than a ttl, or a place in its queue for longer than the store keeps that.
    let asked = scene.clock.monotonic();
    while !matches!(locks[0].acquire_within(secs(30)).await, Ok(Attempt::Acquired(_))) {
        assert!(scene.clock.monotonic() < asked + secs(60), "nobody gets the lock any more");
        scene.pause(100, &mut random).await;
    }
    let ended = scene.clock.monotonic();
    history.waits.push(Wait { asked, ended, most: TTL + MARGIN });
    history
}

fn number(name: &str, usual: u64) -> u64 {
    env::var(name).map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name}: a number: {text:?}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holders_are_alone_and_nobody_is_forgotten_under_faults() {
    let (rounds, seed) = (number("FOREBAY_ROUNDS", 0), number("FOREBAY_SEED", 1));
    // The short form leaves out what takes half a minute.
    let all = if rounds == 0 { &ALL[..ALL.len() - 1] } else { &ALL[..] };
    let mut totals = vec![Total::default(); all.len()];
    for number in 0..rounds.max(1) {
        let seed = seed + number;
        let begun: Vec<_> = all.iter().map(|trouble| tokio::spawn(round(*trouble, seed))).collect();
        for ((trouble, task), total) in all.iter().zip(begun).zip(&mut totals) {
            let history = task.await.expect("no panic");
            assert!(history.holds.len() > 5, "{trouble:?}: nobody got the lock");
            total.add(&history, &format!("{trouble:?}, FOREBAY_SEED={seed}"));
        }
    }
    println!("fault           rounds  holds  calls  two holders  fences not larger  forgotten");
    for (trouble, total) in all.iter().zip(&totals) {
        println!("{:<15} {total}", format!("{trouble:?}"));
    }
    let broken: Vec<&String> = totals.iter().flat_map(|total| &total.broken).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The rounds of a fault, added up.
#[derive(Clone, Debug, Default)]
struct Total {
    rounds: usize,
    holds: usize,
    calls: usize,
    /// Two holders, fences that are not larger, and forgotten calls.
    violations: [usize; 3],
    broken: Vec<String>,
}

impl Total {
    fn add(&mut self, history: &LockHistory, round: &str) {
        self.rounds += 1;
        self.holds += history.holds.len();
        self.calls += history.waits.len();
        for violation in history.violations() {
            let kind = match violation {
                Violation::TwoHolders(..) => 0,
                Violation::Fence(..) => 1,
                Violation::Forgotten(_) => 2,
            };
            self.violations[kind] += 1;
            self.broken.push(format!("{round}: {violation}"));
        }
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, holds, calls, violations: [holders, fences, forgotten], .. } = self;
        write!(f, "{rounds:>6} {holds:>6} {calls:>6} {holders:>12} {fences:>18} {forgotten:>10}")
    }
}

/// A caller that asks for the lock again and again, and what it has seen.
pub(crate) async fn call(
    subject: Subject,
    clock: Clock,
    mut random: Random,
    is_over: Arc<AtomicBool>,
) -> LockHistory {
    let mut history = LockHistory { ttl: TTL, ..LockHistory::default() };
    let mut turns = 0;
    // There are calls behind each fault, when the store is as before.
    while turns < TURNS {
        turns += u64::from(is_over.load(Ordering::Relaxed) || !history.holds.is_empty());
        let asked = clock.monotonic();
        let hold = match &subject {
            Subject::Forebay(lock) => match random.below(4) {
                // Dropped at any of its polls.
                0 => {
                    let within = Duration::from_micros(random.below(4_000));
                    let _ = tokio::time::timeout(within, lock.acquire()).await;
                    None
                }
                1 => lease(lock, &clock, &mut random).await,
                _ => guard(lock, &clock, &mut random).await,
            },
            Subject::Planted(planted) => planted.hold(&clock, &mut random).await,
        };
        let held_for = hold.map_or(Duration::ZERO, |hold| hold.until.saturating_sub(hold.from));
        let ended = clock.monotonic();
        // A caller that stays away after its deadline is no slow lock.
        history.waits.push(Wait { asked, ended, most: WAIT + held_for + 2 * TTL + MARGIN });
        history.holds.extend(hold);
        clock.sleep(millis(random.below(30))).await;
    }
    history
}

/// Holds the lock by a guard, for a while or until it is lost.
async fn guard(lock: &LockHandle, clock: &Clock, random: &mut Random) -> Option<Hold> {
    let asked = clock.monotonic();
    let Ok(Attempt::Acquired(guard)) = lock.acquire_within(WAIT).await else { return None };
    let (from, fence) = (clock.monotonic(), guard.fence());
    let work = from + millis(random.below(150));
    let (mut until, mut deadline) = (from, from);
    loop {
        let now = clock.monotonic();
        let left = guard.remaining();
        if left.is_zero() {
            // After a verdict of the store the holder does not rely on its deadline.
            until = if guard.lost().await == Loss::Expired { deadline } else { until };
            break;
        }
        (until, deadline) = (now, now + left);
        if now >= work {
            let _ = guard.release().await;
            break;
        }
        clock.sleep(millis(2)).await;
    }
    Some(Hold { fence, asked, from, until }).filter(|hold| hold.until > hold.from)
}

/// Holds the lock by a token, for a while, to its deadline, or beyond it like a process that was stopped.
async fn lease(lock: &LockHandle, clock: &Clock, random: &mut Random) -> Option<Hold> {
    let asked = clock.monotonic();
    let Ok(Attempt::Acquired(lease)) = lock.lease_within(WAIT).await else { return None };
    let from = clock.monotonic();
    let deadline = asked + lease.waited + lease.expires_in;
    let until = stay(clock, random, deadline).await;
    let _ = lock.release(lease.token).await;
    Some(Hold { fence: lease.fence, asked, from, until }).filter(|hold| hold.until > hold.from)
}

/// Works under a lock for a while, at most to its deadline, and returns when that ended. A third of the callers come to themselves only
/// later, and release the lock then.
pub(crate) async fn stay(clock: &Clock, random: &mut Random, deadline: Duration) -> Duration {
    let work = clock.monotonic() + millis(random.below(100));
    if random.below(3) > 0 {
        clock.sleep(work.min(deadline).saturating_sub(clock.monotonic())).await;
        return clock.monotonic().min(deadline);
    }
    let late = deadline + millis(random.below(60));
    clock.sleep(late.saturating_sub(clock.monotonic())).await;
    deadline
}
