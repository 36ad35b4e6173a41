//! Reads parameters: those of the URL and of a form in the body together.

use std::time::Duration;

use axum::{
    extract::{FromRequest, Request},
    http::Method,
};
use forebay::Timestamp;

use super::{
    super::{
        body,
        query::{check_query, decoded},
    },
    refusal::Refusal,
};
use crate::{
    app::Shared,
    promql::{Instants, parse_span},
};

/// The most instants of a range, as of Prometheus.
const MAX_INSTANTS: i64 = 11_000;

/// 9999-12-31T23:59:59Z, the last second that RFC 3339 can write.
const LAST_SECOND: f64 = 253_402_300_799.0;

/// The names and values of a request, in their order.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

impl FromRequest<Shared> for Parameters {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &Shared) -> Result<Self, Refusal> {
        let mut all = pairs(request.uri().query().unwrap_or_default())?;
        if request.method() == Method::POST {
            let body = body::read(request).await?;
            let text =
                str::from_utf8(&body).map_err(|_| Refusal::bad_data("the body is not a form: not text"))?;
            all.extend(pairs(text.trim())?);
        }
        Ok(Self(all))
    }
}

fn pairs(encoded: &str) -> Result<Vec<(String, String)>, Refusal> {
    check_query(encoded)?;
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    };
    Ok(encoded.split('&').filter(|pair| !pair.is_empty()).map(pair).collect())
}

impl Parameters {
    /// All values of a name.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The first value of a name; `None` if it is empty.
    pub(super) fn one(&self, name: &str) -> Option<&str> {
        self.all(name).next().filter(|value| !value.is_empty())
    }

    /// A value that must be there.
    pub(super) fn required(&self, name: &str) -> Result<&str, Refusal> {
        self.one(name).ok_or_else(|| Refusal::bad_data(format!("{name}: missing")))
    }

    /// A time in milliseconds since 1970: seconds, or RFC 3339.
    pub(super) fn time(&self, name: &str) -> Result<Option<i64>, Refusal> {
        self.one(name).map(|text| time(name, text)).transpose()
    }

    /// A span: seconds, or a duration such as `1h30m`.
    pub(super) fn span(&self, name: &str) -> Result<Option<Duration>, Refusal> {
        self.one(name).map(|text| span(name, text)).transpose()
    }

    /// A number of items.
    pub(super) fn limit(&self) -> Result<Option<usize>, Refusal> {
        let wrong = |text: &str| Refusal::bad_data(format!("limit: {text:?}: a number; 0 is no limit"));
        let limit =
            self.one("limit").map(|text| text.parse::<usize>().map_err(|_| wrong(text))).transpose()?;
        Ok(limit.filter(|limit| *limit > 0))
    }

    /// The instants of `start`, `end` and `step`.
    pub(super) fn instants(&self) -> Result<Instants, Refusal> {
        let time_of = |name| time(name, self.required(name)?);
        let (start, end) = (time_of("start")?, time_of("end")?);
        let step = span("step", self.required("step")?)?;
        if end < start {
            return Err(Refusal::bad_data("end: before start"));
        }
        let step = i64::try_from(step.as_millis()).unwrap_or(i64::MAX);
        if step < 1 {
            return Err(Refusal::bad_data("step: at least 1ms"));
        }
        let count = (end - start) / step + 1;
        if count > MAX_INSTANTS {
            let text = format!(
                "{count} points for each row: at most {MAX_INSTANTS}; ask for a longer step or a shorter range"
            );
            return Err(Refusal::bad_data(text));
        }
        Ok(Instants { start, step, count: usize::try_from(count).unwrap_or(1) })
    }
}

fn time(name: &str, text: &str) -> Result<i64, Refusal> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.abs() <= LAST_SECOND);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "milliseconds up to the year 9999 are whole numbers of a double"
    )]
    let seconds = seconds.map(|seconds| (seconds * 1_000.0).round() as i64);
    let parsed = seconds.or_else(|| text.parse::<Timestamp>().ok().map(Timestamp::as_millis));
    parsed.ok_or_else(|| {
        let hint = if text.contains(' ') { "; in a URL, write + as %2B" } else { "" };
        Refusal::bad_data(format!(
            "{name}: {text:?}: seconds since 1970 or RFC 3339 such as 2026-01-01T00:00:00Z{hint}"
        ))
    })
}

fn span(name: &str, text: &str) -> Result<Duration, Refusal> {
    let seconds = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let parsed = seconds.or_else(|| parse_span(text));
    parsed.ok_or_else(|| {
        Refusal::bad_data(format!("{name}: {text:?}: seconds, or a duration such as 15s or 1h30m"))
    })
}

#[cfg(test)]
mod tests {
    use forebay::time::{millis, secs};

    use super::*;

    fn parameters(encoded: &str) -> Parameters {
        Parameters(pairs(encoded).expect("a form"))
    }

    #[test]
    fn times_and_spans_have_two_forms() {
        let found =
            parameters("a=1767225600.5&b=2026-01-01T01:00:00.5%2B01:00&c=-1&d=&e=1h30m&f=0.25&g=15&h=1d&i=x");
        assert_eq!(found.time("a").expect("a time"), Some(1_767_225_600_500));
        assert_eq!(found.time("b").expect("a time"), Some(1_767_225_600_500));
        assert_eq!(found.time("c").expect("a time"), Some(-1_000));
        assert_eq!(found.time("d").expect("none"), None);
        assert_eq!(found.span("e").expect("a span"), Some(secs(5_400)));
        assert_eq!(found.span("f").expect("a span"), Some(millis(250)));
        assert_eq!(found.span("g").expect("a span"), Some(secs(15)));
        assert_eq!(found.span("h").expect("a span"), Some(secs(86_400)));
        assert!(found.time("i").is_err() && found.span("i").is_err() && found.span("c").is_err());
        for text in ["nan", "inf", "1e300", "2026-01-01"] {
            assert!(time("t", text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_range_has_at_most_so_many_instants() {
        let instants = |encoded: &str| parameters(encoded).instants();
        assert_eq!(
            instants("start=10&end=30&step=10").expect("a range"),
            Instants { start: 10_000, step: 10_000, count: 3 }
        );
        assert_eq!(instants("start=10&end=29&step=10s").expect("a range").count, 2);
        assert_eq!(instants("start=0&end=10999&step=1").expect("a range").count, 11_000);
        for wrong in [
            "start=0&end=11000&step=1",
            "start=2&end=1&step=1",
            "start=1&end=2",
            "start=1&end=2&step=0",
            "start=1&end=2&step=-1",
        ] {
            assert!(instants(wrong).is_err(), "{wrong}");
        }
    }
}
