//! `Idempotency-Key`: a request that is sent again counts once.
//!
//! # Source
//! <https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>

use axum::{
    body::Body,
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use forebay::once::{Begun, Once};
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_128;

use super::{Problem, Shared, Write, body};

const KEY: &str = "idempotency-key";

/// The longest key, in characters.
const MAX_KEY: usize = 255;

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
        Ok(None) => next.run(request).await,
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
    let place = format!("{} {key}", parts.uri.path());
    let content_type = parts.headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let print = xxh3_128(&[content_type, b"\n", &content].concat());
    match app.bay().once(&place, print).await? {
        Once::First(begun) => {
            let request = Request::from_parts(parts, Body::from(content));
            // A client that hangs up must not leave it half done: it will ask again what became of it.
            let work = tokio::spawn(async move { settle(begun, next.run(request).await).await });
            work.await.map_err(|_| {
                let detail = "the request failed in the middle; whether it counted is not known";
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
            })
        }
        Once::Done(answer) => replay(&answer),
        Once::Other => {
            let detail = "Idempotency-Key: another body was sent under this key in the last 24 hours";
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "key-reused", detail))
        }
        _ => {
            let detail = "a request with this Idempotency-Key is being carried out, or its server died over it; then \
                          nobody knows whether it counted, and for 24 hours it is not carried out again";
            Err(Problem::new(StatusCode::CONFLICT, "in-progress", detail).retry_after(None))
        }
    }
}

/// Has the answer kept, or the request forgotten if it came to nothing.
async fn settle(begun: Begun, answer: Response) -> Response {
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let text = String::from_utf8_lossy(&body).into_owned();
    let noted = if came_to_nothing(parts.status, &text) {
        begun.forget().await
    } else {
        let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or("application/json").to_owned();
        let kept = Kept { status: parts.status.as_u16(), content_type, body: text };
        begun.end(&serde_json::to_string(&kept).expect("an answer is plain data")).await
    };
    if let Err(error) = noted {
        // The answer is right all the same; who asks again is told that it is being carried out.
        tracing::warn!(%error, "the answer to a request with an Idempotency-Key was not kept");
    }
    Response::from_parts(parts, Body::from(body))
}

/// Whether nothing of a request was counted, so that it may be carried out again.
fn came_to_nothing(status: StatusCode, body: &str) -> bool {
    if status.is_success() {
        return false;
    }
    if status.is_client_error() {
        return true;
    }
    let problem: Value = serde_json::from_str(body).unwrap_or_default();
    let certain = |word: &Value| word == "now" || word == "later" || word == "never";
    let applied = problem.get("applied").and_then(Value::as_object);
    let none = applied.is_none_or(|parts| parts.values().all(|part| part == "no"));
    // A batch that failed as a whole says so for each line, and not what became of it.
    let whole = problem.get("results").is_none();
    none && whole && problem.get("retry").is_some_and(certain)
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
