//! The knowledge of this process about the points that wait in stand-ins.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::{
    engine::{grids::Grids, redis::Holding, step::SeriesPart},
    key::Name,
};

/// A partition of a series.
pub(super) type Home = (Name, u16);

/// A stand-in: of which partition, and its number.
pub(super) type StandIn = (Home, u8);

/// The knowledge of this process about the points that wait in stand-ins.
#[derive(Debug)]
pub(super) struct KnownPoints {
    /// This process, where several hand over.
    pub owner: Uuid,
    /// Whether there was a look that a reader waited for.
    pub first_look: OnceCell<()>,
    /// Whether `known` may say of any partition that points wait. Only spares a lock, so that it orders nothing.
    any: AtomicBool,
    /// The series of this process. What their stand-ins have is handed over by these definitions.
    pub grids: Grids,
    /// Locked for a look-up or a replacement, never across an await.
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The stand-ins that each host registered, as of its last answer.
    registers: HashMap<Box<str>, Vec<StandIn>>,
    /// What stand-ins have that have anything, as of the last look; of one whose host did not answer, as of the look before. They
    /// are looked at again whether or not a register has them.
    holding: HashMap<StandIn, Holding>,
    /// Stand-ins that this process wrote to since the last look began.
    written: HashSet<StandIn>,
    /// The same before that, until a look is complete.
    written_before: HashSet<StandIn>,
    /// A host has never told what it registered.
    blind: bool,
    /// How many times each host had been down when the last complete look began, in which it was not.
    seen_downs: HashMap<Box<str>, u64>,
    /// The same as of the last two complete looks: other processes may find a host back a little later, and write to its stand-ins
    /// until then.
    downs: HashMap<Box<str>, u64>,
    /// How many hosts have left that were not up, and how many of them had left when the last complete look began.
    losses: u64,
    seen_losses: u64,
    /// Why the points of a partition that is up could not be handed over.
    troubles: HashMap<Home, String>,
}

/// The findings of a look at all hosts.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// Of the hosts that answered.
    pub registers: HashMap<Box<str>, Vec<StandIn>>,
    /// What each stand-in has whose host answered.
    pub found: HashMap<StandIn, Holding>,
    /// Every host answered.
    pub is_complete: bool,
    /// How many times each host that was not down had been so before.
    pub downs: HashMap<Box<str>, u64>,
    /// How many hosts had left that were not up.
    pub losses: u64,
}

impl Default for KnownPoints {
    fn default() -> Self {
        let (first_look, any) = (OnceCell::new(), AtomicBool::new(false));
        Self { owner: Uuid::now_v7(), first_look, any, grids: Grids::default(), known: Mutex::default() }
    }
}

impl KnownPoints {
    /// Whether a series was defined.
    pub(super) fn is_needed(&self) -> bool {
        !self.grids.is_empty()
    }

