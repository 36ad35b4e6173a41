//! A record as a point, or the reason why it is refused.

use std::{fmt, str::FromStr};

use forebay::{Timestamp, key};
use serde::Deserialize;
use serde_json::{Number, Value};

use super::csv::{Header, NameColumns, cells};
use crate::{
    api::{fields::integer, labels::Labels},
    text::{moment::since_1970, quoted},
};

/// The most points that one record becomes: each has at most 2^31.
pub(super) const MAX_PARTS: u64 = 200;

/// The largest amount of a record.
const MAX_AMOUNT: u64 = MAX_PARTS * key::Count::MAX;

/// The unit of times that are numbers. It is never guessed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Unit {
    /// Seconds since 1970
    #[default]
    #[value(name = "s")]
    Seconds,
    /// Milliseconds since 1970
    #[value(name = "ms")]
    Millis,
}

/// The key or the labels that a point counts for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Key(String),
    Labels(Labels),
}

/// A count at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub name: Name,
    /// Zero counts nothing.
    pub n: u64,
    pub at: Timestamp,
}

/// The kind of reason for which a record is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// It is no row or object, or has other columns.
    Format,
    Key,
    Time,
    Amount,
    /// No resolution keeps its time any more.
    TooOld,
    /// It is more than five minutes after the store's time.
    TooFarAhead,
    /// The server refused it for another reason.
    Refused,
    /// It may or may not have been counted, and nobody knows any more.
    Unknown,
}

impl Reason {
    /// The reason in the text of a server's refusal.
    pub(super) fn of(refusal: &str) -> Self {
        // A test holds these words and the library's messages together.
        if refusal.contains("ahead of the clock") {
            Self::TooFarAhead
        } else if refusal.contains("the longest retention") {
            Self::TooOld
        } else {
            Self::Refused
        }
    }

