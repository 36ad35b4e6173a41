//! What several clients share while primaries are replaced: limits, locks, and what may be missing afterwards.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use forebay::{
    Clock, Decision, Forebay, Limit,
    limit::OnError,
    lock::Attempt,
    time::{days, millis, secs},
};
use tokio::task::JoinHandle;

const QUOTA: u64 = 1_000_000;

pub(crate) const TTL: Duration = secs(3);

/// The time in which a primary was killed or stopped, on the clock of this process. What it answered, it answered before the end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Switch {
    pub begin: Duration,
    pub end: Duration,
}

impl Switch {
    /// Whether something that was begun before can be gone, and something that was answered after is there.
    fn is_between(&self, gone_begun: Duration, next_answered: Option<Duration>) -> bool {
        gone_begun <= self.end && next_answered.is_none_or(|next| next >= self.begin)
    }
}

/// A write, and its times on the clock of this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Write {
    pub acknowledged: bool,
    pub begun: Duration,
    pub answered: Duration,
}

impl Write {
    /// Carries out a write.
    pub(crate) async fn of<T, E>(write: impl IntoFuture<Output = Result<T, E>>) -> (Self, Result<T, E>) {
        let clock = Clock::system();
        let begun = clock.monotonic();
        let answer = write.await;
        (Self { acknowledged: answer.is_ok(), begun, answered: clock.monotonic() }, answer)
    }
}

/// Checks writes of one client to one place, each with how often it was applied. None is there twice. Those that are missing
/// were the last that were acknowledged before a switch, in one run for each: a replica has the beginning of what its primary did.
/// Returns how many are missing.
pub(crate) fn check_lost(what: &str, writes: &[(Write, i64)], switches: &[Switch]) -> usize {
    assert!(writes.iter().all(|(_, times)| *times <= 1), "{what}: applied more than once: {writes:?}");
    let acknowledged: Vec<_> = writes.iter().filter(|(write, _)| write.acknowledged).collect();
    let (mut lost, mut place, mut left) = (0, 0, switches.iter());
    for run in acknowledged.chunk_by(|one, next| one.1 == next.1) {
        place += run.len();
        let [.., (last, 0)] = run else { continue };
        let next = acknowledged.get(place).map(|(write, _)| write.answered);
        let at_a_switch = left.any(|switch| switch.is_between(last.begun, next));
        assert!(at_a_switch, "{what}: {run:?} are gone, {next:?} is there: {switches:?}");
        lost += run.len();
    }
    lost
}

/// A client's hold of a lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hold {
    pub fence: u64,
    pub from: Duration,
    pub until: Duration,
}

/// A limit of each primary, which one client takes from, and a lock of each, which two clients hold in turn.
pub(crate) struct Shared {
    stop: Arc<AtomicBool>,
    takers: Vec<JoinHandle<Vec<Taken>>>,
    holders: Vec<[JoinHandle<Vec<Hold>>; 2]>,
}

/// A take that the store admitted: when it was begun and answered, and how much was used after it.
#[derive(Clone, Copy, Debug)]
struct Taken {
    begun: Duration,
    answered: Duration,
    used: u64,
}

impl Shared {
    pub(crate) async fn start(prefix: &str, url: &str) -> Self {
        let open = async || Forebay::options().prefix(prefix).open(url).await.expect("opens");
        let bays = [open().await, open().await];
        let stop = Arc::new(AtomicBool::new(false));
        let cluster = bays[0].cluster();
        let hosts = cluster.hosts().len();
        let take = |key| tokio::spawn(take(bays[0].clone(), key, stop.clone()));
        let takers = one_for_each(hosts, |key| cluster.route_limit(key).host.to_string()).map(take).collect();
        let hold = |name: String| {
            bays.each_ref().map(|bay| tokio::spawn(hold(bay.clone(), name.clone(), stop.clone())))
        };
        let holders =
            one_for_each(hosts, |name| cluster.route_lock(name).host.to_string()).map(hold).collect();
        Self { stop, takers, holders }
    }

    /// Stops, and checks what was admitted and held.
    pub(crate) async fn check(self, switches: &[Switch]) {
        self.stop.store(true, Ordering::Relaxed);
        let (mut admitted, mut forgotten) = (0, 0);
        for taker in self.takers {
            let taken = taker.await.expect("it ends");
            let mut lost = 0;
            let mut left = switches.iter();
            for pair in taken.windows(2).filter(|pair| pair[1].used <= pair[0].used) {
                let at_a_switch = left.any(|switch| switch.is_between(pair[0].begun, Some(pair[1].answered)));
                assert!(at_a_switch, "charges are lost in a switch only: {pair:?}, {switches:?}");
                lost += pair[0].used + 1 - pair[1].used;
            }
            let last = taken.last().map_or(0, |taken| taken.used);
            let count = taken.len() as u64;
            assert!(count <= last + lost, "{count} admitted, {last} used, {lost} lost");
            admitted += count;
            forgotten += lost;
        }
        let (mut holds, mut overlaps) = (0, vec![]);
        for holders in self.holders {
            let all = in_turn(holders).await;
            holds += all.len();
            let mut left = switches.iter();
            for pair in all.windows(2) {
                let overlap = pair[0].until.saturating_sub(pair[1].from);
                if overlap.is_zero() {
                    continue;
                }
                assert!(overlap <= TTL, "{overlap:?}: {pair:?}");
                // The first acquire was answered, and lost.
                let at_a_switch = left.any(|switch| switch.is_between(pair[0].from, Some(pair[1].from)));
                assert!(at_a_switch, "two holders in a switch only: {pair:?}, {switches:?}");
                overlaps.push(overlap);
            }
        }
        println!(
            "{admitted} takes admitted, {forgotten} charges lost; {holds} holders, overlaps: {overlaps:?}"
        );
        assert!(admitted > 100 && holds > 20, "{admitted} takes, {holds} holders");
    }
}

