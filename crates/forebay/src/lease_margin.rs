//! The safety margin at the end of a lease.
//!
//! The store ends a lease by its own clock. The holder stops relying on it earlier, so that the store never grants it to
//! another holder first.

use std::time::Duration;

use crate::time::millis;

/// For a holder that reads the fine clock: stores round to milliseconds.
pub(crate) const FINE_CLOCK: Duration = millis(2);

/// For a holder that reads the coarse clock, which may be 10 ms behind.
pub(crate) const COARSE_CLOCK: Duration = millis(15);

/// The time for which the holder of a lease of `ttl` relies on it: 1 % less, and `rounding` less.
///
/// The rates of the clocks of healthy machines differ by less than a thousandth.
pub(crate) fn usable(ttl: Duration, rounding: Duration) -> Duration {
    ttl.saturating_sub(ttl / 100 + rounding)
}
