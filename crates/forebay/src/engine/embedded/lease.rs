//! Leases of limits in the embedded engine.

use std::time::Duration;

use uuid::Uuid;

use super::{
    Embedded,
    codec::Pack,
    lease_table::{Entry, Lease},
    limit_table::limits,
};
use crate::{
    engine::step::{LeaseAct, LeaseStep, Leases},
    error::Result,
    key::Name,
    model::rate::rule::State,
    table::Shards,
    time::Timestamp,
};

impl Embedded {
    pub(crate) async fn lease(&self, step: LeaseStep<'_>) -> Result<Leases> {
        let now = self.clock.monotonic();
        let hash = step.limit.hash_of(step.key.as_bytes());
        let mut shard = self.leases.lock(hash);
        let is = |entry: &Entry| *entry.key == *step.key && entry.limit == *step.limit;
        let Some(entry) = shard.find_mut(hash, is) else {
            let LeaseAct::Take { most: 1.., ttl } = step.act else { return Ok(Leases::default()) };
            let lease = Lease { id: step.id, end: now.saturating_add(ttl), unsaved: true };
            let (limit, key) = (step.limit.clone(), step.key.into());
            shard.insert_unique(hash, Entry { limit, key, leases: vec![lease] }, Entry::hash);
            return Ok(Leases { held: true, number: 1, first_end: Some(ttl), last_end: Some(ttl) });
        };
        entry.settle(now);
        let place = entry.place(step.id);
        let mut held = place.is_some();
        match step.act {
            LeaseAct::Take { most, ttl } if held || (entry.leases.len() as u64) < most => {
                entry.put(step.id, now.saturating_add(ttl), true);
                held = true;
            }
            LeaseAct::Renew { ttl } if held => entry.put(step.id, now.saturating_add(ttl), true),
            LeaseAct::Release if held => {
                entry.leases.retain(|lease| lease.id != step.id);
                if self.journal.is_kept() {
                    // An end in the past: restoring it forgets the lease.
                    let mut pack = Pack::default();
                    entry.pack(&mut pack, step.id, Timestamp::UNIX_EPOCH);
                    self.journal.defer(limits(Shards::<Entry>::index(hash), false, pack));
                }
            }
            _ => {}
        }
        let ends = || entry.leases.iter().map(|lease| lease.end.saturating_sub(now));
        let number = entry.leases.len() as u64;
        Ok(Leases { held, number, first_end: ends().min(), last_end: ends().max() })
    }

    /// Packs the leases of a shard that have changed, or all; says how many there are, and how many were packed.
    pub(super) fn pack_leases(&self, index: usize, all: bool, to: &mut Pack) -> (u64, u64) {
        let (now, time) = (self.clock.monotonic(), self.clock.now());
        let (mut number, mut packed) = (0, 0);
        for entry in self.leases.lock_index(index).iter_mut() {
            let mut leases = std::mem::take(&mut entry.leases);
            number += leases.len() as u64;
            for lease in leases.iter_mut().filter(|lease| all || lease.unsaved) {
                lease.unsaved = false;
                entry.pack(to, lease.id, time.plus(lease.end.saturating_sub(now)));
                packed += 1;
            }
            entry.leases = leases;
        }
        (number, packed)
    }

    /// Takes a lease as the file has it, in place of what an earlier entry said; one that has ended is forgotten.
    pub(super) fn restore_lease(&self, limit: &Name, key: &str, state: State, end: Timestamp) {
        let (id, left) = (Uuid::from_u64_pair(state.0, state.1), end.since(self.clock.now()));
        let end = self.clock.monotonic().saturating_add(left);
        let hash = limit.hash_of(key.as_bytes());
        let mut shard = self.leases.lock(hash);
        let found = shard.find_mut(hash, |entry| *entry.key == *key && entry.limit == *limit);
        match found {
            Some(entry) if left.is_zero() => entry.leases.retain(|lease| lease.id != id),
            Some(entry) => entry.put(id, end, false),
            None if left.is_zero() => {}
            None => {
                let leases = vec![Lease { id, end, unsaved: false }];
                let entry = Entry { limit: limit.clone(), key: key.into(), leases };
                shard.insert_unique(hash, entry, Entry::hash);
            }
        }
    }

    pub(super) fn sweep_leases(&self, now: Duration) {
        let keep = |entry: &mut Entry| {
            entry.settle(now);
            !entry.leases.is_empty()
        };
        self.leases.retain(keep, Entry::hash);
    }
}
