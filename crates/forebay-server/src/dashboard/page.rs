//! The files of the page.

use std::sync::LazyLock;

use axum::{
    Router,
    http::{HeaderMap, header},
    routing::get,
};

use crate::{app::Shared, http::Document};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// The path, type and content of each file.
const FILES: [(&str, &str, &str); 15] = [
    ("/", HTML, include_str!("assets/index.html")),
    ("/assets/icon.svg", SVG, include_str!("assets/icon.svg")),
    ("/assets/dashboard.css", CSS, include_str!("assets/dashboard.css")),
    ("/assets/dashboard.js", JS, include_str!("assets/dashboard.js")),
    ("/assets/api.js", JS, include_str!("assets/api.js")),
    ("/assets/buffers.js", JS, include_str!("assets/buffers.js")),
    ("/assets/chart.js", JS, include_str!("assets/chart.js")),
    ("/assets/completion.js", JS, include_str!("assets/completion.js")),
    ("/assets/picture.js", JS, include_str!("assets/picture.js")),
    ("/assets/keys.js", JS, include_str!("assets/keys.js")),
    ("/assets/dom.js", JS, include_str!("assets/dom.js")),
    ("/assets/explorer.js", JS, include_str!("assets/explorer.js")),
    ("/assets/hits.js", JS, include_str!("assets/hits.js")),
    ("/assets/hosts.js", JS, include_str!("assets/hosts.js")),
    ("/assets/setup.js", JS, include_str!("assets/setup.js")),
];

/// The content security policy: only files and answers of this server, nothing inline, nothing from other servers, and no
/// other page may frame it. Even if a key were taken for markup, it could do nothing.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The files, compressed once.
static DOCUMENTS: LazyLock<Vec<Document>> = LazyLock::new(|| {
    let document = |(_, kind, text): (&str, &'static str, &'static str)| {
        let headers = vec![
            (header::CONTENT_TYPE, kind),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::REFERRER_POLICY, "no-referrer"),
            // This header serves browsers without frame-ancestors.
            (header::X_FRAME_OPTIONS, "DENY"),
        ];
        Document::new(headers, text)
    };
    FILES.into_iter().map(document).collect()
});

/// The routes of the files. They need no token, because they contain no data.
pub(crate) fn pages() -> Router<Shared> {
    FILES.into_iter().enumerate().fold(Router::new(), |router, (place, (path, ..))| {
        router.route(path, get(async move |headers: HeaderMap| DOCUMENTS[place].answer(&headers)))
    })
}
