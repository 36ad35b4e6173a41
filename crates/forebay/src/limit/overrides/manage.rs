//! Overrides that are set while the limit is in use.

use std::collections::BTreeMap;

use crate::{
    error::Result,
    limit::{
        Override,
        handle::{Inner, LimitHandle},
    },
};

/// The override of one key, and its origin.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::{Limit, limit::{Override, SetBy}, time::mins};
/// let hits = bay.limit(Limit::per_minute("hits", 20))?;
/// hits.set_override("user:42", Override::rate(100, mins(1))).await?;
/// let overridden = &hits.overrides()[0];
/// assert_eq!((overridden.key.as_str(), overridden.set_by), ("user:42", SetBy::RunTime));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Overridden {
    /// The key.
    pub key: String,
    /// The allowance.
    pub instead: Override,
    /// The origin.
    pub set_by: SetBy,
}

/// The origin of an override.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::{Limit, limit::{Override, SetBy}};
/// let hits = bay.limit(Limit::per_minute("hits", 20).allow("user:42", Override::unlimited()))?;
/// assert_eq!(hits.overrides()[0].set_by, SetBy::Definition);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SetBy {
    /// The limit's [definition](crate::Limit::allow).
    Definition,
    /// [`LimitHandle::set_override`], in some process, which goes before the definition.
    RunTime,
}

impl LimitHandle {
    /// Lets one key be allowed something else until that is changed or removed, before what the definition says of it:
    /// in all processes that share the store. Others know within a second; the embedded engine keeps it in its file.
    ///
    /// While the store does not answer, processes go on with what they knew, and one that starts then goes by its
    /// definitions alone until the store answers. An override that does not fit a definition, since its kind has
    /// changed, is not heeded.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a key out of range and for an override that is not of the
    /// limit's kind, [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) for a number out of its range,
    /// [`ErrorKind::Overloaded`](crate::ErrorKind::Overloaded) while the limit has 10 000; and whatever the store answers.
    /// Repeating is safe.
    ///
    /// # Cancellation
    /// Dropping the future may leave it set; this process knows then as others do.
    ///
    /// # Cost
    /// One round trip. Every process that shares the store keeps all overrides in memory.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{Limit, limit::Override, time::mins};
    /// let hits = bay.limit(Limit::per_minute("hits", 20))?;
    ///
    /// hits.set_override("user:42", Override::rate(100, mins(1))).await?;
    /// assert_eq!(hits.take("user:42").await?.remaining(), 99);
    /// hits.remove_override("user:42").await?;
    /// # Ok(()) }
    /// ```
    pub async fn set_override(&self, key: impl AsRef<str>, instead: Override) -> Result<()> {
        let Inner { limits, name, terms, definition, .. } = &*self.0;
        let key = self.key(key.as_ref())?.as_str();
        let allowance = instead.allowance(*terms, definition.per);
        allowance.map_err(|error| error.in_context(format_args!("limit {name}: override of {key:?}")))?;
        limits.keep_override(name, key, Some(instead)).await.map(|_| ())
    }

    /// Takes back what [`set_override`](Self::set_override) said of a key, so that it is allowed what the definition
    /// says; false: nothing was set.
    ///
    /// # Errors
    /// As [`set_override`](Self::set_override).
    ///
    /// # Cancellation
    /// Dropping the future may leave it removed.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{Limit, limit::Override};
    /// let hits = bay.limit(Limit::per_minute("hits", 20))?;
    /// hits.set_override("user:42", Override::blocked()).await?;
    /// assert!(hits.remove_override("user:42").await?);
    /// assert!(hits.take("user:42").await?.is_allowed());
    /// # Ok(()) }
    /// ```
    pub async fn remove_override(&self, key: impl AsRef<str>) -> Result<bool> {
        let Inner { limits, name, .. } = &*self.0;
        limits.keep_override(name, self.key(key.as_ref())?.as_str(), None).await
    }

    /// All overrides that this process knows of and heeds, by key: for each key the one that counts.
    pub fn overrides(&self) -> Vec<Overridden> {
        let Inner { terms, definition, instead, shared, .. } = &*self.0;
        let defined = instead.iter().map(|(key, (what, _))| (key.clone(), (*what, SetBy::Definition)));
        let mut all: BTreeMap<Box<str>, _> = defined.collect();
        let set = shared.overrides.all().into_iter();
        let fits = |(_, what): &(_, Override)| what.allowance(*terms, definition.per).is_ok();
        all.extend(set.filter(fits).map(|(key, what)| (key, (what, SetBy::RunTime))));
        let overridden =
            |(key, (instead, set_by)): (Box<str>, _)| Overridden { key: key.into(), instead, set_by };
        all.into_iter().map(overridden).collect()
    }
}
