//! Lines of JSON, one object each.

use std::{borrow::Cow, fmt};

use forebay::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{Event, Fault, KeyField};

/// The members that may hold the time. Of several, the first in this list counts.
pub const TIME_FIELDS: [&str; 5] = ["time", "at", "timestamp", "ts", "@timestamp"];

/// Reads a line that is a JSON object.
///
/// The time is the member `time`, `at`, `timestamp`, `ts` or `@timestamp`: a text in RFC 3339, or a
/// number (also as text) since 1970 whose size tells its unit: seconds below 10^11 (the year 5138),
/// milliseconds below 10^14, microseconds below 10^17, else nanoseconds. The key is a text, or a whole
/// number, which becomes its decimal text. Of members that are there twice the last counts.
///
/// # Errors
/// Not a JSON object, or without a time or a key.
pub fn parse(line: &[u8], field: &KeyField) -> Result<Event, Fault> {
    let mut found = Found::default();
    let mut json = serde_json::Deserializer::from_slice(line);
    let read = Members { path: field.name(), found: &mut found, nested: false }.deserialize(&mut json);
    read.and_then(|()| json.end()).map_err(|error| fault(&error))?;
    let Some((_, time)) = found.time else {
        return Err(Fault::at(
            0,
            format!("no time: one of the members {} is needed", TIME_FIELDS.join(", ")),
        ));
    };
    let at = time.moment().ok_or_else(|| {
        Fault::at(0, "the time is neither RFC 3339, such as 2026-01-01T00:00:00Z, nor a number since 1970")
    })?;
    let key = match found.key {
        Some(Scalar::Text(text)) => field.key(&text)?,
        Some(Scalar::Whole(number)) => number.to_string(),
        Some(_) => return Err(Fault::at(0, format!("the {field} is neither a text nor a whole number"))),
        None => return Err(Fault::at(0, format!("no member {field}"))),
    };
    Ok(Event { at, key, late: false })
}

/// serde_json's message without its line, which is always 1, and with the column as ours.
fn fault(error: &serde_json::Error) -> Fault {
    let message = error.to_string();
    let end = message.rfind(" at line ").unwrap_or(message.len());
    Fault::at(error.column().saturating_sub(1), format!("not a JSON object: {}", &message[..end]))
}

#[derive(Default)]
struct Found<'a> {
    /// With the place of its name in [`TIME_FIELDS`].
    time: Option<(usize, Scalar<'a>)>,
    key: Option<Scalar<'a>>,
}

enum Scalar<'a> {
    Text(Cow<'a, str>),
    Whole(i128),
    Fraction(f64),
    Other,
}

impl Scalar<'_> {
    fn moment(&self) -> Option<Timestamp> {
        match self {
            Self::Text(text) => match text.parse() {
                Ok(at) => Some(at),
                Err(_) => from_fraction(text.parse().ok()?),
            },
            Self::Whole(number) => from_whole(*number),
            Self::Fraction(number) => from_fraction(*number),
            Self::Other => None,
        }
    }
}

/// 10^11: as seconds the year 5138, as milliseconds 1973. No log of ours is older or younger.
const UNIT_STEP: i128 = 100_000_000_000;

fn from_whole(number: i128) -> Option<Timestamp> {
    let size = number.abs();
    let micros = match size {
        _ if size < UNIT_STEP => number * 1_000_000,
        _ if size < UNIT_STEP * 1_000 => number * 1_000,
        _ if size < UNIT_STEP * 1_000_000 => number,
        _ => number.div_euclid(1_000),
    };
    Some(Timestamp::from_micros(i64::try_from(micros).ok()?))
}

fn from_fraction(number: f64) -> Option<Timestamp> {
    let step = UNIT_STEP as f64;
    let size = number.abs();
    let micros = match size {
        _ if size < step => number * 1e6,
        _ if size < step * 1e3 => number * 1e3,
        _ if size < step * 1e6 => number,
        _ if size < step * 1e9 => number / 1e3,
        // Also what is not a number.
        _ => return None,
    };
    #[expect(clippy::cast_possible_truncation, reason = "below 10^17")]
    Some(Timestamp::from_micros(micros.round() as i64))
}

/// A member's name, borrowed from the line unless it has escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads an object's members, keeping the time and the key, and skipping the rest.
struct Members<'f, 'a> {
    path: &'f str,
    found: &'f mut Found<'a>,
    nested: bool,
}

