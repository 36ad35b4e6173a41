//! The hosts of a reshard: connected to, claimed, and told of each table.

use std::collections::{BTreeMap, VecDeque};

use futures::future::{join_all, try_join_all};

use super::state::{Peer, Resharder, Settings};
use crate::{
    clock::Clock,
    engine::{
        cluster::{Address, Host, Placement, Record, SlotTable, claim::Claim, placement::check_name},
        redis::{Fence, Redis},
    },
    error::{Error, ErrorKind, Result},
    model::Progress,
};

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
            if peers.iter().all(|peer| peer.name() != name) {
                let template = present.first().or(target.first());
                let url = template.map(|template| template.like(address)).unwrap_or_default();
                joined.push(Address { host: Host::new(name)?, url });
            }
        }
        peers.extend(try_join_all(joined.into_iter().map(connect)).await?);
        let known = |name: &str| peers.iter().any(|peer| peer.name() == name);
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
        // Every host that has slots: two resharders always have some in common, whatever their targets.
        let mut owners: Vec<&Peer> =
            peers.iter().filter(|peer| table.owners().any(|name| name == peer.name())).collect();
        owners.sort_unstable_by_key(|peer| peer.name());
        let owners = owners.into_iter().map(|peer| peer.engine.clone()).collect();
        let claim = Claim::take(owners, clock, settings.take_over).await?;
        Ok(Self {
            clock: clock.clone(),
            claim,
            peers,
            target: hosts,
            table,
            left: vec![],
            settings,
            progress: Progress::default(),
            told,
            fences: BTreeMap::new(),
            purges: VecDeque::new(),
            began: clock.monotonic(),
        })
    }
}

impl Resharder<'_> {
    /// Stores the next table on all hosts, and raises the fences of some.
    pub(super) async fn store(&mut self, next: SlotTable, fenced: &[Box<str>], tracks: bool) -> Result<()> {
        self.claim.check()?;
        let placement = Placement::of_table(next.clone());
        let place = async |peer: &Peer| {
            let is_fenced = fenced.iter().any(|name| **name == *peer.name());
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
    pub(super) async fn fence(&self, host: &str, tracks: bool) -> Result<()> {
        let fence = Fence { epoch: self.table.epoch(), tracks };
        self.peer(host).engine.place(&Placement::of_table(self.table.clone()), Some(fence)).await
    }

    /// The host that gets a table first.
    pub(super) fn arbiter(&self) -> &Peer {
        self.peer(self.table.owners().min().expect("slots have owners"))
    }

    pub(super) fn peer(&self, name: &str) -> &Peer {
        let found = self.peers.iter().find(|peer| peer.name() == name);
        found.expect("each host of the table is connected to")
    }

    /// The number of a host in the table.
    pub(super) fn number(&self, name: &str) -> usize {
        self.table.hosts().position(|host| host == name).expect("the table has all hosts")
    }
}

impl Peer {
    pub(super) fn name(&self) -> &str {
        self.address.host.name()
    }

    /// Whether it is the host that is meant, and of this store.
    fn check(&self, table: &SlotTable, record: &Record) -> Result<()> {
        if let Some(name) = &record.name {
            check_name(&self.address.host, name)?;
        }
        let Some(text) = &record.placement else { return Ok(()) };
        let own: SlotTable = text.parse().map_err(|error: Error| {
            let name = self.name();
            Error::new(
                ErrorKind::Configuration,
                format!("host {name:?} has another kind of placement: {error}"),
            )
        })?;
        let differs = own.epoch() == table.epoch() && own.to_string() != table.to_string();
        if differs || own.epoch() > table.epoch() {
            let name = self.name();
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

/// The latest table that some of the hosts hold.
fn latest(peers: &[Peer], found: &[Result<Record>], is_asked: impl Fn(&str) -> bool) -> Option<SlotTable> {
    let asked = peers.iter().zip(found).filter(|(peer, _)| is_asked(peer.name()));
    let asked: Vec<Result<Record>> = asked.map(|(_, record)| record.clone()).collect();
    Placement::latest_table(&asked)
}

/// What each host holds of the cluster.
async fn records(peers: &[Peer]) -> Result<Vec<Result<Record>>> {
    Ok(join_all(peers.iter().map(|peer| peer.engine.record())).await)
}
