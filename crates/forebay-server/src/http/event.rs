//! `POST /v1/events/{event}`: limits, series and buffers in one call.

use std::borrow::Cow;

use axum::{
    Extension,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use forebay::{
    ErrorKind, Hit,
    event::{HitError, Parts},
    limit::Decisions,
};
use futures::{StreamExt, stream};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Json, OneOrMany, Path, Problem, Write,
    batch::{Failure, LineKind, LineResult, MAX_IN_FLIGHT, respond_batch, respond_one},
    limit::denied_by_any,
    once::{Keyed, RetryState},
};
use crate::{
    api::{
        batch::Outcome,
        event::{BatchAnswer, HitAnswer, HitRequest},
        fields::{At, Count, Key},
        limit::DecisionBody,
    },
    app::Shared,
    registry::EventEntry,
};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(hit))
}

/// One hit, or a batch of at most 10 000.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body to OpenAPI; `OneOrMany` reads it")]
#[serde(untagged)]
enum Hits {
    One(HitRequest),
    Many(Vec<HitRequest>),
}

/// Takes hits: checks their limits, counts them and buffers them.
#[utoipa::path(
    post, path = "/v1/events/{event}", security(("token" = ["write"])),
    request_body(content((Hits = "application/json"), (String = "application/x-ndjson"))),
    responses(
        (status = 202, description = "The hit was accepted", body = HitAnswer),
        (status = 200, description = "A batch: the outcome of each line", body = BatchAnswer),
        (status = 207, description = "A batch with an `Idempotency-Key` and a failed line; a repeat completes it", body = BatchAnswer),
        (status = "4XX", description = "429: a limit denied it"),
        (status = 503, description = "A series or a buffer could not take it"),
    ),
)]
async fn hit(
    Write(app): Write,
    Path(event): Path<String>,
    keyed: Option<Extension<Keyed>>,
    body: Result<OneOrMany<HitRequest>, Problem>,
) -> Result<Response, Problem> {
    let rules = app.rules();
    let event = rules.events.find(&event)?;
    let keyed = keyed.as_deref();
    match body.inspect_err(|_| event.metrics.invalid.increment(1))? {
        OneOrMany::One(request) => one(event, request, keyed).await,
        OneOrMany::Many(requests) => Ok(many(event, requests, keyed).await),
    }
}

async fn one(event: &EventEntry, request: HitRequest, keyed: Option<&Keyed>) -> Result<Response, Problem> {
    let n = request.n.0;
    let line = keyed.map(|keyed| keyed.line(0));
    let answer = take(event, request, line).await;
    if let Ok(hit @ Hit::Limited { .. }) = &answer {
        return Err(limited(event, n, hit.limits()));
    }
    respond_one(answer.map(|hit| {
        let degraded = hit.limits().asked().any(|(_, decision)| decision.is_degraded());
        let late = hit.late().iter().map(ToString::to_string).collect();
        (StatusCode::ACCEPTED, Json(HitAnswer { accepted: n, limited: 0, degraded, late })).into_response()
    }))
}

/// The 429 with the decision that the caller has to wait for longest.
fn limited(event: &EventEntry, n: u64, decisions: &Decisions) -> Problem {
    let name = |place: usize| event.limits[place].handle.name();
    let (problem, denial) = denied_by_any(decisions, name);
    let Some((place, decision)) = denial else { return problem };
    let counts = HitAnswer { accepted: 0, limited: n, degraded: false, late: vec![] };
    problem.with("denied_by", name(place).as_str()).with_all(counts).with_all(DecisionBody::from(decision))
}

