//! The parts of the OpenAPI document that the handlers do not have.

use utoipa::{
    OpenApi,
    openapi::{
        Content, OpenApi as Document, Ref, RefOr, Response,
        path::{Operation, Parameter, ParameterIn, PathItem},
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::problem::ProblemBody;
use crate::api::prometheus::PrometheusError;

/// The descriptions of the parameters of paths.
const PARAMETERS: [(&str, &str); 8] = [
    ("buffer", "A declared buffer"),
    ("event", "A declared event"),
    ("label", "`__name__` or `key`"),
    ("lease", "The lease in the answer to its grant"),
    ("limit", "A declared limit; leases need one of kind concurrency"),
    ("name", "1 to 512 bytes of UTF-8"),
    ("reservation", "The reservation in the answer to its grant"),
    ("series", "A declared series; to read, also its `.limited`: the hits that limits denied"),
];

/// The second segments of paths that are tags of their own; all other operations have the tag `operation`.
const PRIMITIVES: [&str; 6] = ["events", "limits", "series", "buffers", "locks", "map"];

/// The error responses that every operation with a token may have.
const ERRORS: [(&str, &str); 2] = [
    ("4XX", "The request is invalid, it names something unknown, or a token with the scope is missing"),
    ("503", "The store or the database does not answer; `retry` says whether to repeat the request"),
];

/// The paths whose errors are in the form of Prometheus.
const PROMETHEUS: &str = "/api/v1/";

/// Everything but the paths.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Forebay",
        description = "Buffered writes, rate limits, time series and locks in front of a database.\n\n\
            Every error is `application/problem+json` (RFC 9457); the members of a 429 have the decision. \
            Bodies have at most 1 MiB, and may be compressed (`Content-Encoding: gzip` or `deflate`). Integers may have a \
            fraction of zero (`2.0`, `1e3`). Paths and queries are percent-encoded UTF-8; anything else is refused (400). \
            A POST to an event, a series or a buffer may have an `Idempotency-Key` (1 to 255 visible ASCII characters): \
            a repeat within 24 hours gets the first answer and counts nothing; with another body it is refused (422). If \
            the request was applied in part (503, or 207 for a batch), a repeat applies the rest. A repeat of a running \
            request gets 409; the request of a server that died is taken over after 30 s. In `applied`, `unknown` with \
            `retry` `never` is final. The answer to a request without a key that was applied in part has a key (a header, \
            and the member `idempotency_key`): a repeat with that key applies what was certainly not applied. Without \
            tokens in the configuration no authorization is needed.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    components(schemas(ProblemBody, PrometheusError)),
    tags(
        (name = "events", description = "Limits, series and buffers in one call"),
        (name = "limits", description = "Rate limits, leases and reservations"),
        (name = "series", description = "Time series of counts"),
        (name = "buffers", description = "Rows that are merged before they are written to the database"),
        (name = "locks", description = "Locks with fencing tokens"),
        (name = "map", description = "Commands on plain keys of the store, which Forebay does not use itself"),
        (name = "prometheus", description = "The HTTP interface of Prometheus to series; its errors are in its own form"),
        (name = "operation", description = "Health, metrics, hosts"),
    ),
)]
struct Frame;

/// The document without paths.
pub(super) fn frame() -> Document {
    let mut document = Frame::openapi();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A token of the configuration, with the scope that an operation names"))
        .build();
    document.components.get_or_insert_default().add_security_scheme("token", SecurityScheme::Http(bearer));
    document
}

/// Adds to each operation what is the same for all: its tag, the descriptions of its path's parameters, and its error
/// responses. A handler describes an error only where it can say more.
pub(crate) fn complete(document: &mut Document) {
    for (path, item) in &mut document.paths.paths {
        let tag = path.split('/').nth(2).filter(|tag| PRIMITIVES.contains(tag)).unwrap_or("operation");
        let tag = if path.starts_with(PROMETHEUS) { "prometheus" } else { tag };
        for operation in operations(item) {
            operation.tags = Some(vec![tag.to_owned()]);
            describe_parameters(operation.parameters.as_deref_mut().unwrap_or_default());
            if tag == "prometheus" {
                add_prometheus_errors(operation);
            } else {
                add_errors(operation);
            }
        }
    }
}

/// Describes the parameters of the path, which come first.
fn describe_parameters(parameters: &mut [RefOr<Parameter>]) {
    let is_of_path =
        |one: &RefOr<Parameter>| matches!(one, RefOr::T(one) if one.parameter_in == ParameterIn::Path);
    parameters.sort_by_key(|one| !is_of_path(one));
    for parameter in parameters.iter_mut().filter(|one| is_of_path(one)) {
        if let RefOr::T(parameter) = parameter {
            let known = PARAMETERS.iter().find(|(name, _)| *name == parameter.name);
            parameter.description = known.map(|(_, text)| (*text).to_owned());
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, .. } = item;
    [get, put, post, delete].into_iter().flatten()
}

fn add_errors(operation: &mut Operation) {
    let responses = &mut operation.responses.responses;
    for (status, text) in ERRORS.iter().filter(|_| operation.security.is_some()) {
        let response = responses.entry((*status).to_owned()).or_insert_with(|| Response::new("").into());
        if let RefOr::T(response) = response {
            match response.description.as_str() {
                "" => (*text).clone_into(&mut response.description),
                special if *status == "4XX" => response.description = format!("{special}. Others: {text}"),
                _ => {}
            }
        }
    }
    let errors = responses.iter_mut().filter(|(status, _)| status.starts_with(['4', '5']));
    for (_, response) in errors {
        if let RefOr::T(response) = response {
            let content = Content::new(Some(Ref::from_schema_name("Problem")));
            response.content.insert("application/problem+json".to_owned(), content.into());
        }
    }
}

fn add_prometheus_errors(operation: &mut Operation) {
    for (status, text) in ERRORS {
        let mut response = Response::new(text);
        let content = Content::new(Some(Ref::from_schema_name("PrometheusError")));
        response.content.insert("application/json".to_owned(), content.into());
        operation.responses.responses.insert(status.to_owned(), response.into());
    }
}
