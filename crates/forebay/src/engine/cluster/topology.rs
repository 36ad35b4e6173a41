//! The hosts, and what each of them has, at one moment.

use std::sync::Arc;

use super::{
    Group, Groups, Layout, Slot,
    member::Member,
    placement::Placement,
    router::{Router, RouterKind},
    table::Phase,
};
use crate::{
    engine::step::Place,
    model::{self, Command, Verb},
};

/// The hosts, and what each of them has, at one moment. It never changes: another one takes its place.
#[derive(Debug)]
pub(super) struct Topology {
    /// In the order of their numbers.
    members: Box<[Arc<Member>]>,
    routing: Routing,
    /// How many each host has, where slots decide.
    slots: Option<Box<[u16]>>,
}

/// How keys find their host.
#[derive(Debug)]
enum Routing {
    /// As independent hosts have stored it.
    Stored(Arc<Placement>),
    /// As the nodes of a Redis Cluster say: the number of the owner of each slot, and the highest configuration epoch.
    Nodes(Box<[u16]>, u64),
}

impl Topology {
    /// Hosts whose placement they have stored.
    pub(super) fn stored(members: Box<[Arc<Member>]>, placement: Arc<Placement>) -> Self {
        let slots = slots(&placement);
        Self { members, routing: Routing::Stored(placement), slots }
    }

    /// Nodes of a Redis Cluster, with the number of the owner of each slot.
    pub(super) fn nodes(members: Box<[Arc<Member>]>, owners: Box<[u16]>, epoch: u64) -> Self {
        let mut slots = vec![0; members.len()];
        owners.iter().for_each(|&owner| slots[usize::from(owner)] += 1);
        let topology = Self { members, routing: Routing::Nodes(owners, epoch), slots: Some(slots.into()) };
        let mut groups = vec![Groups::default(); topology.members.len()];
        for group in Group::all() {
            let owner = topology.owner(group.slot());
            groups[owner] = groups[owner].with(Groups::of(group));
        }
        topology.members.iter().zip(groups).for_each(|(member, groups)| member.engine.set_groups(groups));
        topology
    }

    /// The number of the owner of a slot of a Redis Cluster.
    fn owner(&self, slot: Slot) -> usize {
        match &self.routing {
            Routing::Nodes(owners, _) => owners[usize::from(slot.number())].into(),
            Routing::Stored(_) => 0,
        }
    }

    /// The registers of partitions on the host of this number.
    pub(super) fn registers(&self, number: usize) -> Vec<Group> {
        match &self.routing {
            Routing::Stored(_) => vec![Group::default()],
            Routing::Nodes(..) => {
                Group::registers().filter(|register| self.owner(register.slot()) == number).collect()
            }
        }
    }

    /// Whether the host of a partition has the register of it, too.
    pub(super) fn has_register(&self, place: Place<'_>) -> bool {
        match self.routing {
            Routing::Stored(_) => true,
            Routing::Nodes(..) => self.owner(Group::register_of(place).slot()) == self.number(place),
        }
    }

    /// Whether every host has what concerns a whole buffer. In a Redis Cluster one has it.
    pub(super) fn is_told_everywhere(&self) -> bool {
        matches!(self.routing, Routing::Stored(_))
    }

    /// Whether one step can charge takes of both keys for as long as the store is there: slots move one by one.
    pub(super) fn stay_together(&self, one: &str, other: &str) -> bool {
        let slot = |key| Slot::of_tag(Place::Key(key).tag().as_bytes());
        match self.routing {
            Routing::Stored(_) if self.is_by_slot() => slot(one) == slot(other),
            _ => self.are_together(one, other),
        }
    }

    /// Whether one step can charge takes of both keys now.
    pub(super) fn are_together(&self, one: &str, other: &str) -> bool {
        match self.routing {
            Routing::Stored(_) => self.number(Place::Key(one)) == self.number(Place::Key(other)),
            Routing::Nodes(..) => Group::of(one) == Group::of(other),
        }
    }

    /// The hosts, in the order of their numbers.
    pub(super) fn members(&self) -> &[Arc<Member>] {
        &self.members
    }

