//! The hash tags of Forebay's structures.
//!
//! Numbers and text in, text out: no connection, no clock.

use std::{borrow::Cow, sync::LazyLock};

use super::{SLOTS, Slot, slot::Letters};
use crate::{engine::step::Place, key};

/// The groups of keys of a Redis Cluster: the keys of a group share a tag, so that one call can have many of them. More groups
/// spread over more hosts, and make more calls.
pub(crate) const GROUPS: u16 = 64;

/// The groups that have a register of the partitions of buffers: each registers those whose slots are near to its own, so that
/// they are on the same host as a rule.
const REGISTERS: u16 = 16;

/// The tag of each group.
static TAGS: LazyLock<[Letters; GROUPS as usize]> = LazyLock::new(|| {
    let mut groups = Group::all();
    std::array::from_fn(|_| groups.next().unwrap_or_default().slot().letters(""))
});

/// Which structures share a hash tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Each key, lock and partition has a tag of its own: its name.
    #[default]
    Named,
    /// For a Redis Cluster: keys share the tags of groups, and partitions have tags whose slots lie evenly.
    Grouped,
}

/// A group of keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Group(u16);

impl Group {
    /// The group of a key of limits, or of a request.
    pub(crate) fn of(key: &str) -> Self {
        let group = key::hash(key.as_bytes()) % u64::from(GROUPS);
        Self(u16::try_from(group).expect("a remainder is below the divisor"))
    }

    /// All groups that have a register of partitions.
    pub(crate) fn registers() -> impl Iterator<Item = Self> {
        (0..REGISTERS).map(|number| Self(number * (GROUPS / REGISTERS)))
    }

    /// The group that registers a partition.
    pub(crate) fn register_of(place: Place<'_>) -> Self {
        Self::register_at(Layout::slot(place))
    }

    /// The group that registers the partitions of a slot.
    pub(crate) fn register_at(slot: Slot) -> Self {
        Self(slot.number() / (SLOTS / REGISTERS) * (GROUPS / REGISTERS))
    }

    /// All groups.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..GROUPS).map(Self)
    }

    /// Its place among all groups.
    pub(crate) fn index(self) -> usize {
        self.0.into()
    }

    /// Its hash tag.
    pub(crate) fn tag(self) -> &'static str {
        TAGS[self.index()].as_str()
    }

    pub(crate) fn slot(self) -> Slot {
        Slot::in_middle(self.0, GROUPS)
    }
}

/// Some groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Groups(u64);

const _: () = assert!(GROUPS as u32 == u64::BITS, "each group has a bit");

impl Groups {
    pub(crate) const ALL: Self = Self(u64::MAX);

    pub(crate) fn of(group: Group) -> Self {
        Self(1 << group.0)
    }

    /// The groups whose bits are set.
    pub(crate) fn of_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    pub(crate) fn has(self, group: Group) -> bool {
        self.0 & Self::of(group).0 != 0
    }

    /// These and others.
    pub(crate) fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Group> {
        Group::all().filter(move |group| self.has(*group))
    }
}

