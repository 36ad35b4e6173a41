//! What a series is.

use std::sync::Arc;

use crate::{
    error::{Result, invalid, out_of_range},
    key::Name,
    model::resolution::{Grid, Resolution},
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
}

impl Series {
    /// A series with the default resolutions: `10s/1d, 1m/7d, 15m/30d, 1d/2y`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), resolutions: Resolution::defaults(), partitions: 16, max_keys: None }
    }

    /// Its resolutions, 1 to 8, from the finest to the coarsest. Each step is a multiple of the one before, and is kept
    /// at least as long.
    pub fn resolutions(mut self, resolutions: Vec<Resolution>) -> Self {
        self.resolutions = resolutions;
        self
    }

    /// Over how many partitions its keys spread in a shared store, 1 to 1 024, default 16.
    pub fn partitions(mut self, partitions: u16) -> Self {
        self.partitions = partitions;
        self
    }

    /// How many keys it has at most, 1 to 2^40; without it there is no bound. A new key beyond is refused as
    /// [`ErrorKind::Overloaded`](crate::ErrorKind::Overloaded) until another one's last count has left its retention.
    /// The series of what limits kept out has as many of its own. Only for a store in this process.
    pub fn max_keys(mut self, keys: u64) -> Self {
        self.max_keys = Some(keys);
        self
    }

    /// What [`max_keys`](Self::max_keys) has set.
    pub fn key_bound(&self) -> Option<u64> {
        self.max_keys
    }

    /// What [`resolutions`](Self::resolutions) has set, or the default.
    pub fn steps(&self) -> &[Resolution] {
        &self.resolutions
    }

    /// Checks the definition without opening it: what a configuration is checked by.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a name that is none or resolutions that do not fit
    /// together, [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) for a number outside its range.
    pub fn check(&self) -> Result<()> {
        self.clone().build().map(|_| ())
    }

    pub(super) fn build(self) -> Result<(Arc<Grid>, Arc<Grid>)> {
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
                    "series {name}: resolution {:?} kept for {:?} after {:?} kept for {:?}: each step is a multiple of the \
                     one before and is kept at least as long",
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
        let grid = |name| {
            let resolutions = self.resolutions.clone().into();
            Arc::new(Grid { name, resolutions, partitions: self.partitions })
        };
        Ok((grid(name.clone()), grid(name.limited())))
    }
}

impl<T: Into<String>> From<T> for Series {
    fn from(name: T) -> Self {
        Self::new(name)
    }
}