impl<'a> DeserializeSeed<'a> for Members<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Members<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut members: M) -> Result<(), M::Error> {
        while let Some(name) = members.next_key::<Name<'a>>()? {
            let name = name.0.as_ref();
            let time = TIME_FIELDS.iter().position(|field| !self.nested && *field == name);
            let inner = self.path.strip_prefix(name);
            if inner == Some("") {
                self.found.key = Some(members.next_value()?);
            } else if let Some(place) = time {
                let time = members.next_value()?;
                if self.found.time.as_ref().is_none_or(|(best, _)| place <= *best) {
                    self.found.time = Some((place, time));
                }
            } else if let Some(path) = inner.and_then(|inner| inner.strip_prefix('.')) {
                members.next_value_seed(Members { path, found: &mut *self.found, nested: true })?;
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

impl<'a> Deserialize<'a> for Scalar<'a> {
    fn deserialize<D: Deserializer<'a>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'a> Visitor<'a> for ScalarVisitor {
    type Value = Scalar<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'a str) -> Result<Scalar<'a>, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Scalar<'a>, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Scalar<'a>, E> {
        Ok(Scalar::Whole(number.into()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Scalar<'a>, E> {
        Ok(Scalar::Whole(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Scalar<'a>, E> {
        Ok(Scalar::Fraction(number))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Scalar<'a>, E> {
        Ok(Scalar::Other)
    }

    fn visit_unit<E: Error>(self) -> Result<Scalar<'a>, E> {
        Ok(Scalar::Other)
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut items: S) -> Result<Scalar<'a>, S::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_map<M: MapAccess<'a>>(self, mut members: M) -> Result<Scalar<'a>, M::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(line: &str, field: &str) -> Result<Event, Fault> {
        parse(line.as_bytes(), &field.parse().expect("a field"))
    }

    #[test]
    fn the_time_may_have_any_of_the_usual_forms() {
        for time in [
            r#""time":"2015-05-17T10:05:03.25Z""#,
            r#""at":"2015-05-17T12:05:03.25+02:00""#,
            r#""timestamp":1431857103.25"#,
            r#""ts":1431857103250"#,
            r#""@timestamp":1431857103250000"#,
            r#""ts":1431857103250000000"#,
            r#""ts":1431857103250.0"#,
            r#""ts":"1431857103.25""#,
            r#""ts":1,"at":2,"time":1431857103.25"#,
            r#""time":1431857103.25,"ts":1"#,
            r#""time":1,"time":1431857103.25"#,
        ] {
            let event = read(&format!("{{{time},\"ip\":\"::1\"}}"), "ip").expect(time);
            assert_eq!(event.at, Timestamp::from_millis(1_431_857_103_250), "{time}");
        }
    }

    #[test]
    fn the_key_is_a_text_or_a_whole_number_at_any_depth() {
        let line = r#" {"id":42,"big":18446744073709551615,"minus":-1,"a.b":"flat","req":{"ts":9,"ip":"::1","h":{"ua":"\u00e9"}},"x":[[{}]],"ts":1} "#;
        for (field, key) in [
            ("id", "42"),
            ("big", "18446744073709551615"),
            ("minus", "-1"),
            ("a.b", "flat"),
            ("req.ip", "::1"),
            ("req.h.ua", "é"),
        ] {
            let event = read(line, field).expect(field);
            assert_eq!((event.key.as_str(), event.at), (key, Timestamp::from_secs(1)), "{field}");
        }
    }

    #[test]
    fn faults_say_what_is_missing() {
        for (line, why) in [
            ("", "not a JSON object: EOF"),
            ("[1]", "expected an object"),
            (r#"{"ts":1,"ip":"a""#, "not a JSON object: EOF"),
            (r#"{"ts":1,"ip":"a"} x"#, "trailing characters"),
            (r#"{"ip":"a"}"#, "time, at, timestamp, ts, @timestamp"),
            (r#"{"ts":true,"ip":"a"}"#, "neither RFC 3339"),
            (r#"{"ts":"2015-05-17T10:05:03","ip":"a"}"#, "neither RFC 3339"),
            (r#"{"ts":1e300,"ip":"a"}"#, "neither RFC 3339"),
            (r#"{"ts":"NaN","ip":"a"}"#, "neither RFC 3339"),
            (r#"{"ts":1}"#, "no member ip"),
            (r#"{"ts":1,"ip":1.5}"#, "neither a text nor a whole number"),
            (r#"{"ts":1,"ip":{"a":[1,{"b":null}]}}"#, "neither a text nor a whole number"),
            (r#"{"ts":1,"ip":""}"#, "a key has 1 to 512"),
        ] {
            let fault = read(line, "ip").expect_err(line);
            assert!(fault.why.contains(why), "{line}: {fault}");
        }
        let fault = read(r#"{"ts":1,"ip":?}"#, "ip").expect_err("a question mark");
        assert_eq!(fault.column, 14);
    }

    #[test]
    fn deep_nesting_is_refused_or_skipped_not_a_stack_overflow() {
        let deep = "[".repeat(30_000) + &"]".repeat(30_000);
        assert!(read(&format!(r#"{{"x":{deep},"ts":1,"ip":"a"}}"#), "ip").is_ok());
        assert!(read(&format!(r#"{{"ts":{deep},"ip":"a"}}"#), "ip").is_err());
        let deep = r#"{"a":"#.repeat(10_000);
        assert!(read(&deep, &vec!["a"; 10_000].join(".")).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(line in ".*", number in "-?[0-9]{1,40}(\\.[0-9]{1,9})?(e[0-9]{1,4})?") {
            let _ = read(&line, "ip");
            let _ = read(&format!(r#"{{"ts":{number},"ip":{number}}}"#), "ip");
            let _ = read(&format!(r#"{{"ts":"{number}","ip":"{number}"}}"#), "ip");
        }
    }
}
