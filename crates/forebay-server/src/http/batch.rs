//! The answer to a batch, line by line.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use forebay::once::RequestItem;
use futures::{StreamExt, stream};
use serde::Serialize;
use serde_json::Value;

use super::{
    Json, OneOrMany, Problem,
    once::{Completion, Keyed, RetryState, completion_of_batch, completion_of_one},
};
use crate::api::batch::{Added, LineAnswer, LineError, Outcome};

/// The lines of a batch in flight at once: enough to fill many round trips to the store.
pub(super) const MAX_IN_FLIGHT: usize = 512;

impl From<&Problem> for LineAnswer {
    fn from(problem: &Problem) -> Self {
        let member = |name| problem.members.get(name).cloned();
        let field = problem.members.get("field").and_then(Value::as_str).map(str::to_owned);
        let (retry, applied) = (member("retry"), member("applied"));
        Self::Error(LineError { error: problem.detail.clone(), field, retry, applied })
    }
}

/// A line that was not taken: its problem, and its state for a repeat unless it is invalid.
pub(super) type Failure = (Problem, Option<RetryState>);

/// The failure of a line with a single part.
pub(super) fn failure(error: forebay::Error) -> Failure {
    let state = RetryState::from(&error);
    let problem = Problem::from(error);
    let failed = problem.status.is_server_error();
    (problem, failed.then_some(state))
}

/// The result of a line of a batch.
#[derive(Debug)]
pub(super) struct LineResult {
    answer: LineAnswer,
    /// Only of a line that failed: its state for a repeat, and its problem.
    failed: Option<(RetryState, Problem)>,
}

impl From<Result<Outcome, Failure>> for LineResult {
    fn from(answer: Result<Outcome, Failure>) -> Self {
        match answer {
            Ok(outcome) => Self::known(LineAnswer::Outcome(outcome)),
            Err((problem, state)) => {
                Self { answer: LineAnswer::from(&problem), failed: state.map(|state| (state, problem)) }
            }
        }
    }
}

impl From<Result<(), forebay::Error>> for LineResult {
    fn from(answer: Result<(), forebay::Error>) -> Self {
        answer.map(|()| Outcome::Accepted).map_err(failure).into()
    }
}

impl From<Problem> for LineResult {
    /// An invalid line.
    fn from(problem: Problem) -> Self {
        Err((problem, None)).into()
    }
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
    /// A line that an earlier attempt has completed.
    pub(super) fn known(answer: LineAnswer) -> Self {
        Self { answer, failed: None }
    }

    /// The kind of the result.
    pub(super) fn kind(&self) -> LineKind {
        match (&self.failed, &self.answer) {
            (Some(_), _) => LineKind::Failed,
            (None, LineAnswer::Outcome(Outcome::Accepted)) => LineKind::Accepted,
            (None, LineAnswer::Outcome(Outcome::Limited)) => LineKind::Limited,
            // The line is from an earlier attempt. Only a failed line says whether to retry.
            (None, LineAnswer::Error(error)) if error.retry.is_some() => LineKind::Failed,
            (None, LineAnswer::Error(_)) => LineKind::Invalid,
        }
    }
}

/// The response to a request with a single line.
pub(super) fn respond_one(answer: Result<Response, Failure>) -> Result<Response, Problem> {
    let (mut response, completion) = match answer {
        Ok(response) => (response, Completion::Final),
        Err((problem, Some(state))) => (problem.into_response(), completion_of_one(&state)),
        Err((problem, None)) => return Err(problem),
    };
    response.extensions_mut().insert(completion);
    Ok(response)
}

/// Adds what a body has, each item by `add`.
pub(super) async fn add_all<T, F: Future<Output = Result<(), Failure>>>(
    body: OneOrMany<T>,
    keyed: Option<&Keyed>,
    add: impl Fn(T, Option<RequestItem>) -> F,
) -> Result<Response, Problem> {
    Ok(match body {
        OneOrMany::One(request) => respond_added(add(request, keyed.map(|keyed| keyed.line(0))).await)?,
        OneOrMany::Many(requests) => {
            let add_line = async |(number, request): (usize, Result<T, Problem>)| {
                if let Some(answer) = keyed.and_then(|keyed| keyed.answer(number)) {
                    return LineResult::known(answer);
                }
                match request {
                    Ok(request) => {
                        let line = keyed.map(|keyed| keyed.line(number));
                        LineResult::from(add(request, line).await.map(|()| Outcome::Accepted))
                    }
                    Err(problem) => problem.into(),
                }
            };
            let lines = stream::iter(requests).enumerate().map(add_line).buffered(MAX_IN_FLIGHT).collect();
            respond_added_batch(lines.await, keyed.is_some())
        }
    })
}

/// The response to a single write to a series or a buffer.
pub(super) fn respond_added(answer: Result<(), Failure>) -> Result<Response, Problem> {
    let body = Added { accepted: 1, ..Added::default() };
    respond_one(answer.map(|()| (StatusCode::ACCEPTED, Json(body)).into_response()))
}

/// The response to a batch of writes to a series or a buffer.
pub(super) fn respond_added_batch(lines: Vec<LineResult>, has_key: bool) -> Response {
    let count = |kind| lines.iter().filter(|line| line.kind() == kind).count() as u64;
    let (accepted, invalid, failed) =
        (count(LineKind::Accepted), count(LineKind::Invalid), count(LineKind::Failed));
    respond_batch(lines, StatusCode::ACCEPTED, has_key, |results| Added {
        accepted,
        invalid: Some(invalid),
        failed: (failed > 0).then_some(failed),
        results: Some(results),
    })
}

/// The response to a batch; `body` makes the answer.
///
/// The status is `usual`, or 207 if the request has a key and a line failed. Not without a key: log shippers repeat the whole
/// batch on an unexpected status.
pub(super) fn respond_batch<T: Serialize>(
    lines: Vec<LineResult>,
    usual: StatusCode,
    has_key: bool,
    body: impl FnOnce(Vec<LineAnswer>) -> T,
) -> Response {
    let is_partial = lines.iter().any(|line| line.kind() == LineKind::Failed);
    let some_applied = lines.iter().any(|line| match &line.failed {
        Some((state, _)) => !state.is_nothing,
        None => matches!(line.kind(), LineKind::Accepted | LineKind::Limited),
    });
    let states = lines.iter().map(|line| (&line.answer, line.failed.as_ref().map(|(state, _)| state)));
    let completion = completion_of_batch(states);
    let (results, failed): (Vec<_>, Vec<_>) =
        lines.into_iter().map(|line| (line.answer, line.failed)).unzip();
    let body = body(results);
    let (mut response, completion) = match failed.into_iter().flatten().next_back() {
        // Nothing was applied: a client that checks only the status can repeat it. Otherwise it must not, and each line has
        // its own result.
        Some((_, problem)) if !some_applied => (problem.with_all(body).into_response(), Completion::Nothing),
        _ => {
            let status = if has_key && is_partial { StatusCode::MULTI_STATUS } else { usual };
            ((status, Json(body)).into_response(), completion)
        }
    };
    response.extensions_mut().insert(completion);
    response
}
