//! The open connections: the state of each, and which one is closed when there is no room.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use forebay::Clock;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::bounds::{Bounds, EVICT_INTERVAL};
use crate::metrics::Closed;

/// A timer of a connection.
pub(super) type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The open connections of a server.
#[derive(Debug)]
pub(super) struct Connections {
    pub(super) clock: Clock,
    pub(super) bounds: Bounds,
    /// One permit for each connection.
    slots: Arc<Semaphore>,
    /// One permit for each byte of bodies beyond the free ones.
    pub(super) bodies: Arc<Semaphore>,
    closed: Closed,
    next: AtomicU64,
    /// The open connections by number. It is never locked across an await.
    open: Mutex<HashMap<u64, Arc<ConnectionState>>>,
}

/// The state of a connection. The fields are independent: readers see a recent value of each.
#[derive(Debug)]
pub(super) struct ConnectionState {
    /// The time at which bytes last moved in either direction, in microseconds of the clock. While a head arrives, it is the
    /// time at which the head began, so that a peer that sends single bytes does not look active.
    last_activity: AtomicU64,
    /// The time at which the head of the current request was read.
    began: AtomicU64,
    /// The flags below.
    flags: AtomicU8,
    evicted: Notify,
}

/// A handler works on a request.
const ANSWERING: u8 = 1;
/// The handler waits for more of the body.
const AWAITS_BODY: u8 = 2;
/// The peer does not read the response.
const BLOCKED: u8 = 4;
/// The response is a stream.
const STREAMING: u8 = 8;
/// A request was answered, and the next one has not begun.
const IDLE: u8 = 16;
/// Bytes after the last response are discarded.
const LINGERING: u8 = 32;

/// A resource that has run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    /// All connections are in use.
    Slots,
    /// Bodies use all the memory that they may.
    Bodies,
}

/// The duration of a connection's stall. The greatest is closed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stalled {
    /// It is in the middle of a request or a response, and the peer does nothing. Otherwise it waits for the next request.
    is_midway: bool,
    span: Duration,
}

impl Connections {
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

    /// The number of open connections.
    pub(super) fn count(&self) -> usize {
        self.open.lock().len()
    }

    /// Waits for room for one more connection. If there is none, closes the longest stalled one.
    pub(super) async fn slot(&self) -> OwnedSemaphorePermit {
        loop {
            if let Ok(slot) = self.slots.clone().try_acquire_owned() {
                return slot;
            }
            self.evict(Resource::Slots);
            let slot = self.slots.clone().acquire_owned();
            if let Some(Ok(slot)) = self.clock.timeout(EVICT_INTERVAL.min(self.bounds.patience), slot).await {
                return slot;
            }
        }
    }

    /// Registers a new connection.
    pub(super) fn add(self: &Arc<Self>) -> Registration {
        let state = Arc::new(ConnectionState {
            last_activity: AtomicU64::new(self.now()),
            began: AtomicU64::new(self.now()),
            flags: AtomicU8::new(0),
            evicted: Notify::new(),
        });
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.open.lock().insert(id, state.clone());
        Registration { tracker: Tracker { connections: self.clone(), state }, id }
    }

    /// Closes the connection that has been stalled for longest. A connection on which this server works, or bytes move, stays.
    pub(super) fn evict(&self, resource: Resource) {
        let now = self.now();
        let open = self.open.lock();
        let stalled = open.values().filter_map(|state| Some((state.stalled(now, resource)?, state)));
        let long = stalled.filter(|(stalled, _)| stalled.span >= self.bounds.patience);
        let Some((stalled, state)) = long.max_by_key(|(stalled, _)| *stalled) else { return };
        tracing::debug!(?resource, ?stalled, "closing a connection to make room");
        match resource {
            Resource::Slots => self.closed.slots.increment(1),
            Resource::Bodies => self.closed.bodies.increment(1),
        }
        // It must not be chosen again while it closes.
        state.last_activity.store(now, Ordering::Relaxed);
        state.began.store(now, Ordering::Relaxed);
        state.evicted.notify_one();
    }

    /// A timer by the clock of this server.
    pub(super) fn sleep(&self, span: Duration) -> Sleep {
        let clock = self.clock.clone();
        Box::pin(async move { clock.sleep(span).await })
    }

    /// Counts a connection that was closed because its peer did not read.
    pub(super) fn count_stalled(&self) {
        self.closed.stalled.increment(1);
    }

    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_micros()).unwrap_or(u64::MAX)
    }
}

impl ConnectionState {
    fn stalled(&self, now: u64, resource: Resource) -> Option<Stalled> {
        let flags = self.flags.load(Ordering::Relaxed);
        let is = |flag| flags & flag != 0;
        let since =
            |moment: &AtomicU64| Duration::from_micros(now.saturating_sub(moment.load(Ordering::Relaxed)));
        let span = since(&self.last_activity);
        match resource {
            // The whole time counts: a body that arrives byte by byte holds as much memory as one that does not arrive.
            Resource::Bodies => {
                is(AWAITS_BODY).then(|| Stalled { is_midway: true, span: since(&self.began) })
            }
            Resource::Slots if is(BLOCKED | AWAITS_BODY | LINGERING) => {
                Some(Stalled { is_midway: true, span })
            }
            Resource::Slots if is(ANSWERING | STREAMING) => None,
            // If it is not idle, the peer has sent nothing yet, or a part of a head.
            Resource::Slots => Some(Stalled { is_midway: !is(IDLE), span }),
        }
    }

    fn set(&self, flag: u8, is: bool) {
        if is {
            self.flags.fetch_or(flag, Ordering::Relaxed);
        } else {
            self.flags.fetch_and(!flag, Ordering::Relaxed);
        }
    }
}

