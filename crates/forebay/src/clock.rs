//! The one place that reads a clock.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::sync::watch;

use crate::time::{Timestamp, micros, whole_micros};

/// The source of the time: the machine, or a test.
///
/// Clones share the clock.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{Clock, time::millis};
/// let clock = Clock::system();
/// let started = clock.monotonic();
/// clock.sleep(millis(1)).await;
/// assert!(clock.monotonic() - started >= millis(1));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    Manual(ManualClock),
}

/// The time of the machine's monotonic clock when it was first read, in whole microseconds: [`Clock::monotonic`] counts from
/// then.
static START: LazyLock<u64> = LazyLock::new(|| machine_micros(Reader::Fine));

/// The coarse clock is behind by at most this: a tick of a slow kernel.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// The time of day follows the monotonic clock for this long. Then it is read again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Two looks at clocks that are no further apart count as one.
const SAME_TIME: Duration = Duration::from_micros(200);

/// How far the machine's time of day is ahead of the monotonic time, in microseconds, as of the last look; and until when
/// that holds. Two who look at the same time write the same, or nearly: either will do.
static AHEAD: AtomicI64 = AtomicI64::new(0);
static AHEAD_UNTIL: AtomicI64 = AtomicI64::new(i64::MIN);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// The time of day. It may jump, forward and back.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => Timestamp::from_micros(micros(since)),
                Err(before) => Timestamp::from_micros(-micros(before.duration())),
            },
            Source::Manual(manual) => manual.reading().wall,
        }
    }

    /// Time since some fixed moment; never goes back. Deadlines are kept in it.
    #[inline]
    pub fn monotonic(&self) -> Duration {
        self.since_start(Reader::Fine)
    }

    /// The time of day, and the monotonic time in microseconds, by one look at one clock.
    ///
    /// That the time of day was set is seen at most [`LOOK_AGAIN`] later than by [`now`](Self::now): for limits, which
    /// ask so often that a second look would be a third of their cost.
    #[inline]
    pub(crate) fn both(&self) -> (Timestamp, u64) {
        self.with_wall(Reader::Fine)
    }

    /// [`both`](Self::both) as of at most [`TICK`] ago: it costs a fifth.
    #[inline]
    pub(crate) fn both_coarse(&self) -> (Timestamp, u64) {
        self.with_wall(Reader::Coarse)
    }

    /// The time of day that goes with the monotonic time, and that in microseconds.
    #[inline]
    fn with_wall(&self, reader: Reader) -> (Timestamp, u64) {
        if let Source::Manual(manual) = &self.0 {
            let reading = manual.reading();
            return (reading.wall, whole_micros(reading.monotonic));
        }
        let monotonic = machine_micros(reader).saturating_sub(*START);
        let passed = monotonic.cast_signed();
        let holds = passed < AHEAD_UNTIL.load(Ordering::Acquire);
        let ahead = if holds { AHEAD.load(Ordering::Relaxed) } else { compare() };
        (Timestamp::from_micros(passed + ahead), monotonic)
    }

    /// The monotonic time as of at most [`TICK`] ago. For deadlines that are looked at all the time: it costs a fifth.
    ///
    /// Like the other it goes on while the process is stopped, and not while the machine sleeps.
    #[inline]
    pub(crate) fn coarse(&self) -> Duration {
        self.since_start(Reader::Coarse)
    }

    /// The monotonic time.
    #[inline]
    fn since_start(&self, reader: Reader) -> Duration {
        match &self.0 {
            Source::System => machine(reader).saturating_sub(Duration::from_micros(*START)),
            Source::Manual(manual) => manual.reading().monotonic,
        }
    }

    /// Waits for `span` of this clock's time.
    ///
    /// On a [`ManualClock`] that is until somebody has advanced it so far.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub async fn sleep(&self, span: Duration) {
        match &self.0 {
            Source::System => tokio::time::sleep(span).await,
            Source::Manual(manual) => manual.sleep(span).await,
        }
    }

    /// Runs `work`, at most for `span` of this clock's time; `None` if that was not enough.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// use forebay::{Clock, time::millis};
    /// let answer = Clock::system().timeout(millis(1), std::future::pending::<()>()).await;
    /// assert!(answer.is_none());
    /// # Ok(()) }
    /// ```
    pub async fn timeout<T>(&self, span: Duration, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            answer = work => Some(answer),
            () = self.sleep(span) => None,
        }
    }
}

/// The distance from the monotonic time to the time of day.
#[cold]
fn compare() -> i64 {
    let passed = || machine_micros(Reader::Fine).saturating_sub(*START).cast_signed();
    let before = passed();
    let ahead = Clock::system().now().as_micros() - before;
    // A thread that was stopped between the two looks must not tell the others what it makes of them.
    if passed() - before < micros(SAME_TIME) {
        AHEAD.store(ahead, Ordering::Relaxed);
        AHEAD_UNTIL.store(before + micros(LOOK_AGAIN), Ordering::Release);
    }
    ahead
}

