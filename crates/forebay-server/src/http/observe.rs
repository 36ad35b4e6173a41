//! The layers of every request: a deadline, a handler for panics, and the request metrics.

use std::panic::AssertUnwindSafe;

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use forebay::time::secs;
use futures::FutureExt;

use super::Problem;
use crate::app::Shared;

/// The time limit for a request: more than the longest wait for a lock, which is 60 s.
const REQUEST_TIMEOUT: std::time::Duration = secs(90);

/// Measures a request, ends it at its deadline, and answers if the handler panics.
pub(super) async fn observe(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let began = app.clock.monotonic();
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let answer = AssertUnwindSafe(app.clock.timeout(REQUEST_TIMEOUT, next.run(request))).catch_unwind().await;
    let response = match answer {
        Ok(Some(response)) => response,
        Ok(None) => {
            let detail = format!("no answer within {} s", REQUEST_TIMEOUT.as_secs());
            Problem::unavailable("timeout", detail, "unknown").into_response()
        }
        Err(_) => {
            // The panic hook has written the message to stderr.
            tracing::error!(method, route = route.as_ref().map(MatchedPath::as_str), "a handler panicked");
            let detail = "a defect of the server; its log has the details";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).into_response()
        }
    };
    let took = app.clock.monotonic().saturating_sub(began);
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    app.metrics.request(method, route, response.status().as_u16(), took);
    response
}

/// Forbids caches to store answers, which are only momentarily true, and browsers to guess their type.
pub(super) async fn no_store(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The label of a method. An invented method must not become a new label.
fn method_label(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "DELETE"];
    known.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}
