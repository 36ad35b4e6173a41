//! The fields of bodies, each a type that checks its range.

use std::fmt;

use forebay::{Timestamp, key};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Unexpected, Visitor},
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{KnownFormat, ObjectBuilder, OneOfBuilder, SchemaFormat, Type},
    },
};

use crate::text::{self, moment::absolute};

/// The largest id of a stored entry.
const MAX_ID: u64 = i64::MAX.unsigned_abs();

/// Defines integers, each with its range.
macro_rules! integers {
    ($($(#[$doc:meta])* $name:ident: $range:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
        pub(crate) struct $name(pub(crate) u64);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let (least, most) = $range.into_inner();
                deserializer.deserialize_any(IntegerVisitor { least, most }).map(Self)
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let (least, most) = $range.into_inner();
                let integer = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(least));
                let format = SchemaFormat::KnownFormat(KnownFormat::Int64);
                integer.maximum(Some(most)).format(Some(format)).build().into()
            }
        }

        impl ToSchema for $name {}
    )*};
}

integers! {
    /// The number of hits or points: 1 to 2^31.
    Count: 1..=key::Count::MAX;
    /// The cost of a take: 0 to 2^31. A take of 0 charges nothing.
    Cost: 0..=key::Count::MAX;
    /// The id of a stored entry: 0 to 2^63-1.
    Id: 0..=MAX_ID;
}

impl Default for Count {
    fn default() -> Self {
        Self(1)
    }
}

impl Default for Cost {
    fn default() -> Self {
        Self(1)
    }
}

/// The key of a limit or series: 1 to 512 bytes of UTF-8. An integer is read as its decimal text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Key(pub(crate) String);

/// A text; an integer is read as its decimal text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) String);

/// A moment: an RFC 3339 text, or a number since 1970, also as a text: seconds, or by its size milli-, micro- or nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At(pub(crate) Timestamp);

impl Serialize for At {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// The integer that a JSON number with a fraction or an exponent stands for: `2.0` and `1e3` are integers, `2.5` is not.
///
/// From 2^53 on, a float may stand for another integer than the one that was written. Those are refused.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
pub(crate) fn integer(n: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_991.0;
    (n.fract() == 0.0 && n.abs() <= EXACT).then_some(n as i64)
}

/// Reads a text or an integer.
struct TextVisitor {
    expected: &'static str,
}

impl Visitor<'_> for TextVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<String, E> {
        Ok(n.to_string())
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<String, E> {
        Ok(n.to_string())
    }

    fn visit_f64<E: Error>(self, n: f64) -> Result<String, E> {
        let integer = integer(n).ok_or_else(|| E::invalid_type(Unexpected::Float(n), &self))?;
        Ok(integer.to_string())
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const { assert!(key::Key::MAX_BYTES == 512, "the text says so") };
        let visitor = TextVisitor { expected: "a string of 1 to 512 bytes, or an integer" };
        let text = deserializer.deserialize_any(visitor)?;
        key::Key::new(&text).map_err(D::Error::custom)?;
        Ok(Self(text))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor { expected: "a string or an integer" }).map(Self)
    }
}

/// Reads an integer within bounds.
struct IntegerVisitor {
    least: u64,
    most: u64,
}

impl Visitor<'_> for IntegerVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an integer from {} to {}", self.least, self.most)
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<u64, E> {
        if (self.least..=self.most).contains(&n) {
            Ok(n)
        } else {
            Err(E::invalid_value(Unexpected::Unsigned(n), &self))
        }
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<u64, E> {
        let positive = u64::try_from(n).map_err(|_| E::invalid_value(Unexpected::Signed(n), &self))?;
        self.visit_u64(positive)
    }

    fn visit_f64<E: Error>(self, n: f64) -> Result<u64, E> {
        let integer = integer(n).ok_or_else(|| E::invalid_type(Unexpected::Float(n), &self))?;
        self.visit_i64(integer)
    }
}

struct AtVisitor;

impl Visitor<'_> for AtVisitor {
    type Value = At;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time: RFC 3339 such as \"2026-01-01T00:00:00Z\", or seconds since 1970")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<At, E> {
        absolute(text).map(At).ok_or_else(|| E::invalid_value(Unexpected::Other(&text::quoted(text)), &self))
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<At, E> {
        absolute(&n.to_string()).map(At).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(n), &self))
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<At, E> {
        absolute(&n.to_string()).map(At).ok_or_else(|| E::invalid_value(Unexpected::Signed(n), &self))
    }

    fn visit_f64<E: Error>(self, n: f64) -> Result<At, E> {
        absolute(&n.to_string()).map(At).ok_or_else(|| E::invalid_value(Unexpected::Float(n), &self))
    }
}

impl<'de> Deserialize<'de> for At {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AtVisitor)
    }
}

impl PartialSchema for Key {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1));
        let text = text.max_length(Some(key::Key::MAX_BYTES));
        let both = OneOfBuilder::new().item(text).item(ObjectBuilder::new().schema_type(Type::Integer));
        both.description(Some("1 to 512 bytes of UTF-8; an integer is its decimal text")).into()
    }
}

impl ToSchema for Key {}

