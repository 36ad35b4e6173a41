//! The definition of a series.

use std::sync::Arc;

use super::labels::Labels;
use crate::{
    error::{Result, invalid, out_of_range},
    key::Name,
    model::resolution::{Grid, Resolution, SHORTEST_RANKED},
};

/// The definition of a series.
///
/// ```
/// use forebay::{Series, series::Resolution, time::{days, secs}};
/// let by_default = Series::new("hits");
/// let coarse = Series::new("signups").resolutions(vec![Resolution::new(secs(3_600), days(365))?]);
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a definition does nothing until it is given to `Forebay::series`"]
pub struct Series {
    name: String,
    resolutions: Vec<Resolution>,
    partitions: u16,
    max_keys: Option<u64>,
    labels: Vec<String>,
    is_ranked: bool,
}

impl Series {
    /// A series with the default resolutions: `10s/1d, 1m/7d, 15m/30d, 1d/2y`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            resolutions: Resolution::defaults(),
            partitions: 16,
            max_keys: None,
            labels: vec![],
            is_ranked: false,
        }
    }

    /// Sets the resolutions, 1 to 8, from the finest to the coarsest. Each step must be a multiple of the one before, and its
    /// retention at least as long.
    pub fn resolutions(mut self, resolutions: Vec<Resolution>) -> Self {
        self.resolutions = resolutions;
        self
    }

    /// Sets over how many partitions the keys spread in a shared store, 1 to 1 024, default 16.
    pub fn partitions(mut self, partitions: u16) -> Self {
        self.partitions = partitions;
        self
    }

    /// Sets how many keys the series has at most, 1 to 2^40; default unlimited. Combinations of [labels](Self::labels) are keys.
    ///
    /// A new key beyond the maximum fails with [`ErrorKind::Overloaded`](crate::ErrorKind::Overloaded) until the last count of
    /// another key has left its retention. The [`limited`](super::SeriesHandle::limited) series has the same maximum of its
    /// own.
    ///
    /// In a shared store one host counts the keys of all partitions, so that there are never more. A process asks it about keys that
    /// it has not added to for a minute or two: one more round trip. While that host is down new keys are refused. A key that has no
    /// count any more is given up up to five minutes later; it takes some 200 bytes there. All programs have to set the maximum.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{ErrorKind, Series};
    /// let hits = bay.series(Series::new("hits").max_keys(1))?;
    /// hits.add("user:1", 1).await?;
    /// assert_eq!(hits.add("user:2", 1).await.unwrap_err().kind(), ErrorKind::Overloaded);
    /// # Ok(()) }
    /// ```
    pub fn max_keys(mut self, keys: u64) -> Self {
        self.max_keys = Some(keys);
        self
    }

    /// The name, as it was given.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The maximum that [`max_keys`](Self::max_keys) set.
    pub fn key_bound(&self) -> Option<u64> {
        self.max_keys
    }

    /// Sets the labels of the points, at most 8, such as `endpoint` and `status`. A combination of their values is a key.
    ///
    /// [`SeriesHandle::key_of`](super::SeriesHandle::key_of) makes the key of some values. Put first the label by which you filter most: a filter on it reads no
    /// other keys. Labels can be added at the end later; any other change gives the keys that are there other labels.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{Series, series::{Filter, Query}, time::hours};
    /// let requests = bay.series(Series::new("requests").labels(["endpoint", "status"]))?;
    /// let key = requests.key_of([("endpoint", "/checkout"), ("status", "500")])?;
    /// requests.add(&key, 1).await?;
    ///
    /// let failed = Filter::new().label("status", "500");
    /// let by_endpoint = requests.query_by(&failed, ["endpoint"], &Query::last(hours(1))).await?;
    /// assert_eq!(by_endpoint.groups[0].labels, [("endpoint".to_owned(), "/checkout".to_owned())]);
    /// assert_eq!(by_endpoint.groups[0].range.sum(), 1);
    /// # Ok(()) }
    /// ```
    pub fn labels(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.labels = names.into_iter().map(Into::into).collect();
        self
    }

    /// Keeps lists of the largest keys in a shared store, from which [`top`](super::SeriesHandle::top) answers for any number of keys.
    /// A store in this process needs none.
    ///
    /// There is a list for each bucket of the coarsest resolution, which needs buckets of 5 min or longer; and for the last two days,
    /// of the coarsest one between 5 min and 1 h. Each has 120 keys of a partition at most, some 3 KB. All programs that add to the
    /// series keep the lists, once one has defined it so. Where the series had counts before, its lists are complete from the next
    /// bucket on.
    ///
    /// # Examples
    /// ```
    /// use forebay::{Series, series::Resolution, time::{days, secs}};
    /// assert!(Series::new("hits").ranked().check().is_ok());
    /// let fine = vec![Resolution::new(secs(10), days(1))?];
    /// assert!(Series::new("hits").ranked().resolutions(fine).check().is_err());
    /// # Ok::<(), forebay::Error>(())
    /// ```
    pub fn ranked(mut self) -> Self {
        self.is_ranked = true;
        self
    }

    /// Whether [`ranked`](Self::ranked) was set.
    pub fn is_ranked(&self) -> bool {
        self.is_ranked
    }

    /// The labels that [`labels`](Self::labels) set.
    pub fn label_names(&self) -> &[String] {
        &self.labels
    }

    /// The resolutions that [`resolutions`](Self::resolutions) set, or the default.
    pub fn steps(&self) -> &[Resolution] {
        &self.resolutions
    }

    /// Checks the definition without a store, for a program that checks its configuration.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a malformed name or resolutions that do not fit together,
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) for a number outside its range.
    ///
    /// # Examples
    /// ```
    /// use forebay::Series;
    /// assert!(Series::new("hits").partitions(32).check().is_ok());
    /// assert!(Series::new("Hits").check().is_err()); // names are lower case
    /// ```
    pub fn check(&self) -> Result<()> {
        self.clone().build().map(|_| ())
    }

    pub(super) fn build(self) -> Result<(Arc<Grid>, Arc<Grid>, Labels)> {
        let name = Name::new(&self.name)?;
        if self.resolutions.is_empty() || self.resolutions.len() > 8 {
            return Err(invalid(format!("series {name}: {} resolutions: 1 to 8", self.resolutions.len())));
        }
        for pair in self.resolutions.windows(2) {
            let (fine, coarse) = (pair[0], pair[1]);
            let multiple =
                coarse.step > fine.step && coarse.step.as_secs().is_multiple_of(fine.step.as_secs());
            if !multiple || coarse.retention < fine.retention {
                return Err(invalid(format!(
                    "series {name}: resolution {:?} kept for {:?} after {:?} kept for {:?}: each step must be a \
                     multiple of the one before and its retention at least as long",
                    coarse.step, coarse.retention, fine.step, fine.retention
                )));
            }
        }
        if !(1..=1_024).contains(&self.partitions) {
            return Err(out_of_range(format!("series {name}: partitions {}: 1 to 1024", self.partitions)));
        }
        if self.max_keys.is_some_and(|keys| !(1..=1 << 40).contains(&keys)) {
            let keys = self.max_keys.unwrap_or_default();
            return Err(out_of_range(format!("series {name}: max_keys {keys}: 1 to {}", 1u64 << 40)));
        }
        if self.is_ranked && self.resolutions.last().is_none_or(|coarsest| coarsest.step < SHORTEST_RANKED) {
            return Err(invalid(format!(
                "series {name}: ranked: the coarsest resolution needs buckets of {SHORTEST_RANKED:?} or longer"
            )));
        }
        let labels =
            Labels::new(&self.labels).map_err(|error| error.in_context(format_args!("series {name}")))?;
        let grid = |name| {
            let resolutions = self.resolutions.clone().into();
            Arc::new(Grid { name, resolutions, partitions: self.partitions, is_ranked: self.is_ranked })
        };
        Ok((grid(name.clone()), grid(name.limited()), labels))
    }
}

impl<T: Into<String>> From<T> for Series {
    fn from(name: T) -> Self {
        Self::new(name)
    }
}
