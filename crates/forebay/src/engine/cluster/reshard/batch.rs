//! Batches of slots: rows get into the database, keys are copied, and the next host gets the slots.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    keys::{Index, slot_of, slot_of_copied},
    state::{Purge, Resharder},
};
use crate::{
    engine::{
        cluster::{
            Placement, Slot, SlotTable,
            claim::Claim,
            table::{Phase, Transit},
        },
        redis::{Dumped, Fence, Redis, clock_offset},
    },
    error::{Error, ErrorKind, Result},
    time::{millis, secs},
};

/// The keys of a batch, about. Writes to its slots wait while they are copied.
const BATCH_KEYS: usize = 1_000;

/// The most slots of a batch.
const BATCH_SLOTS: usize = 256;

/// Keys that are copied together.
const PAGE: usize = 500;

/// For so long keys stay on their former owner: the next one may sync its disk once a second only.
const PURGE_DELAY: Duration = secs(2);

const DRAIN_PAUSE: Duration = millis(50);

/// Some slots that move from one host to another.
pub(super) struct Batch {
    from: Box<str>,
    to: Box<str>,
    slots: Vec<u16>,
}

/// What an attempt to move a batch came to.
enum Attempt {
    /// The keys are on the target, on the server of this run.
    Copied(Vec<Box<[u8]>>, String),
    /// A partition of a buffer was written to that was not known.
    Again,
    /// These partitions have rows that did not get into the database in time.
    Undrained(Vec<String>),
}

