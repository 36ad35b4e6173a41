//! Error responses in the format of RFC 9457.

use std::time::Duration;

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use forebay::{Decision, ErrorKind, Retry};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{api::series_query::WrongParameter, registry::UnknownName};

/// An error response: `application/problem+json`.
///
/// # Source
/// <https://www.rfc-editor.org/rfc/rfc9457>
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(super) status: StatusCode,
    slug: &'static str,
    pub(super) detail: String,
    /// Members beyond the standard ones, such as those of a decision, and the field that is wrong.
    pub(super) members: Map<String, Value>,
    headers: Box<HeaderMap>,
}

/// The body of a problem.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody {
    /// The kind of problem, such as `urn:forebay:problem:limited`: stable, for programs.
    #[serde(rename = "type")]
    kind: String,
    /// The kind in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// The mistake in this request, and the accepted values.
    detail: String,
    /// The field of the body or query that is wrong, such as `row.id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    #[serde(flatten)]
    members: Map<String, Value>,
}

impl Problem {
    /// A problem of the kind `slug`.
    pub(crate) fn new(status: StatusCode, slug: &'static str, detail: impl Into<String>) -> Self {
        Self { status, slug, detail: detail.into(), members: Map::new(), headers: Box::default() }
    }

    /// 422: a field with an invalid value.
    pub(crate) fn field(field: &str, detail: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-field", detail);
        if field.is_empty() { problem } else { problem.with("field", field) }
    }

    /// 503, with the advice whether to retry.
    pub(crate) fn unavailable(slug: &'static str, detail: impl Into<String>, retry: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, slug, detail).with("retry", retry).retry_after(None)
    }

    /// Adds a member; `value` must be one that JSON can hold.
    #[must_use]
    pub(crate) fn with(mut self, member: &str, value: impl Serialize) -> Self {
        let value = serde_json::to_value(value).expect("members are plain data");
        self.members.insert(member.to_owned(), value);
        self
    }

    /// Adds every member of an object, such as a decision.
    #[must_use]
    pub(crate) fn with_all(mut self, object: impl Serialize) -> Self {
        if let Value::Object(members) = serde_json::to_value(object).expect("members are plain data") {
            self.members.extend(members);
        }
        self
    }

    /// Adds a header.
    #[must_use]
    pub(crate) fn header(mut self, name: HeaderName, value: impl TryInto<HeaderValue>) -> Self {
        if let Ok(value) = value.try_into() {
            self.headers.insert(name, value);
        }
        self
    }

    /// Adds headers.
    #[must_use]
    pub(crate) fn with_headers(mut self, headers: HeaderMap) -> Self {
        self.headers.extend(headers);
        self
    }

    /// Adds `Retry-After`: whole seconds, rounded up, at least one.
    #[must_use]
    pub(crate) fn retry_after(self, span: Option<Duration>) -> Self {
        let secs = span.map_or(1, |span| span.as_micros().div_ceil(1_000_000).max(1));
        self.header(header::RETRY_AFTER, secs.to_string())
    }

    /// Like [`retry_after`](Self::retry_after), but nothing for a blocked key, for which waiting does not help.
    #[must_use]
    pub(crate) fn retry_denied(self, decision: &Decision) -> Self {
        if decision.is_blocked() { self } else { self.retry_after(decision.retry_after()) }
    }

    fn title(&self) -> String {
        let words = self.slug.replace('-', " ");
        let mut letters = words.chars();
        letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
    }
}

impl From<UnknownName> for Problem {
    fn from(error: UnknownName) -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown-name", error.to_string())
    }
}

impl From<WrongParameter> for Problem {
    fn from(wrong: WrongParameter) -> Self {
        Self::field(wrong.field, wrong.detail)
    }
}

impl From<forebay::Error> for Problem {
    fn from(error: forebay::Error) -> Self {
        let (status, slug) = kind_of(&error);
        let problem = Self::new(status, slug, error.to_string());
        if !status.is_server_error() {
            return problem;
        }
        // Causes are only logged, because they may name hosts and files. An outage fails every request and has its own
        // warnings; any other error is a defect.
        let cause = error_cause(&error);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            tracing::debug!(%error, cause, "request failed");
        } else {
            tracing::error!(%error, cause, "request failed");
        }
        let problem = problem.with("retry", retry_word(error.retry()));
        if status == StatusCode::SERVICE_UNAVAILABLE { problem.retry_after(None) } else { problem }
    }
}

/// The status and the kind of an error.
pub(super) fn kind_of(error: &forebay::Error) -> (StatusCode, &'static str) {
    match error.kind() {
        ErrorKind::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-field"),
        ErrorKind::OutOfRange => (StatusCode::UNPROCESSABLE_ENTITY, "out-of-range"),
        ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        ErrorKind::Timeout => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
        ErrorKind::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
        ErrorKind::Ambiguous => (StatusCode::SERVICE_UNAVAILABLE, "ambiguous"),
        ErrorKind::Closed => (StatusCode::SERVICE_UNAVAILABLE, "shutting-down"),
        // A key of the store with data of another program, which the detail names, or a file that cannot be read.
        ErrorKind::Corrupt => (StatusCode::INTERNAL_SERVER_ERROR, "foreign-data"),
        ErrorKind::Unsupported => (StatusCode::NOT_IMPLEMENTED, "unsupported"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    }
}

fn error_cause(error: &forebay::Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The word for a retry: `now`, `later`, `unknown` (it may have been applied), `never`.
pub(super) fn retry_word(retry: Retry) -> &'static str {
    match retry {
        Retry::Now => "now",
        Retry::Later => "later",
        Retry::Never => "never",
        _ => "unknown",
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        let field = match self.members.remove("field") {
            Some(Value::String(field)) => Some(field),
            _ => None,
        };
        let body = ProblemBody {
            kind: format!("urn:forebay:problem:{}", self.slug),
            title: self.title(),
            status: self.status.as_u16(),
            detail: self.detail,
            field,
            members: self.members,
        };
        let body = serde_json::to_vec(&body).expect("a problem is plain data");
        let content_type = (header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        let mut response = (self.status, [content_type], body).into_response();
        response.headers_mut().extend(*self.headers);
        response
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn body_of(problem: Problem) -> Value {
        let body = problem.into_response().into_body().collect().await.expect("a body in memory");
        serde_json::from_slice(&body.to_bytes()).expect("JSON")
    }

    #[tokio::test]
    async fn the_members_of_a_problem_stand_beside_the_standard_ones() {
        let problem = Problem::field("n", "n is 0").with_all(serde_json::json!({"used": 3}));
        let expected = serde_json::json!({
            "type": "urn:forebay:problem:invalid-field", "title": "Invalid field", "status": 422,
            "detail": "n is 0", "field": "n", "used": 3,
        });
        assert_eq!(body_of(problem).await, expected);
    }

    #[test]
    fn retry_after_is_rounded_up_and_never_zero() {
        let header = |span| {
            let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "limited", "").retry_after(span);
            problem.into_response().headers()[header::RETRY_AFTER].clone()
        };
        assert_eq!(header(Some(Duration::ZERO)), "1");
        assert_eq!(header(Some(Duration::from_micros(1_000_001))), "2");
        assert_eq!(header(Some(Duration::from_secs(37))), "37");
        assert_eq!(header(None), "1");
    }
}
