//! Refunds of charges whose request was denied by a later limit.

use futures::future::join_all;
use tokio::runtime::Handle;

use super::charge::Charge;
use crate::{
    engine::{
        Engine,
        request::ChargeToken,
        step::{Take, Taken},
    },
    error::Result,
    limit::{Decision, handle::Resolved},
    store::Store,
    time::When,
};

/// Charges that go back if a later limit denies.
///
/// Dropped, they are refunded in the background: a caller that stops waiting leaves no charge.
pub(super) struct PendingRefunds {
    store: Store,
    when: When,
    /// The token of the charges. With one, dropped charges stay: a repeated request finds them.
    token: Option<ChargeToken>,
    /// The place of each charge, and the window that was charged.
    charged: Vec<(usize, Charge, u64)>,
}

impl PendingRefunds {
    pub(super) fn new(store: &Store, when: When, token: Option<ChargeToken>) -> Self {
        Self { store: store.clone(), when, token, charged: vec![] }
    }

    pub(super) fn extend(&mut self, charged: impl Iterator<Item = (usize, Charge, u64)>) {
        self.charged.extend(charged);
    }

    /// The charges stand.
    pub(super) fn keep(mut self) {
        self.charged.clear();
    }

    /// Refunds everything, and returns the limits' state after it, as far as they answer in time. A charge that cannot be
    /// refunded stays until its window ends, which denies too much and never too little.
    pub(super) async fn refund(mut self) -> Vec<(usize, Decision)> {
        let charged = std::mem::take(&mut self.charged);
        if let Some(token) = self.token {
            self.store.refund_once(charged.iter().map(|(_, charge, window)| (charge, *window)), token).await;
            let peek = async |(place, charge, _): &(usize, Charge, u64)| {
                Some((*place, charge.peek(self.when).await.ok()?))
            };
            return join_all(charged.iter().map(peek)).await.into_iter().flatten().collect();
        }
        let refunds = charged.into_iter().map(async |(place, charge, window)| {
            let (name, deadline) = (charge.limit.name().clone(), charge.limit.0.definition.deadline);
            // A task of its own continues when the caller stops waiting.
            let refund = tokio::spawn(refund(self.store.clone(), charge, window, self.when));
            let answer = async { Ok(refund.await) };
            let answer = self.store.in_time(deadline, || format!("limit {name}"), answer).await;
            Some((place, answer.ok()?.ok()??))
        });
        join_all(refunds).await.into_iter().flatten().collect()
    }
}

impl Drop for PendingRefunds {
    fn drop(&mut self) {
        let Some(runtime) = Handle::try_current().ok().filter(|_| self.token.is_none()) else { return };
        for (_, charge, window) in self.charged.drain(..) {
            runtime.spawn(refund(self.store.clone(), charge, window, self.when));
        }
    }
}

async fn refund(store: Store, charge: Charge, window: u64, when: When) -> Option<Decision> {
    let Charge { limit, key, .. } = &charge;
    let Resolved::Take(take) = charge.resolve().ok()? else { return None };
    let answer = store.engine().refund(take, Some(window), when).await;
    limit.forget_denial(key);
    match answer {
        Ok(taken) => {
            Some(Decision::of(&take, Taken { allowed: take.rule.room(taken.state) >= take.cost, ..taken }))
        }
        Err(error) => {
            tracing::debug!(limit = %limit.name(), %error, "a charge stays until its window ends");
            None
        }
    }
}

impl Store {
    /// Refunds what was charged with a token, host by host.
    pub(crate) async fn refund_once<'a>(
        &self,
        charged: impl Iterator<Item = (&'a Charge, u64)>,
        token: ChargeToken,
    ) -> Vec<Result<()>> {
        let charged: Vec<_> = charged.collect();
        let takes = charged.iter().filter_map(|(charge, window)| match charge.resolve() {
            Ok(Resolved::Take(take)) => Some((take, *window)),
            _ => None,
        });
        let groups = by_host(self.engine(), true, takes, |(take, _)| *take);
        let refund = async |group: &Vec<(Take<'_>, u64)>| {
            let (first, _) = group[0];
            self.engine().refund_once(group, token.of(first.limit, first.key)).await
        };
        let refunded = join_all(groups.iter().map(refund)).await;
        for (charge, _) in charged {
            charge.limit.forget_denial(&charge.key);
        }
        refunded
    }
}

/// Groups takes by the hosts that run them in one step; those of one token by what stays on one host.
pub(super) fn by_host<'a, T>(
    engine: &Engine,
    has_token: bool,
    members: impl IntoIterator<Item = T>,
    take: impl Fn(&T) -> Take<'a>,
) -> Vec<Vec<T>> {
    let mut groups: Vec<Vec<T>> = vec![];
    for member in members {
        let together = |group: &&mut Vec<T>| {
            let pair = [take(&group[0]), take(&member)];
            if has_token { engine.stay_together(&pair) } else { engine.together(&pair) }
        };
        match groups.iter_mut().find(together) {
            Some(group) => group.push(member),
            None => groups.push(vec![member]),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Forebay, limit::Limit};

    #[tokio::test]
    async fn what_a_caller_held_who_left_goes_back() {
        let bay = Forebay::open("memory:").await.expect("opens");
        let limit = bay.limit(Limit::per_hour("hits", 5)).expect("valid");
        let charge = Charge { limit: limit.clone(), key: "42".into(), cost: 3 };
        let taken = bay.take_all(std::slice::from_ref(&charge)).await.expect("answers");
        let window = taken.charged[0].expect("charged");
        let mut pending = PendingRefunds::new(bay.store(), When::EngineClock, None);
        pending.extend([(0, charge, window)].into_iter());
        drop(pending);
        tokio::task::yield_now().await;
        assert_eq!(limit.peek("42").await.expect("answers").used(), 0);
    }
}
