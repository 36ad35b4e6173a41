//! Charges of requests that are carried out once, on the embedded engine.

use super::{Embedded, once_table::Charged};
use crate::{
    engine::{
        request::ChargeToken,
        step::{Take, TakenAll},
    },
    error::Result,
    time::When,
};

impl Embedded {
    pub(crate) async fn take_all_once(
        &self,
        takes: &[Take<'_>],
        when: When,
        token: ChargeToken,
    ) -> Result<TakenAll> {
        let commit = {
            let mut tokens = self.tokens.lock();
            let before = tokens.charge(&token).map(|charged| charged.taken.clone());
            let taken = if let Some(taken) = before {
                taken
            } else {
                self.journal.check()?;
                self.take_all_at_once(takes, when)?
            };
            if !taken.allowed {
                return Ok(taken);
            }
            let charged = Charged { owner: token.owner, taken: taken.clone() };
            let now = self.clock.now();
            self.save_keys(takes.iter(), taken, |record| tokens.note(token.id, Some(charged), now, record))?
        };
        commit.durable().await
    }

    pub(crate) async fn refund_once(&self, charged: &[(Take<'_>, u64)], token: ChargeToken) -> Result<()> {
        let commit = {
            let mut tokens = self.tokens.lock();
            self.journal.check()?;
            if tokens.charge(&token).is_none_or(|charge| charge.owner != token.owner) {
                return Ok(());
            }
            for (take, window) in charged {
                self.refund_at_once(*take, Some(*window), When::EngineClock)?;
            }
            self.save_keys(charged.iter().map(|(take, _)| take), (), |record| {
                tokens.forget(token.id, record);
            })?
        };
        commit.durable().await
    }
}
