//! Queries of many keys, grouped by labels.

use std::collections::BTreeMap;

use super::{
    cover::Cover,
    filter::{Filter, KeyFilter},
    handle::SeriesHandle,
    query::Query,
    range::Range,
    run::Read,
};
use crate::error::{Error, Result, invalid, out_of_range};

/// The maximum number of keys that a filter of a query may have.
pub const MAX_FILTERED_KEYS: usize = 10_000;

/// The maximum number of groups of an answer.
pub const MAX_GROUPS: usize = 1_000;

/// The keys of a filter that have the same values of some labels, added up.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::{Series, series::{Filter, Query}, time::hours};
/// let requests = bay.series(Series::new("requests").labels(["endpoint", "status"]))?;
/// requests.add("/cart|200", 3).await?;
/// requests.add("/checkout|200", 4).await?;
/// let by_status = requests.query_by(&Filter::new(), ["status"], &Query::last(hours(1))).await?;
/// let [ok] = &by_status.groups[..] else { panic!("there is one status") };
/// assert_eq!((ok.labels[0].1.as_str(), ok.keys, ok.range.sum()), ("200", 2, 7));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Group {
    /// The labels by which the keys are grouped, with their values.
    pub labels: Vec<(String, String)>,
    /// The number of its keys.
    pub keys: usize,
    /// The points of its keys together.
    pub range: Range,
}

/// The answer of [`SeriesHandle::query_by`].
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::{series::{Filter, Query}, time::hours};
/// let hits = bay.series("hits")?;
/// for key in ["user:1", "user:2", "host:1"] {
///     hits.add(key, 2).await?;
/// }
/// let users = hits.query_by(&Filter::new().prefix("user:"), [""; 0], &Query::last(hours(1))).await?;
/// assert_eq!((users.groups[0].keys, users.total.sum()), (2, 4));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Groups {
    /// The groups, in the order of their values.
    pub groups: Vec<Group>,
    /// The points of all keys together.
    pub total: Range,
}

/// The keys of a group, added up while they are read.
#[derive(Debug, Default)]
struct Gathered {
    keys: usize,
    read: Option<Read>,
}

impl SeriesHandle {
    /// Runs a query for all keys of a filter, and adds up those with the same values of the labels `by`; without any of those, all.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a label that the series does not have;
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) for more than 10 000 keys, 1 000 groups or 100 000 points, and for 20
    /// million buckets; else as [`query_many`](Self::query_many).
    ///
    /// # Cost
    /// A list of the [keys](Self::keys), and for each 1 000 of them one round trip for each partition.
    ///
    /// # Examples
    /// As of [`Series::labels`](super::Series::labels).
    pub async fn query_by(
        &self,
        filter: &Filter,
        by: impl IntoIterator<Item = impl AsRef<str>>,
        query: &Query,
    ) -> Result<Groups> {
        let places = self.label_places(by)?;
        let (keys, partial) = self.all_keys(&self.key_filter(filter)?).await?;
        let mut gathered: BTreeMap<Vec<String>, Gathered> = BTreeMap::new();
        let values = |key: &str| {
            let mut values = if places.is_empty() { vec![] } else { self.labels.split(key) };
            places.iter().map(|place| std::mem::take(&mut values[*place])).collect::<Vec<_>>()
        };
        for key in &keys {
            gathered.entry(values(key)).or_default().keys += 1;
        }
        if gathered.len() > MAX_GROUPS {
            let (name, found) = (&self.grid.name, gathered.len());
            return Err(out_of_range(format!(
                "series {name}: {found} groups: at most {MAX_GROUPS}; filter, or group by fewer labels"
            )));
        }
        let plan = self.plan(gathered.len().max(1), "", query).await?;
        let covers: Vec<&Cover> = plan.covers().collect();
        let read = keys.iter().map(|key| self.key(key)).collect::<Result<Vec<_>>>()?;
        self.read_in_batches(&read, &covers, |place, read| {
            match &mut gathered.get_mut(&values(&keys[place])).expect("it was just made").read {
                Some(sum) => sum.add(&read),
                empty => *empty = Some(read),
            }
        })
        .await?;
        let none = Read { counts: covers.iter().flat_map(|cover| cover.zeros()).collect(), partial };
        let mut all = none.clone();
        let names: Vec<&str> = places.iter().map(|place| &*self.labels.names()[*place]).collect();
        let mut groups = Vec::with_capacity(gathered.len());
        for (values, Gathered { keys, read }) in gathered {
            let read = read.unwrap_or_else(|| none.clone());
            all.add(&read);
            let labels = names.iter().map(|name| (*name).to_owned()).zip(values).collect();
            groups.push(Group { labels, keys, range: self.answer(&plan, &read, query) });
        }
        Ok(Groups { groups, total: self.answer(&plan, &all, query) })
    }

    /// The places of the labels by which keys are grouped.
    pub(super) fn label_places(&self, by: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Vec<usize>> {
        let in_series = |error: Error| error.in_context(format_args!("series {}", self.grid.name));
        let mut places: Vec<usize> = vec![];
        for label in by {
            let place = self.labels.place(label.as_ref()).map_err(in_series)?;
            if places.contains(&place) {
                return Err(in_series(invalid(format!("group by {:?}: it is there twice", label.as_ref()))));
            }
            places.push(place);
        }
        Ok(places)
    }

    /// All keys of a filter, and whether some may be missing.
    pub(super) async fn all_keys(&self, filter: &KeyFilter<'_>) -> Result<(Vec<String>, bool)> {
        let page = self.filtered_keys(filter, None, MAX_FILTERED_KEYS).await?;
        if page.more {
            return Err(out_of_range(format!(
                "series {}: more than {MAX_FILTERED_KEYS} keys: ask for fewer, by a prefix or a label; only `top` of keys of a \
                 ranked series takes more",
                self.grid.name
            )));
        }
        Ok((page.keys, page.partial))
    }
}
