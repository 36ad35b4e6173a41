//! Allowances of a key: `100/1m`, `100/1m burst 500`, `100/month`, `20`, `unlimited`, `blocked`.

use std::str::FromStr;

use forebay::{Error, limit::Override};

use super::{Rate, Window, invalid, quoted};

/// The allowance that an override gives a key: a [`Rate`], for a token bucket perhaps with a burst; for a concurrency limit a number of
/// leases; or `unlimited`, or `blocked`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance(pub Override);

impl FromStr for Allowance {
    type Err = Error;

    /// Reads an allowance.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](forebay::ErrorKind::Invalid) if it has none of these forms.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || {
            invalid(format!(
                "allowance {}: a rate such as 100/1m or 100/1m burst 500, a number of leases, unlimited, or blocked",
                quoted(text)
            ))
        };
        let allowance = match text {
            "unlimited" => Override::unlimited(),
            "blocked" => Override::blocked(),
            _ if !text.contains('/') => Override::leases(text.parse().map_err(|_| wrong())?),
            _ => match text.split_once(" burst ") {
                None => rate(text)?,
                Some((text, burst)) => rate(text)?.burst(burst.parse().map_err(|_| wrong())?),
            },
        };
        Ok(Self(allowance))
    }
}

fn rate(text: &str) -> Result<Override, Error> {
    let rate: Rate = text.parse()?;
    let quota = rate.quota.get();
    Ok(match rate.window {
        Window::Span(span) => Override::rate(quota, span),
        Window::Calendar(unit) => Override::calendar(quota, unit),
    })
}

#[cfg(test)]
mod tests {
    use forebay::{limit::CalendarUnit, time::mins};

    use super::*;

    #[test]
    fn each_form_reads_and_nothing_else_does() {
        for (text, allowance) in [
            ("unlimited", Override::unlimited()),
            ("blocked", Override::blocked()),
            ("20", Override::leases(20)),
            ("100/1m", Override::rate(100, mins(1))),
            ("100/month", Override::calendar(100, CalendarUnit::Month)),
            ("100/1m burst 500", Override::rate(100, mins(1)).burst(500)),
        ] {
            assert_eq!(text.parse::<Allowance>().expect(text), Allowance(allowance));
        }
        for text in ["", "-1", "unlimted", "100/1m burst", "100/1m burst x", "100/x", "0/1m"] {
            assert!(text.parse::<Allowance>().is_err(), "{text}");
        }
    }
}
