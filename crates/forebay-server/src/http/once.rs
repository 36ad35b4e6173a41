//! `Idempotency-Key`: a request that is sent again counts once.
//!
//! # Source
//! <https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>

use std::sync::Arc;

use axum::{
    body::Body,
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
    body::{self, Sent},
};
use crate::{api::batch::LineAnswer, app::Shared};

const KEY: &str = "idempotency-key";

/// The longest key, in characters.
const MAX_KEY: usize = 255;

/// How many hosts are asked to keep a key for a caller without one.
const OFFERS: usize = 3;

/// Says that an answer is that of the first request.
const REPLAYED: &str = "idempotency-replayed";

/// An answer as the store has it.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    status: u16,
    content_type: String,
    body: String,
}

/// Carries out a request with a key once, and gives its answer to whoever repeats it.
pub(super) async fn once(State(app): State<Shared>, request: Request, next: Next) -> Response {
    if request.method() != Method::POST || !counts(request.uri().path()) {
        return next.run(request).await;
    }
    match key_of(request.headers()) {
        Ok(None) => without_key(&app, request, next).await,
        Ok(Some(key)) => carry_out(app, key, request, next).await.unwrap_or_else(Problem::into_response),
        Err(problem) => problem.into_response(),
    }
}

/// Whether a POST to this path counts something: `/v1/events/hit`, and the same for series and buffers.
fn counts(path: &str) -> bool {
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

async fn carry_out(app: Shared, key: String, request: Request, next: Next) -> Result<Response, Problem> {
    let (mut parts, incoming) = request.into_parts();
    // An answer is given again to those only who could have asked for it.
    Write::from_request_parts(&mut parts, &app).await?;
    let content = body::read(Request::from_parts(parts.clone(), incoming)).await?;
    let place = place_of(parts.uri.path(), &key);
    let print = print_of(body::is_lines(&parts.headers), &content);
    match app.bay().once(&place, print).await? {
        Once::First(begun) => {
            parts.extensions.insert(Keyed::new(begun.clone()));
            let request = Request::from_parts(parts, Body::from(content));
            // A client that hangs up must not leave it half done: it will ask again what became of it.
            let work = tokio::spawn(async move { settle(begun, next.run(request).await).await });
            work.await.map_err(|_| {
                let detail =
                    "the request failed in the middle; repeat it under the same Idempotency-Key in 30 s";
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).with("retry", "unknown")
            })
        }
        Once::Done(answer) => replay(&answer),
        Once::Other => {
            let detail = "Idempotency-Key: another body was sent under this key in the last 24 hours";
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "key-reused", detail))
        }
        Once::Full => {
            app.metrics().refused_keys().increment(1);
            let detail = "Idempotency-Key: the store keeps as many keys as it may; those that it knows are kept for 24 \
                          hours. Nothing was applied";
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-keys", detail);
            Err(problem.with("retry", "later").retry_after(None))
        }
        running => {
            let remaining =
                if let Once::Running { remaining, .. } = running { Some(remaining) } else { None };
            let detail = "a request with this Idempotency-Key is being carried out; if its server died over it, a repeat \
                          completes it then";
            Err(Problem::new(StatusCode::CONFLICT, "in-progress", detail).retry_after(remaining))
        }
    }
}

/// What a request is called in the store: a key is one of the path's.
fn place_of(path: &str, key: &str) -> String {
    format!("{path} {key}")
}

/// Of what a body says, however it was sent: compressed or not, and under which name of its type.
fn print_of(lines: bool, body: &[u8]) -> u128 {
    let form = if lines { b'l' } else { b'j' };
    xxh3_128(&[&[form], body].concat())
}

/// Carries out a request without a key. If it was applied in part, its answer has a key under which a repeat of it applies
/// what certainly was not.
async fn without_key(app: &Shared, mut request: Request, next: Next) -> Response {
    let (path, sent) = (request.uri().path().to_owned(), Sent::default());
    request.extensions_mut().insert(sent.clone());
    let mut answer = next.run(request).await;
    let (Some(Fate::Open { note, .. }), Some((lines, body))) =
        (answer.extensions_mut().remove::<Fate>(), sent.get())
    else {
        return answer;
    };
    match offer(app, &path, print_of(*lines, body), &note).await {
        Some(key) => with_key(answer, &key).await,
        None => answer,
    }
}

/// Draws a key whose record is kept, with what is known of the request; `None`: no host keeps one.
async fn offer(app: &Shared, path: &str, print: u128, note: &str) -> Option<String> {
    for _ in 0..OFFERS {
        let key = app.bay().draw_request(|key| place_of(path, key))?;
        if let Ok(Once::First(begun)) = app.bay().once(&place_of(path, &key), print).await
            && begun.leave(note, true).await.is_ok()
        {
            return Some(key);
        }
    }
    None
}

