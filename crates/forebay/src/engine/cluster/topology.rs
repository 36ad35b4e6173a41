//! The hosts, and what each of them has, at one moment.

use std::sync::Arc;

use super::{
    Slot,
    member::Member,
    placement::Placement,
    router::{Router, RouterKind},
};
use crate::{engine::step::Place, model};

/// The hosts, and what each of them has, at one moment. It never changes: another one takes its place.
#[derive(Debug)]
pub(super) struct Topology {
    /// In the order of their numbers.
    members: Box<[Arc<Member>]>,
    placement: Arc<Placement>,
    /// How many each host has, where slots decide.
    slots: Option<Box<[u16]>>,
}

impl Topology {
    /// Hosts whose placement they have stored.
    pub(super) fn stored(members: Box<[Arc<Member>]>, placement: Arc<Placement>) -> Self {
        let slots = slots(&placement);
        Self { members, placement, slots }
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
        self.placement.router().host_for_tag(place.tag().as_bytes())
    }

    /// The number of the host of a place, and its slot if slots decide.
    pub(super) fn place_of(&self, place: Place<'_>) -> (usize, Option<u16>) {
        let slot = self.is_by_slot().then(|| Slot::of_tag(place.tag().as_bytes()).number());
        (self.number(place), slot)
    }

    /// The number of the host that has a plain key.
    pub(super) fn host_of(&self, key: &[u8]) -> usize {
        self.placement.router().host_for_key(key)
    }

    /// The slot of a plain key, if slots decide.
    pub(super) fn slot_of(&self, key: &[u8]) -> Option<u16> {
        self.is_by_slot().then(|| Slot::of_key(key).number())
    }

    /// How keys find their host.
    pub(super) fn placement(&self) -> model::Placement {
        let (router, epoch) = (self.placement.kind().as_str(), self.placement.epoch());
        model::Placement { router, epoch }
    }

    fn is_by_slot(&self) -> bool {
        self.placement.kind() == RouterKind::Slots
    }
}

fn slots(placement: &Placement) -> Option<Box<[u16]>> {
    let Router::Slots(table) = placement.router() else { return None };
    let of = |host| table.runs(host).map(|run| run.end() - run.start() + 1).sum();
    Some((0..table.hosts().len()).map(of).collect())
}
