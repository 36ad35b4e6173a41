//! The responses of the layer itself.

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

/// Whether the request is gRPC, which needs other responses.
pub(crate) fn is_grpc(parts: &Parts) -> bool {
    let content_type = parts.headers.get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Adds the headers of the limits to a response.
pub(crate) fn tell(to: &mut HeaderMap, limits: &[(Policy, Option<Decision>)]) {
    let told: Vec<Header> = headers(limits.iter().map(|(policy, decision)| (policy, decision.as_ref())));
    for (name, value) in told {
        if let Ok(value) = HeaderValue::try_from(value) {
            to.insert(HeaderName::from_static(name), value);
        }
    }
}

/// The response to a denied request.
pub(crate) fn denied<B: Default>(grpc: bool, decided: Decided) -> Response<B> {
    let mut response = answer(grpc, StatusCode::TOO_MANY_REQUESTS, RESOURCE_EXHAUSTED, "rate limit exceeded");
    tell(response.headers_mut(), &decided.limits);
    response.extensions_mut().insert(decided);
    response
}

/// The response without a decision: an invalid key, or a defect.
pub(crate) fn undecided<B: Default>(grpc: bool, error: &forebay::Error) -> Response<B> {
    match error.kind() {
        ErrorKind::Invalid | ErrorKind::OutOfRange => answer(
            grpc,
            StatusCode::BAD_REQUEST,
            INVALID_ARGUMENT,
            "the request has no valid key for the limit",
        ),
        _ => answer(grpc, StatusCode::INTERNAL_SERVER_ERROR, INTERNAL, "the limit could not decide"),
    }
}

fn answer<B: Default>(grpc: bool, status: StatusCode, code: u8, message: &'static str) -> Response<B> {
    let mut response = Response::new(B::default());
    if grpc {
        // The status of gRPC is a trailer; a response without a body has it in the headers.
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from(u16::from(code)));
        headers.insert("grpc-message", HeaderValue::from_static(message));
    } else {
        *response.status_mut() = status;
    }
    response
}
