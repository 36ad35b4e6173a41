//! Hits with labels: the keys under which labelled series count them.

use super::handle::EventHandle;
use crate::{
    error::{Result, invalid},
    series::SeriesHandle,
};

impl EventHandle {
    /// The same event for hits with these labels: each of its series that has [labels](crate::Series::labels) counts them under
    /// its own ones of these, in place of the hit's key. Limits, buffers and series without labels keep the key.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a label that no series of the event has, and as
    /// [`SeriesHandle::key_of`](crate::series::SeriesHandle::key_of).
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{Event, Limit, Series, time::hours};
    /// let limit = bay.limit(Limit::per_minute("users", 20))?;
    /// let requests = bay.series(Series::new("requests").labels(["endpoint", "status"]))?;
    /// let event = bay.event(Event::new("request").limit(&limit).series(&requests))?;
    /// let failed = event.labelled([("endpoint", "/checkout"), ("status", "500")])?;
    /// assert!(failed.hit("user:42", 1).await?.is_accepted());
    /// assert_eq!(requests.sum("/checkout|500", hours(1)).await?, 1);
    /// assert_eq!(limit.peek("user:42").await?.used(), 1);
    /// # Ok(()) }
    /// ```
    pub fn labelled(
        &self,
        labels: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<str>)>,
    ) -> Result<Self> {
        let labels: Vec<_> = labels.into_iter().collect();
        let series = &self.inner.event.series;
        let is_known =
            |name: &str| series.iter().any(|series| series.label_names().any(|known| known == name));
        if let Some((name, _)) = labels.iter().find(|(name, _)| !is_known(name.as_ref())) {
            return Err(self.described(invalid(self.unknown_label(name.as_ref()))));
        }
        if labels.is_empty() {
            return Err(self.described(invalid("no labels: at least one, or none at all")));
        }
        let mut keys = Vec::with_capacity(series.len());
        for series in series {
            let own: Vec<_> = labels
                .iter()
                .map(|(name, value)| (name.as_ref(), value.as_ref()))
                .filter(|(name, _)| series.label_names().any(|known| known == *name))
                .collect();
            let is_labelled = series.label_names().len() > 0;
            let key = is_labelled.then(|| series.key_of(own).map_err(|error| self.described(error)));
            keys.push(key.transpose()?);
        }
        Ok(Self { inner: self.inner.clone(), series_keys: keys.into() })
    }

    fn unknown_label(&self, name: &str) -> String {
        let mut known: Vec<&str> = vec![];
        for label in self.inner.event.series.iter().flat_map(SeriesHandle::label_names) {
            if !known.contains(&label) {
                known.push(label);
            }
        }
        if known.is_empty() {
            return format!("label {name:?}: no series of the event has labels");
        }
        format!("label {name:?}: the labels of its series are: {}", known.join(", "))
    }
}
