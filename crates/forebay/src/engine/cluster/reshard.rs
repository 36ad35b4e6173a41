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
    collections::{BTreeMap, BTreeSet},
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
    peers: Vec<Peer>,
    target: Vec<Host>,
    table: SlotTable,
    /// The slots whose keys are still on their former owner.
    left: Vec<Transit>,
    settings: Settings,
    progress: Progress,
    told: &'a mut (dyn FnMut(&Progress) + Send),
    /// Set when another resharder has taken over.
    displaced: Arc<AtomicBool>,
    /// When it began, on the monotonic clock.
    began: Duration,
}

/// The keys of a host, by slot.
type Index = BTreeMap<u16, BTreeSet<Box<[u8]>>>;

/// Some slots that move from one host to another.
struct Batch {
    from: Box<str>,
    to: Box<str>,
    slots: Vec<u16>,
}

/// What an attempt to move a batch came to.
enum Attempt {
    /// The keys are on the target.
    Copied(Vec<Box<[u8]>>),
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
        let Some(table) = Placement::latest_table(&found) else {
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
        for (peer, record) in peers.iter().zip(records(&peers).await?) {
            peer.check(&table, &record?)?;
        }
        let mark = Uuid::now_v7().to_string();
        let resharder = Self {
            clock: clock.clone(),
            mark,
            peers,
            target: hosts,
            table,
            left: vec![],
            settings,
            progress: Progress::default(),
            told,
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
        renewals.abort();
        if !self.displaced.load(Ordering::Relaxed) {
            // It need not hold any longer.
            let _ = self.arbiter().engine.claim_reshard(&self.mark, millis(1), false).await;
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
            peer.engine.complete_record(peer.address.host.name(), &text).await?;
        }
        let joins = |name: &str| self.table.hosts().all(|known| known != name);
        let new = self.peers.iter().map(|peer| (peer.address.host.name(), peer));
        let new = new.filter(|(name, _)| joins(name)).map(|(name, peer)| (name, peer.address.shown()));
        let next = self.table.with_addresses(&new.collect::<Vec<_>>());
        self.left = next.transits().iter().filter(|it| it.phase == Phase::Left).copied().collect();
        let next = next.with_transits(self.left.clone());
        let everyone: Vec<Box<str>> = next.hosts().map(Into::into).collect();
        self.store(next, &everyone, false).await
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
        self.fence(source, false).await?;
        engine.forget_touched().await
    }

    /// Moves some slots.
    async fn move_batch(&mut self, batch: &Batch, index: &mut Index) -> Result<()> {
        let keys = loop {
            let attempt = self.attempt(batch, index).await;
            if !matches!(attempt, Ok(Attempt::Copied(_))) {
                // The slots are where they were. If this fails, too, the next resharder does it.
                let canceled = self.store(self.with_left([]), &[batch.from.clone()], true).await;
                match attempt? {
                    Attempt::Copied(_) | Attempt::Again => canceled?,
                    Attempt::Undrained(tags) => {
                        self.progress.undrained.extend(tags.into_iter().map(Into::into));
                        return canceled;
                    }
                }
                continue;
            }
            if let Attempt::Copied(keys) = attempt? {
                break keys;
            }
        };
        let (from, to) = (self.number(&batch.from), self.number(&batch.to));
        let slots = || batch.slots.iter().map(|slot| Slot::numbered(*slot));
        let left = slots().map(|slot| Transit { slot, host: from, phase: Phase::Left });
        let next = self.with_left(left).with_owners(slots().map(|slot| (slot, to)));
        self.store(next, &[batch.from.clone()], true).await?;
        self.peer(&batch.from).engine.purge(self.table.epoch(), &keys).await?;
        self.progress.slots_moved += batch.slots.len() as u64;
        self.tell();
        self.keep_rate().await;
        Ok(())
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
        self.copy(batch, index).await.map(Attempt::Copied)
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
    async fn copy(&mut self, batch: &Batch, index: &mut Index) -> Result<Vec<Box<[u8]>>> {
        let (source, target) = (self.peer(&batch.from).engine.clone(), self.peer(&batch.to).engine.clone());
        for key in source.take_touched().await? {
            if let Some(slot) = slot_of_copied(&source, &key) {
                index.entry(slot).or_default().insert(key);
            }
        }
        let keys: Vec<Box<[u8]>> =
            batch.slots.iter().filter_map(|slot| index.remove(slot)).flatten().collect();
        let ahead = clock_offset(&source, &target).await?.ahead();
        target.begin_import(&self.mark).await?;
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
        // From here on nothing is written there by an earlier step.
        target.end_import(&self.mark).await?;
        self.check_claim()?;
        let fence = Fence { epoch: self.table.epoch(), tracks: true }.to_string();
        if source.fence().await?.as_deref() != Some(&fence) {
            let text = format!("host {:?} has lost its fence: it was replaced, or lost its data", batch.from);
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        Ok(keys)
    }

    /// Removes what a host still has of slots that have left it.
    async fn remove_left(&mut self, source: &str, index: &Index) -> Result<()> {
        let number = self.number(source);
        let (here, others): (Vec<Transit>, Vec<Transit>) =
            self.left.iter().partition(|transit| transit.host == number);
        let keys = here.iter().filter_map(|it| index.get(&it.slot.number())).flatten().cloned();
        self.peer(source).engine.purge(self.table.epoch(), &keys.collect::<Vec<_>>()).await?;
        self.left = others;
        Ok(())
    }

    /// Removes Forebay's own keys of slots that a host is about to get: an earlier attempt has left them.
    async fn remove_strays(&mut self, target: &str, arriving: &BTreeSet<u16>) -> Result<()> {
        let engine = self.peer(target).engine.clone();
        let (index, _) = self.index(&engine, arriving).await?;
        let strays = index.into_values().flatten().filter(|key| !matches!(engine.home(key), Home::Key(_)));
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
        let others = self.peers.iter().filter(|peer| !std::ptr::eq(*peer, arbiter));
        join_all(others.map(place)).await.into_iter().collect::<Result<()>>()?;
        self.table = next;
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
        let (mut index, mut paused, mut cursor) = (Index::new(), vec![], None);
        loop {
            let (next, keys) = engine.scan_page(cursor.as_ref()).await?;
            for key in keys {
                if engine.home(&key) == Home::EveryHost && key.ends_with(b"}:paused") {
                    paused.push(key);
                } else if let Some(slot) = slot_of_copied(engine, &key).filter(|slot| slots.contains(slot)) {
                    index.entry(slot).or_default().insert(key);
                }
            }
            self.check_claim()?;
            cursor = next;
            if cursor.is_none() {
                return Ok((index, paused));
            }
        }
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

    /// Becomes the only resharder of these hosts.
    async fn claim(&self) -> Result<()> {
        let claim = self.arbiter().engine.claim_reshard(&self.mark, CLAIM, self.settings.take_over);
        let Some(other) = claim.await? else { return Ok(()) };
        let text = format!(
            "another resharder ({other}) is at work, or ended less than {CLAIM:?} ago: wait for it, or displace it with --take-over"
        );
        Err(Error::new(ErrorKind::Unavailable, text))
    }

    /// Renews the claim while it is at work.
    fn keep_claim(&self) -> tokio::task::AbortHandle {
        let (engine, mark) = (self.arbiter().engine.clone(), self.mark.clone());
        let (clock, displaced) = (self.clock.clone(), self.displaced.clone());
        let renew = async move {
            loop {
                clock.sleep(RENEWAL).await;
                if let Ok(Some(_)) = engine.claim_reshard(&mark, CLAIM, false).await {
                    displaced.store(true, Ordering::Relaxed);
                }
            }
        };
        tokio::spawn(renew).abort_handle()
    }

    fn check_claim(&self) -> Result<()> {
        if self.displaced.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Unavailable, "another resharder has taken over"));
        }
        Ok(())
    }

    fn tell(&mut self) {
        (self.told)(&self.progress);
    }

    /// The host that decides between two resharders.
    fn arbiter(&self) -> &Peer {
        let first = self.peers.iter().min_by_key(|peer| peer.address.host.name());
        first.expect("a store has hosts")
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
        if own.epoch() == table.epoch() && own.to_string() != table.to_string() {
            let name = self.address.host.name();
            let text = format!(
                "host {name:?} belongs to another store: it holds another table of epoch {}",
                own.epoch()
            );
            return Err(Error::new(ErrorKind::Configuration, text));
        }
        Ok(())
    }
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
        *keys += index.get(&slot).map_or(0, BTreeSet::len);
        if *keys >= BATCH_KEYS || batch.slots.len() >= BATCH_SLOTS {
            full.extend(open.remove(&place).map(|(batch, _)| batch));
        }
    }
    full.extend(open.into_values().map(|(batch, _)| batch));
    full
}
