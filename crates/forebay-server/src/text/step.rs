//! The length of a point of a series: a span, or a unit of the calendar.

use std::{fmt, str::FromStr};

use forebay::{
    Error,
    series::{self, CalendarUnit},
};

use super::{Span, invalid};

/// `10s`, `90m`, `day`, `week`, `month`: `1d` is always 24 hours, a `day` is one of a time zone. A span is longer than zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step(pub series::Step);

impl FromStr for Step {
    type Err = Error;

    /// Reads a step.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](forebay::ErrorKind::Invalid) for a span of nothing, and as of a [`Span`].
    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some(unit) = CalendarUnit::ALL.into_iter().find(|unit| unit.as_str() == text) {
            return Ok(Self(unit.into()));
        }
        match text.parse::<Span>() {
            Ok(Span(step)) if !step.is_zero() => Ok(Self(step.into())),
            Ok(_) => Err(invalid("longer than 0s")),
            Err(error) => Err(invalid(format!("{error}, or day, week, month"))),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            series::Step::Calendar(unit) => f.write_str(unit.as_str()),
            series::Step::Fixed(step) => Span(step).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use forebay::time::{days, secs};

    use super::*;

    #[test]
    fn a_step_is_a_span_or_a_unit_of_the_calendar() {
        for (text, step) in [
            ("10s", secs(10).into()),
            ("1d", days(1).into()),
            ("day", CalendarUnit::Day.into()),
            ("week", CalendarUnit::Week.into()),
            ("month", CalendarUnit::Month.into()),
        ] {
            let step = Step(step);
            assert_eq!(text.parse::<Step>().expect(text), step);
            assert_eq!(step.to_string(), text);
        }
        for (text, told) in [("0s", "longer than 0s"), ("days", "or day, week, month"), ("", "or day")] {
            let error = text.parse::<Step>().expect_err(text).to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
