//! What was decided about a request.

use forebay::{Decision, limit::Policy};

/// The limits of a request and what each said, in the order of the layer: an extension of the request and, when it was
/// denied, of the answer. With the feature `axum` an extractor, too.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Decided {
    /// All limits admitted it.
    pub allowed: bool,
    /// Each limit's policy and decision.
    pub limits: Vec<(Policy, Decision)>,
}

#[cfg(feature = "axum")]
impl<S: Sync> axum::extract::FromRequestParts<S> for Decided {
    type Rejection = http::StatusCode;

    /// What the layer decided.
    ///
    /// # Errors
    /// 500: there is no [`LimitLayer`](crate::LimitLayer) around this handler.
    async fn from_request_parts(parts: &mut http::request::Parts, _: &S) -> Result<Self, Self::Rejection> {
        parts.extensions.get::<Self>().cloned().ok_or(http::StatusCode::INTERNAL_SERVER_ERROR)
    }
}
