//! Merging and renaming keys of a series, and deleting a span of one.

use uuid::Uuid;

use super::{erase::plan_erase, handle::SeriesHandle};
use crate::{
    engine::step::{KeyMove, KeyRange},
    error::{Result, invalid},
    time::{Timestamp, When},
};

impl SeriesHandle {
    /// Adds all counts of `from` to those of `to`, in every bucket, and answers how much that was. `from` has none after that.
    ///
    /// Each count is moved once, whatever fails meanwhile. Counts that come to `from` after the move began stay there: callers
    /// that still use that key are changed first, or the move is repeated. While it lasts, the counts may be at neither key.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a malformed key, or for two that are equal; and when the store does
    /// not answer. With [`Retry::Unknown`](crate::Retry::Unknown) it is carried out as soon as the hosts answer, by any process
    /// that has defined the series, unless this process did not get as far as to begin it: a repetition is safe.
    ///
    /// # Cancellation
    /// Dropping the future may leave it half-way. Other processes, or this one, complete it within half a minute.
    ///
    /// # Cost
    /// Some round trips, and one for each 500 buckets. If the keys are on different hosts, it lasts three seconds: the first host
    /// holds the counts until the other one has them on its disk.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::time::hours;
    /// let hits = bay.series("hits")?;
    /// hits.add("user:42", 2).await?;
    /// hits.add("user:7", 3).await?;
    /// assert_eq!(hits.merge("user:7", "user:42").await?, 3);
    /// assert_eq!((hits.sum("user:42", hours(1)).await?, hits.sum("user:7", hours(1)).await?), (5, 0));
    /// # Ok(()) }
    /// ```
    pub async fn merge(&self, from: impl AsRef<str>, to: impl AsRef<str>) -> Result<u64> {
        let (from, to) = (self.key(from.as_ref())?.as_str(), self.written_key(to.as_ref())?.as_str());
        if from == to {
            return Err(invalid(format!("series {}: key {from:?} is to be moved to itself", self.grid.name)));
        }
        let moving = KeyMove { id: Uuid::now_v7(), from: from.into(), to: to.into() };
        let now = self.now(self.key(from)?, When::EngineClock).await;
        // Its counts may be of any time that is kept: it is claimed as for one of now.
        self.claim(&[(to, now)]).await?;
        let moved = self.store.engine().series_move(&self.part(from), &moving, now).await?;
        self.doubt(from).await;
        Ok(moved)
    }

    /// [Merges](Self::merge) `from` into `to`, which must have no counts.
    ///
    /// # Errors
    /// As [`merge`](Self::merge); [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if `to` has counts. Counts that come to `to`
    /// after that was looked at are kept, too.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let hits = bay.series("hits")?;
    /// hits.add("shop", 2).await?;
    /// assert_eq!(hits.rename("shop", "store").await?, 2);
    /// hits.add("shop", 1).await?;
    /// assert!(hits.rename("shop", "store").await.is_err());
    /// # Ok(()) }
    /// ```
    pub async fn rename(&self, from: impl AsRef<str>, to: impl AsRef<str>) -> Result<u64> {
        let to = self.written_key(to.as_ref())?;
        let now = self.now(to, When::EngineClock).await;
        let range = KeyRange { prefix: to.as_str(), after: None, most: 1 };
        let found = self.store.engine().series_list(&self.stored_part(to), &range, now).await?;
        if found.first().is_some_and(|found| *found == to.as_str()) {
            let (name, to) = (&self.grid.name, to.as_str());
            return Err(invalid(format!("series {name}: key {to:?} has counts: merge adds to them")));
        }
        self.merge(from, to.as_str()).await
    }

    /// Deletes the counts of `key` from `from` until before `to`, in every resolution, and answers how much that was.
    ///
    /// Nothing else is deleted: both ends are where a bucket begins of the finest resolution that is still kept there. Other
    /// ends are refused, with the nearest ones. Of a coarse bucket that an end cuts, the counts of the deleted finer buckets are
    /// subtracted. Nothing before the longest retention has a count, so that any earlier `from` will do.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a malformed key;
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) for another end, for one that cuts a coarse bucket whose finer
    /// buckets are not all kept, and for a span that reads or changes more than 2 000 chunks; and when the store does not answer.
    ///
    /// # Cost
    /// One round trip.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # use forebay::time::{days, hours};
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let hits = bay.series("hits")?;
    /// hits.add("shop", 5).await?;
    /// let now = bay.clock().now();
    /// assert_eq!(hits.delete_between("shop", now.minus(days(1_000)), now.plus(hours(1))).await?, 5);
    /// assert_eq!(hits.sum("shop", hours(1)).await?, 0);
    /// # Ok(()) }
    /// ```
    pub async fn delete_between(&self, key: impl AsRef<str>, from: Timestamp, to: Timestamp) -> Result<u64> {
        let key = self.key(key.as_ref())?;
        let now = self.now(key, When::EngineClock).await;
        let erasure = plan_erase(&self.grid.resolutions, from, to, now)
            .map_err(|error| error.in_context(format_args!("series {}", self.grid.name)))?;
        let erased =
            self.store.engine().series_erase(&self.part(key.as_str()), key.as_str(), &erasure).await?;
        self.doubt(key.as_str()).await;
        Ok(erased)
    }
}
