//! All routes: those of the HTTP interface and those of the dashboard.

use std::sync::{Arc, LazyLock};

use axum::{Extension, Router, http::header};
use utoipa_axum::router::OpenApiRouter;

use crate::{
    app::{App, Shared},
    dashboard,
    http::{self, Document, OpenApi},
};

/// The OpenAPI document as it is served.
static DOCUMENT: LazyLock<Document> =
    LazyLock::new(|| Document::new(vec![(header::CONTENT_TYPE, "application/json")], document()));

/// The service that answers all requests.
pub fn router(app: Arc<App>) -> Router {
    let (router, _) = routes().split_for_parts();
    let router = router.merge(dashboard::pages()).layer(Extension(OpenApi(&DOCUMENT)));
    http::serve(router, app)
}

/// The OpenAPI document as JSON.
pub fn document() -> String {
    let (_, mut document) = routes().split_for_parts();
    http::complete(&mut document);
    let mut text = document.to_pretty_json().expect("a document is plain data");
    text.push('\n');
    text
}

fn routes() -> OpenApiRouter<Shared> {
    http::routes().merge(dashboard::routes())
}
