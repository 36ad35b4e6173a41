//! Moves slots between independent hosts while the store is in use.
//!
//! Slots move in batches from one host to another. Each step ends with a later table on all hosts, the host with the first name
//! first, and with a fence on the host that the slots leave: it does nothing for those who come by an earlier table.
//!
//! 1. *Draining*: no rows are added to the buffers of these slots. Other partitions take them. Those that are there get into
//!    the database.
//! 2. *Moving*: nothing is written. The keys are copied and compared.
//! 3. *Left*: the slots have their new owner. The keys are removed on the former one.
//!
//! A resharder that ends in the middle leaves slots that are not written, and nothing else: the next one lets them be where they
//! are and plans anew, from the table as it is. Two do not work at a time. One that was stopped for long, while another took over,
//! writes nothing any more: its table is refused, its mark is not on the target, and the fence is not of its epoch.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::{join_all, try_join_all};
use uuid::Uuid;

use super::{
    Address, Host, Placement, Record, Slot, SlotTable, moves,
    placement::check_name,
    table::{Phase, Transit},
};
use crate::{
    clock::Clock,
    engine::redis::{Dumped, Fence, Home, Redis, clock_offset},
    error::{Error, ErrorKind, Result},
    model::Progress,
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

/// For how long a claim holds that is not renewed.
const CLAIM: Duration = secs(30);

/// Between two renewals of a claim, or two looks at rows that get into the database.
const RENEWAL: Duration = secs(5);
const DRAIN_PAUSE: Duration = millis(50);

/// How a reshard goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// The most bytes a second that are copied, on average.
    pub rate: Option<u64>,
    /// How long the rows of a partition are waited for.
    pub drain: Duration,
    /// Whether a resharder that seems to be at work is displaced.
    pub take_over: bool,
}

/// A task that ends with this.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A host, as a resharder knows it.
#[derive(Debug)]
struct Peer {
    address: Address,
    engine: Arc<Redis>,
}

/// Moves slots.
pub(crate) struct Resharder<'a> {
    clock: Clock,
    mark: String,
    /// The hosts that it has claimed.
    claimed: Vec<Arc<Redis>>,
    peers: Vec<Peer>,
    target: Vec<Host>,
    table: SlotTable,
    /// The slots whose keys are still on their former owner.
    left: Vec<Transit>,
    settings: Settings,
    progress: Progress,
    told: &'a mut (dyn FnMut(&Progress) + Send),
    /// The epochs to which fences were raised, by host.
    fences: BTreeMap<Box<str>, u64>,
    /// Batches whose keys are still on their former owner.
    purges: VecDeque<Purge>,
    /// Set when another resharder has taken over.
    displaced: Arc<AtomicBool>,
    /// When it began, on the monotonic clock.
    began: Duration,
}

/// The keys of a host, by slot.
#[derive(Default)]
struct Index {
    keys: BTreeMap<u16, BTreeSet<Box<[u8]>>>,
    /// The beginnings of the keys of other stores in the same database.
    foreign: BTreeSet<Box<[u8]>>,
    /// Of the server that has the keys.
    run: String,
}

impl Index {
    fn note(&mut self, slot: u16, key: Box<[u8]>) {
        self.keys.entry(slot).or_default().insert(key);
    }

    /// Whether a key belongs to another store.
    fn is_foreign(&self, key: &[u8]) -> bool {
        self.foreign.iter().any(|prefix| key.starts_with(prefix))
    }
}

/// Some slots that move from one host to another.
struct Batch {
    from: Box<str>,
    to: Box<str>,
    slots: Vec<u16>,
}

