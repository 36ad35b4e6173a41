//! Checks the history of a lock, as its holders believed it, against the promises of a lock.
//!
//! It knows nothing of how the lock works. All times are of one monotonic clock.

use std::{fmt, ops::Range, time::Duration};

/// The holds and calls of one lock, as its callers have seen them.
///
/// ```
/// use std::time::Duration;
/// use forebay_testkit::{Hold, LockHistory};
///
/// let secs = Duration::from_secs;
/// let mut history = LockHistory::default();
/// history.holds.push(Hold { fence: 7, asked: secs(1), from: secs(1), until: secs(3) });
/// history.holds.push(Hold { fence: 8, asked: secs(1), from: secs(2), until: secs(4) });
/// assert_eq!(history.violations().len(), 1);
/// ```
#[derive(Clone, Debug, Default)]
pub struct LockHistory {
    /// In any order.
    pub holds: Vec<Hold>,
    /// In any order.
    pub waits: Vec<Wait>,
    /// When the store lost what it knew of the lock: at some time within each of these.
    pub losses: Vec<Range<Duration>>,
    /// The longest ttl of the lock: after a loss two may hold it for so long.
    pub ttl: Duration,
}

/// A hold of the lock, as its holder believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Its fencing token.
    pub fence: u64,
    /// When it asked for the lock: it got it after that.
    pub asked: Duration,
    /// When the holder learned that it holds the lock.
    pub from: Duration,
    /// When it stopped to rely on it: before it sent a release, or at the deadline that it trusted.
    pub until: Duration,
}

/// A call that waited for the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// When it was called.
    pub asked: Duration,
    /// When it answered, whatever that was.
    pub ended: Duration,
    /// The longest time that it may take: its wait, and a margin.
    pub most: Duration,
}

/// A promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Two held the lock at once, for longer than a loss of the store allows.
    TwoHolders(Hold, Hold),
    /// The fence of the second is not larger than that of the first, which held the lock before.
    Fence(Hold, Hold),
    /// A caller waited for too long.
    Forgotten(Wait),
}

impl LockHistory {
    /// Adds what others have seen.
    pub fn extend(&mut self, other: Self) {
        self.holds.extend(other.holds);
        self.waits.extend(other.waits);
        self.losses.extend(other.losses);
        self.ttl = self.ttl.max(other.ttl);
    }

    /// The promises that were broken. None: the history is one of a lock.
    pub fn violations(&self) -> Vec<Violation> {
        let mut holds = self.holds.clone();
        holds.sort_by_key(|hold| (hold.from, hold.until));
        let mut found = vec![];
        for (place, first) in holds.iter().enumerate() {
            for second in &holds[place + 1..] {
                if self.overlap(first, second) {
                    found.push(Violation::TwoHolders(*first, *second));
                }
            }
        }
        // Of two that overlap the one that learned of its hold first may have got it last.
        for pair in holds.windows(2) {
            if pair[1].fence <= pair[0].fence && pair[0].until <= pair[1].from {
                found.push(Violation::Fence(pair[0], pair[1]));
            }
        }
        let is_late = |wait: &&Wait| wait.ended.saturating_sub(wait.asked) > wait.most;
        found.extend(self.waits.iter().filter(is_late).map(|wait| Violation::Forgotten(*wait)));
        found
    }

    /// Whether two holds overlap, of which the first began first, and no loss explains it.
    fn overlap(&self, first: &Hold, second: &Hold) -> bool {
        let end = first.until.min(second.until);
        let explains = |loss: &Range<Duration>| {
            first.asked <= loss.end && loss.start <= second.from && end <= loss.end + self.ttl
        };
        second.from < end && !self.losses.iter().any(explains)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TwoHolders(first, second) => write!(f, "two holders: {first:?} and {second:?}"),
            Self::Fence(first, second) => write!(f, "a fence that is not larger: {second:?} after {first:?}"),
            Self::Forgotten(wait) => write!(f, "a caller that waited for too long: {wait:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    const fn hold(fence: u64, from: u64, until: u64) -> Hold {
        Hold { fence, asked: ms(from), from: ms(from), until: ms(until) }
    }

    fn of(holds: &[Hold], losses: &[u64]) -> Vec<Violation> {
        let losses = losses.iter().map(|at| ms(*at)..ms(*at)).collect();
        LockHistory { holds: holds.to_vec(), losses, ttl: ms(100), ..LockHistory::default() }.violations()
    }

    #[test]
    fn one_after_the_other_is_a_lock_in_whatever_order_it_is_told() {
        assert_eq!(of(&[hold(3, 40, 50), hold(1, 0, 10), hold(2, 10, 40)], &[]), []);
        assert_eq!(of(&[], &[]), []);
    }

    #[test]
    fn two_at_once_are_found_though_others_are_between() {
        let (long, short, last) = (hold(1, 0, 100), hold(2, 10, 20), hold(3, 90, 120));
        let both = [Violation::TwoHolders(long, short), Violation::TwoHolders(long, last)];
        assert_eq!(of(&[last, long, short], &[]), both);
    }

    #[test]
    fn a_loss_explains_an_overlap_of_one_ttl_behind_it() {
        let (first, second) = (hold(1, 0, 80), hold(2, 30, 90));
        assert_eq!(of(&[first, second], &[20]), []);
        // It came after the second one had the lock, before the first one had it, or too long ago.
        for loss in [40, 200] {
            assert_eq!(of(&[first, second], &[loss]), [Violation::TwoHolders(first, second)]);
        }
        let (first, second) = (hold(1, 10, 300), hold(2, 130, 400));
        assert_eq!(of(&[first, second], &[5]), [Violation::TwoHolders(first, second)]);
        assert_eq!(of(&[first, second], &[20]), [Violation::TwoHolders(first, second)]);
    }

    #[test]
    fn fences_rise_also_after_a_loss() {
        let (first, second) = (hold(5, 0, 10), hold(5, 20, 30));
        for losses in [&[][..], &[15]] {
            assert_eq!(of(&[second, first], losses), [Violation::Fence(first, second)]);
        }
    }

    #[test]
    fn a_caller_is_answered_in_time() {
        let wait = |ended| Wait { asked: ms(5), ended: ms(ended), most: ms(20) };
        let history = LockHistory { waits: vec![wait(25), wait(26)], ..LockHistory::default() };
        assert_eq!(history.violations(), [Violation::Forgotten(wait(26))]);
    }
}