/// A name for each host.
fn one_for_each(hosts: usize, host_of: impl Fn(&str) -> String) -> impl Iterator<Item = String> {
    let mut found = BTreeMap::new();
    let mut names = (0..).map(|number| format!("shared-{number}"));
    while found.len() < hosts {
        let name = names.next().expect("endless");
        found.entry(host_of(&name)).or_insert(name);
    }
    found.into_values()
}

/// The holds of two clients in their order; their fences rise.
pub(crate) async fn in_turn([one, two]: [JoinHandle<Vec<Hold>>; 2]) -> Vec<Hold> {
    let mut all = one.await.expect("it ends");
    all.extend(two.await.expect("it ends"));
    all.sort_by_key(|hold| hold.from);
    for pair in all.windows(2) {
        assert!(pair[1].fence > pair[0].fence, "fences rise: {pair:?}");
    }
    all
}

/// Takes again and again.
async fn take(bay: Forebay, key: String, stop: Arc<AtomicBool>) -> Vec<Taken> {
    let limit = Limit::new("shared", QUOTA, days(366)).on_error(OnError::Closed).deadline(secs(1));
    let (limit, clock) = (bay.limit(limit).expect("valid"), Clock::system());
    let mut taken = vec![];
    while !stop.load(Ordering::Relaxed) {
        let (write, decision) = Write::of(limit.take(&key)).await;
        match decision.expect("a policy decides") {
            Decision::Allow { degraded: true, .. } | Decision::Deny { degraded: true, .. } => {}
            Decision::Allow { remaining, .. } => {
                let Write { begun, answered, .. } = write;
                taken.push(Taken { begun, answered, used: QUOTA - remaining });
            }
            denied @ Decision::Deny { .. } => panic!("much is left: {denied:?}"),
        }
        clock.sleep(millis(2)).await;
    }
    taken
}

/// Acquires a lock, holds it for a moment, and releases it, again and again.
async fn hold(bay: Forebay, name: String, stop: Arc<AtomicBool>) -> Vec<Hold> {
    let (lock, clock) = (bay.lock(&name).ttl(TTL), Clock::system());
    let mut holds = vec![];
    while !stop.load(Ordering::Relaxed) {
        if let Ok(Attempt::Acquired(guard)) = lock.acquire_within(secs(1)).await {
            let from = clock.monotonic();
            clock.sleep(millis(5)).await;
            if guard.is_held() {
                holds.push(Hold { fence: guard.fence(), from, until: clock.monotonic() });
            }
            let _ = guard.release().await;
        }
        clock.sleep(millis(5)).await;
    }
    holds
}

#[test]
fn what_is_gone_was_acknowledged_last_before_a_switch() {
    let switch = Switch { begin: millis(50), end: millis(60) };
    // Each takes a millisecond; as many as were applied, by their number.
    let lost = |there: &[i64], switches: &[Switch]| {
        let at = |number: usize| millis(10 * u64::try_from(number).expect("few"));
        let write =
            |number| Write { acknowledged: number != 1, begun: at(number), answered: at(number) + millis(1) };
        let writes: Vec<_> =
            there.iter().enumerate().map(|(number, times)| (write(number), *times)).collect();
        std::panic::catch_unwind(|| check_lost("w", &writes, switches)).ok()
    };
    assert_eq!(lost(&[1, 0, 1, 1, 1, 1, 1, 1], &[]), Some(0), "number 1 was not acknowledged");
    assert_eq!(lost(&[1, 1, 1, 0, 0, 1, 1, 1], &[switch]), Some(2));
    assert_eq!(lost(&[1, 1, 1, 0, 0, 1, 1, 1], &[]), None, "there was no switch");
    assert_eq!(lost(&[1, 1, 0, 1, 1, 1, 1, 1], &[switch]), None, "a later one is there");
    assert_eq!(lost(&[1, 1, 1, 1, 1, 1, 1, 0], &[switch]), None, "it was begun afterwards");
    assert_eq!(lost(&[1, 1, 1, 0, 1, 0, 1, 1], &[switch]), None, "two runs in a switch");
    assert_eq!(lost(&[1, 1, 2, 1, 1, 1, 1, 1], &[switch]), None, "applied twice");
}
