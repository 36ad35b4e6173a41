//! Limits and locks that several clients share while primaries are replaced.

use std::{
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
use forebay_testkit::RedisCluster;
use tokio::task::JoinHandle;

const QUOTA: u64 = 1_000_000;

const TTL: Duration = secs(3);

/// A client's hold of a lock.
#[derive(Clone, Copy, Debug)]
struct Hold {
    fence: u64,
    from: Duration,
    until: Duration,
}

/// A limit of each primary, which one client takes from, and a lock of each, which two clients hold in turn.
pub(crate) struct Shared {
    stop: Arc<AtomicBool>,
    takers: Vec<JoinHandle<Vec<u64>>>,
    holders: Vec<[JoinHandle<Vec<Hold>>; 2]>,
}

impl Shared {
    pub(crate) async fn start(prefix: &str, cluster: &RedisCluster) -> Self {
        let open = async || Forebay::options().prefix(prefix).open(&cluster.url()).await.expect("opens");
        let bays = [open().await, open().await];
        let stop = Arc::new(AtomicBool::new(false));
        let (mut takers, mut holders) = (vec![], vec![]);
        for node in cluster.nodes() {
            let on = |host: &str| host.ends_with(&format!(":{}", node.port()));
            let names = || (0..).map(|number| format!("shared-{number}"));
            let is_taken = |key: &String| on(&bays[0].cluster().route_limit(key).host);
            let key = names().find(is_taken).expect("endless");
            let name = names().find(|name| on(&bays[0].cluster().route_lock(name).host)).expect("endless");
            takers.push(tokio::spawn(take(bays[0].clone(), key, stop.clone())));
            let hold = |bay: &Forebay| tokio::spawn(hold(bay.clone(), name.clone(), stop.clone()));
            holders.push([hold(&bays[0]), hold(&bays[1])]);
        }
        Self { stop, takers, holders }
    }

    /// Stops, and checks what was admitted and held.
    pub(crate) async fn check(self, rounds: usize) {
        self.stop.store(true, Ordering::Relaxed);
        let most = rounds.div_ceil(3);
        let (mut admitted, mut forgotten) = (0, 0);
        for taker in self.takers {
            let used = taker.await.expect("it ends");
            let falls: Vec<u64> =
                used.windows(2).filter(|pair| pair[1] <= pair[0]).map(|pair| pair[0] + 1 - pair[1]).collect();
            assert!(falls.len() <= most, "charges are lost in a switch only: {falls:?} in {most}");
            let lost: u64 = falls.iter().sum();
            let last = used.last().copied().unwrap_or(0);
            assert!(used.len() as u64 <= last + lost, "{} admitted, {last} used, {lost} lost", used.len());
            admitted += used.len();
            forgotten += lost;
        }
        let (mut holds, mut overlaps) = (0, vec![]);
        for [one, two] in self.holders {
            let mut all = one.await.expect("it ends");
            all.extend(two.await.expect("it ends"));
            all.sort_by_key(|hold| hold.from);
            holds += all.len();
            let mut own = 0;
            for pair in all.windows(2) {
                assert!(pair[1].fence > pair[0].fence, "fences rise: {pair:?}");
                let overlap = pair[0].until.saturating_sub(pair[1].from);
                assert!(overlap <= TTL, "{overlap:?}: {pair:?}");
                if !overlap.is_zero() {
                    own += 1;
                    overlaps.push(overlap);
                }
            }
            assert!(own <= most, "two holders in {own} of {most} switches");
        }
        println!(
            "{admitted} takes admitted, {forgotten} charges lost; {holds} holders, overlaps: {overlaps:?}"
        );
        assert!(admitted > 100 && holds > 20, "{admitted} takes, {holds} holders");
    }
}

/// Takes again and again. Answers how much was used after each take that the store admitted.
async fn take(bay: Forebay, key: String, stop: Arc<AtomicBool>) -> Vec<u64> {
    let limit = Limit::new("shared", QUOTA, days(366)).on_error(OnError::Closed).deadline(secs(1));
    let (limit, clock) = (bay.limit(limit).expect("valid"), Clock::system());
    let mut used = vec![];
    while !stop.load(Ordering::Relaxed) {
        match limit.take(&key).await.expect("a policy decides") {
            Decision::Allow { degraded: true, .. } | Decision::Deny { degraded: true, .. } => {}
            Decision::Allow { remaining, .. } => used.push(QUOTA - remaining),
            denied @ Decision::Deny { .. } => panic!("much is left: {denied:?}"),
        }
        clock.sleep(millis(2)).await;
    }
    used
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
