//! The layer.

use std::sync::Arc;

use forebay::{Forebay, limit::LimitHandle};
use tower::Layer;

use crate::{
    Key,
    service::{Limited, Limits},
};

/// Puts limits in front of a service. Clones share them.
///
/// With several limits, a request is served if all admit it, and charged to none if one denies. A limit of kind
/// `concurrency` grants a lease while the request is served.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{Forebay, Limit};
/// use forebay_tower::{Key, LimitLayer};
/// let bay = Forebay::open("memory:").await?;
/// let (user, all) = (bay.limit(Limit::per_minute("user", 20))?, bay.limit(Limit::per_second("all", 500))?);
/// let layer = LimitLayer::new(&bay, user, Key::header("x-api-key")).and(all, Key::all());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until a service is put behind it"]
pub struct LimitLayer(pub(crate) Arc<Limits>);

impl LimitLayer {
    /// One limit of an open store.
    pub fn new(bay: &Forebay, limit: LimitHandle, key: Key) -> Self {
        Self(Arc::new(Limits { bay: bay.clone(), limits: vec![(limit, key)] }))
    }

    /// One more limit, of the same store.
    pub fn and(self, limit: LimitHandle, key: Key) -> Self {
        let mut limits = Arc::unwrap_or_clone(self.0);
        limits.limits.push((limit, key));
        Self(Arc::new(limits))
    }
}

impl<S> Layer<S> for LimitLayer {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited::new(inner, self.0.clone())
    }
}
