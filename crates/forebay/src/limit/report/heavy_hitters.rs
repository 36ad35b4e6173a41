//! Which keys are denied most, in a memory that does not grow with the number of keys.
//!
//! Numbers in, numbers out: no clock, no engine.

use std::collections::HashMap;

/// At most this many keys are counted at a time.
const COUNTERS: usize = 256;

/// A key, and how often it was denied.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::Limit;
/// let hits = bay.limit(Limit::per_minute("hits", 1))?;
/// for _ in 0..3 {
///     let _ = hits.take("user:42").await?;
/// }
/// let top = hits.top_denied(10);
/// assert_eq!((top[0].key.as_str(), top[0].count), ("user:42", 2));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Denied {
    /// The key.
    pub key: String,
    /// How often at most.
    pub count: u64,
    /// By how much that may be too high: what was counted for others before this key took their place.
    pub error: u64,
}

/// Counts the keys that come often.
///
/// Every key that makes up more than a 256th of all that is counted is in it; a count is at most `error` too high, and
/// never too low.
///
/// # Source
/// Metwally, Agrawal, El Abbadi, "Efficient Computation of Frequent and HeavyHitters-k Elements in Data Streams" (2005), the
/// algorithm Space-Saving.
#[derive(Debug, Default)]
pub(crate) struct HeavyHitters {
    counters: HashMap<Box<str>, (u64, u64)>,
}

impl HeavyHitters {
    /// Counts a key `times` times.
    pub(crate) fn count(&mut self, key: &str, times: u64) {
        if let Some((count, _)) = self.counters.get_mut(key) {
            *count += times;
            return;
        }
        let mut error = 0;
        if self.counters.len() >= COUNTERS {
            // A look at all of them: 256 numbers, and only for a key that is not among them.
            let least = self.counters.iter().min_by_key(|(_, (count, _))| *count);
            let (least, count) = least.map(|(key, (count, _))| (key.clone(), *count)).unwrap_or_default();
            self.counters.remove(&least);
            error = count;
        }
        self.counters.insert(key.into(), (error + times, error));
    }

    /// The `most` keys that were counted most, the largest count first.
    pub(crate) fn most(&self, most: usize) -> Vec<Denied> {
        let all = self.counters.iter();
        let all = all.map(|(key, &(count, error))| Denied { key: key.to_string(), count, error });
        let mut all: Vec<Denied> = all.collect();
        all.sort_by(|one, other| (other.count, &one.key).cmp(&(one.count, &other.key)));
        all.truncate(most);
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn who_comes_often_is_found_and_no_count_is_too_low(
            often in 1usize..20, rare in 0usize..2_000, seed in any::<u64>(),
        ) {
            let mut keys: Vec<String> = (0..rare).map(|i| format!("rare-{i}")).collect();
            keys.extend((0..often).flat_map(|i| std::iter::repeat_n(format!("often-{i}"), 100 + i)));
            // Any order; this one is spread by a multiplication.
            keys.sort_by_key(|key| xxhash_rust::xxh3::xxh3_64_with_seed(key.as_bytes(), seed));
            let mut top = HeavyHitters::default();
            for key in &keys {
                top.count(key, 1);
            }
            prop_assert!(top.counters.len() <= COUNTERS);
            let found = top.most(COUNTERS);
            for i in 0..often {
                let key = format!("often-{i}");
                let denied = found.iter().find(|denied| denied.key == key).expect("found");
                let true_count = 100 + i as u64;
                prop_assert!(denied.count >= true_count && denied.count - denied.error <= true_count);
            }
            prop_assert!(found.is_sorted_by(|one, other| one.count >= other.count));
        }
    }
}
