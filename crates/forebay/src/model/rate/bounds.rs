//! The ranges of quotas and periods.

use std::time::Duration;

use super::state::{EXACT, MAX_QUOTA};
use crate::{
    error::{Result, out_of_range},
    time::{days, micros},
};

/// The longest window: with it, twice the index times the length is still below 2^53.
const MAX_PERIOD: Duration = days(366);

/// A quota or burst; `what` names it in the error.
pub(super) fn quota(what: &str, value: u64) -> Result<u64> {
    if (1..=MAX_QUOTA).contains(&value) {
        Ok(value)
    } else {
        Err(out_of_range(format!("{what} {value}: a {what} is 1 to 2^50")))
    }
}

/// A period, in microseconds.
pub(super) fn period(length: Duration) -> Result<u64> {
    if (Duration::from_millis(1)..=MAX_PERIOD).contains(&length) {
        Ok(micros(length).unsigned_abs())
    } else {
        Err(out_of_range(format!("window of {length:?}: a window is 1 ms to 366 days")))
    }
}

/// The microseconds of a tick: the finest with which `most` times the period is exact in a Lua number.
pub(super) fn tick(most: u64, period: u64) -> Option<u64> {
    let fits = |ticks: u64| u128::from(most) * u128::from(ticks) < u128::from(EXACT);
    [1, 1_000].into_iter().find(|&tick| period.is_multiple_of(tick) && fits(period / tick))
}
