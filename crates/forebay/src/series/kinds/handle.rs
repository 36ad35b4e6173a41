//! The handle of a series that keeps summaries: adding, deleting, and the list of keys.

use std::{marker::PhantomData, sync::Arc};

use super::definition::{Kind, checked, kind_of};
use crate::{
    applied::one_for_all,
    engine::step::{SeriesPart, SummaryPart},
    error::{Result, invalid},
    key::{Count, Key, Name},
    model::{
        resolution::Resolution,
        summary::{Observation, Observed, SummaryKind},
    },
    once::{Place, RequestItem},
    series::{KeyPage, KeyQuery, SeriesHandle},
    store::Store,
    time::{Timestamp, When},
};

/// A series of an open store that keeps summaries, of the kind `K`. Clones share it.
///
/// Unlike hits, points of such a series wait on no other host while that of their partition is down: adding them fails.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{Distinct, Forebay, series::{KeyQuery, KindHandle}};
/// let bay = Forebay::open("memory:").await?;
/// let visitors: KindHandle<Distinct> = bay.distinct("visitors")?;
/// visitors.add("home", "ada").await?;
/// assert_eq!(visitors.keys(&KeyQuery::new()).await?.keys, ["home"]);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct KindHandle<K> {
    /// Its grid, its store, and what is late.
    pub(super) series: SeriesHandle,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for KindHandle<K> {
    fn clone(&self) -> Self {
        Self { series: self.series.clone(), kind: PhantomData }
    }
}

impl<K: Kind> KindHandle<K> {
    pub(crate) fn new(store: Store, definition: K) -> Result<Self> {
        let series = SeriesHandle::open(store, checked(definition)?, Some(kind_of::<K>()))?;
        Ok(Self { series, kind: PhantomData })
    }

    /// Deletes all that is kept of `key`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a key that is empty or longer than 512 bytes; and when the store
    /// does not answer: some may be deleted then.
    ///
    /// # Cost
    /// A round trip for each thousand buckets that are kept; none on the embedded engine.
    pub async fn delete(&self, key: impl AsRef<str>) -> Result<()> {
        let key = self.series.key(key.as_ref())?;
        let now = self.series.now(key, When::EngineClock).await;
        let part = self.series.part(key.as_str());
        self.series.store.engine().summary_delete(Self::summaries(&part), key.as_str(), now).await?;
        self.series.doubt(key.as_str()).await;
        Ok(())
    }

    /// Lists keys of the series, as [`SeriesHandle::keys`].
    ///
    /// # Errors
    /// As [`SeriesHandle::keys`].
    pub async fn keys(&self, query: &KeyQuery) -> Result<KeyPage> {
        self.series.keys(query).await
    }

    /// The number of points that this process refused because no resolution keeps their time.
    pub fn late(&self) -> u64 {
        self.series.late()
    }

    /// The number of keys; `None` in a shared store, which does not count them.
    pub fn key_count(&self) -> Option<u64> {
        self.series.key_count()
    }

    /// The number of times that a new key was refused because of the maximum of keys.
    pub fn refused_keys(&self) -> u64 {
        self.series.refused_keys()
    }

    /// The name of the series.
    pub fn name(&self) -> &Name {
        self.series.name()
    }

    /// Its resolutions, from the finest to the coarsest.
    pub fn resolutions(&self) -> &[Resolution] {
        self.series.resolutions()
    }

    /// The time of the store's clock, as [`SeriesHandle::store_time`].
    pub async fn store_time(&self, key: impl AsRef<str>) -> Timestamp {
        self.series.store_time(key).await
    }

    pub(super) fn kind() -> SummaryKind {
        kind_of::<K>()
    }

    pub(super) fn summaries(part: &SeriesPart) -> SummaryPart<'_> {
        SummaryPart { kind: Self::kind(), part }
    }

    /// Adds what was observed at some times (`None`: now), all or none if one is refused.
    pub(super) async fn observe<T: AsRef<str>>(
        &self,
        points: Vec<(T, Observed, Option<Timestamp>)>,
        when: When,
    ) -> Result<()> {
        let (series, engine) = (&self.series, self.series.store.engine());
        let mut batches: Vec<(u16, Timestamp, Vec<Observation>)> = vec![];
        for (key, what, at) in points {
            let key = series.key(key.as_ref())?;
            let index = series.stored_part(key).index;
            let mut position = batches.iter().position(|(other, ..)| *other == index);
            if position.is_none() {
                position = Some(batches.len());
                batches.push((index, series.now(key, when).await, vec![]));
            }
            let (_, now, points) = &mut batches[position.expect("it was just pushed")];
            points.push(self.observation(key, what, at, *now)?);
        }
        let add = async |(index, now, points)| {
            let part = SeriesPart::new(series.grid.clone(), index);
            engine.summary_add(Self::summaries(&part), points, now).await
        };
        let added: Vec<(&str, Timestamp)> =
            batches.iter().flat_map(|(.., points)| points).map(|point| (&*point.key, point.at)).collect();
        series.claim(&added).await?;
        // A single point has one partition; joining many futures costs allocations.
        if batches.len() == 1 {
            return add(batches.swap_remove(0)).await;
        }
        one_for_all(futures::future::join_all(batches.into_iter().map(add)).await)
    }

    /// Adds what was observed as an item of a request that is carried out once: by one of its attempts.
    pub(super) async fn observe_once(
        &self,
        item: &RequestItem,
        key: &str,
        what: Observed,
        at: Option<Timestamp>,
    ) -> Result<()> {
        let key = self.series.key(key)?;
        let part = self.series.part(key.as_str());
        if item.is_applied(&Place::Series(part.clone())).await? {
            return Ok(());
        }
        let now = self.series.now(key, When::EngineClock).await;
        let point = self.observation(key, what, at, now)?;
        self.series.claim(&[(key.as_str(), point.at)]).await?;
        item.observe(0, Self::summaries(&part), point, now).await
    }

    fn observation(
        &self,
        key: Key<'_>,
        what: Observed,
        at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Observation> {
        let at = at.unwrap_or(now);
        self.series.check_time(Count::new(1)?, at, now)?;
        Ok(Observation { key: key.as_str().into(), at, what })
    }
}

/// Checks an element of a set.
pub(super) fn element(series: &Name, text: &str) -> Result<Observed> {
    let (bytes, most) = (text.len(), Key::MAX_BYTES);
    if !(1..=most).contains(&bytes) {
        return Err(invalid(format!(
            "series {series}: element of {bytes} bytes: an element has 1 to {most} bytes"
        )));
    }
    Ok(Observed::Element(Arc::from(text)))
}
