//! The fewest slots that move when hosts join, leave or get another weight.

use super::{Host, SLOTS, SlotTable, host::check_hosts};
use crate::error::Result;

/// A slot that gets another owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotMove {
    pub slot: u16,
    /// The number of its present owner, in the table.
    pub from: usize,
    /// The number of its next owner, in the list of hosts.
    pub to: usize,
}

/// The fewest moves after which no host of `hosts` has more than its share by weight, rounded up, and no other host has any.
/// They are in ascending order of slots.
///
/// The share of a table that is filled anew has the same bound. A host gives only what it has above that, and gets only what
/// it lacks. The table of other hosts, filled anew, would move up to a half more.
///
/// # Errors
/// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) for an empty or too long list of hosts, and for two of one name.
pub(crate) fn moves(table: &SlotTable, hosts: &[Host]) -> Result<Vec<SlotMove>> {
    check_hosts(hosts)?;
    let mut room = shares(hosts);
    let mut moves: Vec<SlotMove> = vec![];
    for (from, name) in table.hosts().enumerate() {
        let slots: Vec<u16> = table.runs(from).flatten().collect();
        let room = hosts.iter().position(|host| host.name() == name).map(|target| &mut room[target]);
        let excess = slots.len() - room.as_ref().map_or(0, |room| slots.len().min(**room));
        if let Some(room) = room {
            *room -= slots.len() - excess;
        }
        // At even distances, so that what lies regularly in the slots of a host is shared in proportion.
        let given = (0..excess).map(|i| slots[i * slots.len() / excess]);
        moves.extend(given.map(|slot| SlotMove { slot, from, to: 0 }));
    }
    moves.sort_unstable_by_key(|it| it.slot);
    for it in &mut moves {
        // The host with the most room is next. Of two the name decides, so that the order of the list does not.
        let most = (0..hosts.len()).max_by_key(|&to| (room[to], hosts[to].name()));
        it.to = most.expect("a checked list has hosts");
        // There is room for all slots.
        room[it.to] -= 1;
    }
    Ok(moves)
}

/// The number of slots that each host may have: its share by weight, rounded up.
fn shares(hosts: &[Host]) -> Vec<usize> {
    let total: u32 = hosts.iter().map(Host::weight).sum();
    hosts.iter().map(|host| (u32::from(SLOTS) * host.weight()).div_ceil(total) as usize).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hosts(names: &[&str]) -> Vec<Host> {
        names.iter().map(|name| Host::new(name).expect("a good name")).collect()
    }

    fn filled(hosts: &[Host]) -> SlotTable {
        SlotTable::fill(hosts).expect("good hosts")
    }

    /// How many slots each of `hosts` has after the moves. A slot that moves twice, or from another host, is an error.
    fn after(table: &SlotTable, hosts: &[Host], moves: &[SlotMove]) -> Vec<usize> {
        let names: Vec<&str> = table.hosts().collect();
        let mut owners: Vec<&str> = vec![""; usize::from(SLOTS)];
        for (number, name) in names.iter().enumerate() {
            table.runs(number).flatten().for_each(|slot| owners[usize::from(slot)] = name);
        }
        assert!(moves.windows(2).all(|pair| pair[0].slot < pair[1].slot));
        for it in moves {
            let owner = &mut owners[usize::from(it.slot)];
            assert_eq!(*owner, names[it.from], "slot {}", it.slot);
            assert_ne!(*owner, hosts[it.to].name(), "slot {} stays", it.slot);
            *owner = hosts[it.to].name();
        }
        hosts.iter().map(|host| owners.iter().filter(|owner| **owner == host.name()).count()).collect()
    }

    #[test]
    fn a_host_that_joins_takes_its_share_and_no_more() {
        let three = filled(&hosts(&["a", "b", "c"]));
        let four = hosts(&["a", "b", "c", "d"]);
        let moves = moves(&three, &four).expect("good hosts");
        assert_eq!(moves.len(), 4_096);
        assert!(moves.iter().all(|it| it.to == 3));
        assert_eq!(after(&three, &four, &moves), [4_096; 4]);
    }

    #[test]
    fn a_host_that_leaves_gives_all_and_nobody_else_gives() {
        let four = filled(&hosts(&["a", "b", "c", "d"]));
        let three = hosts(&["d", "b", "a"]);
        let moves = moves(&four, &three).expect("good hosts");
        assert_eq!(moves.len(), 4_096);
        assert!(moves.iter().all(|it| it.from == 2));
        let mut counts = after(&four, &three, &moves);
        counts.sort_unstable();
        assert_eq!(counts, [5_461, 5_461, 5_462]);
    }

    #[test]
    fn nothing_moves_between_the_same_hosts() {
        let table = filled(&hosts(&["a", "b", "c"]));
        assert_eq!(moves(&table, &hosts(&["c", "a", "b"])).expect("good hosts"), []);
    }

    /// A filled table gives some hosts a slot or two less than others, which is no reason to move any.
    #[test]
    fn nothing_moves_for_a_slot_more_or_less() {
        for count in [2, 3, 7, 40] {
            let names: Vec<String> = (0..count).map(|host| host.to_string()).collect();
            let same = hosts(&names.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(moves(&filled(&same), &same).expect("good hosts"), [], "{count} hosts");
        }
    }

    #[test]
    fn a_list_of_hosts_has_one_of_each_name() {
        let table = filled(&hosts(&["a", "b"]));
        for wrong in [&[][..], &["a", "a"]] {
            assert_eq!(
                moves(&table, &hosts(wrong)).expect_err("no list").kind(),
                crate::ErrorKind::Configuration
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_host_gets_its_share_by_the_fewest_moves(
            before in prop::collection::btree_map("[a-h]", 1_u32..5, 1..8),
            next in prop::collection::btree_map("[a-h]", 1_u32..5, 1..8),
        ) {
            let list = |weights: &std::collections::BTreeMap<String, u32>| -> Vec<Host> {
                let host = |(name, weight): (&String, &u32)| Host::new(name)?.with_weight(*weight);
                weights.iter().map(host).collect::<Result<_>>().expect("good hosts")
            };
            let (before, next) = (list(&before), list(&next));
            let table = filled(&before);
            let moves = moves(&table, &next).expect("good hosts");
            let counts = after(&table, &next, &moves);
            let total: usize = next.iter().map(|host| host.weight() as usize).sum();
            let share = |host: &Host| (usize::from(SLOTS) * host.weight() as usize).div_ceil(total);
            for (host, count) in next.iter().zip(&counts) {
                prop_assert!(*count <= share(host), "{count} slots, the share is {}", share(host));
            }
            let fewest = table.hosts().enumerate().map(|(number, name)| {
                let had = table.runs(number).flatten().count();
                had.saturating_sub(next.iter().find(|host| host.name() == name).map_or(0, share))
            });
            prop_assert_eq!(moves.len(), fewest.sum::<usize>());
        }
    }
}
