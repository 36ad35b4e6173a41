//! Reading bodies, strictly: a field that nobody knows is a mistake, not noise.

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
};
use forebay::time::secs;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{Problem, Shared};
use crate::app::App;

/// The largest body, in bytes.
pub const MAX_BODY: usize = 1 << 20;

/// The most items of one batch.
pub const MAX_BATCH: usize = 10_000;

/// How deep arrays and objects may nest. No request needs more than four levels.
const MAX_NESTING: usize = 32;

/// How long a body may take to arrive.
const BODY_TIME: std::time::Duration = secs(20);

/// What is read and thrown away of a body that is too large, so that a client that is still sending gets to see the
/// answer rather than a reset connection.
const DRAINED: usize = 8 * MAX_BODY;

/// A JSON body.
#[derive(Debug)]
pub struct Json<T>(pub T);

/// A JSON body that is one item or a batch: an array, or one item a line (`application/x-ndjson`).
#[derive(Debug)]
pub enum OneOrMany<T> {
    /// One item.
    One(T),
    /// A batch: each item, or what is wrong with it.
    Many(Vec<Result<T, Problem>>),
}

impl<T: DeserializeOwned> FromRequest<Shared> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Shared) -> Result<Self, Problem> {
        parse(&read(request, app).await?).map(Self)
    }
}

impl<T: DeserializeOwned> FromRequest<Shared> for OneOrMany<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Shared) -> Result<Self, Problem> {
        let lines = is_lines(request.headers());
        let body = read(request, app).await?;
        let is_array = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
        if lines {
            let lines = body.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
            return batch(lines.collect()).map(Self::Many);
        }
        if is_array {
            let items: Vec<&RawValue> = parse(&body)?;
            return batch(items.into_iter().map(|item| item.get().as_bytes()).collect()).map(Self::Many);
        }
        parse(&body).map(Self::One)
    }
}

fn is_lines(headers: &HeaderMap) -> bool {
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    ["application/x-ndjson", "application/ndjson", "application/jsonl"]
        .iter()
        .any(|name| essence.eq_ignore_ascii_case(name))
}

/// A body, whole and of bounded size and depth.
pub(super) async fn read(request: Request, app: &App) -> Result<Bytes, Problem> {
    let body = app.clock().timeout(BODY_TIME, collect(request.into_body())).await.unwrap_or_else(|| {
        let detail = format!("the body did not arrive within {} s", BODY_TIME.as_secs());
        Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail).header(header::CONNECTION, "close"))
    })?;
    check_nesting(&body)?;
    Ok(body)
}

async fn collect(mut body: Body) -> Result<Bytes, Problem> {
    match Limited::new(&mut body, MAX_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            // What becomes of the rest does not matter: the answer is the same.
            let _ = Limited::new(body, DRAINED).collect().await;
            Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                format!("a body has at most {MAX_BODY} bytes"),
            ))
        }
        Err(error) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "unreadable-body",
            format!("the body broke off: {error}"),
        )),
    }
}

/// Refuses deep nesting before a parser gets to recurse, or an error message to repeat it.
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
        key: super::super::fields::Key,
        #[serde(default)]
        n: super::super::fields::Count,
    }

    fn problem(json: &str) -> (u16, String) {
        let problem =
            check_nesting(json.as_bytes()).and_then(|()| parse::<Item>(json.as_bytes())).expect_err(json);
        (problem.status().as_u16(), problem.detail().to_owned())
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