    /// The word for programs.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Key => "key",
            Self::Time => "time",
            Self::Amount => "amount",
            Self::TooOld => "too-old",
            Self::TooFarAhead => "too-far-ahead",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A reason, and its details.
pub(super) type Refusal = (Reason, String);

/// Reads a row of CSV.
pub(super) fn point_of_row(row: &[u8], header: &Header, unit: Unit) -> Result<Point, Refusal> {
    let cells = cells(row).map_err(|why| (Reason::Format, why))?;
    if cells.len() != header.width {
        let why = format!("{} columns, and the header has {}", cells.len(), header.width);
        return Err((Reason::Format, why));
    }
    let n = header.n.map_or(Ok(1), |place| amount(cells[place].trim()))?;
    let name = match &header.name {
        NameColumns::Key(place) => Name::Key(checked_key(&cells[*place])?),
        NameColumns::Labels(labels) => {
            let label = |(name, place): &(String, usize)| (name.clone(), cells[*place].clone().into_owned());
            Name::Labels(Labels(labels.iter().map(label).collect()))
        }
    };
    Ok(Point { name, n, at: time(cells[header.at].trim(), unit)? })
}

/// A line of JSON, as a server accepts it, or as an export writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with key or labels, at, and perhaps n and step")]
struct Line {
    key: Option<Value>,
    labels: Option<Labels>,
    at: Value,
    n: Option<Value>,
    #[serde(rename = "step")]
    _step: Option<u64>,
}

/// Reads a line of JSON.
pub(super) fn point_of_line(line: &[u8], unit: Unit) -> Result<Point, Refusal> {
    let line: Line = serde_json::from_slice(line).map_err(|error| (Reason::Format, error.to_string()))?;
    let name = match (&line.key, line.labels) {
        (None, Some(labels)) => Name::Labels(labels),
        (Some(Value::String(key)), None) => Name::Key(checked_key(key)?),
        (Some(key @ Value::Number(number)), None) => {
            Name::Key(number_text(number).ok_or_else(|| wrong_key(key))?)
        }
        (Some(other), None) => return Err(wrong_key(other)),
        (None, None) => return Err((Reason::Format, "missing field `key`, or `labels`".to_owned())),
        (Some(_), Some(_)) => return Err((Reason::Format, "a key and labels: one of them".to_owned())),
    };
    let at = match &line.at {
        Value::String(text) => time(text, unit)?,
        Value::Number(number) => time(&number.to_string(), unit)?,
        other => return Err((Reason::Time, format!("time {other}: a text or a number"))),
    };
    let n = match &line.n {
        None => 1,
        Some(Value::Number(number)) => amount(&number.to_string())?,
        Some(other) => return Err((Reason::Amount, format!("amount {other}: a number"))),
    };
    Ok(Point { name, n, at })
}

fn checked_key(key: &str) -> Result<String, Refusal> {
    let checked = key::Key::new(key).map_err(|error| (Reason::Key, error.to_string()))?;
    Ok(checked.as_str().to_owned())
}

fn wrong_key(found: &Value) -> Refusal {
    (Reason::Key, format!("key {}: a text or an integer", quoted(&found.to_string())))
}

/// An integer as text, also one that is written with a fraction of zero.
fn number_text(number: &Number) -> Option<String> {
    let is_integer = number.is_u64() || number.is_i64();
    if is_integer { Some(number.to_string()) } else { integer(number.as_f64()?).map(|n| n.to_string()) }
}

fn amount(text: &str) -> Result<u64, Refusal> {
    let float = || f64::from_str(text).ok().and_then(integer).and_then(|n| u64::try_from(n).ok());
    match text.parse().ok().or_else(float) {
        Some(n) if n <= MAX_AMOUNT => Ok(n),
        _ => Err((Reason::Amount, format!("amount {}: an integer from 0 to {MAX_AMOUNT}", quoted(text)))),
    }
}

fn time(text: &str, unit: Unit) -> Result<Timestamp, Refusal> {
    let is_number = text.starts_with(|c: char| c.is_ascii_digit()) && !text.contains(['-', ':']);
    let (at, form) = match (is_number, unit) {
        (false, _) => (text.parse().ok(), "RFC 3339 such as 2026-01-01T00:00:00Z"),
        (true, Unit::Seconds) => (since_1970(text, 6), "seconds since 1970; --unit ms reads milliseconds"),
        (true, Unit::Millis) => (since_1970(text, 3), "milliseconds since 1970"),
    };
    at.ok_or_else(|| (Reason::Time, format!("time {}: {form}", quoted(text))))
}

#[cfg(test)]
mod tests {
    use forebay::{Clock, Forebay, ManualClock, time::days};

    use super::{super::csv::Columns, *};

    const NEW_YEAR: Timestamp = Timestamp::from_secs(1_767_225_600);

    fn row(row: &str, unit: Unit) -> Result<Point, Refusal> {
        let columns = Columns { key: "key".into(), labels: vec![], at: "at".into(), n: "n".into() };
        point_of_row(row.as_bytes(), &Header::new(b"at,key,n", &columns).expect("a header"), unit)
    }

    fn point(key: &str, n: u64, at: Timestamp) -> Point {
        Point { name: Name::Key(key.to_owned()), n, at }
    }

