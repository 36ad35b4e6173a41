//! Reads bodies strictly: an unknown field is an error.

use std::{
    error::Error,
    fmt,
    sync::{Arc, OnceLock},
};

use axum::{
    body::{Bytes, HttpBody as _},
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{
    Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::value::RawValue;

use super::Problem;
use crate::app::Shared;

/// The largest body, in bytes.
pub(crate) const MAX_BODY: usize = 1 << 20;

/// The number of items in a batch.
pub(crate) const MAX_BATCH: usize = 10_000;

/// The deepest nesting of arrays and objects. No request needs more than four levels.
const MAX_NESTING: usize = 32;

/// The reason why a body could not be read.
#[derive(Clone, Debug)]
pub(super) enum BodyError {
    /// It is larger than [`MAX_BODY`].
    TooLarge,
    /// It arrives too slowly; the accepted rate.
    Slow(String),
    /// Other bodies use all the memory for bodies.
    NoRoom,
    /// The connection failed, or the body has another length than announced.
    Broken(String),
    /// It is not compressed as announced.
    Corrupt(String),
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(f, "a body has at most {MAX_BODY} bytes"),
            Self::Slow(accepted) => write!(f, "the body arrived too slowly: {accepted}"),
            Self::NoRoom => f.write_str("too many large bodies are being received"),
            Self::Broken(why) => write!(f, "the body ended early: {why}"),
            Self::Corrupt(why) => f.write_str(why),
        }
    }
}

impl Error for BodyError {}

impl BodyError {
    /// Finds the reason among the causes of an error.
    pub(super) fn of(error: &(dyn Error + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if error.is::<LengthLimitError>() {
                return Self::TooLarge;
            }
            if let Some(known) = error.downcast_ref::<Self>() {
                return known.clone();
            }
            cause = error.source();
        }
        Self::Broken(error.to_string())
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        let (status, slug) = match error {
            BodyError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large"),
            BodyError::Slow(_) => (StatusCode::REQUEST_TIMEOUT, "timeout"),
            BodyError::NoRoom => return Self::unavailable("overloaded", error.to_string(), "later"),
            BodyError::Broken(_) | BodyError::Corrupt(_) => (StatusCode::BAD_REQUEST, "unreadable-body"),
        };
        Self::new(status, slug, error.to_string())
    }
}

/// The body of a request, as its extractor saw it: for the layer that offers an idempotency key afterwards.
#[derive(Clone, Debug, Default)]
pub(super) struct SentBody(Arc<OnceLock<(bool, Bytes)>>);

impl SentBody {
    /// The body, and whether it has one item a line.
    pub(super) fn get(&self) -> Option<&(bool, Bytes)> {
        self.0.get()
    }

    fn set(&self, lines: bool, body: &Bytes) {
        // A request has one body.
        let _ = self.0.set((lines, body.clone()));
    }
}

/// A JSON body, of a request or of an answer.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

/// The return type of most handlers.
pub(crate) type JsonResult<T> = Result<Json<T>, Problem>;

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// A JSON body with one item or a batch: an array, or one item a line (`application/x-ndjson`).
#[derive(Debug)]
pub(crate) enum OneOrMany<T> {
    /// One item.
    One(T),
    /// A batch: each item, or why it is invalid.
    Many(Vec<Result<T, Problem>>),
}

impl<T: DeserializeOwned> FromRequest<Shared> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Shared) -> Result<Self, Problem> {
        parse(&read(request).await?).map(Self)
    }
}

impl<T: DeserializeOwned> FromRequest<Shared> for OneOrMany<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Shared) -> Result<Self, Problem> {
        let (lines, sent) = (is_lines(request.headers()), request.extensions().get::<SentBody>().cloned());
        let body = read(request).await?;
        if let Some(sent) = sent {
            sent.set(lines, &body);
        }
        let is_array = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
        if lines {
            let lines = body.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
            return batch(lines.collect()).map(Self::Many);
        }
        if is_array {
            let items: Vec<&RawValue> = parse(&body)?;
            return batch(items.into_iter().map(|item| item.get().as_bytes()).collect()).map(Self::Many);
        }
        parse(&body).map(Self::One).map_err(|problem| if is_several(&body) { several() } else { problem })
    }
}

/// Returns whether an invalid body consists of several values, one a line.
fn is_several(body: &[u8]) -> bool {
    let mut values = serde_json::Deserializer::from_slice(body).into_iter::<IgnoredAny>();
    if !matches!(values.next(), Some(Ok(_))) {
        return false;
    }
    let rest = &body[values.byte_offset()..];
    let blank = rest.iter().take_while(|byte| byte.is_ascii_whitespace());
    blank.clone().any(|&byte| byte == b'\n') && blank.count() < rest.len()
}

