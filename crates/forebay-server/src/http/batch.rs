//! The answer to a batch, line by line.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{
    Json, Problem,
    once::{Completion, RetryState, completion_of_batch, completion_of_one},
};
use crate::api::batch::{Added, LineAnswer, LineError, Outcome};

/// The lines of a batch in flight at once: enough to fill many round trips to the store.
pub(super) const MAX_IN_FLIGHT: usize = 512;

impl From<&Problem> for LineAnswer {
    fn from(problem: &Problem) -> Self {
        let field = problem.wrong_field().map(str::to_owned);
        let member = |name| problem.member(name).cloned();
        let (retry, applied) = (member("retry"), member("applied"));
        Self::Error(LineError { error: problem.detail().to_owned(), field, retry, applied })
    }
}

impl Added {
    /// The answer for a single item.
    pub(super) fn one() -> Self {
        Self { accepted: 1, ..Self::default() }
    }

    /// The response to a batch; a problem if the store took no line.
    pub(super) fn batch(lines: Vec<LineResult>) -> BatchResponse<Self> {
        let (mut accepted, mut invalid, mut failed) = (0, 0, 0);
        for line in &lines {
            match line.kind() {
                LineKind::Accepted | LineKind::Limited => accepted += 1,
                LineKind::Invalid => invalid += 1,
                LineKind::Failed => failed += 1,
            }
        }
        let failed = (failed > 0).then_some(failed);
        BatchResponse::new(lines, |results| Self {
            accepted,
            invalid: Some(invalid),
            failed,
            results: Some(results),
        })
    }
}

/// The result of a line of a batch.
#[derive(Debug)]
pub(super) struct LineResult {
    pub answer: LineAnswer,
    /// Only of a line that failed: its state for a repeat, and its problem.
    pub failed: Option<(RetryState, Problem)>,
}

impl From<Result<(), forebay::Error>> for LineResult {
    fn from(answer: Result<(), forebay::Error>) -> Self {
        match answer {
            Ok(()) => Self::of(Outcome::Accepted),
            Err(error) => {
                let state = RetryState::from(&error);
                let problem = Problem::from(error);
                let failed = problem.status().is_server_error();
                Self::error(problem, failed.then_some(state))
            }
        }
    }
}

/// The response to a request with a single line and a single part.
pub(super) fn respond_one(
    status: StatusCode,
    answer: Result<(), forebay::Error>,
) -> Result<Response, Problem> {
    let (mut response, completion) = match answer {
        Ok(()) => ((status, Json(Added::one())).into_response(), completion_of_one(None)),
        Err(error) => {
            let state = RetryState::from(&error);
            let problem = Problem::from(error);
            if !problem.status().is_server_error() {
                return Err(problem);
            }
            (problem.into_response(), completion_of_one(Some(&state)))
        }
    };
    response.extensions_mut().insert(completion);
    Ok(response)
}

/// The kind of a line's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineKind {
    Accepted,
    Limited,
    /// Refused as invalid.
    Invalid,
    /// The store could not take it.
    Failed,
}

impl LineResult {
    /// A line that was accepted or denied.
    pub(super) fn of(outcome: Outcome) -> Self {
        Self { answer: LineAnswer::Outcome(outcome), failed: None }
    }

    /// A line that an earlier attempt has completed.
    pub(super) fn known(answer: LineAnswer) -> Self {
        Self { answer, failed: None }
    }

    /// A line that failed, or, without a state, was invalid.
    pub(super) fn error(problem: Problem, state: Option<RetryState>) -> Self {
        Self { answer: LineAnswer::from(&problem), failed: state.map(|state| (state, problem)) }
    }

    /// The kind of the result.
    pub(super) fn kind(&self) -> LineKind {
        match (&self.failed, &self.answer) {
            (Some(_), _) => LineKind::Failed,
            (None, LineAnswer::Outcome(Outcome::Accepted)) => LineKind::Accepted,
            (None, LineAnswer::Outcome(Outcome::Limited)) => LineKind::Limited,
            // Of an earlier attempt: only a failed line says whether to retry.
            (None, LineAnswer::Error(error)) if error.retry.is_some() => LineKind::Failed,
            (None, LineAnswer::Error(_)) => LineKind::Invalid,
        }
    }
}

/// The response to a batch.
#[derive(Debug)]
pub(super) struct BatchResponse<T> {
    pub answer: Result<T, Problem>,
    pub completion: Completion,
    /// Whether a line failed, or has an unknown outcome.
    pub is_partial: bool,
}

impl<T: Serialize> BatchResponse<T> {
    /// Combines the lines; `body` makes the answer.
    pub(super) fn new(lines: Vec<LineResult>, body: impl FnOnce(Vec<LineAnswer>) -> T) -> Self {
        let is_partial = lines.iter().any(|line| line.kind() == LineKind::Failed);
        let some_taken =
            lines.iter().any(|line| matches!(line.kind(), LineKind::Accepted | LineKind::Limited));
        let completion = completion_of_batch(
            lines.iter().map(|line| (&line.answer, line.failed.as_ref().map(|(state, _)| state))),
        );
        let (mut failures, mut results) = (Failures::default(), Vec::with_capacity(lines.len()));
        for line in lines {
            results.push(line.answer);
            if let Some((state, problem)) = line.failed {
                failures.note(&state, problem);
            }
        }
        let body = body(results);
        match failures.whole(some_taken) {
            Some(problem) => {
                Self { answer: Err(problem.with_all(body)), completion: Completion::Nothing, is_partial }
            }
            None => Self { answer: Ok(body), completion, is_partial },
        }
    }

    /// The response with the status `usual`, or with 207 if the request has a key and a line failed. Not without a key: log
    /// shippers repeat the whole batch on an unexpected status.
    pub(super) fn respond(self, usual: StatusCode, has_key: bool) -> Response {
        let status = if has_key && self.is_partial { StatusCode::MULTI_STATUS } else { usual };
        let mut response = match self.answer {
            Ok(body) => (status, Json(body)).into_response(),
            Err(problem) => problem.into_response(),
        };
        response.extensions_mut().insert(self.completion);
        response
    }
}

/// The lines of a batch that failed.
#[derive(Debug, Default)]
struct Failures {
    last: Option<Problem>,
    /// A line was applied in part, or may have been.
    some_applied: bool,
}

impl Failures {
    fn note(&mut self, state: &RetryState, problem: Problem) {
        self.some_applied |= !state.is_nothing;
        self.last = Some(problem);
    }

    /// The problem of the whole batch, if nothing of it was applied: a client that checks only the status can repeat it. If
    /// something was applied, or may have been, it must not: each line has its own result.
    fn whole(self, some_taken: bool) -> Option<Problem> {
        self.last.filter(|_| !some_taken && !self.some_applied)
    }
}
