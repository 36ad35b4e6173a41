//! The answer to a batch, line by line.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// The outcome of one line of a batch.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum LineAnswer {
    /// It was accepted or denied.
    Outcome(Outcome),
    /// It was invalid or failed.
    Error(LineError),
}

/// The outcome of a valid line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// Counted.
    Accepted,
    /// Denied by a limit.
    Limited,
}

/// The reason why a line was not taken.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct LineError {
    /// The mistake, and the accepted values.
    pub(crate) error: String,
    /// The invalid field, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) field: Option<String>,
    /// Only of a line that failed: whether to send it again (`now`, `later`, `unknown`, `never`), as in a problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry: Option<Value>,
    /// Only of a line that failed: the outcome of each of its parts, as in a problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) applied: Option<Value>,
}

/// The answer to a write to a series or a buffer.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Added {
    /// Items accepted.
    pub(crate) accepted: u64,
    /// Only of a batch: items refused as invalid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) invalid: Option<u64>,
    /// Only of a batch: items that the store could not take; absent if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failed: Option<u64>,
    /// Only of a batch: the outcome of each item, in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) results: Option<Vec<LineAnswer>>,
}
