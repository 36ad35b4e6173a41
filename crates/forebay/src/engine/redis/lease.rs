//! Leases of limits on a Redis host: one script, idempotent by the lease's id, by the server's clock.

use std::time::Duration;

use super::{Redis, reply::unexpected, script::Script};
use crate::{
    engine::step::{LeaseAct, LeaseStep, Leases},
    error::Result,
    time::micros,
};

impl Redis {
    pub(crate) async fn lease(&self, step: LeaseStep<'_>) -> Result<Leases> {
        let key = self.keys.leases(step.limit.as_str(), step.key);
        let mut call = self.host.call(Script::Lease, 1, key.len() + 64);
        let (most, span) = match step.act {
            LeaseAct::Take { most, ttl } => (most, micros(ttl)),
            LeaseAct::Renew { ttl } => (0, micros(ttl)),
            LeaseAct::Release => (0, 0),
            LeaseAct::Peek => (0, -1),
            LeaseAct::Heal => (0, -2),
        };
        call.command.arg(key).arg(step.id.as_bytes()).arg(most).arg(span);
        let reply = Box::pin(self.host.run_one(call)).await?;
        let (held, number, first, last): (bool, u64, i64, i64) =
            redis::from_redis_value(reply).map_err(|_| unexpected(self.host.name(), "a lease"))?;
        let span = |micros: i64| u64::try_from(micros).ok().map(Duration::from_micros);
        Ok(Leases { held, number, first_end: span(first), last_end: span(last) })
    }
}