/// Keys that are on their next host, and are to be removed on the former one.
struct Purge {
    from: Box<str>,
    to: Box<str>,
    keys: Vec<Box<[u8]>>,
    slots: BTreeSet<u16>,
    /// Of the server to which they were copied.
    run: String,
    /// Not before, on the monotonic clock.
    at: Duration,
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

impl<'a> Resharder<'a> {
    /// Connects to all hosts of a store and to those of the target, and claims the store.
    ///
    /// # Errors
    /// If a host does not answer, or is another one than is meant; if no store was opened on the hosts; if another resharder
    /// is at work.
    pub(crate) async fn open(
        (present, target): (Vec<Address>, Vec<Address>),
        (prefix, clock): (&str, &Clock),
        settings: Settings,
        told: &'a mut (dyn FnMut(&Progress) + Send),
    ) -> Result<Self> {
        let connect = async |address: Address| {
            let engine = Redis::start(&address.url, prefix, clock.clone())?;
            engine.connected().await?;
            Ok::<_, Error>(Peer { address, engine })
        };
        let hosts: Vec<Host> = target.iter().map(|address| address.host.clone()).collect();
        // The URL of the target counts: a host may have another address from now on.
        let is_new = |address: &Address| target.iter().all(|it| it.host.name() != address.host.name());
        let all = present.iter().filter(|address| is_new(address)).chain(&target).cloned();
        let mut peers: Vec<Peer> = try_join_all(all.map(connect)).await?;
        let found = records(&peers).await?;
        let is_present = |name: &str| present.iter().any(|it| it.host.name() == name);
        let Some(table) = latest(&peers, &found, is_present) else {
            return Err(Error::new(
                ErrorKind::Configuration,
                "no store with the router slots was opened on these hosts: there is nothing to move",
            ));
        };
        // Those that joined earlier, and are not in the configuration.
        let mut joined = vec![];
        for (name, address) in table.addresses() {
            if peers.iter().all(|peer| peer.address.host.name() != name) {
                let template = present.first().or(target.first());
                let url = template.map(|template| template.like(address)).unwrap_or_default();
                joined.push(Address { host: Host::new(name)?, url });
            }
        }
        peers.extend(try_join_all(joined.into_iter().map(connect)).await?);
        let known = |name: &str| peers.iter().any(|peer| peer.address.host.name() == name);
        if let Some(name) = table.hosts().find(|name| !known(name)) {
            let text = format!(
                "host {name:?} has slots, and its address is not known: add it to the hosts of the store"
            );
            return Err(Error::new(ErrorKind::Configuration, text));
        }
        // A host of the table may have got a later one first.
        let found = records(&peers).await?;
        let is_known = |name: &str| table.hosts().any(|known| known == name);
        let table = latest(&peers, &found, is_known).unwrap_or(table);
        for (peer, record) in peers.iter().zip(found) {
            peer.check(&table, &record?)?;
        }
        let mark = Uuid::now_v7().to_string();
        let mut resharder = Self {
            clock: clock.clone(),
            mark,
            claimed: vec![],
            peers,
            target: hosts,
            table,
            left: vec![],
            settings,
            progress: Progress::default(),
            told,
            fences: BTreeMap::new(),
            purges: VecDeque::new(),
            displaced: Arc::default(),
            began: clock.monotonic(),
        };
        resharder.claim().await?;
        Ok(resharder)
    }

    /// Moves slots until each host of the target has its share, and answers what was moved.
    ///
    /// # Errors
    /// If a host does not answer, or another resharder has taken over. It may be begun again.
    pub(crate) async fn run(mut self) -> Result<Progress> {
        let renewals = self.keep_claim();
        let outcome = self.move_all().await;
        drop(renewals);
        if !self.displaced.load(Ordering::Relaxed) {
            // It need not hold any longer.
            for peer in &self.claimed {
                let _ = peer.claim_reshard(&self.mark, millis(1), false).await;
            }
        }
        outcome.map(|()| self.progress)
    }

    async fn move_all(&mut self) -> Result<()> {
        self.begin().await?;
        self.progress.slots = self.plan()?.len() as u64;
        self.tell();
        let sources: Vec<Box<str>> = self.table.hosts().map(Into::into).collect();
        for source in &sources {
            self.move_from(source).await?;
        }
        self.finish().await
    }

    /// Stores a table that knows all hosts, and by which every slot is written.
    async fn begin(&mut self) -> Result<()> {
        let text = self.table.to_string();
        for peer in &self.peers {
            let record = peer.engine.complete_record(peer.address.host.name(), &text).await?;
            // Two names of one host would share its keys.
            check_name(&peer.address.host, record.name.as_deref().unwrap_or_default())?;
        }
        self.remove_copies().await?;
        let joins = |name: &str| self.table.hosts().all(|known| known != name);
        let new = self.peers.iter().map(|peer| (peer.address.host.name(), peer));
        let new = new.filter(|(name, _)| joins(name)).map(|(name, peer)| (name, peer.address.shown()));
        let next = self.table.with_addresses(&new.collect::<Vec<_>>());
        self.left = next.transits().iter().filter(|it| it.phase == Phase::Left).copied().collect();
        let next = next.with_transits(self.left.clone());
        let everyone: Vec<Box<str>> = next.hosts().map(Into::into).collect();
        self.store(next, &everyone, false).await?;
        for peer in &self.peers {
            // Who was displaced writes nothing any more, and nobody takes the keys that were noted for it.
            peer.engine.forbid_import().await?;
            self.fence(peer.address.host.name(), false).await?;
            peer.engine.forget_touched().await?;
        }
        Ok(())
    }

