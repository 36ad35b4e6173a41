//! What became of a hit, part by part.

use std::fmt;

use crate::{
    error::{Error, Result, Retry},
    key::Name,
    limit::Decisions,
};

/// What became of a hit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a limited hit should not be served"]
pub enum Hit {
    /// Charged, counted and buffered.
    #[non_exhaustive]
    Accepted {
        /// What each limit said, in the order of the definition.
        limits: Decisions,
    },
    /// Denied: nothing charged, nothing buffered.
    #[non_exhaustive]
    Limited {
        /// What each limit said, in the order of the definition.
        limits: Decisions,
    },
}

impl Hit {
    /// Whether it was let through.
    pub fn is_accepted(&self) -> bool {
        matches!(self, Self::Accepted { .. })
    }

    /// What each limit said.
    pub fn limits(&self) -> &Decisions {
        match self {
            Self::Accepted { limits } | Self::Limited { limits } => limits,
        }
    }
}

/// Whether a part of a hit was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Applied {
    /// It was.
    Yes,
    /// It was not.
    No,
    /// Nobody knows.
    Unknown,
}

impl Applied {
    /// The word for this in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "unknown",
        }
    }

    pub(super) fn of(answer: &Result<()>) -> Self {
        match answer {
            Ok(()) => Self::Yes,
            Err(error) if error.retry() == Retry::Unknown => Self::Unknown,
            Err(_) => Self::No,
        }
    }
}

/// A series or a buffer of an event, and whether it took the hit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Part {
    /// Which one. A name that the event has twice stands twice, in the order of the definition.
    pub name: Name,
    /// Whether it took the hit.
    pub applied: Applied,
}

/// All series, or all buffers, of an event, and which of them took the hit.
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

    /// What holds for every one of them. `None`: they differ, or there are none.
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
}

impl HitError {
    /// Whether no part was applied, and nothing stays charged.
    pub fn is_nothing(&self) -> bool {
        self.limit == Applied::No && self.series.all(Applied::No) && self.buffer.all(Applied::No)
    }

    /// The error of a hit, from the answers of its parts. `limit` is what stays charged.
    pub(super) fn of_parts(
        limit: Applied,
        series: Parts,
        buffer: Parts,
        errors: impl Iterator<Item = Error>,
    ) -> Self {
        let errors: Vec<Error> = errors.collect();
        let error = errors.first().expect("a part failed").clone();
        let hit = Self { error, limit, series, buffer };
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
