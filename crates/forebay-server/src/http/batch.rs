//! What is answered about a batch, line by line.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::Problem;

/// How many lines of a batch are under way at once: enough to fill a round trip to the store many times over.
pub(super) const AT_ONCE: usize = 512;

/// What became of a line of a batch.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum LineAnswer {
    /// It was taken, or not.
    Outcome(Outcome),
    /// It could not be.
    Error(LineError),
}

/// The word for what became of a line.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    /// Counted.
    Accepted,
    /// Denied by a limit.
    Limited,
}

/// Why a line was not taken.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LineError {
    /// What is wrong, and what would be accepted.
    error: String,
    /// The field that is wrong, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// Of a line that failed: whether to send it again (`now`, `later`, `unknown`, `never`), as in an error of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<Value>,
    /// Of a line that failed: what became of its parts, as in an error of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    applied: Option<Value>,
}

impl From<&Problem> for LineAnswer {
    fn from(problem: &Problem) -> Self {
        let field = problem.wrong_field().map(str::to_owned);
        let member = |name| problem.member(name).cloned();
        let (retry, applied) = (member("retry"), member("applied"));
        Self::Error(LineError { error: problem.detail().to_owned(), field, retry, applied })
    }
}

/// What was added to a series or a buffer.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct Added {
    /// Items taken.
    accepted: u64,
    /// Of a batch: items refused for what they contain.
    #[serde(skip_serializing_if = "Option::is_none")]
    invalid: Option<u64>,
    /// Of a batch: items that the store could not take; absent if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<u64>,
    /// Of a batch: for each item in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    results: Option<Vec<LineAnswer>>,
}

impl Added {
    /// The answer for a single item.
    pub(super) fn one() -> Self {
        Self { accepted: 1, ..Self::default() }
    }

    /// The answer for a batch; an error if the store took none of it.
    pub(super) fn batch(answers: Vec<Result<(), Problem>>) -> Result<Self, Problem> {
        let (mut accepted, mut invalid, mut failed) = (0, 0, 0);
        let mut results = Vec::with_capacity(answers.len());
        let mut failures = Failures::default();
        for answer in answers {
            results.push(match &answer {
                Ok(()) => LineAnswer::Outcome(Outcome::Accepted),
                Err(problem) => LineAnswer::from(problem),
            });
            match answer {
                Ok(()) => accepted += 1,
                Err(problem) => {
                    let count = if problem.status().is_server_error() { &mut failed } else { &mut invalid };
                    *count += 1;
                    failures.note(problem);
                }
            }
        }
        let failed = (failed > 0).then_some(failed);
        let added = Self { accepted, invalid: Some(invalid), failed, results: Some(results) };
        match failures.whole(accepted > 0) {
            Some(problem) => Err(problem.with_all(added)),
            None => Ok(added),
        }
    }
}

/// The lines of a batch that failed.
#[derive(Debug, Default)]
pub(super) struct Failures {
    last: Option<Problem>,
    /// One of them may have been applied, whole or in part.
    in_doubt: bool,
}

impl Failures {
    /// Notes a line that was not taken; one that is invalid has not failed.
    pub(super) fn note(&mut self, problem: Problem) {
        if problem.status().is_server_error() {
            self.in_doubt |= problem.member("retry").is_none_or(|retry| retry == "unknown");
            self.last = Some(problem);
        }
    }

    /// The answer for the whole batch, if nothing of it was applied: a client that looks at the status alone notices, and
    /// may send it again. If anything was, or may have been, it must not: each line says what became of it.
    pub(super) fn whole(self, some_taken: bool) -> Option<Problem> {
        self.last.filter(|_| !some_taken && !self.in_doubt)
    }
}
