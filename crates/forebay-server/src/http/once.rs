//! `Idempotency-Key`: a repeated request counts once.
//!
//! # Source
//! <https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use forebay::{
    Error, ErrorKind, Retry,
    event::HitError,
    once::{InProgress, Once, RequestItem},
};
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use xxhash_rust::xxh3::xxh3_128;

use super::{
    Problem, Write,
    body::{self, SentBody},
};
use crate::{api::batch::LineAnswer, app::Shared, metrics::RefusedKeyMetrics};

const KEY: &str = "idempotency-key";

/// The longest key, in characters.
const MAX_KEY: usize = 255;

/// The most hosts that are tried to keep a key for a caller without one.
const MAX_OFFERS: usize = 3;

/// The header of an answer that is a copy of the first one.
const REPLAYED: &str = "idempotency-replayed";

/// An answer in the store.
#[derive(Debug, Serialize, Deserialize)]
struct StoredAnswer {
    status: u16,
    content_type: String,
    body: String,
}

/// Executes a request with a key once, and repeats its answer.
pub(super) async fn once(State(app): State<Shared>, request: Request, next: Next) -> Response {
    if request.method() != Method::POST || !accepts_key(request.uri().path()) {
        return next.run(request).await;
    }
    match key_of(request.headers()) {
        Ok(None) => execute_without_key(&app, request, next).await,
        Ok(Some(key)) => execute_once(app, key, request, next).await.unwrap_or_else(Problem::into_response),
        Err(problem) => problem.into_response(),
    }
}

/// Returns whether a POST to this path may have a key: `/v1/events/hit`, and the same for series and buffers.
fn accepts_key(path: &str) -> bool {
    let mut parts = path.trim_start_matches('/').split('/');
    let found = (parts.next(), parts.next(), parts.next(), parts.next());
    matches!(found, (Some("v1"), Some("events" | "series" | "buffers"), Some(_), None))
}

fn key_of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut given = headers.get_all(KEY).iter();
    let (Some(key), more) = (given.next(), given.next()) else { return Ok(None) };
    let text = key.to_str().ok().filter(|text| {
        (1..=MAX_KEY).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    });
    match text {
        Some(text) if more.is_none() => Ok(Some(text.to_owned())),
        _ => {
            let detail = format!("Idempotency-Key: one of 1 to {MAX_KEY} visible ASCII characters");
            Err(Problem::new(StatusCode::BAD_REQUEST, "invalid-header", detail))
        }
    }
}

async fn execute_once(app: Shared, key: String, request: Request, next: Next) -> Result<Response, Problem> {
    let (mut parts, incoming) = request.into_parts();
    // Only a caller with the scope may get the stored answer.
    Write::from_request_parts(&mut parts, &app).await?;
    let content = body::read(Request::from_parts(parts.clone(), incoming)).await?;
    let record = record_key(parts.uri.path(), &key);
    let fingerprint = fingerprint(body::is_lines(&parts.headers), &content);
    match app.bay.once(&record, fingerprint).await? {
        Once::First(begun) => {
            parts.extensions.insert(Keyed::new(begun.clone()));
            let request = Request::from_parts(parts, Body::from(content));
            // The work has its own task, so that a client that disconnects does not leave it incomplete.
            let work = tokio::spawn(async move { record_answer(begun, next.run(request).await).await });
            work.await.map_err(|_| {
                let detail =
                    "the request failed before its end; repeat it with the same Idempotency-Key after 30 s";
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).with("retry", "unknown")
            })
        }
        Once::Done(answer) => replay(&answer),
        Once::Other => {
            let detail = "Idempotency-Key: another body was sent under this key in the last 24 hours";
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "key-reused", detail))
        }
        Once::Full => {
            app.metrics.group::<RefusedKeyMetrics>(&[]).refused.increment(1);
            let detail = "Idempotency-Key: the store has as many keys as it may keep; known keys are kept for 24 hours. \
                          Nothing was applied";
            Err(Problem::unavailable("too-many-keys", detail, "later"))
        }
        running => {
            let remaining = match running {
                Once::Running { remaining, .. } => Some(remaining),
                _ => None,
            };
            let detail = "a request with this Idempotency-Key is running; if its server died, a repeat after that time \
                          completes it";
            Err(Problem::new(StatusCode::CONFLICT, "in-progress", detail).retry_after(remaining))
        }
    }
}

