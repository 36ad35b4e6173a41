//! The leases of limits in memory.

use std::time::Duration;

use uuid::Uuid;

use super::codec::Pack;
use crate::{
    key::Name,
    model::rate::rule::{Scale, State},
    time::Timestamp,
};

/// The leases of one key of one limit.
#[derive(Debug)]
pub(super) struct Entry {
    pub limit: Name,
    pub key: Box<str>,
    pub leases: Vec<Lease>,
}

#[derive(Debug)]
pub(super) struct Lease {
    pub id: Uuid,
    /// On the engine's monotonic clock.
    pub end: Duration,
    /// Has changed since the journal saw it.
    pub unsaved: bool,
}

impl Entry {
    pub(super) fn hash(&self) -> u64 {
        self.limit.hash_of(self.key.as_bytes())
    }

    /// Forgets what has ended.
    pub(super) fn settle(&mut self, now: Duration) {
        self.leases.retain(|lease| lease.end > now);
    }

    pub(super) fn place(&self, id: Uuid) -> Option<usize> {
        self.leases.iter().position(|lease| lease.id == id)
    }

    pub(super) fn put(&mut self, id: Uuid, end: Duration, unsaved: bool) {
        let lease = Lease { id, end, unsaved };
        match self.place(id) {
            Some(place) => self.leases[place] = lease,
            None => self.leases.push(lease),
        }
    }

    /// As the file's log of limits has it: a state that is the lease's id.
    pub(super) fn pack(&self, to: &mut Pack, id: Uuid, end: Timestamp) {
        let (high, low) = id.as_u64_pair();
        to.limit(self.limit.as_str(), &self.key, Scale::LEASE, State(high, low), end);
    }
}