/// The registration of a connection, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Registration {
    /// The tracker for the parts of the connection.
    pub(super) tracker: Tracker,
    id: u64,
}

impl Registration {
    /// Waits until the connection has to be closed.
    pub(super) async fn evicted(&self) {
        self.tracker.state.evicted.notified().await;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.tracker.connections.open.lock().remove(&self.id);
    }
}

/// Tracks a connection's activity, for its stream, its requests and its bodies.
#[derive(Clone, Debug)]
pub(super) struct Tracker {
    pub(super) connections: Arc<Connections>,
    state: Arc<ConnectionState>,
}

impl Tracker {
    /// Records that bytes were read.
    pub(super) fn on_read(&self) {
        if self.state.flags.load(Ordering::Relaxed) & (ANSWERING | IDLE) != 0 {
            self.touch();
            self.state.set(IDLE, false);
        }
    }

    /// Records that bytes were written.
    pub(super) fn on_write(&self) {
        self.touch();
        self.state.set(BLOCKED, false);
    }

    /// Records that the peer does not read.
    pub(super) fn on_blocked(&self) {
        self.state.set(BLOCKED, true);
    }

    /// Records the begin of a request.
    pub(super) fn request_began(&self) {
        self.state.began.store(self.connections.now(), Ordering::Relaxed);
        self.state.set(ANSWERING, true);
    }

    /// Sets whether a handler waits for more of the body.
    pub(super) fn set_awaits_body(&self, is: bool) {
        self.state.set(AWAITS_BODY, is);
    }

    /// Sets whether the response is a stream.
    pub(super) fn set_streaming(&self, is: bool) {
        self.state.set(STREAMING, is);
        self.touch();
    }

    /// Records the head of a response.
    pub(super) fn request_ended(&self) {
        self.touch();
        self.state.set(IDLE, true);
        self.state.set(ANSWERING | AWAITS_BODY, false);
    }

    /// Records that the bytes from now on are discarded.
    pub(super) fn set_lingering(&self) {
        self.state.set(LINGERING, true);
    }

    /// Returns whether bytes are discarded.
    pub(super) fn is_lingering(&self) -> bool {
        self.state.flags.load(Ordering::Relaxed) & LINGERING != 0
    }

    fn touch(&self) {
        self.state.last_activity.store(self.connections.now(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use forebay::{ManualClock, Timestamp, time::secs};

    use super::*;

    fn is_evicted(registration: &Registration) -> bool {
        use futures::FutureExt;
        registration.evicted().now_or_never().is_some()
    }

    #[test]
    fn the_longest_stalled_connection_is_closed_first_and_active_ones_stay() {
        let hand = ManualClock::at(Timestamp::UNIX_EPOCH);
        let connections = Connections::new(&Clock::from(hand.clone()), Bounds::default(), Closed::default());
        let mut registrations = vec![];
        for _ in 0..6 {
            registrations.push(connections.add());
            hand.advance(secs(1));
        }
        let [served, streaming, idle, blocked, body, fresh] = &registrations[..] else { panic!("six") };
        served.tracker.request_began();
        streaming.tracker.request_began();
        streaming.tracker.request_ended();
        streaming.tracker.set_streaming(true);
        idle.tracker.request_began();
        idle.tracker.request_ended();
        blocked.tracker.request_began();
        blocked.tracker.request_ended();
        blocked.tracker.on_blocked();
        hand.advance(secs(1));
        body.tracker.request_began();
        body.tracker.set_awaits_body(true);
        // The last one has sent nothing since it was accepted, a second before the others stalled.
        let mut order = vec![];
        for _ in 0..6 {
            connections.evict(Resource::Slots);
            let gone = registrations.iter().position(is_evicted);
            order.push(gone);
            hand.advance(Duration::from_millis(1));
        }
        let _ = fresh;
        assert_eq!(order, [Some(4), Some(5), Some(3), Some(2), None, None]);
        hand.advance(secs(2));
        connections.evict(Resource::Bodies);
        assert_eq!(registrations.iter().position(is_evicted), Some(4), "the only one that has a body");
    }

    #[test]
    fn a_head_that_comes_byte_by_byte_is_as_old_as_its_first() {
        let hand = ManualClock::at(Timestamp::UNIX_EPOCH);
        let connections = Connections::new(&Clock::from(hand.clone()), Bounds::default(), Closed::default());
        let [fresh, kept] = [connections.add(), connections.add()];
        kept.tracker.request_ended();
        hand.advance(secs(30));
        kept.tracker.on_read();
        for _ in 0..9 {
            hand.advance(Duration::from_millis(100));
            fresh.tracker.on_read();
            kept.tracker.on_read();
        }
        connections.evict(Resource::Slots);
        assert!(is_evicted(&fresh));
        connections.evict(Resource::Slots);
        assert!(!is_evicted(&kept), "its head began less than a second ago");
        hand.advance(Duration::from_millis(100));
        kept.tracker.on_read();
        connections.evict(Resource::Slots);
        assert!(is_evicted(&kept));
    }

    #[test]
    fn a_connection_is_not_evicted_within_a_second_of_activity() {
        let hand = ManualClock::at(Timestamp::UNIX_EPOCH);
        let connections = Connections::new(&Clock::from(hand.clone()), Bounds::default(), Closed::default());
        let registration = connections.add();
        hand.advance(Duration::from_millis(999));
        connections.evict(Resource::Slots);
        assert!(!is_evicted(&registration));
        hand.advance(Duration::from_millis(1));
        connections.evict(Resource::Slots);
        assert!(is_evicted(&registration));
        drop(registration);
        assert_eq!(connections.count(), 0);
    }
}
