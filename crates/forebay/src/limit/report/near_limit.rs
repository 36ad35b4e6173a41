//! Which keys are nearest to being denied, in a memory that does not grow with the number of keys.
//!
//! Numbers in, numbers out: no clock, no engine.

use std::{collections::HashMap, time::Duration};

/// At most this many keys are kept at a time.
const KEPT: usize = 256;

/// From which share of its limit on a key is near it.
const NEAR: (u64, u64) = (4, 5);

/// A key that has used most of what it is allowed.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::Limit;
/// let hits = bay.limit(Limit::per_minute("hits", 10))?;
/// for _ in 0..9 {
///     let _ = hits.take("user:42").await?;
/// }
/// for near in hits.near(10) {
///     println!("{} used {} of {}", near.key, near.used, near.limit);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NearLimit {
    /// The key.
    pub key: String,
    /// How much it had used after the last take that was admitted.
    pub used: u64,
    /// Of how much.
    pub limit: u64,
}

impl NearLimit {
    /// `used` as a part of `limit`, 0.8 to 1; more for what a shadow let pass.
    pub fn share(&self) -> f64 {
        self.used as f64 / self.limit as f64
    }
}

/// The keys nearest to their limit: a take gets its key in, unless 256 others are as near.
#[derive(Debug, Default)]
pub(crate) struct NearKeys {
    keys: HashMap<Box<str>, Entry>,
    /// Once there are [`KEPT`]: no key with a smaller share than this gets in before this time, so that most of those that
    /// come in vain are turned away without a look at all.
    closed: Option<(u64, Duration)>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    used: u64,
    limit: u64,
    /// By then it has nothing used any more, unless more is taken.
    until: Duration,
}

impl Entry {
    /// In 65536ths. What is used is below 2^53, and cut to what leaves room for them.
    fn share(&self) -> u64 {
        (self.used.min(1 << 47) << 16) / self.limit.clamp(1, 1 << 47)
    }
}

/// Whether so much of a limit is so near that it should be [noted](NearKeys::note).
pub(crate) fn is_near(used: u64, limit: u64) -> bool {
    used > 0 && used.saturating_mul(NEAR.1) >= limit.saturating_mul(NEAR.0)
}

/// Which part of what is used makes it near: what has to come back until it no longer is.
pub(crate) fn excess(used: u64, limit: u64) -> f64 {
    let near = limit as f64 * NEAR.0 as f64 / NEAR.1 as f64;
    // One more than that, or what is just near were so for no time at all.
    ((used as f64 - near + 1.0) / used.max(1) as f64).clamp(0.0, 1.0)
}

impl NearKeys {
    /// Takes down what a key has used at `now`, of which nothing counts any more at `until`.
    pub(crate) fn note(&mut self, key: &str, used: u64, limit: u64, now: Duration, until: Duration) {
        let entry = Entry { used, limit, until };
        if let Some(known) = self.keys.get_mut(key) {
            *known = entry;
        } else if self.keys.len() < KEPT || self.make_room(entry.share(), now) {
            self.keys.insert(key.into(), entry);
        } else {
            return;
        }
        if let Some((least, first_end)) = &mut self.closed {
            (*least, *first_end) = ((*least).min(entry.share()), (*first_end).min(until));
        }
    }

    /// Makes room for a key with such a share, if there is one that is over, or farther from its limit.
    fn make_room(&mut self, share: u64, now: Duration) -> bool {
        if self.closed.is_some_and(|(least, first_end)| share <= least && now < first_end) {
            return false;
        }
        self.keys.retain(|_, entry| entry.until > now);
        if self.keys.len() >= KEPT {
            let farthest = self.keys.iter().min_by_key(|(_, entry)| entry.share());
            let farthest = farthest.filter(|(_, entry)| entry.share() < share).map(|(key, _)| key.clone());
            if let Some(farthest) = farthest {
                self.keys.remove(&farthest);
            }
        }
        let least = self.keys.values().map(Entry::share).min();
        let first_end = self.keys.values().map(|entry| entry.until).min();
        self.closed = least.zip(first_end);
        self.keys.len() < KEPT
    }

    /// The `most` keys nearest to their limit, the nearest first.
    pub(crate) fn most(&self, most: usize, now: Duration) -> Vec<NearLimit> {
        let all = self.keys.iter().map(|(key, entry)| (&**key, entry));
        let mut all: Vec<_> = all.filter(|(_, entry)| entry.until > now).collect();
        all.sort_by(|(one, a), (other, b)| b.share().cmp(&a.share()).then_with(|| one.cmp(other)));
        let near = |(key, entry): (&str, &Entry)| NearLimit {
            key: key.into(),
            used: entry.used,
            limit: entry.limit,
        };
        all.into_iter().take(most).map(near).collect()
    }

    /// Forgets a key: it was reset.
    pub(crate) fn forget(&mut self, key: &str) {
        self.keys.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::time::secs;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// Against a table of all keys.
        #[test]
        fn a_take_gets_in_unless_as_many_as_are_kept_are_as_near_and_memory_is_bounded(
            takes in prop::collection::vec((0usize..400, 80u64..=100, 1u64..9), 1..900),
        ) {
            let (mut nearest, mut all) = (NearKeys::default(), BTreeMap::new());
            let mut now = Duration::ZERO;
            for (key, used, span) in takes {
                now += Duration::from_millis(1);
                nearest.note(&key.to_string(), used, 100, now, now + secs(span));
                all.insert(key.to_string(), used);
                prop_assert!(nearest.keys.len() <= KEPT);
                let as_near = nearest.keys.values().filter(|entry| entry.used >= used).count();
                prop_assert!(nearest.keys.contains_key(&*key.to_string()) || as_near == KEPT);
            }
            for one in nearest.most(KEPT, now) {
                prop_assert_eq!(all.get(&one.key), Some(&one.used), "as the last take left it");
            }
        }
    }

    #[test]
    fn a_nearer_key_takes_the_place_of_a_farther_one_and_one_that_is_over_makes_room() {
        let mut nearest = NearKeys::default();
        for key in 0..2 * KEPT {
            nearest.note(&key.to_string(), 8, 10, secs(1), secs(60 + key as u64));
        }
        assert_eq!(nearest.keys.len(), KEPT);
        nearest.note("late", 8, 10, secs(2), secs(60));
        assert!(nearest.most(KEPT, secs(2)).iter().all(|one| one.key != "late"), "no nearer than the others");
        nearest.note("near", 9, 10, secs(2), secs(60));
        assert_eq!(nearest.most(1, secs(2))[0].key, "near");
        nearest.note("nearer", 30, 20, secs(2), secs(60));
        let first = &nearest.most(1, secs(2))[0];
        assert_eq!((&*first.key, first.share()), ("nearer", 1.5));
        nearest.note("after", 8, 10, secs(62), secs(90));
        assert!(
            nearest.most(KEPT, secs(62)).iter().any(|one| one.key == "after"),
            "somebody's window is over"
        );
        assert!(nearest.most(KEPT, secs(1_000)).is_empty());
    }

    #[test]
    fn what_is_near_begins_at_four_fifths() {
        for (used, limit, near) in [
            (0, 0, false),
            (1, 1, true),
            (3, 4, false),
            (4, 5, true),
            (7, 9, false),
            (8, 10, true),
            (1, u64::MAX, false),
        ] {
            assert_eq!(is_near(used, limit), near, "{used} of {limit}");
        }
        assert!(is_near(u64::MAX, u64::MAX));
    }
}