fn several() -> Problem {
    let detail =
        "the body is several lines: send it as application/x-ndjson (Content-Type), or as one JSON array";
    Problem::new(StatusCode::BAD_REQUEST, "invalid-json", detail)
}

pub(super) fn is_lines(headers: &HeaderMap) -> bool {
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    ["application/x-ndjson", "application/ndjson", "application/jsonl"]
        .iter()
        .any(|name| essence.eq_ignore_ascii_case(name))
}

/// Reads a body of bounded size and depth.
pub(super) async fn read(request: Request) -> Result<Bytes, Problem> {
    let body = request.into_body();
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(BodyError::TooLarge.into());
    }
    let collected = Limited::new(body, MAX_BODY).collect().await;
    let body = collected.map_err(|error| BodyError::of(&*error))?.to_bytes();
    check_nesting(&body)?;
    Ok(body)
}

/// Refuses deep nesting before a parser recurses, or an error message repeats it.
fn check_nesting(body: &[u8]) -> Result<(), Problem> {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => depth += 1,
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_NESTING {
            let detail = format!("arrays and objects nest at most {MAX_NESTING} levels deep");
            return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid-json", detail));
        }
    }
    Ok(())
}

fn batch<T: DeserializeOwned>(items: Vec<&[u8]>) -> Result<Vec<Result<T, Problem>>, Problem> {
    if items.len() > MAX_BATCH {
        let detail = format!("a batch of {} items: at most {MAX_BATCH}", items.len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-many-items", detail));
    }
    Ok(items.into_iter().map(parse).collect())
}

fn parse<'a, T: serde::Deserialize<'a>>(json: &'a [u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let parsed = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let cause = error.into_inner();
        if cause.is_data() {
            let field = if path == "." { "" } else { path.as_str() };
            let place = if field.is_empty() { String::new() } else { format!("{field}: ") };
            Problem::field(field, format!("{place}{cause}"))
        } else {
            not_json(&cause)
        }
    })?;
    deserializer.end().map_err(|cause| not_json(&cause))?;
    Ok(parsed)
}

fn not_json(cause: &serde_json::Error) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid-json", format!("the body is not JSON: {cause}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Item {
        key: crate::api::fields::Key,
        #[serde(default)]
        n: crate::api::fields::Count,
    }

    fn problem(json: &str) -> (u16, String) {
        let problem =
            check_nesting(json.as_bytes()).and_then(|()| parse::<Item>(json.as_bytes())).expect_err(json);
        (problem.status.as_u16(), problem.detail.clone())
    }

    #[test]
    fn mistakes_name_the_field_and_what_is_accepted() {
        let cases = [
            ("", 400, "EOF"),
            ("{", 400, "EOF"),
            ("nonsense", 400, "line 1 column"),
            (r#"{"key":"a"} trailing"#, 400, "trailing"),
            (r#"{"key":"a","key":"b"}"#, 422, "duplicate field `key`"),
            (r#"{"key":"a","m":1}"#, 422, "unknown field `m`, expected `key` or `n`"),
            (r#"{"n":1}"#, 422, "missing field `key`"),
            (
                r#"{"key":true}"#,
                422,
                "key: invalid type: boolean `true`, expected a string of 1 to 512 bytes",
            ),
            (
                r#"{"key":"a","n":0}"#,
                422,
                "n: invalid value: integer `0`, expected an integer from 1 to 2147483648",
            ),
            ("7", 422, "expected struct Item"),
        ];
        for (json, status, detail) in cases {
            let found = problem(json);
            assert!(found.0 == status && found.1.contains(detail), "{json}: {found:?}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_and_brackets_in_texts_are_not_nesting() {
        for open in ["[", "{", "{\"a\":["] {
            let found = problem(&open.repeat(100_000));
            assert_eq!(found, (400, "arrays and objects nest at most 32 levels deep".to_owned()));
        }
        let key = r#"[{\"\\"#.repeat(80);
        let json = format!(r#"{{"key":"{key}"}}"#);
        assert!(check_nesting(json.as_bytes()).is_ok());
        assert!(parse::<Item>(json.as_bytes()).is_ok(), "{json}");
    }

    proptest! {
        #[test]
        fn never_panics(json in prop::collection::vec(any::<u8>(), 0..200), text in r#"[\[\]{}",:\\0-9a-z]{0,60}"#) {
            for json in [&json[..], text.as_bytes()] {
                let _ = check_nesting(json).and_then(|()| parse::<Item>(json));
            }
        }
    }
}
