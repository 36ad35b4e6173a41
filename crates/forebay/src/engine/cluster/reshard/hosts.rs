//! The hosts of a reshard: connected to, claimed, and told of each table.

use std::collections::{BTreeMap, VecDeque};

use futures::future::join_all;

use super::{
    newcomers::check_newcomers,
    peers::{Met, meet},
    state::{Peer, Resharder, Settings},
};
use crate::{
    clock::Clock,
    engine::{
        cluster::{Address, Placement, SlotTable, claim::Claim},
        redis::Fence,
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
        let Some((peers, table)) = checked(&present, &target, (prefix, clock)).await? else {
            return Err(Error::new(
                ErrorKind::Configuration,
                "no store with the router slots was opened on these hosts: there is nothing to move",
            ));
        };
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
            target: target.into_iter().map(|address| address.host).collect(),
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

/// The hosts, once it is certain that slots can move between them, and the latest table of any. `None`: no store was opened on them.
///
/// # Errors
/// As [`Resharder::open`].
pub(crate) async fn checked(
    present: &[Address],
    target: &[Address],
    store: (&str, &Clock),
) -> Result<Option<(Vec<Peer>, SlotTable)>> {
    let Some(Met { peers, table, records }) = meet(present, target, store).await? else { return Ok(None) };
    let is_new = |peer: &Peer| {
        target.iter().any(|address| address.host.name() == peer.name())
            && table.hosts().all(|known| known != peer.name())
    };
    let mut newcomers = vec![];
    for (peer, record) in peers.iter().zip(&records) {
        peer.check(&table, record)?;
        newcomers.extend(is_new(peer).then_some((peer, record)));
    }
    check_newcomers(&peers, &newcomers, (&table, present.first())).await?;
    Ok(Some((peers, table)))
}

impl Resharder<'_> {
    /// Stores the next table on all hosts, and raises the fences of some.
    pub(super) async fn store(&mut self, next: SlotTable, fenced: &[Box<str>], tracks: bool) -> Result<()> {
        self.store_on(next, fenced, tracks, |_| true).await
    }

    /// [`store`](Self::store), where hosts may fail that are neither the first one nor fenced, nor `needed`. They get a later table.
    pub(super) async fn store_on(
        &mut self,
        next: SlotTable,
        fenced: &[Box<str>],
        tracks: bool,
        needed: impl Fn(&str) -> bool,
    ) -> Result<()> {
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
        let is_needed = |peer: &Peer| needed(peer.name()) || fenced.iter().any(|name| **name == *peer.name());
        let place =
            async |peer| place(peer).await.or_else(|error| if is_needed(peer) { Err(error) } else { Ok(()) });
        let placed: Result<()> = join_all(others.map(place)).await.into_iter().collect();
        // The first one has it, so it counts, whatever became of the others.
        self.fences.extend(fenced.iter().map(|host| (host.clone(), next.epoch())));
        self.table = next;
        placed?;
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

    /// Whether the host of this number in the table is connected to.
    pub(super) fn is_met(&self, number: usize) -> bool {
        let name = self.table.hosts().nth(number);
        self.peers.iter().any(|peer| name == Some(peer.name()))
    }

    /// The number of a host in the table.
    pub(super) fn number(&self, name: &str) -> usize {
        self.table.hosts().position(|host| host == name).expect("the table has all hosts")
    }
}
