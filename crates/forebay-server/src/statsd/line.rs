//! A line of statsd or DogStatsD: `name:value|type`, perhaps with a sample rate, tags and a time.
//!
//! # Source
//! <https://github.com/statsd/statsd/blob/master/docs/metric_types.md>,
//! <https://docs.datadoghq.com/developers/dogstatsd/datagram_shell/>

use super::{
    sampled::{Rate, Sum},
    why::Why,
};

/// A metric of a line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Metric<'a> {
    pub name: &'a str,
    pub value: Value<'a>,
    pub rate: Rate,
    /// The tags in their order. One without a value has `true`.
    pub tags: Vec<(&'a str, &'a str)>,
    /// The time in seconds since 1970, if the line has one.
    pub at: Option<i64>,
}

/// The type of a metric with what it sends.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// `c`: events to count.
    Count(Sum),
    /// `g`: values to set. `Change` has a sign.
    Gauge(Vec<Setting>),
    /// `ms`, `h` and `d`: measured values.
    Measured(Vec<f64>),
    /// `s`: an element of a set.
    Element(&'a str),
}

/// The value of a gauge, or a change of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Setting {
    To(f64),
    /// A value with a sign is added.
    By(f64),
}

impl<'a> Metric<'a> {
    /// Reads a line. An empty one is `None`.
    pub(super) fn parse(line: &'a [u8]) -> Result<Option<Self>, Why> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Ok(None);
        }
        let line = str::from_utf8(line).map_err(|_| Why::Encoding)?;
        if line.starts_with("_e{") || line.starts_with("_sc|") {
            return Err(Why::Unsupported);
        }
        let (name, rest) = line.split_once(':').ok_or(Why::Value)?;
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err(Why::Name);
        }
        let mut fields = rest.split('|');
        let (values, kind) = (fields.next().unwrap_or_default(), fields.next().ok_or(Why::Type)?);
        let value = Value::parse(values, kind)?;
        let mut metric = Self { name, value, rate: Rate::ALL, tags: vec![], at: None };
        let mut seen = [false; 3];
        for field in fields {
            metric.read_field(field, &mut seen)?;
        }
        Ok(Some(metric))
    }

    /// The value of a tag; the last one of those that are there twice.
    pub(super) fn tag(&self, name: &str) -> Option<&'a str> {
        self.tags.iter().rev().find(|(tag, _)| *tag == name).map(|(_, value)| *value)
    }

    /// Reads a field after the type. `seen` tells which of rate, tags and time were there.
    fn read_field(&mut self, field: &'a str, seen: &mut [bool; 3]) -> Result<(), Why> {
        let mut once =
            |place: usize| if std::mem::replace(&mut seen[place], true) { Err(Why::Field) } else { Ok(()) };
        if let Some(rate) = field.strip_prefix('@') {
            once(0)?;
            self.rate = number(rate).and_then(Rate::new).ok_or(Why::Rate)?;
        } else if let Some(tags) = field.strip_prefix('#') {
            once(1)?;
            self.tags = tags.split(',').filter_map(tag).collect();
        } else if let Some(time) = field.strip_prefix('T') {
            once(2)?;
            let is_number = time.bytes().all(|c| c.is_ascii_digit());
            self.at = Some(time.parse().ok().filter(|_| is_number).ok_or(Why::Field)?);
        } else if !["c:", "e:", "card:"].iter().any(|origin| field.starts_with(origin)) {
            // The origin of a metric is of no use here. Anything else may change what the line means.
            return Err(Why::Field);
        }
        Ok(())
    }
}

