//! The length of a point.

use std::time::Duration;

use super::CalendarUnit;

/// The length of the points of a range.
///
/// # Examples
/// ```
/// use forebay::{series::{CalendarUnit, Step}, time::days};
/// assert_eq!(Step::from(days(1)), Step::Fixed(days(1))); // always 24 hours
/// assert_eq!(Step::from(CalendarUnit::Day), Step::Calendar(CalendarUnit::Day)); // 23 to 25 hours
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Always the same. The points begin at multiples of it since 1970.
    Fixed(Duration),
    /// From one start of the calendar to the next, in a time zone.
    Calendar(CalendarUnit),
}

impl From<Duration> for Step {
    fn from(step: Duration) -> Self {
        Self::Fixed(step)
    }
}

impl From<CalendarUnit> for Step {
    fn from(unit: CalendarUnit) -> Self {
        Self::Calendar(unit)
    }
}
