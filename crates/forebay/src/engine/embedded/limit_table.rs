//! The states of limits in memory.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::{batch::DeferredWrite, codec::Pack};
use crate::{
    engine::step::Take,
    key::Name,
    model::rate::{
        allotments::Allotments,
        rule::{Rule, Scale, State},
    },
    table::{InlineKey, Shard},
};

/// One key of one limit: a line of the processor's cache, of which a decision about one of many keys costs the most.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Entry {
    pub counter: Arc<Counter>,
    pub key: InlineKey,
    pub state: State,
    /// Those who hold them are in this process, and end with it: a file does not have them.
    pub allotments: Option<Box<Allotments>>,
    /// In microseconds of the engine's monotonic clock, doubled: by then the state counts nothing. One more if it has
    /// changed since the journal saw it.
    pub deadline: u64,
}

/// The data that the states of many keys share.
#[derive(Debug)]
pub(super) struct Counter {
    pub limit: Name,
    pub scale: Scale,
}

/// Each but once: as many as there are limits, and spans that they count over.
#[derive(Debug, Default)]
pub(super) struct Counters(Mutex<HashMap<(Name, Scale), Arc<Counter>>>);

impl Counters {
    pub(super) fn of(&self, limit: &Name, scale: Scale) -> Arc<Counter> {
        let mut counters = self.0.lock();
        let new = || Arc::new(Counter { limit: limit.clone(), scale });
        counters.entry((limit.clone(), scale)).or_insert_with(new).clone()
    }
}

impl Entry {
    pub(super) fn hash(&self) -> u64 {
        self.counter.limit.hash_of(self.key.as_bytes())
    }

    #[inline]
    pub(super) fn is(&self, limit: &Name, key: &[u8], scale: Scale) -> bool {
        // The key first: counters are the same more often.
        self.key.as_bytes() == key && self.counter.scale == scale && self.counter.limit.is(limit)
    }

    /// On the engine's monotonic clock.
    pub(super) fn deadline(&self) -> Duration {
        Duration::from_micros(self.deadline / 2)
    }

    #[inline]
    pub(super) fn advanced(&self, rule: &Rule, now: u64) -> State {
        match &self.allotments {
            None => rule.advance(Some(self.state), now),
            Some(allotments) => allotments.advance(rule, self.state, now),
        }
    }

    #[inline]
    pub(super) fn set(&mut self, rule: &Rule, state: State, time: Time) {
        let lifetime = match &mut self.allotments {
            None => rule.lifetime(state, time.now),
            Some(allotments) => {
                allotments.prune(rule, self.state, state);
                let lifetime = allotments.lifetime(rule, state, time.now);
                self.allotments.take_if(|allotments| allotments.is_empty());
                lifetime
            }
        };
        (self.state, self.deadline) = (state, time.after(lifetime) * 2 + 1);
    }
}

pub(super) fn limits(shard: usize, rewrite: bool, packed: Pack) -> DeferredWrite {
    let shard = u16::try_from(shard).expect("there are few shards");
    DeferredWrite::Limits { shard, rewrite, packed }
}

/// The time of one step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time {
    /// The time that decides, in microseconds.
    pub now: u64,
    /// On the monotonic clock, in microseconds: when a state that lives for no time may be forgotten.
    pub forget: u64,
}

impl Time {
    #[inline]
    pub(super) fn after(self, lifetime: u64) -> u64 {
        // A bit less than it could be: it is kept doubled.
        self.forget.saturating_add(lifetime).min(u64::MAX / 4)
    }
}

#[inline]
pub(super) fn is(entry: &Entry, take: &Take<'_>) -> bool {
    entry.is(take.limit, take.key.as_bytes(), take.rule.scale())
}

pub(super) fn advanced(shard: &Shard<'_, Entry>, hash: u64, take: &Take<'_>, now: u64) -> State {
    match shard.find(hash, |entry| is(entry, take)) {
        Some(entry) => entry.advanced(&take.rule, now),
        None => take.rule.advance(None, now),
    }
}
