//! All open connections: what each waits for, and which one goes when there is no room.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use forebay::Clock;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::bounds::{Bounds, LOOK};
use crate::metrics::Closed;

/// The open connections of a server.
#[derive(Debug)]
pub(super) struct Peers {
    pub(super) clock: Clock,
    pub(super) bounds: Bounds,
    /// One permit for each connection.
    slots: Arc<Semaphore>,
    /// One permit for each byte of bodies beyond the free ones.
    pub(super) bodies: Arc<Semaphore>,
    closed: Closed,
    next: AtomicU64,
    /// Held to add, to remove and to look through, never across an await.
    open: Mutex<HashMap<u64, Arc<Peer>>>,
}

/// One connection. Each field stands for itself: readers see a recent state.
#[derive(Debug)]
pub(super) struct Peer {
    /// Microseconds of the clock when bytes last moved, in either direction; while a head comes, when it began. Who sends one
    /// byte after the other does not look busy by it.
    moved: AtomicU64,
    /// When the head of the current request was read.
    began: AtomicU64,
    /// What the connection does: the flags below.
    doing: AtomicU8,
    evicted: Notify,
}

/// A handler is at work on a request.
const ANSWERING: u8 = 1;
/// It waits for more of the body.
const AWAITS_BODY: u8 = 2;
/// The peer does not take what is written.
const BLOCKED: u8 = 4;
/// The answer is written as it comes about.
const STREAMING: u8 = 8;
/// A request was answered, and nothing of the next one has come.
const IDLE: u8 = 16;
/// What comes after the last answer is thrown away.
const LINGERS: u8 = 32;

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// All connections are taken.
    Slot,
    /// Bodies hold all that they may.
    Body,
}

/// How much a connection deserves to go; the greatest goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stalled {
    /// It waits for the next request.
    Idle(Duration),
    /// It is in the middle of something, and the peer does nothing.
    Midway(Duration),
}

impl Stalled {
    fn span(self) -> Duration {
        let (Self::Idle(span) | Self::Midway(span)) = self;
        span
    }
}

impl Peers {
    pub(super) fn new(clock: &Clock, bounds: Bounds, closed: Closed) -> Arc<Self> {
        Arc::new(Self {
            clock: clock.clone(),
            bounds,
            slots: Arc::new(Semaphore::new(bounds.connections)),
            bodies: Arc::new(Semaphore::new(bounds.bodies)),
            closed,
            next: AtomicU64::new(0),
            open: Mutex::default(),
        })
    }

    /// How many connections are open.
    pub(super) fn count(&self) -> usize {
        self.open().len()
    }

    /// Room for one more connection. If there is none, the longest stalled one is closed for it.
    pub(super) async fn slot(&self) -> OwnedSemaphorePermit {
        loop {
            if let Ok(slot) = self.slots.clone().try_acquire_owned() {
                return slot;
            }
            self.evict(Want::Slot);
            let slot = self.slots.clone().acquire_owned();
            if let Some(Ok(slot)) = self.clock.timeout(LOOK.min(self.bounds.patience), slot).await {
                return slot;
            }
        }
    }

    /// A new connection.
    pub(super) fn add(self: &Arc<Self>) -> Member {
        let peer = Arc::new(Peer {
            moved: AtomicU64::new(self.now()),
            began: AtomicU64::new(self.now()),
            doing: AtomicU8::new(0),
            evicted: Notify::new(),
        });
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.open().insert(id, peer.clone());
        Member { peers: self.clone(), peer, id }
    }

    /// Closes the connection on which nothing has moved for longest. One on which this server is at work, or that moves,
    /// stays.
    pub(super) fn evict(&self, want: Want) {
        let now = self.now();
        let open = self.open();
        let stalled = open.values().filter_map(|peer| Some((peer.stalled(now, want)?, peer)));
        let long = stalled.filter(|(stalled, _)| stalled.span() >= self.bounds.patience);
        let Some((stalled, peer)) = long.max_by_key(|(stalled, _)| *stalled) else { return };
        tracing::debug!(?want, ?stalled, "closing a connection to make room");
        match want {
            Want::Slot => self.closed.slots.increment(1),
            Want::Body => self.closed.bodies.increment(1),
        }
        // Not again while it closes.
        peer.moved.store(now, Ordering::Relaxed);
        peer.began.store(now, Ordering::Relaxed);
        peer.evicted.notify_one();
    }

    /// A peer that does not take what is written was given up.
    pub(super) fn gave_up_writing(&self) {
        self.closed.stalled.increment(1);
    }

    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_micros()).unwrap_or(u64::MAX)
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Peer>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer {
    fn stalled(&self, now: u64, want: Want) -> Option<Stalled> {
        let doing = self.doing.load(Ordering::Relaxed);
        let is = |flag| doing & flag != 0;
        let since =
            |moment: &AtomicU64| Duration::from_micros(now.saturating_sub(moment.load(Ordering::Relaxed)));
        let span = since(&self.moved);
        match want {
            // The whole time counts: a body that comes byte by byte holds as much as one that does not come.
            Want::Body => is(AWAITS_BODY).then(|| Stalled::Midway(since(&self.began))),
            Want::Slot if is(BLOCKED | AWAITS_BODY | LINGERS) => Some(Stalled::Midway(span)),
            Want::Slot if is(ANSWERING | STREAMING) => None,
            Want::Slot if is(IDLE) => Some(Stalled::Idle(span)),
            // Nothing was sent yet, or a part of a head.
            Want::Slot => Some(Stalled::Midway(span)),
        }
    }

    fn set(&self, flag: u8, is: bool) {
        if is {
            self.doing.fetch_or(flag, Ordering::Relaxed);
        } else {
            self.doing.fetch_and(!flag, Ordering::Relaxed);
        }
    }
}

