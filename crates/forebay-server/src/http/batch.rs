//! What is answered about a batch, line by line.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{
    Json, Problem,
    once::{Fate, Left, fate_of_batch, fate_of_one},
};
use crate::api::batch::{Added, LineAnswer, LineError, Outcome};

/// How many lines of a batch are under way at once: enough to fill a round trip to the store many times over.
pub(super) const AT_ONCE: usize = 512;

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

    /// The answer for a batch, and what becomes of its record; an error if the store took none of it.
    pub(super) fn batch(lines: Vec<Line>) -> Answered<Self> {
        let (mut accepted, mut invalid, mut failed) = (0, 0, 0);
        for line in &lines {
            match line.sort() {
                Sort::Accepted | Sort::Limited => accepted += 1,
                Sort::Invalid => invalid += 1,
                Sort::Failed => failed += 1,
            }
        }
        let failed = (failed > 0).then_some(failed);
        Answered::new(lines, |results| Self {
            accepted,
            invalid: Some(invalid),
            failed,
            results: Some(results),
        })
    }
}

/// What became of a line of a batch.
#[derive(Debug)]
pub(super) struct Line {
    pub answer: LineAnswer,
    /// Of a line that failed: what it leaves for another attempt, and the error of its own.
    pub failed: Option<(Left, Problem)>,
}

impl From<Result<(), forebay::Error>> for Line {
    fn from(answer: Result<(), forebay::Error>) -> Self {
        match answer {
            Ok(()) => Self::of(Outcome::Accepted),
            Err(error) => {
                let left = Left::from(&error);
                let problem = Problem::from(error);
                let failed = problem.status().is_server_error();
                Self::error(problem, failed.then_some(left))
            }
        }
    }
}

/// The response to a request with a single line and a single part.
pub(super) fn respond_one(
    status: StatusCode,
    answer: Result<(), forebay::Error>,
) -> Result<Response, Problem> {
    let (mut response, fate) = match answer {
        Ok(()) => ((status, Json(Added::one())).into_response(), fate_of_one(None)),
        Err(error) => {
            let left = Left::from(&error);
            let problem = Problem::from(error);
            if !problem.status().is_server_error() {
                return Err(problem);
            }
            (problem.into_response(), fate_of_one(Some(&left)))
        }
    };
    response.extensions_mut().insert(fate);
    Ok(response)
}

/// How a line is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Accepted,
    Limited,
    /// Refused for what it contains.
    Invalid,
    /// The store could not take it.
    Failed,
}

impl Line {
    /// A line that was taken, or denied.
    pub(super) fn of(outcome: Outcome) -> Self {
        Self { answer: LineAnswer::Outcome(outcome), failed: None }
    }

    /// A line that an earlier attempt has settled.
    pub(super) fn known(answer: LineAnswer) -> Self {
        Self { answer, failed: None }
    }

    /// A line that failed, or, without what it leaves, was invalid.
    pub(super) fn error(problem: Problem, left: Option<Left>) -> Self {
        Self { answer: LineAnswer::from(&problem), failed: left.map(|left| (left, problem)) }
    }

    /// How it is counted.
    pub(super) fn sort(&self) -> Sort {
        match (&self.failed, &self.answer) {
            (Some(_), _) => Sort::Failed,
            (None, LineAnswer::Outcome(Outcome::Accepted)) => Sort::Accepted,
            (None, LineAnswer::Outcome(Outcome::Limited)) => Sort::Limited,
            // Of an earlier attempt; one that failed says whether to send it again.
            (None, LineAnswer::Error(error)) if error.retry.is_some() => Sort::Failed,
            (None, LineAnswer::Error(_)) => Sort::Invalid,
        }
    }
}

/// The answer to a batch, and what becomes of its record.
#[derive(Debug)]
pub(super) struct Answered<T> {
    pub answer: Result<T, Problem>,
    pub fate: Fate,
    /// Whether a line failed, or nobody knows what became of it.
    pub is_partial: bool,
}

impl<T: Serialize> Answered<T> {
    /// `body` makes the answer from what became of the lines.
    pub(super) fn new(lines: Vec<Line>, body: impl FnOnce(Vec<LineAnswer>) -> T) -> Self {
        let is_partial = lines.iter().any(|line| line.sort() == Sort::Failed);
        let some_taken = lines.iter().any(|line| matches!(line.sort(), Sort::Accepted | Sort::Limited));
        let fate = fate_of_batch(
            lines.iter().map(|line| (&line.answer, line.failed.as_ref().map(|(left, _)| left))),
        );
        let (mut failures, mut results) = (Failures::default(), Vec::with_capacity(lines.len()));
        for line in lines {
            results.push(line.answer);
            if let Some((left, problem)) = line.failed {
                failures.note(&left, problem);
            }
        }
        let body = body(results);
        match failures.whole(some_taken) {
            Some(problem) => Self { answer: Err(problem.with_all(body)), fate: Fate::Nothing, is_partial },
            None => Self { answer: Ok(body), fate, is_partial },
        }
    }

    /// The response: `usual`, but 207 to a request with a key of which a line failed. Without a key that is no other status:
    /// log shippers send the whole batch again on any that they do not expect.
    pub(super) fn respond(self, usual: StatusCode, has_key: bool) -> Response {
        let status = if has_key && self.is_partial { StatusCode::MULTI_STATUS } else { usual };
        let mut response = match self.answer {
            Ok(body) => (status, Json(body)).into_response(),
            Err(problem) => problem.into_response(),
        };
        response.extensions_mut().insert(self.fate);
        response
    }
}

/// The lines of a batch that failed.
#[derive(Debug, Default)]
struct Failures {
    last: Option<Problem>,
    /// One of them was applied in part, or may have been.
    some_applied: bool,
}

impl Failures {
    fn note(&mut self, left: &Left, problem: Problem) {
        self.some_applied |= !left.is_nothing;
        self.last = Some(problem);
    }

    /// The answer for the whole batch, if nothing of it was applied: a client that looks at the status alone notices, and
    /// may send it again. If anything was, or may have been, it must not: each line says what became of it.
    fn whole(self, some_taken: bool) -> Option<Problem> {
        self.last.filter(|_| !some_taken && !self.some_applied)
    }
}