impl Layout {
    /// The hash tag of all keys of a place.
    pub(crate) fn tag(self, place: Place<'_>) -> Cow<'_, str> {
        match (self, place) {
            (Self::Grouped, Place::Key(key)) => Group::of(key).tag().into(),
            // Which stand-in a partition has is found by trying them, so that its slot may be any.
            (Self::Grouped, Place::Series(part)) if part.stand_in > 0 => part.tag().into(),
            (Self::Grouped, Place::Buffer(_) | Place::Series(_)) => {
                let name = format!("{}.", place.tag());
                let letters = Self::slot(place).letters(&name);
                format!("{name}{}", letters.as_str()).into()
            }
            (_, Place::Key(key) | Place::Named(key)) => key::tag_text(key),
            _ => place.tag().into_owned().into(),
        }
    }

    /// The slot of a place in a Redis Cluster.
    pub(crate) fn slot(place: Place<'_>) -> Slot {
        match place {
            Place::Key(key) => Group::of(key).slot(),
            Place::Buffer(part) => Slot::of_partition(part.schema.name.as_str(), part.index),
            Place::Series(part) if part.stand_in > 0 => Slot::of_tag(part.tag().as_bytes()),
            Place::Series(part) => Slot::of_partition(part.grid.name.as_str(), part.index),
            Place::Named(_) | Place::Overrides => Slot::of_tag(place.tag().as_bytes()),
        }
    }

    /// The group of a key that may share calls with others of its group only; under [`Named`](Self::Named) all may.
    pub(crate) fn group(self, key: &str) -> Group {
        match self {
            Self::Named => Group::default(),
            Self::Grouped => Group::of(key),
        }
    }

    /// Into how many parts a bound on all requests of a host is divided.
    pub(crate) fn shares(self) -> u16 {
        match self {
            Self::Named => 1,
            Self::Grouped => GROUPS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Buffer, engine::step::BufferPart};

    /// The largest share of some slots that one of so many hosts with equal ranges has, over the mean.
    fn skew(slots: &[u16], hosts: usize) -> f64 {
        let mut counts = vec![0_u32; hosts];
        for slot in slots {
            counts[usize::from(*slot) * hosts / usize::from(SLOTS)] += 1;
        }
        let largest = counts.into_iter().max().expect("hosts");
        f64::from(largest) * hosts as f64 / slots.len() as f64
    }

    fn slot_of(tag: &str) -> u16 {
        Slot::of_key(format!("x:{{{tag}}}:y").as_bytes()).number()
    }

    #[test]
    fn groups_have_tags_of_their_slots_that_lie_evenly() {
        let groups: Vec<Group> = Group::all().collect();
        let slots: Vec<u16> = groups.iter().map(|group| slot_of(group.tag())).collect();
        assert_eq!(slots, groups.iter().map(|group| group.slot().number()).collect::<Vec<_>>());
        for hosts in [3, 6, 9, 12] {
            assert!(skew(&slots, hosts) <= 1.2, "{hosts}: {}", skew(&slots, hosts));
        }
        assert_eq!(Group::registers().count(), usize::from(REGISTERS));
    }

    #[test]
    fn partitions_lie_evenly_and_their_tags_tell_their_slots() {
        for name in ["hits", "projects", "pages", "a_very_long_name_of_a_buffer"] {
            let schema = Buffer::new(name).key("id").sum("hits").build().expect("valid");
            let parts: Vec<BufferPart> =
                (0..16).map(|index| BufferPart { schema: schema.clone(), index }).collect();
            let mut slots = vec![];
            for part in &parts {
                let place = Place::Buffer(part);
                let tag = Layout::Grouped.tag(place);
                assert!(tag.starts_with(&format!("{name}.{}.", part.index)), "{tag}");
                assert_eq!(slot_of(&tag), Layout::slot(place).number(), "{tag}");
                let register = Group::register_of(place).slot().number();
                assert!(register.abs_diff(slot_of(&tag)) < SLOTS / REGISTERS, "{tag}");
                assert!(Group::registers().any(|group| group == Group::register_of(place)));
                slots.push(slot_of(&tag));
            }
            for hosts in [3, 6] {
                assert!(skew(&slots, hosts) <= 1.2, "{name} on {hosts}: {slots:?}");
            }
        }
    }

    #[test]
    fn a_key_is_in_one_group_and_all_groups_have_some() {
        let mut keys = vec![0; usize::from(GROUPS)];
        (0..100 * usize::from(GROUPS)).for_each(|i| keys[Group::of(&format!("user:{i}")).index()] += 1);
        assert!(keys.iter().all(|&keys| (50..200).contains(&keys)), "{keys:?}");
        assert_eq!(Layout::Grouped.tag(Place::Key("a")), Group::of("a").tag());
        assert_eq!(Layout::Named.tag(Place::Key("a{b")), "a%7Bb");
        assert_eq!(Layout::Grouped.tag(Place::Named("a{b")), "a%7Bb");
    }
}
