//! Labels of points, and filters by them.

use std::fmt;

use forebay::{
    key::Key,
    series::{Filter, SeriesHandle},
};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema, schema::ObjectBuilder},
};

use super::{
    fields::Text,
    series_query::{WrongParameter, wrong},
};
use crate::text::quoted;

/// The values of labels, by name, in the order of the body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Labels(pub(crate) Vec<(String, String)>);

impl Labels {
    /// The labels of a key that have a value; `None` for a series without labels.
    pub(crate) fn of(series: &SeriesHandle, key: &str) -> Option<Self> {
        if series.label_names().len() == 0 {
            return None;
        }
        let labels = series.labels_of(key).filter(|(_, value)| !value.is_empty());
        Some(Self(labels.map(|(name, value)| (name.to_owned(), value)).collect()))
    }

    /// The labels as pairs.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> = self.iter().map(|(name, value)| format!("{name}={value}")).collect();
        f.write_str(&pairs.join(", "))
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

struct LabelsVisitor;

impl<'de> Visitor<'de> for LabelsVisitor {
    type Value = Labels;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the values of labels, each a string or an integer")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
        let mut labels = vec![];
        // A map would keep the last one of a label that is there twice.
        while let Some((name, Text(value))) = map.next_entry::<String, Text>()? {
            labels.push((name, value));
        }
        Ok(Labels(labels))
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(LabelsVisitor)
    }
}

impl PartialSchema for Labels {
    fn schema() -> RefOr<Schema> {
        let labels = ObjectBuilder::new().additional_properties(Some(Text::schema()));
        labels.description(Some("The values of labels by name; an integer is its decimal text")).into()
    }
}

impl ToSchema for Labels {}

/// Reads conditions on labels: `NAME=VALUE` or `NAME!=VALUE`. A label that is there more than once has one of its values, and
/// none of those with `!=`.
pub(crate) fn filter<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Filter, WrongParameter> {
    let mut wanted: Vec<(&str, Vec<&str>)> = vec![];
    let mut filter = Filter::new();
    for text in texts {
        let (name, value) = text.split_once('=').ok_or_else(|| wrong("label", malformed(text)))?;
        if value.len() > Key::MAX_BYTES {
            let most = Key::MAX_BYTES;
            return Err(wrong(
                "label",
                format!("label: {name}: a value of {} bytes: at most {most}", value.len()),
            ));
        }
        match name.strip_suffix('!') {
            _ if name.is_empty() || name == "!" => return Err(wrong("label", malformed(text))),
            Some(name) => filter = filter.label_not(name, value),
            None => match wanted.iter_mut().find(|(known, _)| *known == name) {
                Some((_, values)) => values.push(value),
                None => wanted.push((name, vec![value])),
            },
        }
    }
    Ok(wanted.into_iter().fold(filter, |filter, (name, values)| filter.label_in(name, values)))
}

fn malformed(text: &str) -> String {
    format!("label: {}: NAME=VALUE, or NAME!=VALUE", quoted(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_up_to_the_first_equals_sign() {
        let expected = Filter::new().label_not("status", "").label_not("status", "a!=b");
        let expected = expected.label_in("endpoint", ["/a=b", "", "!"]).label("x", "=");
        let texts = ["endpoint=/a=b", "status!=", "x==", "endpoint=", "status!=a!=b", "endpoint=!"];
        assert_eq!(filter(texts).expect("conditions"), expected);
        for text in ["", "status", "=", "!=", "=500", "!=500"] {
            let error = filter([text]).expect_err(text);
            assert!(
                error.detail.ends_with("NAME=VALUE, or NAME!=VALUE") && error.field == "label",
                "{error:?}"
            );
        }
        assert!(filter([&*format!("a={}", "x".repeat(513))]).is_err());
    }

    #[test]
    fn labels_keep_their_order_and_those_that_are_there_twice() {
        let read = |text: &str| serde_json::from_str::<Labels>(text).map(|Labels(labels)| labels);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let labels = read(r#"{"b":"x","a":500,"b":"","c":2.0,"d":-1}"#).expect("labels");
        assert_eq!(
            labels,
            [pair("b", "x"), pair("a", "500"), pair("b", ""), pair("c", "2"), pair("d", "-1")]
        );
        for text in ["[]", "\"a\"", r#"{"a":null}"#, r#"{"a":true}"#, r#"{"a":1.5}"#, r#"{"a":{}}"#] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
