//! The decision about a request.

use forebay::{Decision, limit::Policy};

/// The decisions of the limits of a request, in the order of the layer. It is an extension of the request and, if the request
/// was denied, of the response. With the feature `axum` it is also an extractor.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use axum::{Router, extract::Request, routing::get};
/// use forebay::{Forebay, Limit};
/// use forebay_tower::{Decided, Key, LimitLayer};
///
/// async fn hello(request: Request) -> String {
///     let decided: &Decided = request.extensions().get().expect("the layer decided");
///     let left = decided.limits[0].1.map_or(0, |decision| decision.remaining());
///     format!("{left} left")
/// }
///
/// let bay = Forebay::open("memory:").await?;
/// let hits = bay.limit(Limit::per_minute("hits", 20))?;
/// let app: Router = Router::new().route("/", get(hello)).layer(LimitLayer::new(&bay, hits, Key::path()));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Decided {
    /// Whether all limits admitted it.
    pub allowed: bool,
    /// Each limit's policy and decision. `None`: it was not asked, because another one had denied already.
    pub limits: Vec<(Policy, Option<Decision>)>,
}

#[cfg(feature = "axum")]
impl<S: Sync> axum::extract::FromRequestParts<S> for Decided {
    type Rejection = http::StatusCode;

    /// Takes the decision of the layer.
    ///
    /// # Errors
    /// 500 if there is no [`LimitLayer`](crate::LimitLayer) around this handler.
    async fn from_request_parts(parts: &mut http::request::Parts, _: &S) -> Result<Self, Self::Rejection> {
        parts.extensions.get::<Self>().cloned().ok_or(http::StatusCode::INTERNAL_SERVER_ERROR)
    }
}