impl Resharder<'_> {
    /// Moves some slots.
    pub(super) async fn move_batch(&mut self, batch: &Batch, index: &mut Index) -> Result<()> {
        let (keys, run) = loop {
            let attempt = self.attempt(batch, index).await;
            if !matches!(attempt, Ok(Attempt::Copied(..))) {
                // The slots are where they were. If this fails, too, the next resharder does it.
                let canceled = self.cancel(batch).await;
                match attempt? {
                    Attempt::Copied(..) | Attempt::Again => canceled?,
                    Attempt::Undrained(tags) => {
                        self.progress.undrained.extend(tags.into_iter().map(Into::into));
                        return canceled;
                    }
                }
                continue;
            }
            if let Attempt::Copied(keys, run) = attempt? {
                break (keys, run);
            }
        };
        let (from, to) = (self.number(&batch.from), self.number(&batch.to));
        let slots = || batch.slots.iter().map(|slot| Slot::numbered(*slot));
        let left = slots().map(|slot| Transit { slot, host: from, phase: Phase::Left });
        let moved: BTreeSet<u16> = batch.slots.iter().copied().collect();
        self.left.retain(|it| !moved.contains(&it.slot.number()));
        self.left.extend(left);
        let next = self.with_left([]).with_owners(slots().map(|slot| (slot, to)));
        // Nobody reads there when others may have written on the next host.
        let fence = Fence { epoch: next.epoch(), tracks: true };
        let present = Placement::of_table(self.table.clone());
        let source = self.peer(&batch.from).engine.clone();
        source.place(&present, Some(fence)).await?;
        if let Err(behind) = source.await_replicas().await {
            self.cancel(batch).await?;
            return Err(behind);
        }
        self.store(next, std::slice::from_ref(&batch.from), true).await?;
        let at = self.clock.monotonic() + PURGE_DELAY;
        let (from, to) = (batch.from.clone(), batch.to.clone());
        self.purges.push_back(Purge { from, to, keys, slots: moved, run, at });
        self.purge(false).await?;
        self.progress.slots_moved += batch.slots.len() as u64;
        self.tell();
        self.keep_rate().await;
        Ok(())
    }

    /// Lets slots be where they are, also if the host that was to get them has failed.
    pub(super) async fn cancel(&mut self, batch: &Batch) -> Result<()> {
        let is_copied = self.table.transits().iter().any(|transit| transit.phase == Phase::Moving);
        let slots = batch.slots.iter().copied().collect();
        if is_copied && self.remove_all(&batch.to, &slots).await.is_err() {
            // It has keys of slots that it does not own, as a former owner has: the next resharder removes them.
            let host = self.number(&batch.to);
            let left =
                slots.iter().map(|slot| Transit { slot: Slot::numbered(*slot), host, phase: Phase::Left });
            self.left.extend(left);
        }
        let to = &*batch.to;
        self.store_on(self.with_left([]), std::slice::from_ref(&batch.from), true, |name| name != to).await
    }

    /// Lets rows get into the database, and copies the keys of a batch.
    async fn attempt(&mut self, batch: &Batch, index: &mut Index) -> Result<Attempt> {
        let tags = self.tags(batch).await?;
        if !tags.is_empty() {
            self.store(self.on_way(batch, Phase::Draining), std::slice::from_ref(&batch.from), true).await?;
            let full = self.drain(batch, &tags).await?;
            if !full.is_empty() {
                return Ok(Attempt::Undrained(full));
            }
        }
        self.store(self.on_way(batch, Phase::Moving), std::slice::from_ref(&batch.from), true).await?;
        self.peer(&batch.from).engine.await_replicas().await?;
        // From here on no partition is begun.
        for tag in self.tags(batch).await? {
            if self.peer(&batch.from).engine.has_rows(&tag).await? {
                return Ok(Attempt::Again);
            }
        }
        let (keys, run) = self.copy(batch, index).await?;
        Ok(Attempt::Copied(keys, run))
    }

    /// The tags of the partitions of buffers in the slots of a batch.
    pub(super) async fn tags(&self, batch: &Batch) -> Result<Vec<String>> {
        let mut tags = self.peer(&batch.from).engine.registered_tags().await?;
        tags.retain(|tag| batch.slots.binary_search(&slot_of(tag)).is_ok());
        Ok(tags)
    }

    /// Waits until no partition of a batch has rows that are not in the database, and answers which still have some.
    pub(super) async fn drain(&self, batch: &Batch, tags: &[String]) -> Result<Vec<String>> {
        let until = self.clock.monotonic().saturating_add(self.settings.drain);
        loop {
            let mut full = vec![];
            for tag in tags {
                if self.peer(&batch.from).engine.has_rows(tag).await? {
                    full.push(tag.clone());
                }
            }
            if full.is_empty() || self.clock.monotonic() > until {
                return Ok(full);
            }
            self.claim.check()?;
            self.clock.sleep(DRAIN_PAUSE).await;
        }
    }

    /// Adds the keys that were written since the host's keys were listed.
    pub(super) async fn take_touched(&self, batch: &Batch, index: &mut Index) -> Result<()> {
        let source = self.peer(&batch.from).engine.clone();
        let touched = source.take_touched().await?;
        if !touched.iter().any(|key| **key == *self.claim.mark().as_bytes()) {
            let text = format!("host {:?} has forgotten which keys were written: begin anew", batch.from);
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        source.begin_tracking(self.claim.mark()).await?;
        for key in touched {
            if let Some(slot) = slot_of_copied(&source, &key).filter(|_| !index.is_foreign(&key)) {
                index.note(slot, key);
            }
        }
        Ok(())
    }

    /// Copies the keys of a batch, and answers which they are.
    pub(super) async fn copy(
        &mut self,
        batch: &Batch,
        index: &mut Index,
    ) -> Result<(Vec<Box<[u8]>>, String)> {
        let (source, target) = (self.peer(&batch.from).engine.clone(), self.peer(&batch.to).engine.clone());
        self.take_touched(batch, index).await?;
        let keys: Vec<Box<[u8]>> =
            batch.slots.iter().filter_map(|slot| index.keys.remove(slot)).flatten().collect();
        let ahead = clock_offset(&source, &target).await?.ahead();
        self.claim.check()?;
        let target_run = target.run_id().await?;
        let seal = Placement::of_table(self.table.clone()).seal().to_owned();
        if !target.begin_import(self.claim.mark(), &seal).await? {
            return Err(Claim::displaced());
        }
        failpoint!("reshard_before_copy");
        for page in keys.chunks(PAGE) {
            let mut page = page.to_vec();
            // What expires while it is compared is read again, and is not there.
            for attempt in 0.. {
                let items: Vec<Dumped> = source.dump(&page, ahead).await?.into_iter().flatten().collect();
                target.restore(self.claim.mark(), &items).await?;
                let bytes: usize = items.iter().map(Dumped::bytes).sum();
                self.progress.bytes_moved += bytes as u64;
                self.progress.keys_moved += items.len() as u64;
                page = target.verify(&items).await?;
                if page.is_empty() {
                    break;
                }
                if attempt > 1 {
                    let key = String::from_utf8_lossy(&page[0]).into_owned();
                    let text = format!("host {:?}: the key {key:?} is not as it was copied", batch.to);
                    return Err(Error::new(ErrorKind::Corrupt, text));
                }
            }
        }
        let stand_ins: BTreeSet<&str> = keys.iter().filter_map(|key| Redis::stand_in_tag(key)).collect();
        target.register_stand_ins(&stand_ins.into_iter().collect::<Vec<_>>()).await?;
        failpoint!("reshard_after_copy");
        // From here on nothing is written there by an earlier step.
        if !target.end_import(self.claim.mark()).await? {
            return Err(Claim::displaced());
        }
        self.claim.check()?;
        if target.run_id().await? != target_run || source.run_id().await? != index.run {
            let text =
                format!("host {:?} or {:?} was restarted while keys were copied", batch.from, batch.to);
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        let fence = Fence { epoch: self.table.epoch(), tracks: true }.to_string();
        if source.fence().await?.as_deref() != Some(&fence) {
            let text = format!("host {:?} has lost its fence: it was replaced, or lost its data", batch.from);
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        Ok((keys, target_run))
    }

    /// The next table with a batch on its way.
    pub(super) fn on_way(&self, batch: &Batch, phase: Phase) -> SlotTable {
        let host = self.number(&batch.to);
        self.with_left(batch.slots.iter().map(|slot| Transit { slot: Slot::numbered(*slot), host, phase }))
    }

    /// The next table with these slots on their way, beside those whose keys are still on their former owner.
    pub(super) fn with_left(&self, transits: impl IntoIterator<Item = Transit>) -> SlotTable {
        self.table.with_transits(self.left.iter().copied().chain(transits))
    }

    /// Goes on no sooner than the wanted rate allows. No slot waits meanwhile.
    pub(super) async fn keep_rate(&self) {
        let Some(rate) = self.settings.rate else { return };
        let micros = u128::from(self.progress.bytes_moved) * 1_000_000 / u128::from(rate.max(1));
        let until = self.began + Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        self.clock.sleep(until.saturating_sub(self.clock.monotonic())).await;
    }
}

/// The slots that leave a host, in batches. Those with partitions of buffers have their own: they wait for the database.
pub(super) fn batches(
    source: &str,
    leaving: &BTreeMap<u16, Box<str>>,
    index: &Index,
    tags: &[String],
) -> Vec<Batch> {
    let with_rows: BTreeSet<u16> = tags.iter().map(|tag| slot_of(tag)).collect();
    let mut open: BTreeMap<(&str, bool), (Batch, usize)> = BTreeMap::new();
    let mut full = vec![];
    for (&slot, to) in leaving {
        let place = (&**to, with_rows.contains(&slot));
        let new = || (Batch { from: source.into(), to: to.clone(), slots: vec![] }, 0);
        let (batch, keys) = open.entry(place).or_insert_with(new);
        batch.slots.push(slot);
        *keys += index.keys.get(&slot).map_or(0, BTreeSet::len);
        if *keys >= BATCH_KEYS || batch.slots.len() >= BATCH_SLOTS {
            full.extend(open.remove(&place).map(|(batch, _)| batch));
        }
    }
    full.extend(open.into_values().map(|(batch, _)| batch));
    full
}
