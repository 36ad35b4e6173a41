//! The outcomes of the hits of a replay.

use std::{cmp::Reverse, collections::HashMap};

use forebay::{Name, event::Hit};
use serde::Serialize;

use super::{BadLine, Event, Tally};
use crate::{chart::Timeline, text::shown};

/// The number of refused lines, and of keys, that are shown.
const MAX_SHOWN: usize = 10;

/// Counts the outcomes of the hits of a log.
///
/// Memory grows with the number of distinct keys, like that of the store.
#[derive(Debug, Default)]
pub struct Counts {
    /// Hits accepted.
    pub accepted: u64,
    /// Hits that a limit denied.
    pub limited: u64,
    /// Hits among both that `on_error` decided, because the store did not answer.
    pub degraded: u64,
    /// Hits that the event refuses, such as a key that is no integer for an integer column.
    pub refused: u64,
    /// The first ten refused hits, with time and reason.
    pub refusals: Vec<String>,
    /// The first ten lines that could not be read.
    pub bad: Vec<BadLine>,
    /// The numbers of the lines so far.
    pub tally: Tally,
    /// The chart, if it is requested.
    pub timeline: Option<Timeline>,
    denied_by: Vec<(Name, u64)>,
    keys: HashMap<Box<str>, KeyCounts>,
}

/// The outcomes of the hits of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyCounts {
    /// Hits accepted.
    pub accepted: u64,
    /// Hits that a limit denied.
    pub limited: u64,
}

/// A key that was limited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LimitedKey {
    /// The key.
    pub key: String,
    /// Its hits that were denied.
    pub limited: u64,
    /// Its hits that were accepted.
    pub accepted: u64,
}

impl Counts {
    /// Empty counts for an event with these limits.
    pub fn new(limits: impl IntoIterator<Item = Name>) -> Self {
        Self { denied_by: limits.into_iter().map(|limit| (limit, 0)).collect(), ..Self::default() }
    }

    /// Counts a hit by the store's answer.
    pub fn hit(&mut self, event: &Event, hit: &Hit) {
        let decisions = &hit.limits().limits;
        self.degraded += u64::from(decisions.iter().flatten().any(forebay::Decision::is_degraded));
        if !hit.is_accepted() {
            for ((_, count), decision) in self.denied_by.iter_mut().zip(decisions) {
                *count += u64::from(decision.is_some_and(|decision| !decision.is_allowed()));
            }
        }
        self.outcome(event, hit.is_accepted());
    }

    /// Counts a hit by its outcome alone.
    pub fn outcome(&mut self, event: &Event, accepted: bool) {
        let key = match self.keys.get_mut(event.key.as_str()) {
            Some(key) => key,
            None => self.keys.entry(event.key.as_str().into()).or_default(),
        };
        if accepted {
            self.accepted += 1;
            key.accepted += 1;
        } else {
            self.limited += 1;
            key.limited += 1;
        }
        if let Some(timeline) = &mut self.timeline {
            timeline.add(event.at, accepted, 1);
        }
    }

    /// Counts a hit that the event refuses.
    pub fn refuse(&mut self, event: &Event, why: &str) {
        self.refused += 1;
        if self.refusals.len() < MAX_SHOWN {
            self.refusals.push(format!("{}: {}", event.at, shown(why)));
        }
    }

    /// All keys with the outcomes of their hits, in no order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = (&str, KeyCounts)> {
        self.keys.iter().map(|(key, counts)| (&**key, *counts))
    }

    /// The hits that each limit of the event denied, in its order. Several limits may deny one hit.
    pub fn denied_by(&self) -> &[(Name, u64)] {
        &self.denied_by
    }

    /// The keys that were limited most, in descending order, then by name.
    pub fn top_limited(&self) -> Vec<LimitedKey> {
        let mut limited: Vec<_> = self.keys().filter(|(_, counts)| counts.limited > 0).collect();
        limited.sort_unstable_by_key(|&(key, counts)| (Reverse(counts.limited), key));
        limited.truncate(MAX_SHOWN);
        let entry = |(key, KeyCounts { accepted, limited }): (&str, _)| LimitedKey {
            key: key.to_owned(),
            limited,
            accepted,
        };
        limited.into_iter().map(entry).collect()
    }
}
