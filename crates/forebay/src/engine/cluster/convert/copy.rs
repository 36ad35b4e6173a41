//! Keys, copied and compared, page by page.

use std::collections::{BTreeMap, HashSet};

use futures::{StreamExt as _, TryStreamExt as _, future::try_join_all, stream};
use parking_lot::Mutex;

use super::{
    super::{Slot, claim::Claim},
    database::Key,
    source::{Source, SourceHost},
    target::Target,
};
use crate::{
    engine::redis::{ClockOffset, Dumped, clock_offset},
    error::{Error, ErrorKind, Result},
    model::Converted,
};

/// The keys whose names are in memory, about. The more there are, the more of them are in one slot of a Redis Cluster.
const BATCH: usize = 100_000;

/// Keys that are copied together.
const PAGE: usize = 500;

/// Pages on their way at a time.
const MAX_PAGES: usize = 8;

/// The listener to each step.
pub(super) type Told<'a> = &'a mut (dyn FnMut(&Converted) + Send);

/// The copied keys, and the listener to each step.
pub(super) struct Progress<'a> {
    pub converted: Converted,
    /// The keys of each kind that expire.
    pub expiring: BTreeMap<&'static str, u64>,
    told: Told<'a>,
}

impl<'a> Progress<'a> {
    pub(super) fn new(plan: Converted, told: Told<'a>) -> Self {
        told(&plan);
        Self { converted: plan, expiring: BTreeMap::new(), told }
    }
}

/// Copies the keys of a source to a target.
pub(super) struct Copier<'a, 'b> {
    pub source: &'a Source,
    pub target: &'a Target,
    pub claim: &'a Claim,
    /// Locked to add, never across an await.
    pub progress: &'a Mutex<Progress<'b>>,
}

/// A key on its way.
struct Entry {
    peer: usize,
    slot: Option<Slot>,
    key: Key,
    /// Its name on the target.
    name: Key,
}

impl Copier<'_, '_> {
    pub(super) async fn copy(&self) -> Result<()> {
        for (number, host) in self.source.hosts.iter().enumerate() {
            let ahead = self.target.peers.iter().map(async |peer| match peer.same {
                Some(same) if same == number => Ok(0),
                _ => clock_offset(&host.engine, &peer.engine).await.map(ClockOffset::ahead),
            });
            let ahead: Vec<u64> = try_join_all(ahead).await?;
            let (mut batch, mut cursor) = (vec![], None);
            loop {
                let (next, keys) = host.engine.scan_page(cursor.as_ref()).await?;
                batch.extend(keys.into_iter().filter_map(|key| self.entry(number, key)));
                cursor = next;
                if batch.len() >= BATCH || cursor.is_none() {
                    self.copy_batch(host, &ahead, std::mem::take(&mut batch)).await?;
                }
                if cursor.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// A key of a host of the source that goes to another one.
    fn entry(&self, number: usize, key: Key) -> Option<Entry> {
        let engine = &self.source.hosts[number].engine;
        if self.source.home(&key) != Some(number) || engine.kind_of(&key).is_none() {
            return None;
        }
        let place = self.target.place(engine, &key)?;
        let (peer, slot, name) = (place.peer, place.slot, place.name.into_owned().into());
        (self.target.peers[peer].same != Some(number)).then_some(Entry { peer, slot, key, name })
    }

    async fn copy_batch(&self, host: &SourceHost, ahead: &[u64], mut batch: Vec<Entry>) -> Result<()> {
        let place = |entry: &Entry| (entry.peer, entry.slot);
        batch.sort_by_key(place);
        let pages = batch.chunk_by(|a, b| place(a) == place(b)).flat_map(|entries| entries.chunks(PAGE));
        let copy = |page| self.copy_page(host, ahead, page);
        stream::iter(pages).map(Ok).try_for_each_concurrent(MAX_PAGES, copy).await
    }

    /// Copies keys that go to one host, and to one slot of it.
    async fn copy_page(&self, host: &SourceHost, ahead: &[u64], page: &[Entry]) -> Result<()> {
        self.claim.check()?;
        let first = &page[0];
        let peer = &self.target.peers[first.peer];
        let mut left: Vec<&Entry> = page.iter().collect();
        // What expires while it is compared is read again, and is not there.
        for attempt in 0.. {
            let keys: Vec<Key> = left.iter().map(|entry| entry.key.clone()).collect();
            let found = host.engine.dump(&keys, ahead[first.peer]).await?;
            let named = left.iter().zip(found).filter_map(|(entry, found)| {
                let mut found = found?;
                found.key.clone_from(&entry.name);
                Some(found)
            });
            let items: Vec<Dumped> = named.collect();
            peer.engine.restore_in(first.slot, self.claim.mark(), &items).await?;
            crate::failpoint!("convert_copied");
            let differing: HashSet<Key> = peer.engine.verify(&items).await?.into_iter().collect();
            self.note(host, &left, &items, &differing);
            left.retain(|entry| differing.contains(&entry.name));
            let Some(entry) = left.first() else { break };
            if attempt > 1 {
                let key = String::from_utf8_lossy(&entry.key);
                let text = format!("host {:?}: the key {key:?} is not as it was copied", peer.name);
                return Err(Error::new(ErrorKind::Corrupt, text));
            }
        }
        Ok(())
    }

    fn note(&self, host: &SourceHost, entries: &[&Entry], items: &[Dumped], differing: &HashSet<Key>) {
        let mut progress = self.progress.lock();
        let progress = &mut *progress;
        let mut items = items.iter();
        let mut item = items.next();
        for entry in entries {
            let Some(copied) = item.filter(|item| item.key == entry.name) else {
                // It was gone, so that it expires.
                *progress.expiring.entry(host.engine.kind_of(&entry.key).unwrap_or("plain")).or_default() +=
                    1;
                continue;
            };
            item = items.next();
            if differing.contains(&entry.name) {
                continue;
            }
            progress.converted.keys_copied += 1;
            progress.converted.bytes_copied += copied.bytes() as u64;
            if copied.expires() {
                *progress.expiring.entry(host.engine.kind_of(&entry.key).unwrap_or("plain")).or_default() +=
                    1;
            }
        }
        (progress.told)(&progress.converted);
    }
}