    /// Removes what an earlier resharder has copied to hosts that did not get the slots.
    async fn remove_copies(&self) -> Result<()> {
        let mut copies: BTreeMap<usize, BTreeSet<u16>> = BTreeMap::new();
        for transit in self.table.transits().iter().filter(|transit| transit.phase == Phase::Moving) {
            copies.entry(transit.host).or_default().insert(transit.slot.number());
        }
        for (host, slots) in copies {
            let name = self.table.hosts().nth(host).expect("the table has all hosts");
            self.remove_all(name, &slots).await?;
        }
        Ok(())
    }

    /// Removes all keys of slots that a host does not have.
    async fn remove_all(&self, host: &str, slots: &BTreeSet<u16>) -> Result<()> {
        let engine = &self.peer(host).engine;
        let (index, _) = self.index(engine, slots).await?;
        let keys: Vec<Box<[u8]>> = index.keys.into_values().flatten().collect();
        if keys.is_empty() {
            return Ok(());
        }
        self.fence(host, false).await?;
        engine.purge(self.table.epoch(), &keys).await
    }

    /// Moves the slots that leave a host, and removes what it still has of those that have left.
    async fn move_from(&mut self, source: &str) -> Result<()> {
        let number = self.number(source);
        let planned = self.plan()?.into_iter().filter(|it| it.from == number);
        let leaving: BTreeMap<u16, Box<str>> =
            planned.map(|it| (it.slot, self.target[it.to].name().into())).collect();
        let left = self.left.iter().filter(|it| it.host == number).map(|it| it.slot.number());
        let wanted: BTreeSet<u16> = leaving.keys().copied().chain(left).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let engine = self.peer(source).engine.clone();
        engine.begin_tracking(&self.mark).await?;
        self.fence(source, true).await?;
        let (mut index, paused) = self.index(&engine, &wanted).await?;
        self.remove_left(source, &index).await?;
        let targets: BTreeSet<Box<str>> = leaving.values().cloned().collect();
        for target in &targets {
            engine.copy_paused(&paused, &self.peer(target).engine).await?;
            let arriving = leaving.iter().filter(|(_, to)| *to == target).map(|(slot, _)| *slot);
            self.remove_strays(target, &arriving.collect()).await?;
        }
        for batch in batches(source, &leaving, &index, &engine.registered_tags().await?) {
            self.move_batch(&batch, &mut index).await?;
        }
        self.purge(true).await?;
        self.fence(source, false).await?;
        engine.forget_touched().await
    }

    /// Moves some slots.
    async fn move_batch(&mut self, batch: &Batch, index: &mut Index) -> Result<()> {
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
        self.peer(&batch.from).engine.place(&present, Some(fence)).await?;
        self.store(next, &[batch.from.clone()], true).await?;
        let at = self.clock.monotonic() + PURGE_DELAY;
        let (from, to) = (batch.from.clone(), batch.to.clone());
        self.purges.push_back(Purge { from, to, keys, slots: moved, run, at });
        self.purge(false).await?;
        self.progress.slots_moved += batch.slots.len() as u64;
        self.tell();
        self.keep_rate().await;
        Ok(())
    }