    /// Whether the next look should come soon.
    pub(super) fn is_urgent(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Whether it was looked what waits for a host since it was last down.
    pub(super) fn is_settled(&self, host: &str, downs: u64) -> bool {
        downs == 0 || self.known.lock().downs.get(host) == Some(&downs)
    }

    /// The partition of a stand-in, if its series was defined.
    pub(super) fn part(&self, ((name, index), _): &StandIn) -> Option<SeriesPart> {
        self.grids.find(name).map(|grid| SeriesPart::new(grid, *index))
    }

    /// Notes that a stand-in is about to be written to, or was written to just now.
    pub(super) fn note_written(&self, stand_in: &SeriesPart) {
        self.known.lock().written.insert((home(stand_in), stand_in.stand_in));
        self.any.store(true, Ordering::Relaxed);
    }

    /// Whether points of a partition may wait in a stand-in. Its host was down so many times.
    pub(super) fn may_wait(&self, part: &SeriesPart, host: &str, downs: u64) -> bool {
        if downs == 0 && !self.any.load(Ordering::Relaxed) {
            return false;
        }
        let (known, home) = (self.known.lock(), home(part));
        known.blind
            || known.losses != known.seen_losses
            || known.downs.get(host).copied().unwrap_or(0) != downs
            || known.written.iter().chain(&known.written_before).any(|(written, _)| *written == home)
            || known.holding.iter().any(|((of, _), holding)| *of == home && *holding == Holding::Points)
    }

    /// Notes that a host that is not up has no partition any more. Other hosts may have points of those that it had.
    pub(super) fn note_loss(&self) {
        self.known.lock().losses += 1;
        self.any.store(true, Ordering::Relaxed);
    }

    /// Begins a look: writes from now on may not be in it.
    pub(super) fn begin_look(&self) -> Look {
        let mut known = self.known.lock();
        let written = std::mem::take(&mut known.written);
        known.written_before.extend(written);
        Look { is_complete: true, losses: known.losses, ..Look::default() }
    }

    /// The stand-ins to look at: those of all registers, with what a look has read of them, and those of which this process knows by
    /// itself that they have something. A host that was emptied has no register.
    pub(super) fn to_look_at(&self, look: &Look) -> HashSet<StandIn> {
        let known = self.known.lock();
        let before = known.registers.iter().filter(|(host, _)| !look.registers.contains_key(*host));
        let registered = look.registers.iter().chain(before).flat_map(|(_, tags)| tags);
        registered.chain(known.holding.keys()).chain(&known.written_before).cloned().collect()
    }

    /// Takes what a look found. A stand-in of which nothing is known counts as one that has points.
    pub(super) fn end_look(&self, look: Look, hosts: &[Box<str>]) {
        let looked_at = self.to_look_at(&look);
        let mut known = self.known.lock();
        let holding = |tag: &StandIn| {
            let is_old = || known.registers.values().flatten().any(|old| old == tag);
            let found = look.found.get(tag).or_else(|| known.holding.get(tag)).copied();
            found.unwrap_or_else(|| if is_old() { Holding::Nothing } else { Holding::Points })
        };
        let holding = looked_at.into_iter().map(|tag| (holding(&tag), tag));
        let holding: HashMap<StandIn, Holding> = holding
            .filter(|(holding, _)| *holding != Holding::Nothing)
            .map(|(holding, tag)| (tag, holding))
            .collect();
        known.troubles.retain(|home, _| holding.keys().any(|(of, _)| of == home));
        known.holding = holding;
        known.registers.extend(look.registers);
        known.registers.retain(|host, _| hosts.contains(host));
        known.blind = hosts.iter().any(|host| !known.registers.contains_key(host));
        if look.is_complete {
            for (host, downs) in look.downs {
                if known.seen_downs.insert(host.clone(), downs) == Some(downs) || downs == 0 {
                    known.downs.insert(host, downs);
                }
            }
            known.seen_losses = look.losses;
            known.written_before.clear();
        }
        let is_unsure = known.blind || known.losses != known.seen_losses;
        let written = !known.written.is_empty() || !known.written_before.is_empty();
        let any = is_unsure || written || known.holding.values().any(|holding| *holding == Holding::Points);
        self.any.store(any, Ordering::Relaxed);
    }

    /// The stand-ins that have anything.
    pub(super) fn holding(&self) -> Vec<StandIn> {
        self.known.lock().holding.keys().cloned().collect()
    }

    /// Notes why the points of a partition could not be handed over.
    pub(super) fn note_trouble(&self, part: &SeriesPart, error: String) {
        self.known.lock().troubles.insert(home(part), error);
    }

    /// Warnings for an operator.
    pub(super) fn warnings(&self) -> Vec<String> {
        let known = self.known.lock();
        let warning = |((name, index), error): (&Home, &String)| {
            format!(
                "series {name}: points that were accepted while the host of partition {index} was down are not added yet: {error}"
            )
        };
        known.troubles.iter().map(warning).collect()
    }
}

fn home(part: &SeriesPart) -> Home {
    (part.grid.name.clone(), part.index)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::resolution::{Grid, Resolution};

    fn part() -> SeriesPart {
        let resolutions = Resolution::defaults().into();
        let name = Name::new("hits").expect("valid");
        SeriesPart::new(Arc::new(Grid { name, resolutions, partitions: 16, is_ranked: false }), 3)
    }

    fn look(found: Option<Holding>, is_complete: bool, downs: u64) -> Look {
        let stand_in = (home(&part()), 1);
        let registers = HashMap::from([("a".into(), vec![stand_in.clone()]), ("b".into(), vec![])]);
        let found = found.map(|found| (stand_in, found)).into_iter().collect();
        Look { registers, found, is_complete, downs: HashMap::from([("a".into(), downs)]), losses: 0 }
    }

    const HOSTS: fn() -> [Box<str>; 2] = || ["a".into(), "b".into()];

    #[test]
    fn a_partition_is_sure_again_after_two_complete_looks_that_began_when_its_host_was_up() {
        let (known, part) = (KnownPoints::default(), part());
        assert!(!known.may_wait(&part, "a", 0), "nothing has happened");
        assert!(known.may_wait(&part, "a", 1), "its host was down, and nobody has looked since");
        known.end_look(look(Some(Holding::Nothing), false, 1), &HOSTS());
        assert!(known.may_wait(&part, "a", 1), "one host did not answer");
        known.end_look(look(Some(Holding::Nothing), true, 1), &HOSTS());
        assert!(known.may_wait(&part, "a", 1), "other processes may find it back later");
        assert!(!known.is_settled("a", 1) && known.is_settled("b", 0));
        known.end_look(look(Some(Holding::Nothing), true, 1), &HOSTS());
        assert!(!known.may_wait(&part, "a", 1) && known.is_settled("a", 1));
        assert!(known.may_wait(&part, "a", 2), "it was down again");
        known.end_look(look(Some(Holding::Points), true, 2), &HOSTS());
        known.end_look(look(Some(Holding::Points), true, 2), &HOSTS());
        assert!(known.may_wait(&part, "a", 2), "points wait");
        known.end_look(look(None, true, 2), &HOSTS());
        assert!(known.may_wait(&part, "a", 2), "the host of the stand-in does not answer: as before");
    }

    #[test]
    fn what_this_process_wrote_waits_until_a_look_that_began_later() {
        let (known, part) = (KnownPoints::default(), part());
        known.note_written(&part.stand_in(1));
        assert!(known.may_wait(&part, "a", 0));
        let _ = known.begin_look();
        known.note_written(&part.stand_in(1));
        known.end_look(look(Some(Holding::Nothing), true, 0), &HOSTS());
        assert!(known.may_wait(&part, "a", 0), "it was written to during the look");
        let _ = known.begin_look();
        known.end_look(look(Some(Holding::Nothing), false, 0), &HOSTS());
        assert!(known.may_wait(&part, "a", 0), "one host did not answer");
        let _ = known.begin_look();
        known.end_look(look(Some(Holding::Nothing), true, 0), &HOSTS());
        assert!(!known.may_wait(&part, "a", 0));
    }

    #[test]
    fn a_stand_in_that_is_in_no_register_is_looked_at_until_it_is_empty() {
        let (known, part) = (KnownPoints::default(), part());
        let stand_in = (home(&part), 2);
        known.note_written(&part.stand_in(2));
        let look_at = |found: Option<Holding>| {
            let registers = HOSTS().map(|host| (host, vec![])).into();
            let mut look = Look { registers, ..known.begin_look() };
            let is_looked_at = known.to_look_at(&look).contains(&stand_in);
            look.found.extend(found.map(|found| (stand_in.clone(), found)));
            look.is_complete = found.is_some();
            known.end_look(look, &HOSTS());
            is_looked_at
        };
        for found in [Some(Holding::Points), None, Some(Holding::Points)] {
            assert!(look_at(found) && known.may_wait(&part, "a", 0), "{found:?}");
        }
        assert!(look_at(Some(Holding::Received)));
        assert_eq!(known.holding(), std::slice::from_ref(&stand_in), "it is offered once more");
        assert!(!known.may_wait(&part, "a", 0) && !known.is_urgent());
        assert!(look_at(Some(Holding::Nothing)) && known.holding().is_empty());
        assert!(!look_at(Some(Holding::Nothing)));
    }

    #[test]
    fn a_lost_host_makes_all_partitions_unsure_until_a_look_that_began_later() {
        let (known, part) = (KnownPoints::default(), part());
        let early = known.begin_look();
        known.note_loss();
        assert!(known.may_wait(&part, "a", 0));
        known.end_look(Look { losses: early.losses, ..look(Some(Holding::Nothing), true, 0) }, &HOSTS());
        assert!(known.may_wait(&part, "a", 0));
        let later = known.begin_look();
        known.end_look(Look { losses: later.losses, ..look(Some(Holding::Nothing), true, 0) }, &HOSTS());
        assert!(!known.may_wait(&part, "a", 0));
    }

    #[test]
    fn a_host_that_never_said_what_it_has_may_have_points_of_any_partition() {
        let (known, part) = (KnownPoints::default(), part());
        let mut look = look(Some(Holding::Nothing), false, 0);
        look.registers.remove("b");
        known.end_look(look, &HOSTS());
        assert!(known.may_wait(&part, "a", 0));
    }
}
