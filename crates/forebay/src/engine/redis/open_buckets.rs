//! The knowledge of this process about the open buckets of series: those whose counts are not in chunks yet.
//!
//! No connection, no clock. A reader asks for the buckets that are known, and learns of the others by the answer.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use parking_lot::Mutex;
use uuid::Uuid;

use crate::{
    engine::step::SeriesPart,
    key::Name,
    time::{millis, secs},
};

/// Keys in the open buckets of a partition. Above it they are sealed before their time.
const MANY_KEYS: u64 = 32_000;

/// Above it points go to chunks at once: sealing does not keep up with so many different keys.
const TOO_MANY_KEYS: u64 = 64_000;

/// The shortest and the longest time for which a bucket is open. Between them it is two steps, so that it is sealed once, a step
/// after its end.
const SHORTEST_AGE: Duration = secs(2);
const LONGEST_AGE: Duration = secs(20);

/// The time until a bucket is sealed again of which a chunk was of somebody else.
const PAUSE: Duration = secs(60);

/// The open buckets of each partition. The lock protects the map, for one look-up or note at a time.
#[derive(Debug)]
pub(super) struct OpenBuckets {
    parts: Mutex<HashMap<(Name, u16), Known>>,
    /// Added to each wait, so that not all processes seal at the same moment.
    jitter: Duration,
}

#[derive(Debug, Default)]
struct Known {
    /// The monotonic time from which each is old enough, by its start in seconds.
    buckets: BTreeMap<i64, Duration>,
    is_crowded: bool,
    /// Whether the partition has lists of its largest keys.
    is_ranked: bool,
}

/// An open bucket as its host has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OpenBucket {
    /// In seconds since 1970.
    pub start: i64,
    /// The resolutions of the series as its first writer knew them, as text.
    pub resolutions: String,
    pub keys: u64,
}

impl Default for OpenBuckets {
    fn default() -> Self {
        let spread = u64::try_from(Uuid::new_v4().as_u128() % 500).unwrap_or_default();
        Self { parts: Mutex::default(), jitter: millis(spread) }
    }
}

impl OpenBuckets {
    /// Notes that a bucket of a partition is about to be written to.
    pub(super) fn note(&self, part: &SeriesPart, start: i64, now: Duration) {
        let mut parts = self.parts.lock();
        let known = parts.entry(home(part)).or_default();
        known.buckets.entry(start).or_insert_with(|| now + self.age(part));
    }

    /// Whether the points of a partition have to go to chunks: its open buckets have too many keys.
    pub(super) fn is_crowded(&self, part: &SeriesPart) -> bool {
        self.parts.lock().get(&home(part)).is_some_and(|known| known.is_crowded)
    }

    /// Notes whether a partition has lists of its largest keys.
    pub(super) fn note_ranked(&self, part: &SeriesPart, is_ranked: bool) {
        self.parts.lock().entry(home(part)).or_default().is_ranked = is_ranked;
    }

    /// Whether a partition is known to have lists of its largest keys.
    pub(super) fn is_ranked(&self, part: &SeriesPart) -> bool {
        self.parts.lock().get(&home(part)).is_some_and(|known| known.is_ranked)
    }

    /// The known buckets of a partition.
    pub(super) fn of(&self, part: &SeriesPart) -> Vec<i64> {
        self.parts.lock().get(&home(part)).map_or(vec![], |known| known.buckets.keys().copied().collect())
    }

    /// Whether a partition has buckets, as far as is known.
    pub(super) fn has_any(&self, part: &SeriesPart) -> bool {
        self.parts.lock().get(&home(part)).is_some_and(|known| !known.buckets.is_empty())
    }

    /// Notes that a partition has these buckets and no others.
    pub(super) fn learn(&self, part: &SeriesPart, starts: &[i64], now: Duration) {
        let mut parts = self.parts.lock();
        let known = parts.entry(home(part)).or_default();
        let before = std::mem::take(&mut known.buckets);
        let age = self.age(part);
        let due = |start: &i64| (*start, before.get(start).copied().unwrap_or(now + age));
        known.buckets = starts.iter().map(due).collect();
    }

    /// The buckets of a partition that are to be sealed at `now`: those that are old enough; of a partition with many keys all.
    pub(super) fn due(&self, part: &SeriesPart, mut open: Vec<OpenBucket>, now: Duration) -> Vec<OpenBucket> {
        let all: u64 = open.iter().map(|bucket| bucket.keys).sum();
        let mut parts = self.parts.lock();
        let known = parts.entry(home(part)).or_default();
        known.is_crowded = all > if known.is_crowded { TOO_MANY_KEYS / 2 } else { TOO_MANY_KEYS };
        if all <= MANY_KEYS {
            open.retain(|bucket| known.buckets.get(&bucket.start).is_none_or(|due| *due <= now));
        }
        open
    }

    /// Lets a bucket wait a while before it is sealed again.
    pub(super) fn pause(&self, part: &SeriesPart, start: i64, now: Duration) {
        if let Some(known) = self.parts.lock().get_mut(&home(part)) {
            known.buckets.insert(start, now + PAUSE);
        }
    }

    /// The time for which a bucket is open.
    fn age(&self, part: &SeriesPart) -> Duration {
        let step = part.grid.resolutions.first().map_or(SHORTEST_AGE, |finest| finest.step);
        (2 * step).clamp(SHORTEST_AGE, LONGEST_AGE) + self.jitter
    }
}

fn home(part: &SeriesPart) -> (Name, u16) {
    (part.grid.name.clone(), part.index)
}
