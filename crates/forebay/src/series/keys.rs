//! The keys of a series.

use super::{
    filter::{Filter, KeyFilter},
    handle::SeriesHandle,
    listed::list_keys,
};
use crate::{
    engine::step::KeyRange,
    error::{Result, invalid, out_of_range},
    key::Key,
};

/// The most keys in a page.
pub const MAX_KEYS_PER_PAGE: usize = 10_000;

/// A question for the keys of a series.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::series::KeyQuery;
/// let hits = bay.series("hits")?;
/// for key in ["user:2", "user:1", "user:3", "host:1"] {
///     hits.add(key, 1).await?;
/// }
/// let first = hits.keys(&KeyQuery::new().prefix("user:").limit(2)).await?;
/// assert!(first.keys == ["user:1", "user:2"] && first.more);
/// let rest = hits.keys(&KeyQuery::new().prefix("user:").after("user:2")).await?;
/// assert!(rest.keys == ["user:3"] && !rest.more);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a question does nothing until it is given to `SeriesHandle::keys`"]
pub struct KeyQuery {
    filter: Filter,
    after: Option<String>,
    limit: usize,
}

impl KeyQuery {
    /// The first 100 keys.
    pub fn new() -> Self {
        Self { filter: Filter::new(), after: None, limit: 100 }
    }

    /// Only keys that begin with a text, byte by byte: no character of it stands for others.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.filter = self.filter.prefix(prefix);
        self
    }

    /// Only keys of a filter, in place of the one before.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// Only keys after this one, such as the last one of the page before. It need not be there any more.
    pub fn after(mut self, key: impl Into<String>) -> Self {
        self.after = Some(key.into());
        self
    }

    /// At most so many keys, 1 to 10 000, default 100.
    pub fn limit(mut self, keys: usize) -> Self {
        self.limit = keys;
        self
    }
}

impl Default for KeyQuery {
    fn default() -> Self {
        Self::new()
    }
}

/// Some keys of a series: the answer of [`SeriesHandle::keys`].
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::series::KeyQuery;
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let hits = bay.series("hits")?;
/// hits.add("user:42", 1).await?;
/// let page = hits.keys(&KeyQuery::new().prefix("user:")).await?;
/// assert_eq!((page.keys, page.more), (vec!["user:42".to_owned()], false));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyPage {
    /// The keys, in the order of their bytes.
    pub keys: Vec<String>,
    /// Whether there are more after these.
    pub more: bool,
    /// Whether keys may be missing, as points in [`Total::partial`](super::Total::partial).
    pub partial: bool,
}

impl SeriesHandle {
    /// Lists keys of the series: those with a count that is kept, in any resolution, by the order of their bytes.
    ///
    /// A key that was there before the first page was requested, and is there after the last one, is in exactly one page.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) for another limit than 1 to 10 000,
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a prefix or key of more than 512 bytes; and when one of the
    /// partitions does not answer.
    ///
    /// # Cost
    /// A few round trips for each partition, all partitions at the same time. In a shared store it takes longer for each 1 000
    /// keys that were counted in the last seconds. On the embedded engine it looks at all keys of all series. A filter on labels
    /// other than the first one looks at all keys.
    ///
    /// # Examples
    /// As of [`KeyQuery`].
    pub async fn keys(&self, query: &KeyQuery) -> Result<KeyPage> {
        let KeyQuery { filter, after, limit } = query;
        let name = &self.grid.name;
        if !(1..=MAX_KEYS_PER_PAGE).contains(limit) {
            return Err(out_of_range(format!(
                "series {name}: limit {limit} of keys: 1 to {MAX_KEYS_PER_PAGE}"
            )));
        }
        if let Some(bytes) = after.as_ref().map(String::len).filter(|bytes| *bytes > Key::MAX_BYTES) {
            let most = Key::MAX_BYTES;
            return Err(invalid(format!("series {name}: {bytes} bytes of a key: at most {most}")));
        }
        self.filtered_keys(&self.key_filter(filter)?, after.as_deref(), *limit).await
    }

    /// The first keys of a filter.
    pub(super) async fn filtered_keys(
        &self,
        filter: &KeyFilter<'_>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<KeyPage> {
        let prefix = filter.prefix();
        // Of those with a prefix not all may fit.
        let most = if filter.is_prefix() { limit + 1 } else { MAX_KEYS_PER_PAGE };
        let mut page = KeyPage { keys: vec![], more: false, partial: false };
        let mut after = after.map(str::to_owned);
        loop {
            let range = KeyRange { prefix: &prefix, after: after.as_deref(), most };
            let (found, partial) = self.listed_keys(&range).await?;
            page.partial |= partial;
            let is_last = found.len() < most;
            after = found.last().cloned();
            page.keys.extend(found.into_iter().filter(|key| filter.fits(key)));
            if is_last || page.keys.len() > limit {
                page.more = page.keys.len() > limit;
                page.keys.truncate(limit);
                return Ok(page);
            }
        }
    }

    /// The first keys of a range, and whether some may be missing.
    async fn listed_keys(&self, range: &KeyRange<'_>) -> Result<(Vec<String>, bool)> {
        let engine = self.store.engine();
        let read = async |part| {
            let partial = engine.series_may_wait(&part).await;
            let now = engine.series_now(&part).await;
            Ok::<_, crate::Error>((list_keys(&self.store, self.summaries, &part, range, now).await?, partial))
        };
        let pages = futures::future::try_join_all(self.parts().map(read)).await?;
        let partial = pages.iter().any(|(_, partial)| *partial);
        let mut keys: Vec<String> = pages.into_iter().flat_map(|(keys, _)| keys).collect();
        keys.sort_unstable();
        // The keys of a partition that follow its last one are not known.
        keys.truncate(range.most);
        Ok((keys, partial))
    }
}