impl PartialSchema for Text {
    fn schema() -> RefOr<Schema> {
        let both = OneOfBuilder::new().item(ObjectBuilder::new().schema_type(Type::String));
        both.item(ObjectBuilder::new().schema_type(Type::Integer)).into()
    }
}

impl PartialSchema for At {
    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::KnownFormat(KnownFormat::DateTime);
        let text = ObjectBuilder::new().schema_type(Type::String).format(Some(format));
        let seconds = ObjectBuilder::new().schema_type(Type::Number).minimum(Some(0));
        let both = OneOfBuilder::new().item(text).item(seconds);
        both.description(Some("RFC 3339, or seconds since 1970 (by their size also milli-, micro- or nanoseconds); at most 5 minutes ahead")).into()
    }
}

impl ToSchema for At {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn an_integer_key_is_its_decimal_text() {
        assert_eq!(read::<Key>("42"), Ok(Key("42".into())));
        assert_eq!(read::<Key>("-42"), Ok(Key("-42".into())));
        assert_eq!(read::<Key>("18446744073709551615"), Ok(Key(u64::MAX.to_string())));
        assert_eq!(read::<Key>("\"ä{}\\u0000\""), Ok(Key("ä{}\0".into())));
        assert_eq!(read::<Key>("42.0"), Ok(Key("42".into())));
        assert_eq!(read::<Key>("-4.2e1"), Ok(Key("-42".into())));
        for bad in ["1.5", "null", "true", "[]", "{}", "18446744073709551616", "9007199254740992.0"] {
            let message = read::<Key>(bad).expect_err(bad);
            assert!(message.contains("a string of 1 to 512 bytes, or an integer"), "{message}");
        }
    }

    #[test]
    fn a_key_has_1_to_512_bytes() {
        let key = |length: usize| read::<Key>(&format!("\"{}\"", "x".repeat(length)));
        assert!(key(1).is_ok() && key(512).is_ok());
        for length in [0, 513] {
            assert!(key(length).expect_err("no key").contains("1 to 512 bytes"));
        }
        let bytes_count = read::<Key>(&format!("\"{}\"", "é".repeat(257)));
        assert!(bytes_count.expect_err("514 bytes").contains("key of 514 bytes"));
    }

    #[test]
    fn a_count_is_1_to_2_to_the_31() {
        assert_eq!(read::<Count>("1"), Ok(Count(1)));
        assert_eq!(read::<Count>("2147483648"), Ok(Count(key::Count::MAX)));
        assert_eq!(read::<Count>("2147483648.0"), Ok(Count(key::Count::MAX)));
        for bad in [
            "0",
            "-1",
            "2147483649",
            "0.0",
            "-0.0",
            "2.5",
            "-1e0",
            "1e-1",
            "1e300",
            "2147483648.5",
            "\"1\"",
            "\"1.0\"",
            "null",
            "true",
            "99999999999999999999",
        ] {
            let message = read::<Count>(bad).expect_err(bad);
            assert!(message.contains("an integer from 1 to 2147483648"), "{message}");
        }
    }

    /// JSON does not tell `2` from `2.0`, and many encoders of floats write the latter.
    #[test]
    fn a_number_without_a_fraction_is_an_integer_as_far_as_it_is_exact() {
        for (json, n) in [("2.0", 2), ("1e3", 1_000), ("1E+3", 1_000), ("0.5e1", 5), ("20e-1", 2)] {
            assert_eq!(read::<Count>(json), Ok(Count(n)), "{json}");
        }
        assert_eq!(
            (read::<Cost>("0"), read::<Cost>("0.0"), read::<Cost>("-0.0")),
            (Ok(Cost(0)), Ok(Cost(0)), Ok(Cost(0)))
        );
        for exact in ["9007199254740991", "9007199254740991.0"] {
            assert_eq!(read::<Id>(exact), Ok(Id((1 << 53) - 1)));
        }
        assert_eq!(read::<Id>("9007199254740993"), Ok(Id((1 << 53) + 1)));
        for rounded in ["9007199254740992.0", "9007199254740993.0", "1e16", "9223372036854775808", "1e400"] {
            assert!(read::<Id>(rounded).is_err(), "{rounded}");
        }
    }

    #[test]
    fn a_moment_is_absolute() {
        let noon = Timestamp::from_secs(1_767_268_800);
        for good in [
            "\"2026-01-01T12:00:00Z\"",
            "\"2026-01-01T13:00:00+01:00\"",
            "1767268800",
            "\"1767268800\"",
            "1767268800.0",
            "1767268800000",
            "\"1767268800000\"",
            "1767268800000000",
            "1767268800000000000",
            "1.7672688e9",
        ] {
            assert_eq!(read::<At>(good), Ok(At(noon)), "{good}");
        }
        for bad in [
            "\"now\"",
            "\"-1d\"",
            "\"today\"",
            "\"yesterday\"",
            "\"\"",
            "-1",
            "1e300",
            "99999999999999999999",
            "null",
            "[]",
        ] {
            let message = read::<At>(bad).expect_err(bad);
            assert!(message.contains("RFC 3339"), "{message}");
        }
    }
}
