//! The buckets to read.

use crate::time::Timestamp;

/// The buckets to read, all of one resolution.
///
/// # Examples
/// ```
/// use forebay::{Timestamp, series::UniformQuery, time::hours};
/// let noon: Timestamp = "2026-01-01T12:00:00Z".parse()?;
/// // Of the finest resolution that still has the buckets of a day ago.
/// let hour = UniformQuery::ending_between(noon.minus(hours(1)), noon).reach(noon.minus(hours(24)));
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a query does nothing until it is given to `SeriesHandle::uniform_buckets`"]
pub struct UniformQuery {
    pub(super) after: Timestamp,
    pub(super) until: Timestamp,
    pub(super) reach: Timestamp,
    pub(super) now: Option<Timestamp>,
}

impl UniformQuery {
    /// The buckets that end after `after`, and at `until` or before.
    pub fn ending_between(after: Timestamp, until: Timestamp) -> Self {
        Self { after, until, reach: after, now: None }
    }

    /// Sets the oldest time that the resolution must still keep, if it is earlier than the buckets: for buckets that are compared
    /// with older ones.
    pub fn reach(mut self, oldest: Timestamp) -> Self {
        self.reach = self.reach.min(oldest);
        self
    }

    /// Sets the current time, which decides what is kept. By default it is the store's clock.
    pub fn as_of(mut self, now: Timestamp) -> Self {
        self.now = Some(now);
        self
    }
}
