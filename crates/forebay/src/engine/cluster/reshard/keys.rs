//! The keys of hosts that take part in a reshard: listed, and removed where they are not needed any more.

use std::collections::{BTreeMap, BTreeSet};

use super::state::{Purge, Resharder};
use crate::{
    engine::{
        cluster::{
            Slot,
            table::{Phase, Transit},
        },
        redis::{Home, Redis},
    },
    error::{Error, ErrorKind, Result},
};

/// The keys of a host, by slot.
#[derive(Default)]
pub(super) struct Index {
    pub keys: BTreeMap<u16, BTreeSet<Box<[u8]>>>,
    /// The beginnings of the keys of other stores in the same database.
    foreign: BTreeSet<Box<[u8]>>,
    /// Of the server that has the keys.
    pub run: String,
}

impl Index {
    pub(super) fn note(&mut self, slot: u16, key: Box<[u8]>) {
        self.keys.entry(slot).or_default().insert(key);
    }

    /// Whether a key belongs to another store.
    pub(super) fn is_foreign(&self, key: &[u8]) -> bool {
        begins_with_any(key, &self.foreign)
    }
}

impl Resharder<'_> {
    /// The keys of a host that are copied, of these slots, and those that tell which buffers are paused.
    pub(super) async fn index(
        &self,
        engine: &Redis,
        slots: &BTreeSet<u16>,
    ) -> Result<(Index, Vec<Box<[u8]>>)> {
        let (mut index, mut paused, mut cursor) = (Index::default(), vec![], None);
        index.run = engine.run_id().await?;
        loop {
            let (next, keys) = engine.scan_page(cursor.as_ref()).await?;
            for key in keys {
                if let Some(prefix) = engine.foreign_prefix(&key) {
                    index.foreign.insert(prefix);
                }
                if engine.home(&key) == Home::EveryHost && key.ends_with(b"}:paused") {
                    paused.push(key);
                } else if let Some(slot) = slot_of_copied(engine, &key).filter(|slot| slots.contains(slot)) {
                    index.note(slot, key);
                }
            }
            self.claim.check()?;
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        let Index { keys, foreign, .. } = &mut index;
        for keys in keys.values_mut() {
            keys.retain(|key| !begins_with_any(key, foreign));
        }
        Ok((index, paused))
    }

    /// Removes keys on their former owner that have been on the next one for a while; or all, when it is time.
    pub(super) async fn purge(&mut self, all: bool) -> Result<()> {
        while let Some(due) = self.purges.front() {
            let now = self.clock.monotonic();
            if now < due.at && !all {
                return Ok(());
            }
            self.clock.sleep(due.at.saturating_sub(now)).await;
            self.claim.check()?;
            let Some(Purge { from, to, keys, slots, run, .. }) = self.purges.pop_front() else { break };
            if self.peer(&to).engine.run_id().await? != run {
                let text = format!(
                    "host {to:?} was restarted within seconds after keys were copied to it, and may have lost some; they are \
                     still on host {from:?}, until this is run again"
                );
                return Err(Error::new(ErrorKind::Unavailable, text));
            }
            failpoint!("reshard_before_purge");
            let epoch = self.fences.get(&from).copied().unwrap_or_default();
            self.peer(&from).engine.purge(epoch, &keys).await?;
            failpoint!("reshard_after_purge");
            self.left.retain(|it| !slots.contains(&it.slot.number()));
        }
        Ok(())
    }

    /// Removes what an earlier resharder has copied to hosts that did not get the slots.
    pub(super) async fn remove_copies(&self) -> Result<()> {
        let mut copies: BTreeMap<usize, BTreeSet<u16>> = BTreeMap::new();
        let moving = self.table.transits().iter().filter(|transit| transit.phase == Phase::Moving);
        for transit in moving.filter(|transit| self.is_met(transit.host)) {
            copies.entry(transit.host).or_default().insert(transit.slot.number());
        }
        for (host, slots) in copies {
            let name = self.table.hosts().nth(host).expect("the table has all hosts");
            self.remove_all(name, &slots).await?;
        }
        Ok(())
    }

    /// Removes all keys of slots that a host does not have.
    pub(super) async fn remove_all(&self, host: &str, slots: &BTreeSet<u16>) -> Result<()> {
        self.remove_if(host, slots, |_| true).await
    }

    /// Removes Forebay's own keys of slots that a host is about to get: an earlier attempt has left them.
    pub(super) async fn remove_strays(&self, target: &str, arriving: &BTreeSet<u16>) -> Result<()> {
        let engine = &self.peer(target).engine;
        self.remove_if(target, arriving, |key| !matches!(engine.home(key), Home::Key(_))).await
    }

    async fn remove_if(
        &self,
        host: &str,
        slots: &BTreeSet<u16>,
        is_removed: impl Fn(&[u8]) -> bool,
    ) -> Result<()> {
        if slots.is_empty() {
            return Ok(());
        }
        let engine = &self.peer(host).engine;
        let (index, _) = self.index(engine, slots).await?;
        let keys = index.keys.into_values().flatten().filter(|key| is_removed(key));
        let keys: Vec<Box<[u8]>> = keys.collect();
        if keys.is_empty() {
            return Ok(());
        }
        self.fence(host, false).await?;
        engine.purge(self.table.epoch(), &keys).await
    }

    /// Removes what a host still has of slots that have left it.
    pub(super) async fn remove_left(&mut self, source: &str) -> Result<()> {
        let number = self.number(source);
        let (here, others): (Vec<Transit>, Vec<Transit>) =
            self.left.iter().partition(|transit| transit.host == number);
        let gone = here.iter().filter(|it| self.table.owner(it.slot) != number);
        self.remove_all(source, &gone.map(|it| it.slot.number()).collect()).await?;
        self.left = others;
        Ok(())
    }
}

/// Whether a key has one of these prefixes: those of other stores.
pub(super) fn begins_with_any(key: &[u8], prefixes: &BTreeSet<Box<[u8]>>) -> bool {
    prefixes.iter().any(|prefix| key.starts_with(prefix))
}

/// The slot of the tag of a partition.
pub(super) fn slot_of(tag: &str) -> u16 {
    Slot::of_tag(tag.as_bytes()).number()
}

/// The slot of a key that is copied. `None`: each host has its own, or it has rows that get into the database.
pub(super) fn slot_of_copied(engine: &Redis, key: &[u8]) -> Option<u16> {
    let slot = match engine.home(key) {
        Home::EveryHost => return None,
        Home::Buffer(_) if Redis::has_rows_under(key) => return None,
        Home::Tag(tag) | Home::Buffer(tag) => Slot::of_tag(tag),
        Home::Key(key) => Slot::of_key(key),
    };
    Some(slot.number())
}
