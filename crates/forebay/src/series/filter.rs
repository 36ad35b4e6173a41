//! Filters: some of the keys of a series, by their beginning and their labels.

use super::{
    handle::SeriesHandle,
    labels::{Labels, escaped},
};
use crate::{
    error::{Result, invalid},
    key::Key,
};

/// Some keys of a series: all that meet each of its conditions.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::{Series, series::{Filter, KeyQuery}};
/// let requests = bay.series(Series::new("requests").labels(["endpoint", "status"]))?;
/// for key in ["/cart|200", "/cart|500", "/checkout|404", "/checkout|500"] {
///     requests.add(key, 1).await?;
/// }
/// let failed = Filter::new().label_in("status", ["500", "503"]).label_not("endpoint", "/cart");
/// assert_eq!(requests.keys(&KeyQuery::new().filter(failed)).await?.keys, ["/checkout|500"]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a filter does nothing until it is given to a query"]
pub struct Filter {
    pub(super) prefix: String,
    conditions: Vec<Condition>,
}

/// A condition on a label.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    label: String,
    values: Vec<String>,
    /// Whether the label has one of the values, or none of them.
    is_one: bool,
}

/// A filter of a series, checked.
#[derive(Debug)]
pub(super) struct KeyFilter<'a> {
    labels: &'a Labels,
    prefix: &'a str,
    /// The place of each label with its condition.
    conditions: Vec<(usize, &'a Condition)>,
}

impl Filter {
    /// All keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only keys that begin with a text, byte by byte: no character of it stands for others.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Only keys with this value of a label. An empty value is also that of a label without one.
    pub fn label(self, label: impl Into<String>, value: impl Into<String>) -> Self {
        self.label_in(label, [value])
    }

    /// Only keys with one of these values of a label.
    pub fn label_in(
        mut self,
        label: impl Into<String>,
        values: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        self.conditions.push(Condition { label: label.into(), values, is_one: true });
        self
    }

    /// Only keys with another value of a label.
    pub fn label_not(mut self, label: impl Into<String>, value: impl Into<String>) -> Self {
        self.conditions.push(Condition { label: label.into(), values: vec![value.into()], is_one: false });
        self
    }
}

impl SeriesHandle {
    pub(super) fn key_filter<'a>(&'a self, filter: &'a Filter) -> Result<KeyFilter<'a>> {
        let Filter { prefix, conditions } = filter;
        let name = &self.grid.name;
        if prefix.len() > Key::MAX_BYTES {
            let (bytes, most) = (prefix.len(), Key::MAX_BYTES);
            return Err(invalid(format!("series {name}: {bytes} bytes of a key: at most {most}")));
        }
        let placed = |condition: &'a Condition| {
            let place = self.labels.place(&condition.label);
            Ok((place.map_err(|error| error.in_context(format_args!("series {name}")))?, condition))
        };
        let conditions = conditions.iter().map(placed).collect::<Result<_>>()?;
        Ok(KeyFilter { labels: &self.labels, prefix, conditions })
    }
}

impl KeyFilter<'_> {
    /// Whether every key with the [prefix](Self::prefix) is of the filter.
    pub(super) fn is_prefix(&self) -> bool {
        self.conditions.is_empty()
    }

    /// A text with which all keys of the filter begin: the longer one of the given one and that of the first label.
    pub(super) fn prefix(&self) -> String {
        let of_first = self.conditions.iter().find_map(|(place, condition)| match &condition.values[..] {
            [value] if *place == 0 && condition.is_one => Some(escaped(value)),
            _ => None,
        });
        of_first
            .filter(|of_first| of_first.len() > self.prefix.len())
            .unwrap_or_else(|| self.prefix.to_owned())
    }

    pub(super) fn fits(&self, key: &str) -> bool {
        if !key.starts_with(self.prefix) {
            return false;
        }
        if self.conditions.is_empty() {
            return true;
        }
        let values = self.labels.split(key);
        self.conditions
            .iter()
            .all(|(place, condition)| condition.values.contains(&values[*place]) == condition.is_one)
    }
}