    /// How many slots the host of this number has, if slots decide.
    pub(super) fn slots(&self, number: usize) -> Option<u16> {
        self.slots.as_ref().map(|slots| slots[number])
    }

    /// The host of a place.
    pub(super) fn member(&self, place: Place<'_>) -> &Arc<Member> {
        &self.members[self.number(place)]
    }

    /// The number of the host of a place.
    pub(super) fn number(&self, place: Place<'_>) -> usize {
        match &self.routing {
            Routing::Stored(placement) => placement.router().host_for_tag(place.tag().as_bytes()),
            Routing::Nodes(..) => self.owner(Layout::slot(place)),
        }
    }

    /// The number of the host of a place, and its slot if slots decide.
    pub(super) fn place_of(&self, place: Place<'_>) -> (usize, Option<u16>) {
        let slot = match &self.routing {
            Routing::Stored(_) => self.is_by_slot().then(|| Slot::of_tag(place.tag().as_bytes())),
            Routing::Nodes(..) => Some(Layout::slot(place)),
        };
        (self.number(place), slot.map(Slot::number))
    }

    /// What happens to the slot of a place, if it is on its way to another host.
    pub(super) fn phase(&self, place: Place<'_>) -> Option<Phase> {
        let Routing::Stored(placement) = &self.routing else { return None };
        let table = placement.table().filter(|table| !table.transits().is_empty())?;
        table.phase(Slot::of_tag(place.tag().as_bytes()))
    }

    /// Whether slots can move from one host to another.
    pub(super) fn can_change(&self) -> bool {
        matches!(&self.routing, Routing::Stored(placement) if placement.table().is_some())
    }

    /// Whether the host of this number takes a command now. One without a key is meant for that host.
    pub(super) fn takes(&self, command: &Command, number: usize) -> bool {
        let Routing::Stored(placement) = &self.routing else { return true };
        // By the first table nothing can have been looked up in another one.
        let Some(table) = placement.table().filter(|table| table.epoch() > 1) else { return true };
        if command.key.is_empty() {
            return true;
        }
        let phase = table.phase(Slot::of_key(&command.key));
        let waits = phase == Some(Phase::Moving) && command.verb != Verb::Get;
        !waits && self.host_of(&command.key) == number
    }

    /// The number of the host that has a plain key.
    pub(super) fn host_of(&self, key: &[u8]) -> usize {
        match &self.routing {
            Routing::Stored(placement) => placement.router().host_for_key(key),
            Routing::Nodes(..) => self.owner(Slot::of_key(key)),
        }
    }

    /// The slot of a plain key, if slots decide.
    pub(super) fn slot_of(&self, key: &[u8]) -> Option<u16> {
        self.is_by_slot().then(|| Slot::of_key(key).number())
    }

    /// How keys find their host.
    pub(super) fn placement(&self) -> model::Placement {
        let (router, epoch) = match &self.routing {
            Routing::Stored(placement) => (placement.kind().as_str(), placement.epoch()),
            Routing::Nodes(_, epoch) => ("redis-cluster", *epoch),
        };
        model::Placement { router, epoch }
    }

    /// The placement that independent hosts have stored.
    pub(super) fn stored_placement(&self) -> Option<&Placement> {
        match &self.routing {
            Routing::Stored(placement) => Some(placement),
            Routing::Nodes(..) => None,
        }
    }

    /// The former owners, to those of whose slots nobody lays claim.
    pub(super) fn owner_names(&self) -> Option<Vec<&str>> {
        let Routing::Nodes(owners, _) = &self.routing else { return None };
        Some(owners.iter().map(|&owner| self.members[usize::from(owner)].host.name()).collect())
    }

    fn is_by_slot(&self) -> bool {
        match &self.routing {
            Routing::Stored(placement) => placement.kind() == RouterKind::Slots,
            Routing::Nodes(..) => true,
        }
    }
}

fn slots(placement: &Placement) -> Option<Box<[u16]>> {
    let Router::Slots(table) = placement.router() else { return None };
    let of = |host| table.runs(host).map(|run| run.end() - run.start() + 1).sum();
    Some((0..table.hosts().len()).map(of).collect())
}