impl<'a> Value<'a> {
    fn parse(values: &'a str, kind: &str) -> Result<Self, Why> {
        if kind == "s" {
            // An element is any text, also one with a colon.
            return if values.is_empty() { Err(Why::Value) } else { Ok(Self::Element(values)) };
        }
        let numbers =
            || values.split(':').map(|text| number(text).map(|value| (text, value)).ok_or(Why::Value));
        match kind {
            "c" => {
                let mut sum = Sum::default();
                for value in numbers() {
                    sum.add(Sum::of(value?.1).ok_or(Why::Value)?);
                }
                Ok(Self::Count(sum))
            }
            "g" => {
                let has_sign = |text: &str| text.starts_with(['+', '-']);
                let setting = |(text, value): (&str, f64)| {
                    if has_sign(text) { Setting::By(value) } else { Setting::To(value) }
                };
                numbers().map(|value| value.map(setting)).collect::<Result<_, _>>().map(Self::Gauge)
            }
            "ms" | "h" | "d" => {
                numbers().map(|value| Ok(value?.1)).collect::<Result<_, _>>().map(Self::Measured)
            }
            _ => Err(Why::Type),
        }
    }
}

/// A tag and its value. Some clients write a `#` before each.
fn tag(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_prefix('#').unwrap_or(text);
    let (name, value) = text.split_once(':').unwrap_or((text, "true"));
    (!name.is_empty()).then_some((name, value))
}

/// The largest value of gauges and percentiles.
pub(super) const MAX_VALUE: f64 = 1e290;

