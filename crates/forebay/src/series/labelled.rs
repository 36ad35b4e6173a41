//! Keys of a series with labels.

use super::{handle::SeriesHandle, labels::Labels};
use crate::error::{Result, invalid};

impl SeriesHandle {
    /// The names of the labels of the series, in the order of the definition.
    pub fn label_names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.labels.names().iter().map(|name| &**name)
    }

    /// The key of some values of labels. A label without a value has an empty one.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a label that the series does not have or that is there twice, if all
    /// values are empty, and for a key of more than 512 bytes.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::Series;
    /// let requests = bay.series(Series::new("requests").labels(["endpoint", "status"]))?;
    /// assert_eq!(requests.key_of([("status", "500"), ("endpoint", "/checkout")])?, "/checkout|500");
    /// assert_eq!(requests.key_of([("endpoint", "/a|b")])?, r"/a\|b");
    /// assert!(requests.key_of([("method", "GET")]).is_err());
    /// # Ok(()) }
    /// ```
    pub fn key_of(
        &self,
        values: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<str>)>,
    ) -> Result<String> {
        let in_series = |error: crate::Error| error.in_context(format_args!("series {}", self.grid.name));
        let mut all: Vec<Option<String>> = vec![None; self.labels.names().len()];
        for (name, value) in values {
            let place = self.labels.place(name.as_ref()).map_err(in_series)?;
            if all[place].replace(value.as_ref().to_owned()).is_some() {
                return Err(in_series(invalid(format!("label {:?} is there twice", name.as_ref()))));
            }
        }
        let all: Vec<String> = all.into_iter().map(Option::unwrap_or_default).collect();
        let key = Labels::join(&all);
        if key.is_empty() {
            return Err(in_series(invalid("all labels are empty: at least one needs a value")));
        }
        self.key(&key)?;
        Ok(key)
    }

    /// The labels and values of a key, in the order of the definition; none for a series without labels.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::Series;
    /// let requests = bay.series(Series::new("requests").labels(["endpoint", "status"]))?;
    /// let labels: Vec<_> = requests.labels_of("/checkout|500").collect();
    /// assert_eq!(labels, [("endpoint", "/checkout".to_owned()), ("status", "500".to_owned())]);
    /// # Ok(()) }
    /// ```
    pub fn labels_of(&self, key: &str) -> impl Iterator<Item = (&str, String)> {
        let values = if self.labels.are_none() { vec![] } else { self.labels.split(key) };
        self.label_names().zip(values)
    }
}
