//! Errors, and what the caller can do about them.

use std::{fmt, sync::Arc};

/// A call that got no answer.
///
/// Expected outcomes (denied, held by another, empty) are values, never an `Error`. The message says which operation failed,
/// on which object, and what is accepted. The cause, if there is one, is [`source`](std::error::Error::source) and is not
/// repeated in the message.
///
/// Cheap to clone: one failed round trip answers every caller that waited for it.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{ErrorKind, Forebay, Retry};
/// let bay = Forebay::open("memory:").await?;
/// let error = bay.series("hits")?.add("", 1).await.unwrap_err();
/// assert_eq!((error.kind(), error.retry()), (ErrorKind::Invalid, Retry::Never));
/// assert_eq!(error.to_string(), "series hits: key of 0 bytes: a key has 1 to 512 bytes");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    retry: Retry,
    message: Box<str>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// The kind of a failure.
///
/// # Examples
/// ```
/// use forebay::{Error, ErrorKind};
/// fn is_outage(error: &Error) -> bool {
///     matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout)
/// }
/// assert!(is_outage(&Error::new(ErrorKind::Timeout, "no answer within 1 s")));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A name, key, row or option is malformed.
    Invalid,
    /// A well-formed value is outside the accepted range: a time too far ahead, a cost above the quota.
    OutOfRange,
    /// The definition does not match the store or the database.
    Configuration,
    /// The store or database cannot be reached, or refuses to answer.
    Unavailable,
    /// No answer before the deadline.
    Timeout,
    /// A queue or buffer is full.
    Overloaded,
    /// The request may have been applied.
    Ambiguous,
    /// This version cannot read the data of the store or the database.
    Corrupt,
    /// This engine does not support the operation.
    Unsupported,
    /// The store was closed.
    Closed,
}

/// The advice to a caller whose operation failed.
///
/// # Examples
/// ```
/// use forebay::{Error, ErrorKind, Retry};
/// assert_eq!(Error::new(ErrorKind::Unavailable, "the store is down").retry(), Retry::Later);
/// assert_eq!(Error::new(ErrorKind::Timeout, "no answer within 1 s").retry(), Retry::Unknown);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Retry {
    /// The engine did nothing. Repeat at once.
    Now,
    /// The engine did nothing. Repeat after a pause: it is overloaded, or fails over.
    Later,
    /// The call may have been applied. Repeat it only if it is idempotent.
    Unknown,
    /// The call will fail again.
    Never,
}

impl Error {
    /// Creates an error. Its [`Retry`] follows from its kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let retry = match kind {
            ErrorKind::Unavailable | ErrorKind::Overloaded => Retry::Later,
            ErrorKind::Ambiguous | ErrorKind::Timeout => Retry::Unknown,
            _ => Retry::Never,
        };
        Self(Arc::new(Inner { kind, retry, message: message.into().into_boxed_str(), source: None }))
    }

    /// Changes what the caller can do about the error.
    #[must_use]
    pub fn with_retry(self, retry: Retry) -> Self {
        self.rebuild(|inner| inner.retry = retry)
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let source = source.into();
        self.rebuild(|inner| inner.source = Some(source.into()))
    }

    /// The kind of the failure.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The advice to the caller.
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// Whether the store failed and may answer the same call later. Then [`OnError`](crate::limit::OnError) decides for
    /// limits, and a server answers 503.
    pub(crate) fn is_outage(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Overloaded | ErrorKind::Ambiguous
        )
    }

    /// The error for a store that was open before: a wrong configuration at the start is an outage later.
    #[cfg(feature = "redis")]
    pub(crate) fn as_outage(&self) -> Self {
        if self.is_outage() || self.kind() == ErrorKind::Closed {
            return self.clone();
        }
        Self::new(ErrorKind::Unavailable, self.to_string())
    }

    /// Puts the failed operation before the message.
    #[must_use]
    pub(crate) fn in_context(self, what: impl fmt::Display) -> Self {
        self.rebuild(|inner| inner.message = format!("{what}: {}", inner.message).into_boxed_str())
    }

    /// Marks the failed operation as possibly applied.
    #[must_use]
    pub(crate) fn into_ambiguous(self) -> Self {
        self.rebuild(|inner| (inner.kind, inner.retry) = (ErrorKind::Ambiguous, Retry::Unknown))
    }

    /// Changes the error. If others share it, they keep the original.
    fn rebuild(self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Arc::unwrap_or_clone(self.0);
        change(&mut inner);
        Self(Arc::new(inner))
    }
}

/// Creates an [`ErrorKind::Invalid`] error.
pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, message)
}

/// Creates an [`ErrorKind::OutOfRange`] error.
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
///
/// # Examples
/// ```
/// async fn count(hits: &forebay::series::SeriesHandle) -> forebay::Result<()> {
///     hits.add("user:42", 1).await
/// }
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;
