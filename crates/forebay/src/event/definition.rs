//! The definition of an event.

use crate::{buffer::BufferHandle, limit::LimitHandle, model::Value, series::SeriesHandle};

/// The definition of an event.
///
/// Denied hits are counted in the [`limited`](SeriesHandle::limited) series. In front of a shared store a process collects
/// these counts, by key and bucket of the finest resolution, and sends them about once a second and at
/// [`close`](crate::Forebay::close). A crash loses the last second of them. Admitted hits are never collected in this way.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use forebay::{Buffer, Event, Forebay, Limit, event::Cell};
/// let bay = Forebay::open("memory:").await?;
/// let limit = bay.limit(Limit::per_minute("hits", 20))?;
/// let global = bay.limit(Limit::per_second("global", 10_000))?;
/// let series = bay.series("hits")?;
/// let buffer = bay.buffer(Buffer::new("projects").key("id").sum("hits").max("last_seen"))?;
/// let hit = bay.event(
///     Event::new("hit")
///         .limit(&limit)
///         .limit_key(&global, "*")
///         .series(&series)
///         .buffer(&buffer, [Cell::Key], [("hits", Cell::N), ("last_seen", Cell::At)]),
/// )?;
/// assert!(hit.hit("42", 1).await?.is_accepted());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a definition does nothing until it is given to `Forebay::event`"]
pub struct Event {
    pub(super) name: String,
    pub(super) limits: Vec<(LimitHandle, Option<String>)>,
    pub(super) series: Vec<SeriesHandle>,
    pub(super) buffers: Vec<Template>,
}

/// A row of a buffer, as an event fills it.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pub buffer: BufferHandle,
    pub row: Vec<Cell>,
    pub columns: Vec<(String, Cell)>,
}

/// The source of a value of a buffered row.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// # let projects = bay.buffer(forebay::Buffer::new("projects").key("id").sum("hits"))?;
///
/// use forebay::{Event, event::Cell};
/// let event = Event::new("hit").buffer(&projects, [Cell::Key], [("hits", Cell::N)]);
/// assert!(bay.event(event)?.hit("42", 3).await?.is_accepted());
/// assert_eq!(*projects.pending(["42".into()]).await?, [Some(3.into())]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cell {
    /// The event's key.
    Key,
    /// The number of hits.
    N,
    /// The event's time, or now.
    At,
    /// Always this.
    Fixed(Value),
}

impl Event {
    /// An event without any part.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), limits: vec![], series: vec![], buffers: vec![] }
    }

    /// Takes the hits from `limit`, under the event's key.
    pub fn limit(mut self, limit: &LimitHandle) -> Self {
        self.limits.push((limit.clone(), None));
        self
    }

    /// Takes the hits from `limit`, under a key that is always the same: a limit on all together.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{Event, Limit};
    /// let (user, all) = (bay.limit(Limit::per_minute("user", 20))?, bay.limit(Limit::per_minute("all", 1_000))?);
    /// let event = bay.event(Event::new("hit").limit(&user).limit_key(&all, "all"))?;
    /// event.hit("user:42", 1).await?;
    /// assert_eq!(all.peek("all").await?.used(), 1);
    /// # Ok(()) }
    /// ```
    pub fn limit_key(mut self, limit: &LimitHandle, key: impl Into<String>) -> Self {
        self.limits.push((limit.clone(), Some(key.into())));
        self
    }

    /// Counts the admitted hits in `series`, and the denied ones in its `limited` series.
    pub fn series(mut self, series: &SeriesHandle) -> Self {
        self.series.push(series.clone());
        self
    }

    /// Merges the admitted hits into a row of `buffer`: a cell for each key column, and for the named columns.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{Buffer, Event, event::Cell};
    /// let projects = bay.buffer(Buffer::new("projects").key("id").sum("hits"))?;
    /// let event = Event::new("hit").buffer(&projects, [Cell::Key], [("hits", Cell::N)]);
    /// assert!(bay.event(event)?.hit("42", 3).await?.is_accepted());
    /// # Ok(()) }
    /// ```
    pub fn buffer<'a>(
        mut self,
        buffer: &BufferHandle,
        row: impl IntoIterator<Item = Cell>,
        columns: impl IntoIterator<Item = (&'a str, Cell)>,
    ) -> Self {
        let columns = columns.into_iter().map(|(name, cell)| (name.to_owned(), cell)).collect();
        self.buffers.push(Template { buffer: buffer.clone(), row: row.into_iter().collect(), columns });
        self
    }
}
