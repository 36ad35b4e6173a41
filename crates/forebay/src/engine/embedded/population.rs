//! How many keys the series of the embedded engine hold, and how many they may.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

use crate::{
    engine::step::{KeyCount, no_room},
    error::{Error, Result},
    key::Name,
};

/// Every series that has a key or a bound.
#[derive(Debug, Default)]
pub(super) struct Populations {
    /// The lock protects the map, for one look-up at a time.
    each: Mutex<HashMap<Name, Arc<Population>>>,
    /// Whether any series has a bound: without one nobody looks whether a key is new before adding to it. It is set
    /// before the bound's first point and never cleared, so no order is needed.
    bounded: AtomicBool,
}

/// The keys of one series.
#[derive(Debug)]
pub(super) struct Population {
    name: Name,
    /// One for each [`Member`]. Counted by whoever makes one; nothing else is read by it.
    keys: AtomicU64,
    /// The most there may be.
    bound: AtomicU64,
    /// How many times one was refused. A tally for people.
    refused: AtomicU64,
}

/// One key of a series, which counts as long as it is there.
#[derive(Debug)]
pub(super) struct Member(Arc<Population>);

impl Populations {
    /// The keys of a series.
    pub(super) fn of(&self, name: &Name) -> Arc<Population> {
        let new = || {
            let (keys, bound, refused) = (AtomicU64::new(0), AtomicU64::new(u64::MAX), AtomicU64::new(0));
            Arc::new(Population { name: name.clone(), keys, bound, refused })
        };
        self.each.lock().entry(name.clone()).or_insert_with(new).clone()
    }

    /// Room for those of some keys that a series does not have, if any series has a bound: for all of them, or none.
    pub(super) fn join_new<'k>(
        &self,
        series: &Name,
        keys: impl Iterator<Item = &'k str>,
        has: impl Fn(&str) -> bool,
    ) -> Result<Vec<Member>> {
        if !self.are_bounded() {
            return Ok(vec![]);
        }
        let mut new: Vec<&str> = keys.filter(|key| !has(key)).collect();
        new.sort_unstable();
        new.dedup();
        if new.is_empty() { Ok(vec![]) } else { self.of(series).join_within(new.len()) }
    }

    /// Lets a series have so many keys and no more. Those that it has above that stay.
    pub(super) fn bound(&self, name: &Name, most: u64) {
        self.of(name).bound.store(most, Ordering::Relaxed);
        self.bounded.store(true, Ordering::Relaxed);
    }

    /// Whether any series has a bound.
    pub(super) fn are_bounded(&self) -> bool {
        self.bounded.load(Ordering::Relaxed)
    }
}

impl Population {
    /// How many keys there are, and how many times one was refused.
    pub(super) fn count(&self) -> KeyCount {
        KeyCount { keys: self.keys.load(Ordering::Relaxed), refused: self.refused.load(Ordering::Relaxed) }
    }

    /// Adds a key, whatever the bound.
    pub(super) fn join(self: &Arc<Self>) -> Member {
        self.keys.fetch_add(1, Ordering::Relaxed);
        Member(self.clone())
    }

    /// Adds keys, if the bound allows all of them.
    fn join_within(self: &Arc<Self>, more: usize) -> Result<Vec<Member>> {
        let fits = |keys: u64| {
            keys.checked_add(more as u64).filter(|&all| all <= self.bound.load(Ordering::Relaxed))
        };
        match self.keys.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => Ok((0..more).map(|_| Member(self.clone())).collect()),
            Err(keys) => Err(self.full(keys)),
        }
    }

    /// Whether another key has room.
    pub(super) fn check_room(&self) -> Result<()> {
        let keys = self.keys.load(Ordering::Relaxed);
        if keys < self.bound.load(Ordering::Relaxed) { Ok(()) } else { Err(self.full(keys)) }
    }

    fn full(&self, keys: u64) -> Error {
        self.refused.fetch_add(1, Ordering::Relaxed);
        no_room(&self.name, keys, self.bound.load(Ordering::Relaxed))
    }
}

impl Member {
    /// The series that it is a key of.
    pub(super) fn series(&self) -> &Name {
        &self.0.name
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.0.keys.fetch_sub(1, Ordering::Relaxed);
    }
}
