//! The OpenAPI document, from the handlers.

use utoipa::{
    OpenApi,
    openapi::{
        OpenApi as Document,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

/// What stands around the paths.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Forebay",
        description = "Buffered writes, rate limits, time series and locks in front of a database.\n\n\
            Every error is `application/problem+json` (RFC 9457); a 429 carries the decision among its members. \
            Bodies have at most 1 MiB, and may be compressed (`Content-Encoding: gzip` or `deflate`). Integers may have a fraction \
            of zero (`2.0`, `1e3`). Paths and queries are percent-encoded UTF-8; anything else is refused (400). A POST to an event, a series or a buffer may carry an `Idempotency-Key` \
            (1 to 255 visible ASCII characters): repeated within 24 hours it gets the first answer again, and counts \
            nothing; with another body it is refused (422). If it was applied in part (503, or 207 for a batch), a repeat \
            applies what is missing. While an attempt is under way a repeat gets 409; one whose server died is taken over \
            after 30 s. In `applied`, `unknown` with `retry` `never` is final. A request without a key that was \
            applied in part is answered with one (the header, and the member `idempotency_key`): a repeat under it applies \
            what certainly was not. Without tokens in the configuration no authorization is asked for.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "events", description = "Limits, series and buffers in one call"),
        (name = "limits", description = "How much each key may do"),
        (name = "series", description = "Counters over time"),
        (name = "buffers", description = "Rows that gather before they are written to the database"),
        (name = "locks", description = "One holder at a time, and a number that says who came later"),
        (name = "operation", description = "Alive, ready, metrics"),
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

/// The whole document as JSON.
pub fn document() -> String {
    let (_, document) = super::routes().split_for_parts();
    let mut text = document.to_pretty_json().expect("a document is plain data");
    text.push('\n');
    text
}