/// A connection's place among all. Dropped, it is open no more.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) peers: Arc<Peers>,
    peer: Arc<Peer>,
    id: u64,
}

impl Member {
    /// What the parts of the connection have of it.
    pub(super) fn link(&self) -> Link {
        Link { peers: self.peers.clone(), peer: self.peer.clone() }
    }

    /// Waits until the connection has to go.
    pub(super) async fn evicted(&self) {
        self.peer.evicted.notified().await;
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.peers.open().remove(&self.id);
    }
}

/// A connection as its stream, its requests and its bodies see it.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) peers: Arc<Peers>,
    peer: Arc<Peer>,
}

impl Link {
    /// Bytes came.
    pub(super) fn has_read(&self) {
        if self.peer.doing.load(Ordering::Relaxed) & (ANSWERING | IDLE) != 0 {
            self.moved();
            self.peer.set(IDLE, false);
        }
    }

    /// Bytes went.
    pub(super) fn has_written(&self) {
        self.moved();
        self.peer.set(BLOCKED, false);
    }

    /// The peer takes nothing.
    pub(super) fn is_blocked(&self) {
        self.peer.set(BLOCKED, true);
    }

    /// A request begins.
    pub(super) fn begins(&self) {
        self.peer.began.store(self.peers.now(), Ordering::Relaxed);
        self.peer.set(ANSWERING, true);
    }

    /// Whether a handler waits for more of the body.
    pub(super) fn awaits_body(&self, is: bool) {
        self.peer.set(AWAITS_BODY, is);
    }

    /// The answer comes about while it is written.
    pub(super) fn streams(&self, is: bool) {
        self.peer.set(STREAMING, is);
        self.moved();
    }

    /// A request was answered, as far as the head of the answer.
    pub(super) fn ends(&self) {
        self.moved();
        self.peer.set(IDLE, true);
        self.peer.set(ANSWERING | AWAITS_BODY, false);
    }

    /// What comes from now on is thrown away.
    pub(super) fn lingers(&self) {
        self.peer.set(LINGERS, true);
    }

    /// Whether it does.
    pub(super) fn is_lingering(&self) -> bool {
        self.peer.doing.load(Ordering::Relaxed) & LINGERS != 0
    }

    fn moved(&self) {
        self.peer.moved.store(self.peers.now(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use forebay::{ManualClock, Timestamp, time::secs};

    use super::*;

    fn is_evicted(member: &Member) -> bool {
        use futures::FutureExt;
        member.evicted().now_or_never().is_some()
    }

    #[test]
    fn the_longest_stalled_goes_first_and_who_is_served_stays() {
        let hand = ManualClock::at(Timestamp::UNIX_EPOCH);
        let peers = Peers::new(&Clock::from(hand.clone()), Bounds::default(), Closed::default());
        let mut members = vec![];
        for _ in 0..6 {
            members.push(peers.add());
            hand.advance(secs(1));
        }
        let [served, streaming, idle, blocked, body, fresh] = &members[..] else { panic!("six") };
        served.link().begins();
        streaming.link().begins();
        streaming.link().ends();
        streaming.link().streams(true);
        idle.link().begins();
        idle.link().ends();
        blocked.link().begins();
        blocked.link().ends();
        blocked.link().is_blocked();
        hand.advance(secs(1));
        body.link().begins();
        body.link().awaits_body(true);
        // Nothing came of the last one since it was accepted, a second before the others stalled.
        let mut order = vec![];
        for _ in 0..6 {
            peers.evict(Want::Slot);
            let gone = members.iter().position(is_evicted);
            order.push(gone);
            hand.advance(Duration::from_millis(1));
        }
        let _ = fresh;
        assert_eq!(order, [Some(4), Some(5), Some(3), Some(2), None, None]);
        hand.advance(secs(2));
        peers.evict(Want::Body);
        assert_eq!(members.iter().position(is_evicted), Some(4), "the only one that has a body");
    }

    #[test]
    fn a_head_that_comes_byte_by_byte_is_as_old_as_its_first() {
        let hand = ManualClock::at(Timestamp::UNIX_EPOCH);
        let peers = Peers::new(&Clock::from(hand.clone()), Bounds::default(), Closed::default());
        let [fresh, kept] = [peers.add(), peers.add()];
        kept.link().ends();
        hand.advance(secs(30));
        kept.link().has_read();
        for _ in 0..9 {
            hand.advance(Duration::from_millis(100));
            fresh.link().has_read();
            kept.link().has_read();
        }
        peers.evict(Want::Slot);
        assert!(is_evicted(&fresh));
        peers.evict(Want::Slot);
        assert!(!is_evicted(&kept), "its head began less than a second ago");
        hand.advance(Duration::from_millis(100));
        kept.link().has_read();
        peers.evict(Want::Slot);
        assert!(is_evicted(&kept));
    }

    #[test]
    fn nobody_goes_who_has_just_moved() {
        let hand = ManualClock::at(Timestamp::UNIX_EPOCH);
        let peers = Peers::new(&Clock::from(hand.clone()), Bounds::default(), Closed::default());
        let member = peers.add();
        hand.advance(Duration::from_millis(999));
        peers.evict(Want::Slot);
        assert!(!is_evicted(&member));
        hand.advance(Duration::from_millis(1));
        peers.evict(Want::Slot);
        assert!(is_evicted(&member));
        drop(member);
        assert_eq!(peers.count(), 0);
    }
}
