//! Which partitions a store was told of, so that others find them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use parking_lot::Mutex;
use redis::Cmd;

use super::{connection::Host, dedup, session::Session};
use crate::error::Result;

/// Tells a store of partitions: of each the set in which it is registered, and its name there. Like a question, it may be sent
/// more than once.
pub(super) async fn announce(host: &Host, entries: impl IntoIterator<Item = (String, String)>) -> Result<()> {
    let mut sets: BTreeMap<String, Cmd> = BTreeMap::new();
    for (set, name) in entries {
        let begin = || redis::cmd("SADD").arg(&set).to_owned();
        sets.entry(set.clone()).or_insert_with(begin).arg(name);
    }
    host.read_unfenced(sets.into_values().collect()).await.map(drop)
}

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
    /// A connection to a store that knows `parts`. It is told of those that are new: `entry` gives the set in which a partition
    /// is registered, and its name there.
    ///
    /// # Errors
    /// If the store does not answer.
    pub(super) async fn ready(
        &self,
        host: &Host,
        parts: impl Iterator<Item = u16>,
        entry: impl Fn(u16) -> (String, String),
    ) -> Result<Session> {
        let session = dedup::session(host).await?;
        let replid = match session.replid() {
            // Behind each new connection it may have forgotten them.
            untold if untold.is_empty() => format!("connected at {:?}", session.since()).into(),
            replid => replid,
        };
        let new = self.missing(&replid, parts);
        if new.is_empty() {
            return Ok(session);
        }
        // If it takes a younger connection than `session`, that one is dead, and the write that follows fails.
        announce(host, new.iter().map(|part| entry(*part))).await?;
        self.note(replid, new);
        Ok(session)
    }

    /// Those of `parts` that the store of this replication id was not told of.
    fn missing(&self, replid: &Arc<str>, parts: impl Iterator<Item = u16>) -> Vec<u16> {
        let announced = self.0.lock();
        parts.filter(|part| announced.replid != *replid || !announced.parts.contains(part)).collect()
    }

    /// Notes that the store of this replication id was told of `parts`.
    fn note(&self, replid: Arc<str>, parts: Vec<u16>) {
        let mut announced = self.0.lock();
        if announced.replid != replid {
            *announced = Announced { replid, parts: BTreeSet::new() };
        }
        announced.parts.extend(parts);
    }
}