async fn many(
    event: &EventEntry,
    requests: Vec<Result<HitRequest, Problem>>,
    keyed: Option<&Keyed>,
) -> Response {
    let take_line = async |(number, request): (usize, Result<HitRequest, Problem>)| {
        let n = request.as_ref().map_or(0, |request| request.n.0);
        if let Some(answer) = keyed.and_then(|keyed| keyed.answer(number)) {
            return (n, false, LineResult::known(answer));
        }
        let request = match request {
            Ok(request) => request,
            Err(problem) => {
                event.metrics.invalid.increment(1);
                return (n, false, LineResult::from(problem));
            }
        };
        let answer = take(event, request, keyed.map(|keyed| keyed.line(number))).await;
        let is_late = answer.as_ref().is_ok_and(|hit| hit.is_accepted() && !hit.late().is_empty());
        let outcome = |hit: Hit| if hit.is_accepted() { Outcome::Accepted } else { Outcome::Limited };
        (n, is_late, answer.map(outcome).into())
    };
    let answers = stream::iter(requests).enumerate().map(take_line).buffered(MAX_IN_FLIGHT);
    let mut batch = BatchAnswer::default();
    let mut lines = vec![];
    for (n, is_late, line) in answers.collect::<Vec<_>>().await {
        match line.kind() {
            LineKind::Accepted => batch.accepted += n,
            LineKind::Limited => batch.limited += n,
            LineKind::Failed => batch.failed += n,
            LineKind::Invalid => batch.invalid += 1,
        }
        batch.late += if is_late { n } else { 0 };
        lines.push(line);
    }
    respond_batch(lines, StatusCode::OK, keyed.is_some(), |results| BatchAnswer { results, ..batch })
}

/// Takes a hit. An error has a state for a repeat, unless the hit is invalid.
async fn take(
    event: &EventEntry,
    request: HitRequest,
    line: Option<forebay::once::RequestItem>,
) -> Result<Hit, Failure> {
    let HitRequest { key: Key(key), labels, n: Count(n), at } = request;
    let handle = match labels.map(|labels| event.handle.labelled(labels.iter())).transpose() {
        Ok(None) => Cow::Borrowed(&event.handle),
        Ok(Some(labelled)) => Cow::Owned(labelled),
        Err(error) => {
            event.metrics.invalid.increment(1);
            return Err((Problem::from(error).with("field", "labels"), None));
        }
    };
    let answer = match (line, at) {
        (Some(line), at) => handle.hit_once(&line, &key, n, at.map(|At(at)| at)).await,
        (None, Some(At(at))) => handle.hit_at(&key, n, at).await,
        (None, None) => handle.hit(&key, n).await,
    };
    match answer {
        Ok(hit) => {
            let counter = if hit.is_accepted() { &event.metrics.accepted } else { &event.metrics.limited };
            counter.increment(n);
            for (place, decision) in hit.limits().asked() {
                // A denied hit is not charged to a limit that would have admitted it.
                if hit.is_accepted() || !decision.is_allowed() {
                    event.limits[place].metrics.count(decision);
                }
            }
            Ok(hit)
        }
        Err(failure)
            if matches!(failure.error.kind(), ErrorKind::Invalid | ErrorKind::OutOfRange)
                && failure.is_nothing() =>
        {
            event.metrics.invalid.increment(1);
            Err((failure.error.into(), None))
        }
        Err(failure) => {
            event.metrics.failed.increment(n);
            let state = RetryState::from(&failure);
            Err((failed(failure), Some(state)))
        }
    }
}

/// The 503 with the outcome of each part.
fn failed(failure: HitError) -> Problem {
    let mut applied = Map::new();
    applied.insert("limit".into(), failure.limit.as_str().into());
    for (what, parts) in [("series", &failure.series), ("buffer", &failure.buffer)] {
        if !parts.is_empty() {
            applied.insert(what.into(), parts_body(parts));
        }
    }
    let mut problem = Problem::from(failure.error);
    if !problem.status.is_server_error() {
        // It is invalid and yet applied in part, which the caller cannot correct alone.
        let detail = problem.detail.clone();
        problem = Problem::unavailable("partly-applied", detail, "unknown");
    }
    problem.with("applied", applied)
}

/// One word if it is the same for all parts, else a word for each by name.
fn parts_body(parts: &Parts) -> Value {
    if let Some(all) = parts.summary() {
        return all.as_str().into();
    }
    let mut body = Map::new();
    for part in parts {
        let name = part.name.as_str();
        let (mut key, mut place) = (name.to_owned(), 1);
        // The event may have a part more than once.
        while body.contains_key(&key) {
            place += 1;
            key = format!("{name}#{place}");
        }
        body.insert(key, part.applied.as_str().into());
    }
    body.into()
}
