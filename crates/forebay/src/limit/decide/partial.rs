//! One decision over limits not all of which the store is asked about, or not for a word that counts: keys that are
//! allowed everything or nothing, shadows, and limits that are only peeked at (cost 0).
//!
//! Peeks come first: where one would deny, nothing is charged.
//!
//! Shadows come last and each alone, after the others have admitted: they count what would have been charged to them,
//! and can neither deny nor be given back.

use futures::future::join_all;

use super::{Charge, Decisions};
use crate::{
    engine::{request::ChargeToken, step::Take},
    error::Result,
    limit::{Decision, handle::Asked},
    store::Store,
    time::When,
};

impl Store {
    /// [`take_all_with`](Self::take_all_with) where some of the answers are known, or do not count.
    pub(crate) async fn take_mixed(
        &self,
        charges: &[Charge],
        when: When,
        token: Option<ChargeToken>,
    ) -> Result<Decisions> {
        let mut limits: Vec<Option<Decision>> = vec![None; charges.len()];
        let (mut enforced, mut shadows, mut peeks) = (vec![], vec![], vec![]);
        let mut takes: Vec<Take<'_>> = vec![];
        for (place, Charge { limit, key, cost }) in charges.iter().enumerate() {
            if *cost == 0 {
                peeks.push(place);
                continue;
            }
            match limit.asked(key, *cost)? {
                Asked::Fixed(decision) => limits[place] = Some(limit.shown(decision)),
                Asked::Take(_) if limit.is_shadow() => shadows.push(place),
                Asked::Take(take) => {
                    enforced.push(place);
                    takes.push(take);
                }
            }
        }
        let looks = peeks.iter().map(|&place| charges[place].limit.peek_at(&charges[place].key, when));
        for (&place, decision) in peeks.iter().zip(join_all(looks).await) {
            limits[place] = Some(decision?);
        }
        let mut charged = vec![None; charges.len()];
        let (mut allowed, mut in_doubt) = (limits.iter().flatten().all(Decision::is_allowed), false);
        if allowed {
            let theirs: Vec<Charge> = enforced.iter().map(|&place| charges[place].clone()).collect();
            let decisions = self.take_enforced(&theirs, &takes, when, token).await?;
            (allowed, in_doubt) = (decisions.allowed, decisions.in_doubt);
            for ((&place, decision), window) in enforced.iter().zip(decisions.limits).zip(decisions.charged) {
                (limits[place], charged[place]) = (Some(decision), window);
            }
        } else {
            shadows.extend(enforced);
        }
        let rest = shadows.iter().map(async |&place| {
            let Charge { limit, key, cost } = &charges[place];
            if allowed {
                limit.take_at(key, *cost, when).await
            } else {
                Ok(limit.shown(self.look(&charges[place], when).await))
            }
        });
        for (&place, decision) in shadows.iter().zip(join_all(rest).await) {
            limits[place] = Some(decision?);
        }
        let limits = limits.into_iter().map(|limit| limit.expect("each was decided, or looked at")).collect();
        Ok(Decisions { allowed, limits, charged, in_doubt })
    }
}