/// The reading of the machine's monotonic clock: exact, or as of the kernel's last tick.
#[derive(Clone, Copy, Debug)]
enum Reader {
    Fine,
    Coarse,
}

#[cfg(target_os = "linux")]
#[inline]
fn machine(reader: Reader) -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    let time = clock_gettime(match reader {
        Reader::Fine => ClockId::Monotonic,
        Reader::Coarse => ClockId::MonotonicCoarse,
    });
    let (secs, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(secs.unwrap_or_default(), nanos.unwrap_or_default())
}

/// The same in microseconds.
#[inline]
fn machine_micros(reader: Reader) -> u64 {
    let time = machine(reader);
    // The clock would have to run for half a million years.
    time.as_secs() * 1_000_000 + u64::from(time.subsec_micros())
}

/// Elsewhere there is one way to read it.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
fn machine(_: Reader) -> Duration {
    static FIRST: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
    FIRST.elapsed()
}

impl From<ManualClock> for Clock {
    fn from(manual: ManualClock) -> Self {
        Self(Source::Manual(manual))
    }
}

/// A clock that moves only when told to, for tests. Clones share the time.
///
/// ```
/// use forebay::{Clock, ManualClock, Timestamp, time::secs};
/// let hand = ManualClock::at(Timestamp::from_secs(1_000));
/// let clock = Clock::from(hand.clone());
/// hand.advance(secs(5));
/// assert_eq!(clock.now(), Timestamp::from_secs(1_005));
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<watch::Sender<Reading>>);

#[derive(Clone, Copy, Debug)]
struct Reading {
    wall: Timestamp,
    monotonic: Duration,
}

impl ManualClock {
    /// A clock that shows `now`.
    pub fn at(now: Timestamp) -> Self {
        Self(Arc::new(watch::Sender::new(Reading { wall: now, monotonic: Duration::ZERO })))
    }

    /// Lets `span` pass; sleepers whose time has come wake up.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// use forebay::{Forebay, Limit, ManualClock, Timestamp, time::mins};
    /// let hand = ManualClock::at(Timestamp::from_secs(1_790_000_000));
    /// let bay = Forebay::options().clock(hand.clone().into()).open("memory:").await?;
    /// let hits = bay.limit(Limit::per_minute("hits", 1))?;
    /// assert!(hits.take("user:42").await?.is_allowed());
    /// hand.advance(mins(2));
    /// assert!(hits.take("user:42").await?.is_allowed());
    /// # Ok(()) }
    /// ```
    pub fn advance(&self, span: Duration) {
        self.0.send_modify(|reading| {
            reading.wall = reading.wall.plus(span);
            reading.monotonic += span;
        });
    }

    /// Sets the time of day without letting time pass, as a stepped system clock does; may go back.
    ///
    /// # Examples
    /// ```
    /// use forebay::{Clock, ManualClock, Timestamp};
    /// let hand = ManualClock::at(Timestamp::from_secs(1_000));
    /// let clock = Clock::from(hand.clone());
    /// hand.step_to(Timestamp::from_secs(500));
    /// assert_eq!((clock.now(), clock.monotonic().as_secs()), (Timestamp::from_secs(500), 0));
    /// ```
    pub fn step_to(&self, now: Timestamp) {
        self.0.send_modify(|reading| reading.wall = now);
    }

    /// The number of sleepers. A test that advances the clock first waits until the sleeper is there.
    pub fn sleepers(&self) -> usize {
        self.0.receiver_count()
    }

    fn reading(&self) -> Reading {
        *self.0.borrow()
    }

    async fn sleep(&self, span: Duration) {
        let mut readings = self.0.subscribe();
        let until = readings.borrow_and_update().monotonic.saturating_add(span);
        // The sender lives as long as `self`, so `wait_for` ends only when the time has come.
        let _ = readings.wait_for(|reading| reading.monotonic >= until).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::secs;

    #[tokio::test]
    async fn sleep_ends_when_the_hand_has_moved_far_enough() {
        let hand = ManualClock::at(Timestamp::UNIX_EPOCH);
        let clock = Clock::from(hand.clone());
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep(secs(10)).await }
        });
        while hand.sleepers() == 0 {
            tokio::task::yield_now().await;
        }
        hand.advance(secs(9));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        hand.advance(secs(1));
        sleeper.await.expect("sleeper ends");
    }

    /// Deadlines set by one are compared with the other.
    #[test]
    fn the_coarse_clock_counts_from_where_the_other_does_and_is_never_ahead() {
        let clock = Clock::system();
        let first = clock.monotonic();
        for _ in 0..1_000 {
            let coarse = clock.coarse();
            assert!(coarse <= clock.monotonic());
        }
        // It has passed that moment once it has ticked on.
        while clock.coarse() <= first {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn a_stepped_clock_does_not_move_deadlines() {
        let hand = ManualClock::at(Timestamp::from_secs(100));
        let clock = Clock::from(hand.clone());
        hand.step_to(Timestamp::from_secs(50));
        assert_eq!(clock.now(), Timestamp::from_secs(50));
        assert_eq!(clock.monotonic(), Duration::ZERO);
    }
}
