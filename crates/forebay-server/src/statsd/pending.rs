//! Counts that are not in the store yet, in bounded memory.

use std::collections::{HashMap, hash_map::Entry};

use forebay::Timestamp;

use super::sampled::{Rate, Sum};

/// The most counts that are kept: some ten megabytes, or a hundred with the longest keys.
const MAX_COUNTS: usize = 65_536;

/// The subject of a count: a target, its key and the sample rate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Subject {
    /// The place of the target.
    pub target: usize,
    pub key: Box<str>,
    pub rate: Rate,
}

/// The events of a subject in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Count {
    pub subject: Subject,
    /// The start of the bucket.
    pub bucket: Timestamp,
    pub events: u64,
}

/// The pending counts.
#[derive(Debug)]
pub(super) struct Pending {
    sums: HashMap<(Subject, Timestamp), Sum>,
    /// The rest of sampled counts: less than an event of each subject.
    rests: HashMap<Subject, Sum>,
    most: usize,
}

/// There is no room for another count.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Default for Pending {
    fn default() -> Self {
        Self::with_room(MAX_COUNTS)
    }
}

impl Pending {
    fn with_room(most: usize) -> Self {
        Self { sums: HashMap::new(), rests: HashMap::new(), most }
    }

    /// Adds a count to a bucket.
    pub(super) fn add(&mut self, subject: Subject, bucket: Timestamp, sum: Sum) -> Result<(), Full> {
        let is_full = self.sums.len() >= self.most;
        match self.sums.entry((subject, bucket)) {
            Entry::Occupied(mut known) => known.get_mut().add(sum),
            Entry::Vacant(_) if is_full => return Err(Full),
            Entry::Vacant(free) => drop(free.insert(sum)),
        }
        Ok(())
    }

    /// The whole events of one more line of a subject, at most so many; what is left is carried. `None`: they would be more.
    pub(super) fn events(&mut self, subject: &Subject, most: u64) -> Option<u64> {
        let mut sum = Sum::of_events(1, Rate::ALL);
        if sum.split(subject.rate).0 > most {
            return None;
        }
        self.rests.remove(subject).into_iter().for_each(|rest| sum.add(rest));
        let (events, rest) = sum.split(subject.rate);
        Some(events + self.keep(subject, rest))
    }

    /// Takes a count back that could not be written.
    pub(super) fn put_back(&mut self, count: Count) -> Result<(), Full> {
        let Count { subject, bucket, events } = count;
        let sum = Sum::of_events(events, subject.rate);
        self.add(subject, bucket, sum)
    }

    /// Takes all whole events. What is left of a subject is added to its next count. Where there is no room to keep it, it is
    /// rounded.
    pub(super) fn take(&mut self) -> Vec<Count> {
        let sums = std::mem::take(&mut self.sums);
        let mut counts = Vec::with_capacity(sums.len());
        for ((subject, bucket), mut sum) in sums {
            self.rests.remove(&subject).into_iter().for_each(|rest| sum.add(rest));
            let (events, rest) = sum.split(subject.rate);
            let events = events.saturating_add(self.keep(&subject, rest));
            if events > 0 {
                counts.push(Count { subject, bucket, events });
            }
        }
        counts
    }

    pub(super) fn len(&self) -> usize {
        self.sums.len()
    }

    /// Keeps what is left of a subject, or rounds it where there is no room; returns the events that it became.
    fn keep(&mut self, subject: &Subject, rest: Sum) -> u64 {
        if rest.is_zero() {
            return 0;
        }
        if self.rests.len() < self.most {
            self.rests.insert(subject.clone(), rest);
            return 0;
        }
        u64::from(rest.is_half(subject.rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_790_000_000);

    fn subject(key: &str, rate: f64) -> Subject {
        Subject { target: 0, key: key.into(), rate: Rate::new(rate).expect("a rate") }
    }

    fn one() -> Sum {
        Sum::of(1.0).expect("a count")
    }

    fn events(pending: &mut Pending) -> Vec<(String, u64)> {
        let mut counts: Vec<_> =
            pending.take().into_iter().map(|count| (count.subject.key.into_string(), count.events)).collect();
        counts.sort();
        counts
    }

    #[test]
    fn a_remainder_is_added_to_the_next_count() {
        let mut pending = Pending::default();
        let mut total = 0;
        for second in 0..7 {
            let bucket = START.plus(forebay::time::secs(second));
            pending.add(subject("a", 0.7), bucket, one()).expect("room");
            pending.add(subject("a", 0.3), bucket, one()).expect("room");
            total += events(&mut pending).iter().map(|(_, events)| events).sum::<u64>();
        }
        assert_eq!(total, 7 * 10 / 7 + 7 * 10 / 3);
        assert_eq!((pending.len(), pending.rests.len()), (0, 1), "only one of them has a remainder");
    }

    #[test]
    fn memory_is_bounded_and_known_counts_go_on() {
        let mut pending = Pending::with_room(2);
        for key in ["a", "b"] {
            pending.add(subject(key, 1.0), START, one()).expect("room");
        }
        assert_eq!(pending.add(subject("c", 1.0), START, one()), Err(Full));
        pending.add(subject("a", 1.0), START, one()).expect("a known count");
        let taken = pending.take();
        pending.add(subject("c", 1.0), START, one()).expect("room");
        pending.add(subject("d", 1.0), START, one()).expect("room");
        assert!(taken.into_iter().all(|count| pending.put_back(count) == Err(Full)));
        assert_eq!(events(&mut pending), [("c".to_owned(), 1), ("d".to_owned(), 1)]);
        // Without room for remainders they are rounded.
        for (key, rate) in [("a", 0.7), ("b", 0.7), ("c", 0.7), ("d", 0.6)] {
            pending.add(subject(key, rate), START, one()).expect("room");
            events(&mut pending);
        }
        pending.add(subject("e", 0.6), START, one()).expect("room");
        assert_eq!(events(&mut pending), [("e".to_owned(), 2)], "1.67");
        assert_eq!(pending.rests.len(), 2);
    }

    #[test]
    fn a_sampled_value_counts_as_often_as_it_stands_for_others() {
        let mut pending = Pending::default();
        let times: Vec<_> = (0..3).map(|_| pending.events(&subject("a", 0.3), 1_000)).collect();
        assert_eq!(times, [Some(3), Some(3), Some(4)]);
        assert_eq!(pending.events(&subject("a", 0.001), 1_000), Some(1_000));
        assert_eq!(pending.events(&subject("a", 0.000_9), 1_000), None);
        assert_eq!(pending.events(&subject("a", 1.0), 1_000), Some(1));
    }

    #[test]
    fn what_is_put_back_is_counted_once() {
        let mut pending = Pending::default();
        pending.add(subject("a", 0.3), START, one()).expect("room");
        for count in pending.take() {
            pending.put_back(count).expect("room");
        }
        pending.add(subject("a", 0.3), START, one()).expect("room");
        pending.add(subject("a", 0.3), START, one()).expect("room");
        assert_eq!(events(&mut pending), [("a".to_owned(), 10)]);
    }
}