    #[test]
    fn a_row_and_a_line_are_the_same_point() {
        let told = point("a,b", 3, NEW_YEAR);
        for time in ["2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00", "1767225600", " 1767225600.0 "] {
            assert_eq!(row(&format!("{time},\"a,b\",3"), Unit::Seconds).expect(time), told);
        }
        assert_eq!(row("1767225600000,\"a,b\", 3.0 ", Unit::Millis).expect("millis"), told);
        assert_eq!(row("2026-01-01T00:00:00Z,\"a,b\",3e0", Unit::Millis).expect("a text has its unit"), told);
        for line in [
            r#"{"key":"a,b","at":"2026-01-01T00:00:00Z","n":3}"#,
            r#"{"step":10,"n":3.0,"at":1767225600,"key":"a,b"}"#,
        ] {
            assert_eq!(point_of_line(line.as_bytes(), Unit::Seconds).expect(line), told);
        }
        let line = point_of_line(br#"{"key":42.0,"at":1767225600500}"#, Unit::Millis).expect("a point");
        assert_eq!(line, point("42", 1, Timestamp::from_millis(1_767_225_600_500)));
        let line = br#"{"labels":{"path":"/a","status":500},"at":1767225600}"#;
        let labels = Labels(vec![("path".into(), "/a".into()), ("status".into(), "500".into())]);
        let told = Point { name: Name::Labels(labels), n: 1, at: NEW_YEAR };
        assert_eq!(point_of_line(line, Unit::Seconds).expect("a point"), told);
    }

    #[test]
    fn a_refusal_says_why() {
        for (text, reason, told) in [
            ("1,a", Reason::Format, "2 columns, and the header has 3"),
            ("1,a,1,", Reason::Format, "4 columns"),
            ("1,\"a,1", Reason::Format, "not closed"),
            ("1,,1", Reason::Key, "1 to 512 bytes"),
            ("1,a,-1", Reason::Amount, "an integer from 0 to 429496729600"),
            ("1,a,1.5", Reason::Amount, "amount \"1.5\""),
            ("1,a,NaN", Reason::Amount, "amount \"NaN\""),
            ("1,a,", Reason::Amount, "amount \"\""),
            ("1,a,429496729601", Reason::Amount, "429496729601"),
            ("now,a,1", Reason::Time, "RFC 3339"),
            ("-1,a,1", Reason::Time, "RFC 3339"),
            (",a,1", Reason::Time, "RFC 3339"),
            ("2026-01-01T00:00:00,a,1", Reason::Time, "RFC 3339"),
            ("1767225600000,a,1", Reason::Time, "--unit ms reads milliseconds"),
        ] {
            let refused = row(text, Unit::Seconds).expect_err(text);
            assert!(refused.0 == reason && refused.1.contains(told), "{text}: {refused:?}");
        }
        for (line, reason, told) in [
            (r#"{"key":"a"}"#, Reason::Format, "missing field `at`"),
            (r#"{"key":"a","at":1,"m":2}"#, Reason::Format, "unknown field `m`"),
            (r#"{"key":"a","at":1} x"#, Reason::Format, "trailing"),
            (r#"{"key":"a","at":1"#, Reason::Format, "EOF"),
            (r#"{"at":1}"#, Reason::Format, "missing field `key`, or `labels`"),
            (r#"{"key":"a","labels":{},"at":1}"#, Reason::Format, "one of them"),
            (r#"{"labels":{"a":null},"at":1}"#, Reason::Format, "a string or an integer"),
            (r#"{"key":true,"at":1}"#, Reason::Key, "a text or an integer"),
            (r#"{"key":"","at":1}"#, Reason::Key, "1 to 512 bytes"),
            (r#"{"key":"a","at":[]}"#, Reason::Time, "a text or a number"),
            (r#"{"key":"a","at":1,"n":"2"}"#, Reason::Amount, "a number"),
            (r#"{"key":"a","at":1,"n":0.5}"#, Reason::Amount, "an integer from 0"),
        ] {
            let refused = point_of_line(line.as_bytes(), Unit::Seconds).expect_err(line);
            assert!(refused.0 == reason && refused.1.contains(told), "{line}: {refused:?}");
        }
    }

    /// The server's answer has a text alone.
    #[tokio::test]
    async fn the_library_s_refusals_are_recognised() {
        let clock = ManualClock::at(NEW_YEAR);
        let bay = Forebay::options().clock(Clock::from(clock)).open("memory:").await.expect("opens");
        let hits = bay.series("hits").expect("valid");
        let refusal = async |at| hits.add_at("a", 1, at).await.expect_err("refused").to_string();
        assert_eq!(Reason::of(&refusal(NEW_YEAR.plus(days(1))).await), Reason::TooFarAhead);
        assert_eq!(Reason::of(&refusal(NEW_YEAR.minus(days(800))).await), Reason::TooOld);
        assert_eq!(Reason::of("key: 1 to 512 bytes"), Reason::Refused);
    }
}