/// The name of a request's record in the store: keys belong to a path.
fn record_key(path: &str, key: &str) -> String {
    format!("{path} {key}")
}

/// The fingerprint of a body, independent of its compression and of the name of its type.
fn fingerprint(lines: bool, body: &[u8]) -> u128 {
    let form = if lines { b'l' } else { b'j' };
    xxh3_128(&[&[form], body].concat())
}

/// Executes a request without a key. If it was applied in part, its answer offers a key: a repeat with it applies the rest.
async fn execute_without_key(app: &Shared, mut request: Request, next: Next) -> Response {
    let (path, sent) = (request.uri().path().to_owned(), SentBody::default());
    request.extensions_mut().insert(sent.clone());
    let mut answer = next.run(request).await;
    let (Some(Completion::Partial { note, .. }), Some((lines, body))) =
        (answer.extensions_mut().remove::<Completion>(), sent.get())
    else {
        return answer;
    };
    match offer_key(app, &path, fingerprint(*lines, body), &note).await {
        Some(key) => add_key(answer, &key).await,
        None => answer,
    }
}

/// Creates a key with a record of the partial request; `None` if no host can keep one.
async fn offer_key(app: &Shared, path: &str, fingerprint: u128, note: &str) -> Option<String> {
    for _ in 0..MAX_OFFERS {
        let key = app.bay.draw_request(|key| record_key(path, key))?;
        if let Ok(Once::First(begun)) = app.bay.once(&record_key(path, &key), fingerprint).await
            && begun.leave(note, true).await.is_ok()
        {
            return Some(key);
        }
    }
    None
}

/// The answer with a key, in a header and in its body.
async fn add_key(answer: Response, key: &str) -> Response {
    let (mut parts, body) = answer.into_parts();
    let body = collected(body).await;
    if let Ok(value) = HeaderValue::from_str(key) {
        parts.headers.insert(header::HeaderName::from_static(KEY), value);
    }
    let Ok(mut object) = serde_json::from_slice::<Map<String, Value>>(&body) else {
        return Response::from_parts(parts, Body::from(body));
    };
    object.insert("idempotency_key".into(), key.into());
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(serde_json::to_vec(&object).expect("an object is plain data")))
}

async fn collected(body: Body) -> Bytes {
    body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default()
}

/// Stores the answer of a complete request, or the state of a partial one, or removes the record if nothing was applied.
async fn record_answer(begun: InProgress, answer: Response) -> Response {
    let (mut parts, body) = answer.into_parts();
    let body = collected(body).await;
    let completion = parts.extensions.remove::<Completion>().unwrap_or(
        // The handler did not set it: the request was refused before, or failed.
        if parts.status.is_client_error() { Completion::Nothing } else { Completion::Unknown },
    );
    let noted = match completion {
        Completion::Final => {
            let text = String::from_utf8_lossy(&body).into_owned();
            let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let content_type = content_type.unwrap_or("application/json").to_owned();
            let stored = StoredAnswer { status: parts.status.as_u16(), content_type, body: text };
            begun.end(&serde_json::to_string(&stored).expect("an answer is plain data")).await
        }
        Completion::Nothing => begun.forget().await,
        Completion::Partial { note, certain } => begun.leave(&note, certain).await,
        Completion::Unknown => {
            let note = begun.note().to_owned();
            begun.leave(&note, false).await
        }
    };
    if let Err(error) = noted {
        // The answer is correct. A repeat completes the request, or is told that it is running.
        tracing::warn!(%error, "the answer to a request with an Idempotency-Key was not stored");
    }
    Response::from_parts(parts, Body::from(body))
}

/// The extent to which a request was applied. Handlers add it to the extensions of their answer.
#[derive(Clone, Debug)]
pub(super) enum Completion {
    /// Completely: a repeat gets this answer.
    Final,
    /// Not at all: a repeat is a new request.
    Nothing,
    /// In part: a repeat completes it.
    Partial { note: String, certain: bool },
    /// It is not known; the tokens of its parts tell.
    Unknown,
}