/// A decimal number that a series may have. Neither blanks, nor `inf`, `NaN` or hexadecimal digits.
fn number(text: &str) -> Option<f64> {
    let is_decimal =
        text.bytes().all(|c| c.is_ascii_digit() || matches!(c, b'+' | b'-' | b'.' | b'e' | b'E'));
    text.parse().ok().filter(|value: &f64| is_decimal && value.abs() <= MAX_VALUE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(line: &str) -> Result<Option<Metric<'_>>, Why> {
        Metric::parse(line.as_bytes())
    }

    fn good(line: &str) -> Metric<'_> {
        parse(line).unwrap_or_else(|why| panic!("{line}: {why:?}")).expect("not empty")
    }

    fn count(n: f64) -> Value<'static> {
        Value::Count(Sum::of(n).expect("a count"))
    }

    #[test]
    fn counters_have_signs_fractions_exponents_and_rates() {
        for (line, n) in [
            ("a:1|c", 1.0),
            ("a:+5|c", 5.0),
            ("a:0.5|c", 0.5),
            ("a:.5|c", 0.5),
            ("a:5.|c", 5.0),
            ("a:+10e1|c", 100.0),
            ("a:0|c", 0.0),
            ("a:-0|c", 0.0),
            ("a:1|c\r", 1.0),
            ("a:1:2:3.5|c", 6.5),
        ] {
            assert_eq!(good(line).value, count(n), "{line}");
        }
        for (line, rate) in [("a:1|c|@0.1", 0.1), ("a:1|c|@1", 1.0), ("a:1|c|@.2", 0.2), ("a:1|c|@2e-1", 0.2)]
        {
            assert_eq!(Some(good(line).rate), Rate::new(rate), "{line}");
        }
    }

    #[test]
    fn a_gauge_with_a_sign_changes_and_a_set_has_any_text() {
        assert_eq!(good("a:3|g").value, Value::Gauge(vec![Setting::To(3.0)]));
        assert_eq!(good("a:+5|g").value, Value::Gauge(vec![Setting::By(5.0)]));
        assert_eq!(good("a:-10.5|g|@0.2").value, Value::Gauge(vec![Setting::By(-10.5)]));
        assert_eq!(good("a:320|ms|@0.1").value, Value::Measured(vec![320.0]));
        assert_eq!(good("a:0.5:120:-1|d|#x:y").value, Value::Measured(vec![0.5, 120.0, -1.0]));
        assert_eq!(good("a:1|h").value, Value::Measured(vec![1.0]));
        assert_eq!(good("a:user:42|s").value, Value::Element("user:42"));
        assert_eq!(good("a: |s").value, Value::Element(" "));
    }

    #[test]
    fn tags_keep_their_order_and_may_have_colons_hashes_or_no_value() {
        let metric = good(
            "a:1|c|#env:live,#status:500,canary,x:,url:http://a:80/,,env:test,é:ü|c:0123|T1767225600|@0.5",
        );
        let tags = [
            ("env", "live"),
            ("status", "500"),
            ("canary", "true"),
            ("x", ""),
            ("url", "http://a:80/"),
            ("env", "test"),
            ("é", "ü"),
        ];
        assert_eq!(metric.tags, tags);
        assert_eq!((metric.tag("env"), metric.tag("none")), (Some("test"), None));
        assert_eq!((metric.at, Some(metric.rate)), (Some(1_767_225_600), Rate::new(0.5)));
        assert_eq!(good("a:1|c|#").tags, [], "a client without tags");
        assert_eq!(good("a:1|c|c:in-0123").tags, []);
        assert_eq!(good("a:1|c|e:it-x|card:low").tags, []);
    }

    #[test]
    fn names_may_have_blanks_and_letters_of_any_script() {
        for (line, name) in
            [("a b:1|c", "a b"), ("é.日本:1|c", "é.日本"), ("a/b#c,d=e:1|c", "a/b#c,d=e"), (" :1|c", " ")]
        {
            assert_eq!(good(line).name, name);
        }
    }

    #[test]
    fn a_malformed_line_is_refused_with_its_reason() {
        for (line, why) in [
            ("a", Why::Value),
            ("1|c", Why::Value),
            (":1|c", Why::Name),
            ("a\tb:1|c", Why::Name),
            ("a\0:1|c", Why::Name),
            ("a:", Why::Type),
            ("a:1", Why::Type),
            ("a:1|", Why::Type),
            ("a:1|x", Why::Type),
            ("a:1|C", Why::Type),
            ("a:1|c:2|c", Why::Type),
            ("a:|c", Why::Value),
            ("a:b:1|c", Why::Value),
            ("a:-1|c", Why::Value),
            ("a:0,5|c", Why::Value),
            ("a: 1|c", Why::Value),
            ("a:1 |c", Why::Value),
            ("a:NaN|c", Why::Value),
            ("a:NaN|g", Why::Value),
            ("a:inf|ms", Why::Value),
            ("a:-Infinity|g", Why::Value),
            ("a:1e400|g", Why::Value),
            ("a:-1e291|g", Why::Value),
            ("a:1e30|c", Why::Value),
            ("a:0x10|c", Why::Value),
            ("a:1_000|c", Why::Value),
            ("a:--1|g", Why::Value),
            ("a:1:|ms", Why::Value),
            ("a:|s", Why::Value),
            ("a:1|c|@0", Why::Rate),
            ("a:1|c|@-1", Why::Rate),
            ("a:1|c|@2", Why::Rate),
            ("a:1|c|@", Why::Rate),
            ("a:1|c|@.1.", Why::Rate),
            ("a:1|c|@nan", Why::Rate),
            ("a:1|c|", Why::Field),
            ("a:1|c|0.1", Why::Field),
            ("a:1|c|@0.1|@0.1", Why::Field),
            ("a:1|c|#a|#b", Why::Field),
            ("a:1|c|T", Why::Field),
            ("a:1|c|T1.5", Why::Field),
            ("a:1|c|T-1", Why::Field),
            ("a:1|c|T99999999999999999999", Why::Field),
            ("_e{5,4}:title|text|#a:b", Why::Unsupported),
            ("_sc|name|0|#a:b", Why::Unsupported),
        ] {
            assert_eq!(parse(line), Err(why), "{line}");
        }
        assert_eq!(Metric::parse(b"a:1|c|#tag:\xc3("), Err(Why::Encoding));
        assert_eq!((parse(""), parse("\r")), (Ok(None), Ok(None)));
    }

    proptest! {
        #[test]
        fn never_panics(line in prop::collection::vec(any::<u8>(), 0..60), text in "[a:|@#,T0-9.e+\\-cgms_ ]{0,40}") {
            let _ = Metric::parse(&line);
            let _ = parse(&text);
        }
    }
}
