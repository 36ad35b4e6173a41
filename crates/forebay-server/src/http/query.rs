//! Reads paths and queries.

use axum::{
    extract::{FromRequestParts, MatchedPath, Path as AxumPath, Query as AxumQuery},
    http::{StatusCode, request::Parts},
};
use forebay::{Timestamp, key::Key};
use jiff::tz::TimeZone;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, de::DeserializeOwned};
use utoipa::IntoParams;

use super::Problem;
use crate::{app::Shared, text};

/// The parameters of the query, as a type.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

/// The parameters of the path, as a type.
#[derive(Debug)]
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Shared> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Problem> {
        check_query(parts.uri.query().unwrap_or_default())?;
        let query = AxumQuery::try_from_uri(&parts.uri);
        query.map(|AxumQuery(query)| Self(query)).map_err(|rejection| {
            let text = rejection.body_text();
            let detail = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
            Problem::field("", format!("query: {detail}"))
        })
    }
}

impl<T: DeserializeOwned + Send> FromRequestParts<Shared> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, Problem> {
        let route = parts.extensions.get::<MatchedPath>();
        check_path(route.map_or("", MatchedPath::as_str), parts.uri.path())?;
        let path = AxumPath::from_request_parts(parts, app).await;
        path.map(|AxumPath(path)| Self(path)).map_err(|rejection| {
            Problem::new(StatusCode::BAD_REQUEST, "invalid-path", format!("path: {}", rejection.body_text()))
        })
    }
}

/// A part of a query that is known to be percent-encoded UTF-8.
pub(super) fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// Refuses a query that is not percent-encoded UTF-8. The decoder would replace invalid bytes by U+FFFD, so that two keys
/// become one, and keep a `%` without digits.
pub(super) fn check_query(query: &str) -> Result<(), Problem> {
    for parameter in query.split('&') {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if !is_encoded_text(name) {
            return Err(not_text("query", name, name));
        }
        if !is_encoded_text(value) {
            return Err(not_text("query parameter", name, value));
        }
    }
    Ok(())
}

/// Checks the segments of a path in the same way; `route` has their names.
fn check_path(route: &str, path: &str) -> Result<(), Problem> {
    for (name, segment) in route.split('/').zip(path.split('/')) {
        if !is_encoded_text(segment) {
            return Err(not_text("path parameter", name.trim_matches(['{', '}']), segment));
        }
    }
    Ok(())
}

fn not_text(what: &str, name: &str, found: &str) -> Problem {
    let detail = format!(
        "{what} {}: {} is not percent-encoded UTF-8: each % with two hexadecimal digits, the bytes together text",
        text::quoted(name),
        text::quoted(found)
    );
    Problem::new(StatusCode::BAD_REQUEST, "invalid-encoding", detail).with("field", name)
}

/// Returns whether this is percent-encoded UTF-8. The decoder alone would accept a `%` without digits.
fn is_encoded_text(text: &str) -> bool {
    let is_escape = |rest: &str| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    text.split('%').skip(1).all(is_escape) && percent_decode_str(text).decode_utf8().is_ok()
}

/// The query of a key.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct KeyQuery {
    /// 1 to 512 bytes of UTF-8.
    #[param(min_length = 1, max_length = 512)]
    pub key: String,
}

/// The key, or the span of one, that is deleted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeleteQuery {
    /// 1 to 512 bytes of UTF-8.
    #[param(min_length = 1, max_length = 512)]
    pub(super) key: String,
    /// The start of the span: where a bucket begins of the finest resolution that is kept there, or earlier than all. Default:
    /// everything before `to`.
    pub(super) from: Option<String>,
    /// The end of the span, exclusive, likewise, or later than all. Default: everything after `from`.
    pub(super) to: Option<String>,
    /// The time zone of dates without one.
    #[serde(default = "utc")]
    pub(super) tz: String,
}

/// The keys of a series that are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Only keys that begin with this text, in which no character stands for others.
    #[serde(default)]
    pub(super) prefix: String,
    /// Only keys after this one, such as the last one of the page before.
    pub(super) after: Option<String>,
    /// At most so many keys; default 100.
    #[param(minimum = 1, maximum = 10_000)]
    pub(super) limit: Option<usize>,
}

/// The query of a sum.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SumQuery {
    /// RFC 3339, seconds since 1970, `now`, a span such as `-1d`, or `today`.
    #[serde(default = "day_ago")]
    #[param(default = "-1d")]
    pub(super) from: String,
    /// The exclusive end, in the same forms as `from`.
    #[serde(default = "now")]
    #[param(default = "now")]
    pub(super) to: String,
    /// The time zone of `today`, such as `Europe/Berlin`.
    #[serde(default = "utc")]
    #[param(default = "UTC")]
    pub(super) tz: String,
}

pub(super) fn day_ago() -> String {
    "-1d".into()
}

pub(super) fn now() -> String {
    "now".into()
}

pub(super) fn utc() -> String {
    "UTC".into()
}

/// The key of a query.
pub(super) fn checked_key(key: &str) -> Result<&str, Problem> {
    let checked = Key::new(key).map_err(|error| Problem::field("key", error.to_string()))?;
    Ok(checked.as_str())
}

/// The length of a list: 1 to `most`.
pub(super) fn checked_limit(limit: usize, most: usize) -> Result<usize, Problem> {
    if (1..=most).contains(&limit) {
        return Ok(limit);
    }
    Err(Problem::field("limit", format!("limit: {limit}: 1 to {most}")))
}

/// The time range of a query: `from` and `to` as moments.
pub(super) fn between(
    from: &str,
    to: &str,
    tz: &str,
    now: Timestamp,
) -> Result<(Timestamp, Timestamp), Problem> {
    let zone = zone(tz)?;
    let moment = |field: &str, text: &str| {
        text::moment(text, now, &zone).map_err(|error| Problem::field(field, format!("{field}: {error}")))
    };
    let (from, to) = (moment("from", from)?, moment("to", to)?);
    if from < to {
        Ok((from, to))
    } else {
        Err(Problem::field("from", format!("from {from} to {to}: a range ends after it begins")))
    }
}

/// The time zone of a query.
pub(super) fn zone(name: &str) -> Result<TimeZone, Problem> {
    text::moment::zone(name).map_err(|error| Problem::field("tz", error.to_string()))
}