/// The state of a failed line, for a repeat.
#[derive(Clone, Debug)]
pub(super) struct RetryState {
    /// A letter for each part, as in [`HitError::state`].
    states: String,
    is_certain: bool,
    is_final: bool,
    pub is_nothing: bool,
}

impl From<&HitError> for RetryState {
    fn from(error: &HitError) -> Self {
        Self {
            states: error.state().to_owned(),
            is_certain: error.is_certain(),
            is_final: !error.is_nothing() && error.is_final(),
            is_nothing: error.is_nothing(),
        }
    }
}

impl From<&Error> for RetryState {
    /// The state of a line with a single part.
    fn from(error: &Error) -> Self {
        let lost = error.kind() == ErrorKind::Ambiguous && error.retry() == Retry::Never;
        let open = error.retry() == Retry::Unknown;
        let states = if lost {
            "x"
        } else if open {
            "o"
        } else {
            "n"
        };
        Self { states: states.to_owned(), is_certain: !open, is_final: lost, is_nothing: !lost && !open }
    }
}

/// The stored state of a line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LineRecord {
    /// Its final answer.
    Answer(LineAnswer),
    /// It failed; the state of its parts.
    Parts(String),
}

/// A request with a key, for its handler.
#[derive(Clone, Debug)]
pub(super) struct Keyed {
    begun: InProgress,
    /// The lines of the last attempt.
    known: Arc<[LineRecord]>,
}

impl Keyed {
    fn new(begun: InProgress) -> Self {
        let known: Vec<LineRecord> = serde_json::from_str(begun.note()).unwrap_or_default();
        Self { begun, known: known.into() }
    }

    /// The line with this number, counted from 0.
    pub(super) fn line(&self, number: usize) -> RequestItem {
        let states = match self.known.get(number) {
            Some(LineRecord::Parts(states)) => states,
            _ => "",
        };
        self.begun.item_after(u32::try_from(number).expect("a batch has few lines"), states)
    }

    /// The answer of a line that an earlier attempt has completed.
    pub(super) fn answer(&self, number: usize) -> Option<LineAnswer> {
        match self.known.get(number)? {
            LineRecord::Answer(answer) => Some(answer.clone()),
            LineRecord::Parts(_) => None,
        }
    }
}

/// The completion of a request with a single line that failed.
pub(super) fn completion_of_one(state: &RetryState) -> Completion {
    match state {
        RetryState { is_nothing: true, .. } => Completion::Nothing,
        RetryState { is_final: true, .. } => Completion::Final,
        RetryState { states, is_certain, .. } => {
            Completion::Partial { note: note(&[LineRecord::Parts(states.clone())]), certain: *is_certain }
        }
    }
}

/// The completion of a batch that was applied at least in part, from the answer of each line and the state of a failed one.
pub(super) fn completion_of_batch<'a>(
    lines: impl Iterator<Item = (&'a LineAnswer, Option<&'a RetryState>)>,
) -> Completion {
    let (mut certain, mut open) = (true, false);
    let remember = |(answer, state): (&LineAnswer, Option<&RetryState>)| match state {
        Some(state) if !state.is_final => {
            open = true;
            certain &= state.is_certain;
            LineRecord::Parts(state.states.clone())
        }
        _ => LineRecord::Answer(answer.clone()),
    };
    let lines: Vec<LineRecord> = lines.map(remember).collect();
    if open { Completion::Partial { note: note(&lines), certain } } else { Completion::Final }
}

fn note(lines: &[LineRecord]) -> String {
    serde_json::to_string(lines).expect("a note is plain data")
}

fn replay(answer: &str) -> Result<Response, Problem> {
    let stored: StoredAnswer = serde_json::from_str(answer).map_err(|_| {
        let detail = "the first answer to this request cannot be read";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    })?;
    let status = StatusCode::from_u16(stored.status).unwrap_or(StatusCode::OK);
    let content_type = HeaderValue::from_str(&stored.content_type);
    let content_type = content_type.unwrap_or(HeaderValue::from_static("application/json"));
    let replayed = header::HeaderName::from_static(REPLAYED);
    let headers = [(header::CONTENT_TYPE, content_type), (replayed, HeaderValue::from_static("true"))];
    Ok((status, headers, stored.body).into_response())
}
