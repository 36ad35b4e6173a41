//! What went wrong, and what the caller can do about it.

use std::{fmt, sync::Arc};

/// A call that got no answer.
///
/// Expected outcomes (denied, held by another, nothing there) are values, never an `Error`. The
/// message says what was being done, to what, and what would be accepted; the cause, when there is
/// one, is [`source`](std::error::Error::source) and is not repeated in the message.
///
/// Cheap to clone: one failed round trip answers every caller that waited for it.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    retry: Retry,
    message: Box<str>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The sort of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A name, key, row or option that is not well formed.
    Invalid,
    /// A well-formed value outside the accepted range: a time too far ahead, a cost above the quota.
    OutOfRange,
    /// The definition disagrees with what the store or database holds.
    Configuration,
    /// The store or database cannot be reached, or refuses to answer.
    Unavailable,
    /// No answer before the deadline.
    Timeout,
    /// A queue or buffer is full.
    Overloaded,
    /// The request may or may not have been applied.
    Ambiguous,
    /// The store or database holds something that this version cannot read.
    Corrupt,
    /// This engine cannot do that.
    Unsupported,
    /// The handle was shut down.
    Closed,
}

/// What the caller can do about a failed operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Retry {
    /// The engine certainly did nothing; repeat at once.
    Now,
    /// The engine did nothing; repeat after a pause: overload or fail-over.
    Later,
    /// It may have been applied; repeat only idempotent calls.
    Unknown,
    /// It will fail again.
    Never,
}

impl Error {
    /// Builds an error whose advice follows from its kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let retry = match kind {
            ErrorKind::Unavailable | ErrorKind::Overloaded => Retry::Later,
            ErrorKind::Ambiguous | ErrorKind::Timeout => Retry::Unknown,
            _ => Retry::Never,
        };
        Self(Arc::new(Inner { kind, retry, message: message.into().into_boxed_str(), source: None }))
    }

    /// The same error with other advice than its kind implies.
    #[must_use]
    pub fn with_retry(self, retry: Retry) -> Self {
        self.rebuild(|inner| inner.retry = retry)
    }

    /// The same error with its cause.
    #[must_use]
    pub fn with_source(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let source = source.into();
        self.rebuild(|inner| inner.source = Some(source))
    }

    /// The sort of failure.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What the caller can do about it.
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// Whether the store is at fault, so that it may answer the same call later: what decides for limits by
    /// [`OnError`](crate::limit::OnError), and what a server answers 503 to.
    pub(crate) fn is_outage(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Overloaded | ErrorKind::Ambiguous
        )
    }

    /// The same error in a store that was open before: what would be a wrong configuration at the start is an outage now.
    #[cfg(feature = "redis")]
    pub(crate) fn as_outage(&self) -> Self {
        if self.is_outage() || self.kind() == ErrorKind::Closed {
            return self.clone();
        }
        Self::new(ErrorKind::Unavailable, self.to_string())
    }

    /// The same error, and what was being done when it came about.
    #[must_use]
    pub(crate) fn in_context(self, what: impl fmt::Display) -> Self {
        self.rebuild(|inner| inner.message = format!("{what}: {}", inner.message).into_boxed_str())
    }

    /// The same error where what it is about may have been applied.
    #[must_use]
    pub(crate) fn into_ambiguous(self) -> Self {
        self.rebuild(|inner| (inner.kind, inner.retry) = (ErrorKind::Ambiguous, Retry::Unknown))
    }

    /// Changes an error that has just been built; a shared one gets a copy that keeps the original as its cause.
    fn rebuild(self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Arc::try_unwrap(self.0).unwrap_or_else(|shared| Inner {
            kind: shared.kind,
            retry: shared.retry,
            message: shared.message.clone(),
            source: shared.source.is_some().then(|| Box::new(Cause(shared)) as _),
        });
        change(&mut inner);
        Self(Arc::new(inner))
    }
}

/// The cause of an error that others share, for a copy of it.
struct Cause(Arc<Inner>);

impl Cause {
    fn cause(&self) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
        self.0.source.as_deref()
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause().map_or(Ok(()), |cause| fmt::Display::fmt(cause, f))
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause().map_or(Ok(()), |cause| fmt::Debug::fmt(cause, f))
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause().and_then(std::error::Error::source)
    }
}

/// An [`ErrorKind::Invalid`] error.
pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, message)
}

/// An [`ErrorKind::OutOfRange`] error.
pub(crate) fn out_of_range(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::OutOfRange, message)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        f.debug_struct("Error")
            .field("kind", &inner.kind)
            .field("retry", &inner.retry)
            .field("message", &inner.message)
            .field("source", &inner.source)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// The result of a call to this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