/// The answer with a key, in a header and in its body.
async fn with_key(answer: Response, key: &str) -> Response {
    let (mut parts, body) = answer.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
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

/// Has the answer kept, or the request forgotten if it came to nothing, or what became of its lines noted.
async fn settle(begun: InProgress, answer: Response) -> Response {
    let (mut parts, body) = answer.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let fate = parts.extensions.remove::<Fate>().unwrap_or(
        // The request did not come to what it was about, or that ended in the middle.
        if parts.status.is_client_error() { Fate::Nothing } else { Fate::Unclear },
    );
    let noted = match fate {
        Fate::Final => {
            let text = String::from_utf8_lossy(&body).into_owned();
            let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let content_type = content_type.unwrap_or("application/json").to_owned();
            let kept = Kept { status: parts.status.as_u16(), content_type, body: text };
            begun.end(&serde_json::to_string(&kept).expect("an answer is plain data")).await
        }
        Fate::Nothing => begun.forget().await,
        Fate::Open { note, certain } => begun.leave(&note, certain).await,
        Fate::Unclear => {
            let note = begun.note().to_owned();
            begun.leave(&note, false).await
        }
    };
    if let Err(error) = noted {
        // The answer is right all the same; who asks again has it completed, or is told that it is being carried out.
        tracing::warn!(%error, "the answer to a request with an Idempotency-Key was not kept");
    }
    Response::from_parts(parts, Body::from(body))
}

/// What becomes of the record of a request. Handlers put it among the extensions of their answer.
#[derive(Clone, Debug)]
pub(super) enum Fate {
    /// Whoever repeats it gets this answer.
    Final,
    /// Nothing of it was applied: it may be sent again as though it were new.
    Nothing,
    /// A repeat completes it.
    Open { note: String, certain: bool },
    /// Nobody noted how far it came. The tokens of its parts tell.
    Unclear,
}

/// What a line that failed leaves for another attempt.
#[derive(Clone, Debug)]
pub(super) struct Left {
    /// A letter for each part, as [`HitError::state`] has them.
    states: String,
    pub is_certain: bool,
    pub is_final: bool,
    pub is_nothing: bool,
}

impl From<&HitError> for Left {
    fn from(error: &HitError) -> Self {
        Self {
            states: error.state().to_owned(),
            is_certain: error.is_certain(),
            is_final: !error.is_nothing() && error.is_final(),
            is_nothing: error.is_nothing(),
        }
    }
}

impl From<&Error> for Left {
    /// Of a line with a single part.
    fn from(error: &Error) -> Self {
        let lost = error.kind() == ErrorKind::Ambiguous && error.retry() == Retry::Never;
        let open = error.retry() == Retry::Unknown;
        let states = match (lost, open) {
            (true, _) => "x",
            (false, true) => "o",
            (false, false) => "n",
        };
        Self { states: states.to_owned(), is_certain: !open, is_final: lost, is_nothing: !lost && !open }
    }
}

/// What is remembered of a line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Remembered {
    /// This is its answer, for good.
    Answer(LineAnswer),
    /// It failed, and this is known of its parts.
    Parts(String),
}

/// A request with a key, as a handler sees it.
#[derive(Clone, Debug)]
pub(super) struct Keyed {
    begun: InProgress,
    /// What the last attempt noted, by line.
    known: Arc<[Remembered]>,
}

impl Keyed {
    fn new(begun: InProgress) -> Self {
        let known: Vec<Remembered> = serde_json::from_str(begun.note()).unwrap_or_default();
        Self { begun, known: known.into() }
    }

    /// The line with this number, counted from 0.
    pub(super) fn line(&self, number: usize) -> RequestItem {
        let states = match self.known.get(number) {
            Some(Remembered::Parts(states)) => states,
            _ => "",
        };
        self.begun.item_after(u32::try_from(number).expect("a batch has few lines"), states)
    }

    /// The answer of a line that an earlier attempt has settled.
    pub(super) fn answer(&self, number: usize) -> Option<LineAnswer> {
        match self.known.get(number)? {
            Remembered::Answer(answer) => Some(answer.clone()),
            Remembered::Parts(_) => None,
        }
    }
}

/// The fate of a request with a single line, which failed with this; `None`: it did not.
pub(super) fn fate_of_one(failed: Option<&Left>) -> Fate {
    match failed {
        None => Fate::Final,
        Some(left) if left.is_nothing => Fate::Nothing,
        Some(left) if left.is_final => Fate::Final,
        Some(left) => {
            Fate::Open { note: note(&[Remembered::Parts(left.states.clone())]), certain: left.is_certain }
        }
    }
}

/// The fate of a batch of which something was applied, by what became of each line, and what each that failed leaves.
pub(super) fn fate_of_batch<'a>(lines: impl Iterator<Item = (&'a LineAnswer, Option<&'a Left>)>) -> Fate {
    let (mut certain, mut open) = (true, false);
    let remember = |(answer, left): (&LineAnswer, Option<&Left>)| match left {
        Some(left) if !left.is_final => {
            open = true;
            certain &= left.is_certain;
            Remembered::Parts(left.states.clone())
        }
        _ => Remembered::Answer(answer.clone()),
    };
    let lines: Vec<Remembered> = lines.map(remember).collect();
    if open { Fate::Open { note: note(&lines), certain } } else { Fate::Final }
}

fn note(lines: &[Remembered]) -> String {
    serde_json::to_string(lines).expect("a note is plain data")
}

fn replay(answer: &str) -> Result<Response, Problem> {
    let kept: Kept = serde_json::from_str(answer).map_err(|_| {
        let detail = "the first answer to this request cannot be read";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    })?;
    let status = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::OK);
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_str(&kept.content_type).unwrap_or(HeaderValue::from_static("application/json")),
        ),
        (header::HeaderName::from_static(REPLAYED), HeaderValue::from_static("true")),
    ];
    Ok((status, headers, kept.body).into_response())
}
