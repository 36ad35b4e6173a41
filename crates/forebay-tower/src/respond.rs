//! Answers that the service behind the layer does not give.

use forebay::{
    Decision, ErrorKind,
    limit::{Header, Policy, headers},
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header, request::Parts};

use crate::Decided;

/// The codes of gRPC that a limit may answer with.
const INVALID_ARGUMENT: u8 = 3;
const RESOURCE_EXHAUSTED: u8 = 8;
const INTERNAL: u8 = 13;

/// Whether the caller speaks gRPC, which wants its own answers.
pub(crate) fn is_grpc(parts: &Parts) -> bool {
    let content_type = parts.headers.get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Adds what the limits say to the headers of an answer.
pub(crate) fn tell(to: &mut HeaderMap, limits: &[(Policy, Decision)]) {
    let told: Vec<Header> = headers(limits.iter().map(|(policy, decision)| (policy, decision)));
    for (name, value) in told {
        if let Ok(value) = HeaderValue::try_from(value) {
            to.insert(HeaderName::from_static(name), value);
        }
    }
}

/// The answer to a request that was denied.
pub(crate) fn denied<B: Default>(grpc: bool, decided: Decided) -> Response<B> {
    let mut response = answer(grpc, StatusCode::TOO_MANY_REQUESTS, RESOURCE_EXHAUSTED, "rate limit exceeded");
    tell(response.headers_mut(), &decided.limits);
    response.extensions_mut().insert(decided);
    response
}

/// The answer where there is no decision: a key that is none, or a defect.
pub(crate) fn undecided<B: Default>(grpc: bool, error: &forebay::Error) -> Response<B> {
    match error.kind() {
        ErrorKind::Invalid | ErrorKind::OutOfRange => answer(
            grpc,
            StatusCode::BAD_REQUEST,
            INVALID_ARGUMENT,
            "the request has no key that a limit takes",
        ),
        _ => answer(grpc, StatusCode::INTERNAL_SERVER_ERROR, INTERNAL, "the limit could not decide"),
    }
}

fn answer<B: Default>(grpc: bool, status: StatusCode, code: u8, message: &'static str) -> Response<B> {
    let mut response = Response::new(B::default());
    if grpc {
        // gRPC's status is a trailer; an answer without a body has it among the headers.
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from(u16::from(code)));
        headers.insert("grpc-message", HeaderValue::from_static(message));
    } else {
        *response.status_mut() = status;
    }
    response
}
