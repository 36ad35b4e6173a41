//! The hosts, or the Redis Cluster, to which keys are copied.

use std::{borrow::Cow, sync::Arc};

use futures::future::try_join_all;

use super::{
    super::{Address, Host, Placement, SLOTS, Slot, claim::Claim, router::RouterKind},
    database::{Database, Key, distinct, home, refused},
};
use crate::{
    clock::Clock,
    engine::redis::{Nodes, Redis},
    error::{Error, Result},
};

/// Where keys are copied to.
#[derive(Clone, Debug)]
pub(crate) enum Destination {
    /// Independent hosts, which get a table of slots.
    Hosts(Vec<Address>),
    /// A Redis Cluster, of which some nodes are known.
    Nodes(Vec<Address>),
}

/// The hosts, or nodes, to which keys are copied.
#[derive(Debug)]
pub(super) struct Target {
    pub peers: Vec<Peer>,
    pub places: Places,
}

#[derive(Debug)]
pub(super) struct Peer {
    pub name: Box<str>,
    pub engine: Arc<Redis>,
    /// The number of the host of the source that it is.
    pub same: Option<usize>,
    database: Database,
}

/// Which key goes where.
#[derive(Debug)]
pub(super) enum Places {
    Table(Placement),
    /// The node of each slot.
    Nodes(Vec<usize>, #[expect(dead_code, reason = "the engines of the nodes hold it weakly")] Arc<Nodes>),
}

/// The place of a key.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub peer: usize,
    /// In a Redis Cluster, where a script has keys of one slot.
    pub slot: Option<Slot>,
    /// The name of the key there.
    pub name: Cow<'a, [u8]>,
}

impl Target {
    /// Connects to the target.
    pub(super) async fn open(
        to: &Destination,
        number_of: impl Fn(&Database) -> Option<usize>,
        (prefix, clock): (&str, &Clock),
    ) -> Result<Self> {
        let peer = async |name: &str, engine: Arc<Redis>| {
            engine.connected().await?;
            let database = engine.database().await?;
            let same = number_of(&database);
            Ok::<_, Error>(Peer { name: name.into(), engine, same, database })
        };
        let target = match to {
            Destination::Hosts(addresses) => {
                let hosts: Vec<Host> = addresses.iter().map(|address| address.host.clone()).collect();
                let places = Places::Table(Placement::first(RouterKind::Slots, &hosts)?);
                let start = async |address: &Address| {
                    let engine = Redis::start(&address.url, prefix, clock.clone())?;
                    peer(address.host.name(), engine).await
                };
                Self { peers: try_join_all(addresses.iter().map(start)).await?, places }
            }
            Destination::Nodes(addresses) => {
                let urls: Vec<Box<str>> = addresses.iter().map(|address| address.url.clone()).collect();
                let nodes = Nodes::new(&urls, prefix, clock.clone())?;
                let owners = nodes.find().await?.owners;
                let owner = |owner: &Option<u16>| owner.map(usize::from);
                let numbers: Option<Vec<usize>> = owners.owners.iter().map(owner).collect();
                let Some(numbers) = numbers else {
                    let text = format!("no node of the Redis Cluster has the slots {}", owners.missing());
                    return Err(refused(text));
                };
                let start = async |address: &(Box<str>, u16)| {
                    peer(&format!("{}:{}", address.0, address.1), nodes.engine(address)).await
                };
                let peers = try_join_all(owners.nodes.iter().map(start)).await?;
                Self { peers, places: Places::Nodes(numbers, nodes) }
            }
        };
        distinct(target.peers.iter().map(|peer| (&*peer.name, &peer.database)))?;
        Ok(target)
    }

    /// The place of a key of the source; `None`: each host has its own.
    pub(super) fn place<'a>(&self, engine: &Redis, key: &'a [u8]) -> Option<Place<'a>> {
        match &self.places {
            Places::Table(placement) => {
                let peer = home(placement, engine, key)?;
                Some(Place { peer, slot: None, name: Cow::Borrowed(key) })
            }
            Places::Nodes(owners, _) => {
                let name = engine.in_redis_cluster(key)?;
                let slot = Slot::of_key(&name);
                Some(Place { peer: owners[usize::from(slot.number())], slot: Some(slot), name })
            }
        }
    }

    /// Whether the target is independent hosts; else it is a Redis Cluster.
    pub(super) fn placement(&self) -> Option<&Placement> {
        match &self.places {
            Places::Table(placement) => Some(placement),
            Places::Nodes(..) => None,
        }
    }

    /// The number of the peer that has a slot.
    pub(super) fn number_of(&self, slot: Slot) -> usize {
        match &self.places {
            Places::Table(placement) => placement.table().expect("the target has slots").owner(slot),
            Places::Nodes(owners, _) => owners[usize::from(slot.number())],
        }
    }

    /// The peer that has a slot.
    pub(super) fn owner(&self, slot: Slot) -> &Peer {
        &self.peers[self.number_of(slot)]
    }

    /// The host that decides between two who copy keys here.
    pub(super) fn arbiter(&self) -> &Peer {
        let [_, claims] = self.peers[0].engine.slots_about_conversion();
        match self.places {
            Places::Table(_) => self.peers.iter().min_by_key(|peer| &peer.name).expect("a store has hosts"),
            Places::Nodes(..) => self.owner(claims),
        }
    }

    /// The peers that have a note of the conversion: all hosts, or a node for all.
    pub(super) fn noting(&self) -> Vec<&Peer> {
        let [notes, _] = self.peers[0].engine.slots_about_conversion();
        match self.places {
            Places::Table(_) => self.peers.iter().collect(),
            Places::Nodes(..) => vec![self.owner(notes)],
        }
    }

    /// A plain key of these of a host of the source that the target has.
    pub(super) async fn taken(&self, engine: &Redis, keys: &[Key]) -> Result<Option<(Box<str>, Key)>> {
        for (at, peer) in self.peers.iter().enumerate() {
            let here = |key: &&Key| self.place(engine, key).is_some_and(|place| place.peer == at);
            let keys: Vec<Key> = keys.iter().filter(here).cloned().collect();
            let exist = if keys.is_empty() { vec![] } else { peer.engine.exist(&keys).await? };
            if let Some(place) = exist.into_iter().position(|exists| exists) {
                return Ok(Some((peer.name.clone(), keys[place].clone())));
            }
        }
        Ok(None)
    }

    /// Becomes the only one that writes to the target.
    pub(super) async fn begin(&self, claim: &Claim) -> Result<()> {
        for (number, peer) in self.peers.iter().enumerate() {
            peer.engine.begin_imports(claim.mark(), &self.slots_of(number)).await?;
        }
        Ok(())
    }

    /// Lets nobody write to the target as a conversion any more.
    pub(super) async fn end(&self) -> Result<()> {
        for (number, peer) in self.peers.iter().enumerate() {
            peer.engine.end_imports(&self.slots_of(number)).await?;
        }
        Ok(())
    }

    /// What has a mark of its own: each slot of a node, or an independent host.
    fn slots_of(&self, number: usize) -> Vec<Option<Slot>> {
        let Places::Nodes(owners, _) = &self.places else { return vec![None] };
        let own = (0..SLOTS).filter(|slot| owners[usize::from(*slot)] == number);
        own.map(|slot| Some(Slot::numbered(slot))).collect()
    }
}
