//! Why a query has no answer.

/// Why a query has no answer. The kinds are those of Prometheus' HTTP interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The query is not in the language, or uses a part of it that is not supported.
    BadData(String),
    /// The query cannot be computed over these samples.
    Execution(String),
}

impl Fault {
    pub(super) fn bad_data(text: impl Into<String>) -> Self {
        Self::BadData(text.into())
    }

    pub(super) fn execution(text: impl Into<String>) -> Self {
        Self::Execution(text.into())
    }
}
