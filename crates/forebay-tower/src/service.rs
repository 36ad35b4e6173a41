//! A service behind limits.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use forebay::{
    Decision, Forebay, Result,
    limit::{Charge, Kind, Lease, LeaseGuard, LimitHandle},
};
use http::{Request, Response, request::Parts};
use tower::Service;

use crate::{
    Decided, Key,
    respond::{denied, is_grpc, tell, undecided},
};

/// A service behind limits: what [`LimitLayer`](crate::LimitLayer) makes of it.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # use std::convert::Infallible;
/// use forebay::{Forebay, Limit};
/// use forebay_tower::{Key, LimitLayer, Limited};
/// use http::{Request, Response, StatusCode};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// let bay = Forebay::open("memory:").await?;
/// let layer = LimitLayer::new(&bay, bay.limit(Limit::per_minute("hits", 1))?, Key::all());
/// let hello = service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::from("hello"))) });
/// let service: Limited<_> = layer.layer(hello);
/// for status in [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS] {
///     let answer = service.clone().oneshot(Request::new(())).await.expect("answers");
///     assert_eq!(answer.status(), status);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Limited<S> {
    inner: S,
    limits: Arc<Limits>,
}

impl<S> Limited<S> {
    pub(crate) fn new(inner: S, limits: Arc<Limits>) -> Self {
        Self { inner, limits }
    }
}

impl<S, A, B> Service<Request<A>> for Limited<S>
where
    S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    A: Send + 'static,
    B: Default,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        // The one that is ready is called; its clone is asked again.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let limits = self.limits.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let grpc = is_grpc(&parts);
            let (decided, leases) = match limits.decide(&parts).await {
                Ok(decided) => decided,
                Err(error) => return Ok(undecided(grpc, &error)),
            };
            if !decided.allowed {
                return Ok(denied(grpc, decided));
            }
            let told = decided.limits.clone();
            parts.extensions.insert(decided);
            let mut response = inner.call(Request::from_parts(parts, body)).await?;
            tell(response.headers_mut(), &told);
            drop(leases);
            Ok(response)
        })
    }
}

/// The limits, each with the rule that finds its key in a request.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub bay: Forebay,
    pub limits: Vec<(LimitHandle, Key)>,
}

impl Limits {
    /// A known denial is answered at once. Then leases come first: they go back by themselves when a rate limit denies,
    /// and a charge would have to be refunded.
    async fn decide(&self, parts: &Parts) -> Result<(Decided, Vec<LeaseGuard>)> {
        let keys: Vec<String> = self.limits.iter().map(|(_, key)| key.of(parts)).collect();
        let all = || self.limits.iter().map(|(limit, _)| limit).zip(&keys).enumerate();
        let is_lease = |limit: &LimitHandle| limit.kind() == Kind::Concurrency;
        let (places, charges): (Vec<usize>, Vec<Charge>) = all()
            .filter(|(_, (limit, _))| !is_lease(limit))
            .map(|(place, (limit, key))| (place, Charge { limit: limit.clone(), key: key.clone(), cost: 1 }))
            .unzip();
        let mut decisions: Vec<Option<Decision>> = vec![None; keys.len()];
        let mut leases = vec![];
        // Without leases `take_all` is the first step anyway, and looks for known denials itself.
        let has_leases = all().any(|(_, (limit, _))| is_lease(limit));
        let mut taken = if has_leases { self.bay.known_denial(&charges)? } else { None };
        for (place, (limit, key)) in all().filter(|(_, (limit, _))| is_lease(limit)) {
            if taken.is_some() {
                break;
            }
            match limit.lease(key).await? {
                Lease::Granted(guard) => {
                    decisions[place] = Some(guard.decision());
                    leases.push(guard);
                }
                Lease::Denied { decision, .. } => {
                    decisions[place] = Some(decision);
                    break;
                }
            }
        }
        if taken.is_none() && decisions.iter().flatten().all(Decision::is_allowed) {
            taken = Some(self.bay.take_all(&charges).await?);
        }
        for (place, decision) in places.into_iter().zip(taken.into_iter().flat_map(|taken| taken.limits)) {
            decisions[place] = decision;
        }
        let allowed = decisions.iter().flatten().all(Decision::is_allowed);
        let policies = all().map(|(_, (limit, key))| limit.policy(key));
        Ok((Decided { allowed, limits: policies.zip(decisions).collect() }, leases))
    }
}
