//! The clock of a host, as this process can tell it without a question each time.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use tokio::sync::Mutex;

use crate::{
    clock::Clock,
    error::Result,
    time::{Timestamp, micros},
};

/// An answer to `TIME` is relied on for so long. The server's clock may have been set meanwhile; beyond this nobody
/// reckons with the old one.
const MAX_AGE: Duration = Duration::from_secs(10);

/// After an attempt without an answer the last one serves for so long, so that an outage is not asked about each time.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// If this machine's two clocks have moved apart by more, it slept or its clock was set: the last answer is of no use.
const MAX_DRIFT: i64 = 1_000_000;

/// The server's clock relative to this machine's, as of the last answer to `TIME`. All numbers are microseconds.
///
/// The fields are read and written one by one: a reader between two writes sees at worst the estimate from before.
#[derive(Debug, Default)]
pub(super) struct ServerClock {
    /// How far the server's clock is ahead of this process's monotonic clock. Zero: it has never answered.
    ahead: AtomicI64,
    /// How far this machine's time of day was ahead of its monotonic clock then.
    local: AtomicI64,
    /// Until when that holds, on the monotonic clock.
    until: AtomicI64,
    /// Held by the one who asks; the others wait for that answer.
    asking: Mutex<()>,
}

impl ServerClock {
    /// Takes an answer that came in at `asked..=answered` of the monotonic clock.
    pub(super) fn learn(&self, time: u64, asked: Duration, answered: Duration, clock: &Clock) {
        // The server looked at its clock at some moment in between.
        let middle = micros(asked) + (micros(answered) - micros(asked)) / 2;
        self.ahead.store(i64::try_from(time).unwrap_or(i64::MAX).saturating_sub(middle), Ordering::Relaxed);
        self.rely(clock, MAX_AGE);
    }

    /// The server's time: from its last answer, or this machine's as long as there was none. `ask` sends `TIME`.
    pub(super) async fn now<F: Future<Output = Result<u64>>>(
        &self,
        clock: &Clock,
        ask: impl FnOnce() -> F,
    ) -> Timestamp {
        let (mut wall, mut monotonic) = clock.both();
        if !self.holds(wall, monotonic) {
            let asking = self.asking.lock().await;
            (wall, monotonic) = clock.both();
            if !self.holds(wall, monotonic) {
                let asked = clock.monotonic();
                match ask().await {
                    Ok(time) => self.learn(time, asked, clock.monotonic(), clock),
                    // The next write reports the outage.
                    Err(_) => self.rely(clock, RETRY_AFTER),
                }
                (wall, monotonic) = clock.both();
            }
            drop(asking);
        }
        self.at(wall, monotonic)
    }

    /// The server's time as of at most 10 ms ago, without a question: as [`now`](Self::now) told it last.
    pub(super) fn estimate(&self, clock: &Clock) -> Timestamp {
        let (wall, monotonic) = clock.both_coarse();
        self.at(wall, monotonic)
    }

    fn at(&self, wall: Timestamp, monotonic: u64) -> Timestamp {
        match self.ahead.load(Ordering::Relaxed) {
            0 => wall,
            ahead => Timestamp::from_micros(ahead + monotonic.cast_signed()),
        }
    }

    fn holds(&self, wall: Timestamp, monotonic: u64) -> bool {
        let monotonic = monotonic.cast_signed();
        let moved = wall.as_micros() - monotonic - self.local.load(Ordering::Relaxed);
        monotonic < self.until.load(Ordering::Relaxed) && moved.abs() < MAX_DRIFT
    }

    fn rely(&self, clock: &Clock, span: Duration) {
        self.local.store(local(clock), Ordering::Relaxed);
        self.until.store(micros(clock.monotonic() + span), Ordering::Relaxed);
    }
}

/// How far this machine's time of day is ahead of its monotonic clock.
fn local(clock: &Clock) -> i64 {
    clock.now().as_micros() - micros(clock.monotonic())
}