    /// Removes keys on their former owner that have been on the next one for a while; or all, when it is time.
    async fn purge(&mut self, all: bool) -> Result<()> {
        while let Some(due) = self.purges.front() {
            let now = self.clock.monotonic();
            if now < due.at && !all {
                return Ok(());
            }
            self.clock.sleep(due.at.saturating_sub(now)).await;
            self.check_claim()?;
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

    /// Lets slots be where they are.
    async fn cancel(&mut self, batch: &Batch) -> Result<()> {
        if self.table.transits().iter().any(|transit| transit.phase == Phase::Moving) {
            self.remove_all(&batch.to, &batch.slots.iter().copied().collect()).await?;
        }
        self.store(self.with_left([]), &[batch.from.clone()], true).await
    }

    /// Lets rows get into the database, and copies the keys of a batch.
    async fn attempt(&mut self, batch: &Batch, index: &mut Index) -> Result<Attempt> {
        let tags = self.tags(batch).await?;
        if !tags.is_empty() {
            self.store(self.on_way(batch, Phase::Draining), &[batch.from.clone()], true).await?;
            let full = self.drain(batch, &tags).await?;
            if !full.is_empty() {
                return Ok(Attempt::Undrained(full));
            }
        }
        self.store(self.on_way(batch, Phase::Moving), &[batch.from.clone()], true).await?;
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
    async fn tags(&self, batch: &Batch) -> Result<Vec<String>> {
        let mut tags = self.peer(&batch.from).engine.registered_tags().await?;
        tags.retain(|tag| batch.slots.binary_search(&slot_of(tag)).is_ok());
        Ok(tags)
    }

    /// Waits until no partition of a batch has rows that are not in the database, and answers which still have some.
    async fn drain(&self, batch: &Batch, tags: &[String]) -> Result<Vec<String>> {
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
            self.check_claim()?;
            self.clock.sleep(DRAIN_PAUSE).await;
        }
    }

    /// Copies the keys of a batch, and answers which they are.
    async fn copy(&mut self, batch: &Batch, index: &mut Index) -> Result<(Vec<Box<[u8]>>, String)> {
        let (source, target) = (self.peer(&batch.from).engine.clone(), self.peer(&batch.to).engine.clone());
        let touched = source.take_touched().await?;
        if !touched.iter().any(|key| **key == *self.mark.as_bytes()) {
            let text = format!("host {:?} has forgotten which keys were written: begin anew", batch.from);
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        source.begin_tracking(&self.mark).await?;
        for key in touched {
            if let Some(slot) = slot_of_copied(&source, &key).filter(|_| !index.is_foreign(&key)) {
                index.note(slot, key);
            }
        }
        let keys: Vec<Box<[u8]>> =
            batch.slots.iter().filter_map(|slot| index.keys.remove(slot)).flatten().collect();
        let ahead = clock_offset(&source, &target).await?.ahead();
        self.check_claim()?;
        let target_run = target.run_id().await?;
        let seal = Placement::of_table(self.table.clone()).seal().to_owned();
        if !target.begin_import(&self.mark, &seal).await? {
            return Err(displaced());
        }
        failpoint!("reshard_before_copy");
        for page in keys.chunks(PAGE) {
            let mut page = page.to_vec();
            // What expires while it is compared is read again, and is not there.
            for attempt in 0.. {
                let items: Vec<Dumped> = source.dump(&page, ahead).await?.into_iter().flatten().collect();
                target.restore(&self.mark, &items).await?;
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
        let stand_ins: BTreeSet<&str> = keys.iter().filter_map(|key| source.stand_in_tag(key)).collect();
        target.register_stand_ins(&stand_ins.into_iter().collect::<Vec<_>>()).await?;
        failpoint!("reshard_after_copy");
        // From here on nothing is written there by an earlier step.
        if !target.end_import(&self.mark).await? {
            return Err(displaced());
        }
        self.check_claim()?;
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

    /// Removes what a host still has of slots that have left it.
    async fn remove_left(&mut self, source: &str, index: &Index) -> Result<()> {
        let number = self.number(source);
        let (here, others): (Vec<Transit>, Vec<Transit>) =
            self.left.iter().partition(|transit| transit.host == number);
        let gone = here.iter().filter(|it| self.table.owner(it.slot) != number);
        let keys = gone.filter_map(|it| index.keys.get(&it.slot.number())).flatten().cloned();
        self.peer(source).engine.purge(self.table.epoch(), &keys.collect::<Vec<_>>()).await?;
        self.left = others;
        Ok(())
    }

    /// Removes Forebay's own keys of slots that a host is about to get: an earlier attempt has left them.
    async fn remove_strays(&mut self, target: &str, arriving: &BTreeSet<u16>) -> Result<()> {
        let engine = self.peer(target).engine.clone();
        let (index, _) = self.index(&engine, arriving).await?;
        let strays =
            index.keys.into_values().flatten().filter(|key| !matches!(engine.home(key), Home::Key(_)));
        let strays: Vec<Box<[u8]>> = strays.collect();
        if strays.is_empty() {
            return Ok(());
        }
        self.fence(target, false).await?;
        engine.purge(self.table.epoch(), &strays).await
    }

    /// The last table: without hosts that have no slots any more.
    async fn finish(&mut self) -> Result<()> {
        let names: Vec<&str> = self.target.iter().map(Host::name).collect();
        let next = self.table.without_idle(&names);
        let everyone: Vec<Box<str>> = self.peers.iter().map(|peer| peer.address.host.name().into()).collect();
        self.store(next, &everyone, false).await
    }

    /// Stores the next table on all hosts, and raises the fences of some.
    async fn store(&mut self, next: SlotTable, fenced: &[Box<str>], tracks: bool) -> Result<()> {
        self.check_claim()?;
        let placement = Placement::of_table(next.clone());
        let place = async |peer: &Peer| {
            let is_fenced = fenced.iter().any(|name| **name == *peer.address.host.name());
            let fence = is_fenced.then_some(Fence { epoch: next.epoch(), tracks });
            peer.engine.place(&placement, fence).await
        };
        // If two of them store at the same time, the first one here decides.
        let arbiter = self.arbiter();
        place(arbiter).await?;
        failpoint!("reshard_after_arbiter");
        let others = self.peers.iter().filter(|peer| !std::ptr::eq(*peer, arbiter));
        join_all(others.map(place)).await.into_iter().collect::<Result<()>>()?;
        self.fences.extend(fenced.iter().map(|host| (host.clone(), next.epoch())));
        self.table = next;
        failpoint!("reshard_after_store");
        Ok(())
    }

    /// Raises the fence of a host to the present table.
    async fn fence(&self, host: &str, tracks: bool) -> Result<()> {
        let fence = Fence { epoch: self.table.epoch(), tracks };
        self.peer(host).engine.place(&Placement::of_table(self.table.clone()), Some(fence)).await
    }

    /// The next table with a batch on its way.
    fn on_way(&self, batch: &Batch, phase: Phase) -> SlotTable {
        let host = self.number(&batch.to);
        self.with_left(batch.slots.iter().map(|slot| Transit { slot: Slot::numbered(*slot), host, phase }))
    }

    /// The next table with these slots on their way, beside those whose keys are still on their former owner.
    fn with_left(&self, transits: impl IntoIterator<Item = Transit>) -> SlotTable {
        self.table.with_transits(self.left.iter().copied().chain(transits))
    }

    /// The keys of a host that are copied, of these slots, and those that tell which buffers are paused.
    async fn index(&self, engine: &Redis, slots: &BTreeSet<u16>) -> Result<(Index, Vec<Box<[u8]>>)> {
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
            self.check_claim()?;
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        let foreign = std::mem::take(&mut index.foreign);
        let is_own = |key: &[u8]| !foreign.iter().any(|prefix| key.starts_with(prefix));
        index.keys.values_mut().for_each(|keys| keys.retain(|key| is_own(key)));
        index.foreign = foreign;
        Ok((index, paused))
    }

    fn plan(&self) -> Result<Vec<super::SlotMove>> {
        moves(&self.table, &self.target)
    }

    /// Goes on no sooner than the wanted rate allows. No slot waits meanwhile.
    async fn keep_rate(&self) {
        let Some(rate) = self.settings.rate else { return };
        let micros = u128::from(self.progress.bytes_moved) * 1_000_000 / u128::from(rate.max(1));
        let until = self.began + Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        self.clock.sleep(until.saturating_sub(self.clock.monotonic())).await;
    }

    /// Becomes the only resharder of these hosts. Every host that has slots is claimed: two resharders always have some in common,
    /// whatever their targets.
    async fn claim(&mut self) -> Result<()> {
        let mut owners: Vec<&str> = self.table.owners().collect();
        owners.sort_unstable();
        let engines: Vec<Arc<Redis>> = owners.iter().map(|name| self.peer(name).engine.clone()).collect();
        for engine in engines {
            let claim = engine.claim_reshard(&self.mark, CLAIM, self.settings.take_over);
            if let Some(other) = claim.await? {
                let text = format!(
                    "another resharder ({other}) is at work, or ended less than {CLAIM:?} ago: wait for it, or displace it \
                     with --take-over"
                );
                return Err(Error::new(ErrorKind::Unavailable, text));
            }
            self.claimed.push(engine);
        }
        Ok(())
    }

    /// Renews the claims while it is at work.
    fn keep_claim(&self) -> AbortOnDrop {
        let (engines, mark) = (self.claimed.clone(), self.mark.clone());
        let (clock, displaced) = (self.clock.clone(), self.displaced.clone());
        let renew = async move {
            loop {
                clock.sleep(RENEWAL).await;
                for engine in &engines {
                    if let Ok(Some(_)) = engine.claim_reshard(&mark, CLAIM, false).await {
                        displaced.store(true, Ordering::Relaxed);
                        return;
                    }
                    let _ = engine.keep_tracking().await;
                }
            }
        };
        AbortOnDrop(tokio::spawn(renew).abort_handle())
    }

    fn check_claim(&self) -> Result<()> {
        if self.displaced.load(Ordering::Relaxed) { Err(displaced()) } else { Ok(()) }
    }

    fn tell(&mut self) {
        (self.told)(&self.progress);
    }

    /// The host that gets a table first.
    fn arbiter(&self) -> &Peer {
        self.peer(self.table.owners().min().expect("slots have owners"))
    }

    fn peer(&self, name: &str) -> &Peer {
        let found = self.peers.iter().find(|peer| peer.address.host.name() == name);
        found.expect("each host of the table is connected to")
    }

    /// The number of a host in the table.
    fn number(&self, name: &str) -> usize {
        self.table.hosts().position(|host| host == name).expect("the table has all hosts")
    }
}

impl Peer {
    /// Whether it is the host that is meant, and of this store.
    fn check(&self, table: &SlotTable, record: &Record) -> Result<()> {
        if let Some(name) = &record.name {
            check_name(&self.address.host, name)?;
        }
        let Some(text) = &record.placement else { return Ok(()) };
        let own: SlotTable = text.parse().map_err(|error: Error| {
            let name = self.address.host.name();
            Error::new(
                ErrorKind::Configuration,
                format!("host {name:?} has another kind of placement: {error}"),
            )
        })?;
        let differs = own.epoch() == table.epoch() && own.to_string() != table.to_string();
        if differs || own.epoch() > table.epoch() {
            let name = self.address.host.name();
            let text = format!(
                "host {name:?} belongs to another store: it holds another table, of epoch {}; if that store is gone, \
                 remove its keys from this host",
                own.epoch()
            );
            return Err(Error::new(ErrorKind::Configuration, text));
        }
        Ok(())
    }
}

fn displaced() -> Error {
    Error::new(ErrorKind::Unavailable, "another resharder has taken over")
}

/// The latest table that some of the hosts hold.
fn latest(peers: &[Peer], found: &[Result<Record>], is_asked: impl Fn(&str) -> bool) -> Option<SlotTable> {
    let asked = peers.iter().zip(found).filter(|(peer, _)| is_asked(peer.address.host.name()));
    let asked: Vec<Result<Record>> = asked.map(|(_, record)| record.clone()).collect();
    Placement::latest_table(&asked)
}

/// What each host holds of the cluster.
async fn records(peers: &[Peer]) -> Result<Vec<Result<Record>>> {
    Ok(join_all(peers.iter().map(|peer| peer.engine.record())).await)
}

/// The slot of the tag of a partition.
fn slot_of(tag: &str) -> u16 {
    Slot::of_tag(tag.as_bytes()).number()
}

/// The slot of a key that is copied. `None`: each host has its own, or it has rows that get into the database.
fn slot_of_copied(engine: &Redis, key: &[u8]) -> Option<u16> {
    let slot = match engine.home(key) {
        Home::EveryHost => return None,
        Home::Buffer(_) if engine.has_rows_under(key) => return None,
        Home::Tag(tag) | Home::Buffer(tag) => Slot::of_tag(tag),
        Home::Key(key) => Slot::of_key(key),
    };
    Some(slot.number())
}

/// The slots that leave a host, in batches. Those with partitions of buffers have their own: they wait for the database.
fn batches(source: &str, leaving: &BTreeMap<u16, Box<str>>, index: &Index, tags: &[String]) -> Vec<Batch> {
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
