//! The outcome of a hit, part by part.

use std::fmt;

use super::definition::Event;
use crate::{
    applied::Applied,
    error::{Error, Retry},
    key::Name,
    limit::Decisions,
    once::State,
    series::SeriesHandle,
};

/// The outcome of a hit.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::{Event, Hit, Limit};
/// let limit = bay.limit(Limit::per_minute("hits", 1))?;
/// let event = bay.event(Event::new("hit").limit(&limit))?;
/// assert!(event.hit("user:42", 1).await?.is_accepted());
/// assert!(matches!(event.hit("user:42", 1).await?, Hit::Limited { .. }));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a limited hit should not be served"]
pub enum Hit {
    /// Charged, counted and buffered.
    #[non_exhaustive]
    Accepted {
        /// The decision of each limit, in the order of the definition. Empty if an earlier attempt at the same
        /// [request](crate::event::EventHandle::hit_once) had asked them.
        limits: Decisions,
        /// The series that did not count the hit, because none of their resolutions keeps its time any more.
        late: Vec<Name>,
    },
    /// Denied: nothing charged, nothing buffered.
    #[non_exhaustive]
    Limited {
        /// The decision of each limit, in the order of the definition.
        limits: Decisions,
    },
}

impl Hit {
    /// Whether it was let through.
    pub fn is_accepted(&self) -> bool {
        matches!(self, Self::Accepted { .. })
    }

    /// The decision of each limit.
    pub fn limits(&self) -> &Decisions {
        match self {
            Self::Accepted { limits, .. } | Self::Limited { limits } => limits,
        }
    }

    /// The series for which the hit came too late.
    pub fn late(&self) -> &[Name] {
        match self {
            Self::Accepted { late, .. } => late,
            Self::Limited { .. } => &[],
        }
    }
}

impl From<State> for Applied {
    fn from(state: State) -> Self {
        match state {
            State::Yes => Self::Yes,
            State::No => Self::No,
            State::Open | State::Lost => Self::Unknown,
        }
    }
}

/// A series or a buffer of an event, and whether it took the hit.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::{Event, event::{Applied, Part}};
/// let event = bay.event(Event::new("hit").series(&bay.series("hits")?))?;
/// if let Err(error) = event.hit("user:42", 1).await {
///     let open: Vec<&Part> = error.series.iter().filter(|part| part.applied == Applied::Unknown).collect();
///     eprintln!("perhaps counted: {open:?}");
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Part {
    /// Which one. A name that the event has twice stands twice, in the order of the definition.
    pub name: Name,
    /// Whether it took the hit.
    pub applied: Applied,
}

/// All series, or all buffers, of an event, and which of them took the hit.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::{Event, event::Applied};
/// let event = bay.event(Event::new("hit").series(&bay.series("hits")?))?;
/// if let Err(error) = event.hit("user:42", 1).await {
///     assert!(error.buffer.is_empty());
///     assert_ne!(error.series.summary(), Some(Applied::Yes));
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts(Vec<Part>);

impl Parts {
    pub(super) fn new<'a>(parts: impl Iterator<Item = (&'a Name, Applied)>) -> Self {
        Self(parts.map(|(name, applied)| Part { name: name.clone(), applied }).collect())
    }

    /// Each of them, in the order of the definition.
    pub fn iter(&self) -> std::slice::Iter<'_, Part> {
        self.0.iter()
    }

    /// Whether the event has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The outcome that all of them share. `None`: they differ, or there are none.
    pub fn summary(&self) -> Option<Applied> {
        let first = self.0.first()?.applied;
        self.all(first).then_some(first)
    }

    /// Whether this holds for every one of them. It does if there are none.
    pub fn all(&self, applied: Applied) -> bool {
        self.0.iter().all(|part| part.applied == applied)
    }
}

impl<'a> IntoIterator for &'a Parts {
    type Item = &'a Part;
    type IntoIter = std::slice::Iter<'a, Part>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// A hit that was not accepted as a whole, and which parts of it were applied.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::{Event, event::Applied};
/// let event = bay.event(Event::new("hit").series(&bay.series("hits")?))?;
/// let error = event.hit("", 1).await.unwrap_err(); // an empty key
/// assert!(error.is_nothing() && error.series.all(Applied::No));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HitError {
    /// Why. It advises [`Retry::Later`] or [`Retry::Now`] only if no part was applied and nothing stays charged.
    pub error: Error,
    /// The limits: [`Applied::No`] if nothing was charged, or the charge was given back.
    pub limit: Applied,
    /// The series.
    pub series: Parts,
    /// The buffers.
    pub buffer: Parts,
    /// A letter for each series and each buffer, as [`State`] has them.
    pub(super) states: Box<str>,
}

impl HitError {
    /// Whether no part was applied, and nothing stays charged.
    pub fn is_nothing(&self) -> bool {
        self.limit == Applied::No && self.series.all(Applied::No) && self.buffer.all(Applied::No)
    }

    /// The states of the parts, which an attempt that completes the hit needs, for [`InProgress::leave`](crate::once::InProgress::leave).
    pub fn state(&self) -> &str {
        &self.states
    }

    /// Whether of no part it is open if it was applied.
    pub fn is_certain(&self) -> bool {
        !self.states.contains(State::Open.letter())
    }

    /// Whether nothing is left that another attempt could do: what was not applied may have been, and nobody can tell.
    pub fn is_final(&self) -> bool {
        let left = [State::Open.letter(), State::No.letter()];
        !self.states.contains(left)
    }

    /// The error of a hit, from what became of its parts: first the series, then the buffers. `limit` is what stays
    /// charged.
    pub(super) fn of_parts(
        event: &Event,
        limit: Applied,
        states: &[State],
        errors: impl IntoIterator<Item = Error>,
    ) -> Self {
        let errors: Vec<Error> = errors.into_iter().collect();
        let error = errors.first().expect("a part failed").clone();
        let (counted, written) = states.split_at(event.series.len());
        let names = event.series.iter().map(SeriesHandle::name);
        let series = Parts::new(names.zip(counted.iter().map(|state| Applied::from(*state))));
        let names = event.buffers.iter().map(|template| &template.buffer.schema().name);
        let buffer = Parts::new(names.zip(written.iter().map(|state| Applied::from(*state))));
        let states = states.iter().map(|state| state.letter()).collect();
        let hit = Self { error, limit, series, buffer, states };
        let retry = if hit.is_nothing() { advice(&errors) } else { Retry::Unknown };
        if hit.error.retry() == retry { hit } else { Self { error: hit.error.with_retry(retry), ..hit } }
    }
}

/// The advice that suits all errors of a hit of which nothing was applied: the least hopeful.
fn advice(errors: &[Error]) -> Retry {
    let any = |retry| errors.iter().any(|error| error.retry() == retry);
    [Retry::Unknown, Retry::Never, Retry::Later].into_iter().find(|&retry| any(retry)).unwrap_or(Retry::Now)
}

impl fmt::Display for HitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for HitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.error)
    }
}

impl From<HitError> for Error {
    fn from(error: HitError) -> Self {
        error.error
    }
}
