//! A service behind limits.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use forebay::{
    Decision, Forebay, Result,
    limit::{Charge, Kind, Lease, LeaseGuard, LimitHandle, Policy},
};
use http::{Request, Response, request::Parts};
use tower::Service;

use crate::{
    Decided, Key,
    respond::{denied, is_grpc, tell, undecided},
};

/// A service behind limits: what [`LimitLayer`](crate::LimitLayer) makes of it.
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
    /// Leases first: they go back by themselves when a rate denies then, and a charge would have to be given back.
    async fn decide(&self, parts: &Parts) -> Result<(Decided, Vec<LeaseGuard>)> {
        let keys: Vec<String> = self.limits.iter().map(|(_, key)| key.of(parts)).collect();
        let all = || self.limits.iter().map(|(limit, _)| limit).zip(&keys).enumerate();
        let mut decisions: Vec<Option<Decision>> = vec![None; keys.len()];
        let (mut allowed, mut leases) = (true, vec![]);
        for (place, (limit, key)) in all().filter(|(_, (limit, _))| limit.kind() == Kind::Concurrency) {
            let decision = match limit.lease(key).await? {
                Lease::Granted(guard) => {
                    let decision = guard.decision();
                    leases.push(guard);
                    decision
                }
                Lease::Denied { decision, .. } => {
                    allowed = false;
                    decision
                }
            };
            decisions[place] = Some(decision);
            if !allowed {
                break;
            }
        }
        if allowed {
            let rates: Vec<_> = all().filter(|(_, (limit, _))| limit.kind() != Kind::Concurrency).collect();
            let charge = |(_, (limit, key)): &(usize, (&forebay::limit::LimitHandle, &String))| Charge {
                limit: (*limit).clone(),
                key: (*key).clone(),
                cost: 1,
            };
            let charges: Vec<Charge> = rates.iter().map(charge).collect();
            let taken = self.bay.take_all(&charges).await?;
            allowed = taken.allowed;
            for ((place, _), decision) in rates.iter().zip(taken.limits) {
                decisions[*place] = Some(decision);
            }
        }
        let told = all().filter_map(|(place, (limit, key))| Some((limit.policy(key), decisions[place]?)));
        let limits: Vec<(Policy, Decision)> = told.collect();
        Ok((Decided { allowed, limits }, leases))
    }
}
