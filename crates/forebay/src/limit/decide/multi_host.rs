//! One decision over limits that live on several hosts.
//!
//! Each host is asked in one step, one after the other and in the order of the limits: whoever is denied by the
//! first, as most are who are denied at all, never touches the others. When a later host denies, what the
//! earlier ones charged goes back. A host that does not answer is decided by its own limits' `on_error`, and the
//! limits of the others hold as before.

use futures::future::join_all;

use super::{Charge, Decisions};
use crate::{
    engine::{
        request::ChargeToken,
        step::{Take, Taken},
    },
    error::Result,
    limit::{
        Decision, OnError,
        handle::{Asked, decision, in_time},
    },
    store::Store,
    time::When,
};

impl Store {
    /// [`take_all_with`](Self::take_all_with) where no single step can do it.
    pub(crate) async fn take_apart(
        &self,
        charges: &[Charge],
        takes: &[Take<'_>],
        when: When,
        token: Option<ChargeToken>,
    ) -> Result<Decisions> {
        let groups = self.groups(takes);
        let mut limits: Vec<Option<Decision>> = vec![None; charges.len()];
        let mut held = Held { store: self.clone(), when, token, charged: vec![] };
        let mut asked = 0;
        let (mut allowed, mut in_doubt) = (true, false);
        for group in &groups {
            let some: Vec<Charge> = group.iter().map(|&place| charges[place].clone()).collect();
            let their_takes: Vec<Take<'_>> = group.iter().map(|&place| takes[place]).collect();
            let theirs = self.take_together(&some, &their_takes, when, token).await?;
            allowed = theirs.allowed;
            in_doubt |= theirs.in_doubt;
            let each = group.iter().zip(some).zip(theirs.limits).zip(theirs.charged);
            for (((&place, charge), decision), window) in each {
                limits[place] = Some(decision);
                held.charged.extend(window.map(|window| (place, charge, window)));
            }
            asked += 1;
            failpoint!("take_apart_after_host");
            if !allowed {
                break;
            }
        }
        if allowed {
            let mut charged = vec![None; charges.len()];
            for (place, _, window) in std::mem::take(&mut held.charged) {
                charged[place] = Some(window);
            }
            let limits = limits.into_iter().flatten().collect();
            return Ok(Decisions { allowed, limits, charged, in_doubt });
        }
        let rest: Vec<usize> = groups[asked..].iter().flatten().copied().collect();
        let (settled, looks) =
            tokio::join!(held.give_back(), join_all(rest.iter().map(|&i| self.look(&charges[i], when))));
        for (place, decision) in settled.into_iter().chain(rest.into_iter().zip(looks)) {
            limits[place] = Some(decision);
        }
        let limits = limits.into_iter().map(|limit| limit.expect("each was decided, or looked at")).collect();
        Ok(Decisions { allowed, limits, charged: vec![None; charges.len()], in_doubt })
    }

    /// The takes that one step can do, by their places, in the order of the first of each.
    fn groups(&self, takes: &[Take<'_>]) -> Vec<Vec<usize>> {
        let mut groups: Vec<Vec<usize>> = vec![];
        for (place, take) in takes.iter().enumerate() {
            let theirs = groups.iter_mut().find(|group| self.engine().together(&[takes[group[0]], *take]));
            match theirs {
                Some(group) => group.push(place),
                None => groups.push(vec![place]),
            }
        }
        groups
    }

    /// What a limit says that was not asked to charge. That it does not answer changes nothing any more.
    pub(crate) async fn look(&self, charge: &Charge, when: When) -> Decision {
        let Charge { limit, key, cost } = charge;
        let look = async {
            let take = match limit.asked(key, *cost)? {
                Asked::Take(take) => take,
                Asked::Fixed(decision) => return Ok(decision),
            };
            let taken = self.engine().take(Take { cost: 0, ..take }, when).await?;
            Ok(would_be(&take, taken))
        };
        match in_time(self, limit.deadline(), limit.name(), look).await {
            Ok(decision) => decision,
            Err(_) => Decision::without_store(limit.quota(), limit.on_error() != OnError::Closed),
        }
    }
}

/// What a state that nothing was charged to says of this take.
fn would_be(take: &Take<'_>, taken: Taken) -> Decision {
    let allowed = take.rule.room(taken.state) >= take.cost;
    decision(&take.rule, take.cost, Taken { allowed, ..taken })
}

/// What has been charged and may have to go back. Dropped, it goes back beside whatever follows: a caller that stops
/// waiting leaves no charge for what it will not do.
struct Held {
    store: Store,
    when: When,
    /// By which the charges are known, if they are made once. Dropped, they stay then: whoever repeats the request has them.
    token: Option<ChargeToken>,
    /// The charge's place, and the window that it was charged to.
    charged: Vec<(usize, Charge, u64)>,
}

impl Held {
    /// Gives everything back, and tells how the limits stand then: those that say so in time. A charge that cannot go
    /// back stays until its window ends, which denies too much and never too little.
    async fn give_back(mut self) -> Vec<(usize, Decision)> {
        let charged = std::mem::take(&mut self.charged);
        if let Some(token) = self.token {
            self.store.refund_once(charged.iter().map(|(_, charge, window)| (charge, *window)), token).await;
            let look = async |(place, charge, _): &(usize, Charge, u64)| {
                (*place, self.store.look(charge, self.when).await)
            };
            return join_all(charged.iter().map(look)).await;
        }
        let refunds = charged.into_iter().map(async |(place, charge, window)| {
            let (name, deadline) = (charge.limit.name().clone(), charge.limit.deadline());
            // A task of its own: it goes on when nobody waits for it any more.
            let refund = tokio::spawn(refund(self.store.clone(), charge, window, self.when));
            let settled = in_time(&self.store, deadline, &name, async { Ok(refund.await) }).await;
            Some((place, settled.ok()?.ok()??))
        });
        join_all(refunds).await.into_iter().flatten().collect()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.token.is_some() {
            return;
        }
        for (_, charge, window) in self.charged.drain(..) {
            runtime.spawn(refund(self.store.clone(), charge, window, self.when));
        }
    }
}

async fn refund(store: Store, charge: Charge, window: u64, when: When) -> Option<Decision> {
    let Charge { limit, key, cost } = &charge;
    let Asked::Take(take) = limit.asked(key, *cost).ok()? else { return None };
    match store.engine().refund(take, Some(window), when).await {
        Ok(taken) => Some(would_be(&take, taken)),
        Err(error) => {
            tracing::debug!(limit = %limit.name(), %error, "a charge stays until its window ends");
            None
        }
    }
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
        drop(Held {
            store: bay.store().clone(),
            when: When::EngineClock,
            token: None,
            charged: vec![(0, charge, window)],
        });
        tokio::task::yield_now().await;
        assert_eq!(limit.peek("42").await.expect("answers").used(), 0);
    }
}
