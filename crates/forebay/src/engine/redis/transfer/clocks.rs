//! The clocks of two hosts, compared.

use redis::cmd;

use super::super::{
    Redis,
    reply::{server_time, unexpected},
};
use crate::{
    error::{Error, ErrorKind, Result},
    time::{Timestamp, micros},
};

/// How often each clock is asked. The shortest round trip counts.
const QUESTIONS: usize = 5;

/// Clocks that may be further apart, in µs, are to be set first.
const MAX_APART: u64 = 1_000_000;

/// How far the clock of one host is ahead of another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClockOffset {
    /// In µs; negative: it is behind.
    pub offset: i64,
    /// How much more or less it may be.
    pub uncertainty: u64,
}

impl ClockOffset {
    /// By how many µs times are moved to later ones, so that none comes earlier by the other clock.
    pub(crate) fn ahead(self) -> u64 {
        u64::try_from(self.offset.saturating_add_unsigned(self.uncertainty)).unwrap_or(0)
    }
}

/// How far the clock of `target` is ahead of that of `source`.
///
/// # Errors
/// [`ErrorKind::Configuration`] if they may be more than a second apart.
pub(crate) async fn clock_offset(source: &Redis, target: &Redis) -> Result<ClockOffset> {
    let (from, to) = (Reading::of(source).await?, Reading::of(target).await?);
    let now = micros(source.host.clock().monotonic());
    compare((source.host.name(), from), (target.host.name(), to), now)
}

/// A host's clock relative to this process's monotonic clock, in µs.
#[derive(Clone, Copy, Debug)]
struct Reading {
    ahead: i64,
    /// Half a round trip: the server looked at its clock at some moment of it.
    uncertainty: u64,
}

impl Reading {
    async fn of(redis: &Redis) -> Result<Self> {
        let clock = redis.host.clock();
        let mut best: Option<Self> = None;
        for _ in 0..QUESTIONS {
            let asked = micros(clock.monotonic());
            let answer = redis.repeat_one(|| cmd("TIME")).await?;
            let answered = micros(clock.monotonic());
            let time = server_time(answer).and_then(|time| i64::try_from(time).ok());
            let time = time.ok_or_else(|| unexpected(redis.host.name(), "TIME"))?;
            let trip = (answered - asked).unsigned_abs();
            let reading =
                Self { ahead: time - i64::midpoint(asked, answered), uncertainty: trip.div_ceil(2) };
            if best.is_none_or(|best| reading.uncertainty < best.uncertainty) {
                best = Some(reading);
            }
        }
        Ok(best.expect("at least one question"))
    }

    fn time(self, now: i64) -> Timestamp {
        Timestamp::from_micros(self.ahead + now)
    }
}

fn compare((source, from): (&str, Reading), (target, to): (&str, Reading), now: i64) -> Result<ClockOffset> {
    let found = ClockOffset { offset: to.ahead - from.ahead, uncertainty: from.uncertainty + to.uncertainty };
    if found.offset.unsigned_abs().saturating_add(found.uncertainty) <= MAX_APART {
        return Ok(found);
    }
    let text = format!(
        "the clock of redis {source} says {}, that of redis {target} {} (to within {} ms): keys are moved between clocks that \
         are at most 1 s apart; set the clocks of the hosts, by NTP",
        from.time(now),
        to.time(now),
        found.uncertainty.div_ceil(1_000)
    );
    Err(Error::new(ErrorKind::Configuration, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(from: i64, to: i64, uncertainty: u64) -> Result<ClockOffset> {
        let at = |ahead| Reading { ahead, uncertainty };
        compare(("a:1", at(from)), ("b:2", at(to)), 0)
    }

    #[test]
    fn times_move_by_no_less_than_the_clocks_are_apart_and_never_to_earlier_ones() {
        assert_eq!(between(0, 500_000, 100).expect("near").ahead(), 500_200);
        assert_eq!(between(500_000, 0, 100).expect("near").ahead(), 0);
        assert_eq!(between(50, 0, 100).expect("near").ahead(), 150, "it may be ahead");
        assert_eq!(between(0, 999_800, 100).expect("near").ahead(), 1_000_000);
    }

    #[test]
    fn clocks_that_may_be_a_second_apart_are_to_be_set() {
        for (from, to, uncertainty) in [(0, 1_000_001, 0), (2_000_000, 0, 0), (0, 0, 600_000)] {
            let error = between(from, to, uncertainty).expect_err("far");
            assert_eq!(error.kind(), ErrorKind::Configuration);
        }
        let error =
            between(1_790_000_000_000_000, 1_790_000_002_000_000, 1_500).expect_err("far").to_string();
        for part in ["a:1 says 2026-09-21T14:13:20Z", "b:2 2026-09-21T14:13:22Z", "3 ms", "NTP"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
