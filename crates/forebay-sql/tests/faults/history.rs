//! The record of all writes, and the rows that SQL should have after them.

use std::collections::{BTreeMap, BTreeSet};

/// The number of rows that all processes share.
const HOT: u64 = 7;

/// The state of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// It is being sent.
    Sent,
    /// It was acknowledged.
    Acknowledged,
    /// It certainly had no effect.
    Refused,
}

impl Event {
    const ALL: [Self; 3] = [Self::Sent, Self::Acknowledged, Self::Refused];

    /// An entry of a log.
    pub(crate) fn record(self, id: u64) -> [u8; 9] {
        let mut record = [self as u8; 9];
        record[1..].copy_from_slice(&id.to_le_bytes());
        record
    }

    /// The whole entries of a log.
    pub(crate) fn read(log: &[u8]) -> Vec<(Self, u64)> {
        let entry = |[event, id @ ..]: &[u8; 9]| (Self::ALL[usize::from(*event)], u64::from_le_bytes(*id));
        log.as_chunks().0.iter().map(entry).collect()
    }
}

#[derive(Debug, Default)]
pub(crate) struct History {
    sent: BTreeSet<u64>,
    acknowledged: BTreeSet<u64>,
    refused: BTreeSet<u64>,
}

/// The hot row that a write adds to, besides a row of its own.
pub(crate) fn hot(id: u64) -> String {
    format!("hot {}", id % HOT)
}

/// The row that only this write adds to.
pub(crate) fn own(id: u64) -> String {
    format!("own {id}")
}

impl History {
    pub(crate) fn extend(&mut self, log: Vec<(Event, u64)>) {
        for (event, id) in log {
            let Self { sent, acknowledged, refused } = self;
            match event {
                Event::Sent => sent.insert(id),
                Event::Acknowledged => acknowledged.insert(id),
                Event::Refused => refused.insert(id),
            };
        }
    }

    /// Compares the record with the table; returns a summary.
    pub(crate) fn check(&self, table: &BTreeMap<String, u64>) -> String {
        let Self { sent, acknowledged, refused } = self;
        let count = |row: &str| table.get(row).copied().unwrap_or(0);
        let lost: Vec<&u64> = acknowledged.iter().filter(|id| count(&own(**id)) == 0).collect();
        let doubled: Vec<&u64> = sent.iter().filter(|id| count(&own(**id)) > 1).collect();
        let strange: Vec<&u64> = refused.iter().filter(|id| count(&own(**id)) > 0).collect();
        let all = acknowledged.len();
        assert!(
            lost.is_empty() && doubled.is_empty() && strange.is_empty(),
            "of {all}: lost {lost:?}, doubled {doubled:?}, there although refused {strange:?}"
        );
        for row in 0..HOT {
            let of = |ids: &BTreeSet<u64>| ids.iter().filter(|id| *id % HOT == row).count() as u64;
            let range = of(acknowledged)..=of(sent) - of(refused);
            let name = hot(row);
            assert!(range.contains(&count(&name)), "{name}: {} of {range:?}", count(&name));
        }
        let open = sent.len() - all - refused.len();
        format!("{all} acknowledged, lost 0, doubled 0; {open} without an answer")
    }
}
