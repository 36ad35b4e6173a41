//! Which partitions a store was told of, so that others find them.

use std::{collections::BTreeSet, sync::Arc};

use parking_lot::Mutex;

/// Which partitions a store was told of. The lock protects the set, for one look-up or one note at a time.
#[derive(Debug, Default)]
pub(super) struct AnnouncedPartitions(Mutex<Announced>);

#[derive(Debug, Default)]
struct Announced {
    /// The replication id of the store. One that went back in time has forgotten them, and another id.
    replid: Arc<str>,
    parts: BTreeSet<u16>,
}

impl AnnouncedPartitions {
    /// Those of `parts` that the store of this replication id was not told of.
    pub(super) fn missing(&self, replid: &Arc<str>, parts: impl Iterator<Item = u16>) -> Vec<u16> {
        let announced = self.0.lock();
        parts.filter(|part| announced.replid != *replid || !announced.parts.contains(part)).collect()
    }

    /// Notes that the store of this replication id was told of `parts`.
    pub(super) fn note(&self, replid: Arc<str>, parts: impl Iterator<Item = u16>) {
        let mut announced = self.0.lock();
        if announced.replid != replid {
            *announced = Announced { replid, parts: BTreeSet::new() };
        }
        announced.parts.extend(parts);
    }
}
