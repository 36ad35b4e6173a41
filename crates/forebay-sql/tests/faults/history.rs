//! What was written, and what SQL should have of it.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Mutex, MutexGuard},
};

/// How many rows everybody writes to.
const HOT: u64 = 7;

#[derive(Debug, Default)]
pub(crate) struct History(Mutex<Writes>);

#[derive(Debug, Default)]
struct Writes {
    next: u64,
    /// Acknowledged.
    sure: HashSet<u64>,
    /// Sent, and not answered, or answered that nobody knows.
    open: HashSet<u64>,
}

/// The hot row that a write adds to, besides a row of its own.
pub(crate) fn hot(id: u64) -> String {
    format!("hot {}", id % HOT)
}

/// The row of its own.
pub(crate) fn own(id: u64) -> String {
    format!("own {id}")
}

impl History {
    /// A write is about to be sent.
    pub(crate) fn send(&self) -> u64 {
        let mut writes = self.writes();
        writes.next += 1;
        let id = writes.next;
        writes.open.insert(id);
        id
    }

    /// It was acknowledged.
    pub(crate) fn acknowledge(&self, id: u64) {
        let mut writes = self.writes();
        writes.open.remove(&id);
        writes.sure.insert(id);
    }

    /// It certainly came to nothing.
    pub(crate) fn refuse(&self, id: u64) {
        self.writes().open.remove(&id);
    }

    /// Compares with the table; says how much there was.
    pub(crate) fn check(&self, table: &BTreeMap<String, u64>) -> String {
        let writes = self.writes();
        let count = |row: &str| table.get(row).copied().unwrap_or(0);
        let lost: Vec<&u64> = writes.sure.iter().filter(|id| count(&own(**id)) == 0).collect();
        let doubled: Vec<u64> = (1..=writes.next).filter(|id| count(&own(*id)) > 1).collect();
        let strange: Vec<u64> = (1..=writes.next)
            .filter(|id| !writes.sure.contains(id) && !writes.open.contains(id) && count(&own(*id)) > 0)
            .collect();
        let (sure, open) = (writes.sure.len(), writes.open.len());
        assert!(
            lost.is_empty() && doubled.is_empty() && strange.is_empty(),
            "of {sure}: lost {lost:?}, doubled {doubled:?}, there although refused {strange:?}"
        );
        for row in 0..HOT {
            let of = |ids: &HashSet<u64>| ids.iter().filter(|id| *id % HOT == row).count() as u64;
            let range = of(&writes.sure)..=of(&writes.sure) + of(&writes.open);
            assert!(range.contains(&count(&hot(row))), "row {row}: {} of {range:?}", count(&hot(row)));
        }
        format!("{sure} acknowledged, lost 0, doubled 0; {open} without an answer")
    }

    fn writes(&self) -> MutexGuard<'_, Writes> {
        self.0.lock().expect("no writer panics")
    }
}
