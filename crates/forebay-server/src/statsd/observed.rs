//! Values and elements that are not in the store yet, in bounded memory.

use std::collections::{HashMap, HashSet};

use forebay::Timestamp;

use super::pending::Full;

/// The most values and elements that are kept: some ten megabytes, or a hundred with the longest elements.
const MAX_OBSERVED: usize = 262_144;

/// The place of a target, and a key.
type Place = (usize, Box<str>);

/// A value at a time, and how often it counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Measured {
    pub at: Timestamp,
    pub value: f64,
    pub times: u32,
}

/// The observations that are written together: all that is pending of a key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Batch {
    pub target: usize,
    pub key: Box<str>,
    pub items: Items,
}

/// The items of a key: values, or elements of a set with the bucket in which they came.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Items {
    Values(Vec<Measured>),
    Elements(Vec<(Timestamp, Box<str>)>),
}

impl Items {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Values(values) => values.len(),
            Self::Elements(elements) => elements.len(),
        }
    }

    /// Splits them, in their order, into parts of at most so many points, or of one item.
    pub(super) fn parts(&self, most: u32) -> Vec<Self> {
        match self {
            Self::Values(values) => {
                let (mut parts, mut points) = (vec![], u32::MAX);
                for value in values {
                    points = points.saturating_add(value.times);
                    if points > most {
                        points = value.times;
                        parts.push(vec![]);
                    }
                    parts.last_mut().into_iter().for_each(|part: &mut Vec<_>| part.push(*value));
                }
                parts.into_iter().map(Self::Values).collect()
            }
            Self::Elements(elements) => {
                let parts = elements.chunks(usize::try_from(most).unwrap_or(1));
                parts.map(|part| Self::Elements(part.to_vec())).collect()
            }
        }
    }
}

/// The pending values and elements.
#[derive(Debug)]
pub(super) struct Observed {
    values: HashMap<Place, Vec<Measured>>,
    elements: HashMap<Place, HashSet<(Timestamp, Box<str>)>>,
    held: usize,
    most: usize,
}

impl Default for Observed {
    fn default() -> Self {
        Self::with_room(MAX_OBSERVED)
    }
}

impl Observed {
    fn with_room(most: usize) -> Self {
        Self { values: HashMap::new(), elements: HashMap::new(), held: 0, most }
    }

    /// Adds a value.
    pub(super) fn add_value(&mut self, target: usize, key: &str, value: Measured) -> Result<(), Full> {
        self.room()?;
        self.values.entry((target, key.into())).or_default().push(value);
        self.held += 1;
        Ok(())
    }

    /// Adds an element, which counts once in a bucket.
    pub(super) fn add_element(
        &mut self,
        target: usize,
        key: &str,
        bucket: Timestamp,
        element: &str,
    ) -> Result<(), Full> {
        self.room()?;
        let is_new = self.elements.entry((target, key.into())).or_default().insert((bucket, element.into()));
        self.held += usize::from(is_new);
        Ok(())
    }

    /// Takes a batch back that could not be written; returns how many of its items have no room.
    pub(super) fn put_back(&mut self, batch: Batch) -> usize {
        let Batch { target, key, items } = batch;
        match items {
            Items::Values(values) => {
                values.into_iter().filter(|value| self.add_value(target, &key, *value).is_err()).count()
            }
            Items::Elements(elements) => {
                let mut is_full = |(bucket, element): &(Timestamp, Box<str>)| {
                    self.add_element(target, &key, *bucket, element).is_err()
                };
                elements.iter().filter(|element| is_full(element)).count()
            }
        }
    }

    /// Takes everything, key by key.
    pub(super) fn take(&mut self) -> Vec<Batch> {
        self.held = 0;
        let values = std::mem::take(&mut self.values).into_iter();
        let values =
            values.map(|((target, key), values)| Batch { target, key, items: Items::Values(values) });
        let elements = std::mem::take(&mut self.elements).into_iter();
        let elements = elements.map(|((target, key), elements)| {
            let items = Items::Elements(elements.into_iter().collect());
            Batch { target, key, items }
        });
        values.chain(elements).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.held
    }

    fn room(&self) -> Result<(), Full> {
        if self.held < self.most { Ok(()) } else { Err(Full) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_790_000_000);

    fn measured(value: f64) -> Measured {
        Measured { at: START, value, times: 1 }
    }

    #[test]
    fn values_keep_their_order_and_elements_count_once_in_a_bucket() {
        let mut observed = Observed::default();
        for value in [2.0, 1.0, 2.0] {
            observed.add_value(0, "a", measured(value)).expect("room");
        }
        let later = START.plus(forebay::time::hours(1));
        for (bucket, element) in [(START, "x"), (START, "x"), (later, "x"), (START, "y")] {
            observed.add_element(1, "a", bucket, element).expect("room");
        }
        assert_eq!(observed.len(), 6);
        let batches = observed.take();
        assert_eq!((batches.len(), observed.len()), (2, 0));
        let values = [2.0, 1.0, 2.0].map(measured);
        assert_eq!(batches[0], Batch { target: 0, key: "a".into(), items: Items::Values(values.into()) });
        let Items::Elements(elements) = &batches[1].items else { panic!("{batches:?}") };
        assert_eq!(elements.len(), 3);
        for batch in batches {
            assert_eq!(observed.put_back(batch), 0);
        }
        observed.add_element(1, "a", later, "x").expect("room");
        assert_eq!(observed.len(), 6, "it is known");
    }

    #[test]
    fn parts_have_so_many_points() {
        let times = |times: &[u32]| {
            Items::Values(times.iter().map(|times| Measured { times: *times, ..measured(1.0) }).collect())
        };
        assert_eq!(times(&[1, 2, 3, 9, 1]).parts(4), [times(&[1, 2]), times(&[3]), times(&[9]), times(&[1])]);
        assert_eq!(times(&[3, 0]).parts(1), [times(&[3]), times(&[0])]);
        assert_eq!(times(&[]).parts(4), []);
        let elements =
            |names: &[&str]| Items::Elements(names.iter().map(|name| (START, (*name).into())).collect());
        assert_eq!(elements(&["a", "b", "c"]).parts(2), [elements(&["a", "b"]), elements(&["c"])]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut observed = Observed::with_room(3);
        observed.add_value(0, "a", measured(1.0)).expect("room");
        observed.add_element(1, "a", START, "x").expect("room");
        let taken = observed.take();
        observed.add_value(0, "b", measured(1.0)).expect("room");
        observed.add_value(0, "b", measured(2.0)).expect("room");
        assert_eq!(taken.into_iter().map(|batch| observed.put_back(batch)).sum::<usize>(), 1);
        assert_eq!(observed.add_value(0, "b", measured(3.0)), Err(Full));
        assert_eq!(observed.add_element(1, "b", START, "y"), Err(Full));
        assert_eq!(observed.len(), 3);
    }
}
