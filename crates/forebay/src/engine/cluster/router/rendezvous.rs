//! The first assignment of slots to hosts: weighted rendezvous hashing with full hosts.
//!
//! Each host draws a number for each slot, as many times as it has weight, and keeps the highest; the
//! slot goes to the host with the highest of all. So a host that joins only takes, one that leaves only
//! gives, and neither addresses nor the order of the list matter. Chance alone gives the fullest of 40
//! hosts 11 % too much. So a host that has its share is full: it keeps the slots for which it drew
//! highest, and the others go to their next best host. That evens out all but the odd slot, and moves
//! less than 1 % of the slots needlessly when a host joins (the tests below measure both).
//!
//! # Source
//! Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998. That full hosts turn
//! away their worst until all is settled is deferred acceptance: Gale and Shapley, "College Admissions
//! and the Stability of Marriage", 1962, whose outcome does not depend on who asks first.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::super::{Host, SLOTS};

/// The owner of each slot, as a position in `hosts`, which are not empty and have different names.
///
/// No host gets more than its share by weight, rounded up.
///
/// # Cost
/// One hash per slot and unit of weight: 4 ms for 8 hosts of weight 1.
pub(crate) fn place(hosts: &[Host]) -> Box<[u16]> {
    let total: u32 = hosts.iter().map(Host::weight).sum();
    let room = |host: &Host| (u32::from(SLOTS) * host.weight()).div_ceil(total) as usize;
    settle(hosts, room)
}

/// The score of a slot with a host. The slot is part of it so that no two scores of one host are equal.
type Draw = (u64, u16);

/// Places every slot; no host takes more than its `room`. There must be room for all.
fn settle(hosts: &[Host], room: impl Fn(&Host) -> usize) -> Box<[u16]> {
    let mut kept: Vec<Vec<Draw>> = vec![Vec::new(); hosts.len()];
    // The lowest draw that a full host keeps. It only rises, so a slot once turned away stays away.
    let mut bars: Vec<Option<Draw>> = vec![None; hosts.len()];
    let mut homeless: Vec<u16> = (0..SLOTS).collect();
    while !homeless.is_empty() {
        for slot in homeless.drain(..) {
            let (host, draw) = best(hosts, &bars, slot);
            kept[host].push(draw);
        }
        for ((host, kept), bar) in hosts.iter().zip(&mut kept).zip(&mut bars) {
            let room = room(host);
            if kept.len() > room {
                kept.sort_unstable_by(|a, b| b.cmp(a));
                homeless.extend(kept.drain(room..).map(|(_, slot)| slot));
                *bar = kept.last().copied();
            }
        }
    }
    let mut owners = vec![0; usize::from(SLOTS)].into_boxed_slice();
    for (host, kept) in (0_u16..).zip(&kept) {
        for &(_, slot) in kept {
            owners[usize::from(slot)] = host;
        }
    }
    owners
}

/// The host with the highest draw for `slot` among those that would still take it.
fn best(hosts: &[Host], bars: &[Option<Draw>], slot: u16) -> (usize, Draw) {
    hosts
        .iter()
        .zip(bars)
        .enumerate()
        .map(|(index, (host, bar))| (index, host, bar, (draw(host, slot), slot)))
        .filter(|(_, _, bar, draw)| Some(*draw) > **bar)
        // Names decide between equal draws, so that the order of the hosts never does.
        .max_by_key(|(_, host, _, draw)| (*draw, host.name()))
        .map(|(index, _, _, draw)| (index, draw))
        .expect("the rooms hold all slots, so one host is not full")
}

/// The highest of as many draws as the host has weight: twice the weight, twice the chance to win.
///
/// Integers only. The usual formula, -weight / ln(draw), gives other last digits on other machines.
fn draw(host: &Host, slot: u16) -> u64 {
    let seed = |nth: u32| u64::from(nth) << 16 | u64::from(slot);
    (0..host.weight())
        .map(|nth| xxh3_64_with_seed(host.name().as_bytes(), seed(nth)))
        .max()
        .expect("a weight is at least 1")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host(name: &str, weight: u32) -> Host {
        Host::new(name).and_then(|host| host.with_weight(weight)).expect("a good host")
    }

    fn numbered(count: u32) -> Vec<Host> {
        (0..count).map(|i| host(&i.to_string(), 1)).collect()
    }

    /// Rendezvous hashing without full hosts.
    fn unbounded(hosts: &[Host]) -> Box<[u16]> {
        settle(hosts, |_| usize::from(SLOTS))
    }

    fn counts(hosts: &[Host], owners: &[u16]) -> Vec<usize> {
        let mut counts = vec![0; hosts.len()];
        for &owner in owners {
            counts[usize::from(owner)] += 1;
        }
        counts
    }

    /// The name of each slot's owner, which can be compared between lists of hosts.
    fn names<'a>(hosts: &'a [Host], owners: &[u16]) -> Vec<&'a str> {
        owners.iter().map(|&owner| hosts[usize::from(owner)].name()).collect()
    }

    /// How many slots have another owner, and how many of them went to somebody else than `to`.
    fn moved(before: &[&str], after: &[&str], to: &str) -> (usize, usize) {
        let movers: Vec<_> = before.iter().zip(after).filter(|(a, b)| a != b).collect();
        (movers.len(), movers.iter().filter(|(_, owner)| **owner != to).count())
    }

    #[test]
    fn equal_hosts_get_equal_shares() {
        for count in [1, 3, 7, 16, 64] {
            let hosts = numbered(count);
            let counts = counts(&hosts, &place(&hosts));
            let share = usize::from(SLOTS) / hosts.len();
            let least = counts.iter().min().expect("a host");
            let most = counts.iter().max().expect("a host");
            assert!(*most <= share + 1, "{count} hosts: {most} slots, the share is {share}");
            // Rounding up leaves the last ones to settle a few slots short.
            assert!(*least * 100 >= share * 95, "{count} hosts: {least} slots, the share is {share}");
        }
    }

    /// The figures of the documentation above: 11 % with chance alone, nothing with full hosts.
    #[test]
    fn full_hosts_cure_what_chance_leaves_uneven() {
        let hosts = numbered(40);
        let most = |owners: &[u16]| counts(&hosts, owners).into_iter().max().expect("a host");
        assert_eq!(usize::from(SLOTS) / 40, 409);
        assert_eq!(most(&unbounded(&hosts)), 454);
        assert_eq!(most(&place(&hosts)), 410);
    }

    #[test]
    fn shares_follow_weights() {
        let hosts = [host("a", 1), host("b", 2), host("c", 5)];
        assert_eq!(counts(&hosts, &place(&hosts)), [2_048, 4_096, 10_240]);
        let by_chance = counts(&hosts, &unbounded(&hosts));
        for (count, share) in by_chance.into_iter().zip([2_048, 4_096, 10_240]) {
            assert!(count.abs_diff(share) * 100 < share * 5, "{count} slots, the share is {share}");
        }
    }

    #[test]
    fn a_host_that_joins_only_takes() {
        for count in [1, 3, 8, 20] {
            let (few, more) = (numbered(count), numbered(count + 1));
            let newcomer = count.to_string();
            let fair = usize::from(SLOTS) / more.len();

            let (_, strays) =
                moved(&names(&few, &unbounded(&few)), &names(&more, &unbounded(&more)), &newcomer);
            assert_eq!(strays, 0, "{count} hosts and one more, without full hosts");

            let (all, strays) = moved(&names(&few, &place(&few)), &names(&more, &place(&more)), &newcomer);
            assert!(strays * 100 < usize::from(SLOTS), "{count} hosts and one more: {strays} strays");
            assert!(all <= fair + strays + 1, "{count} hosts and one more: {all} moved, {fair} is fair");
        }
    }

    #[test]
    fn a_host_that_leaves_only_gives() {
        let all = numbered(8);
        for gone in [0, 3, 7] {
            let mut rest = all.clone();
            let gone = rest.remove(gone);
            let (before, after) = (unbounded(&all), unbounded(&rest));
            for (before, after) in names(&all, &before).into_iter().zip(names(&rest, &after)) {
                assert!(before == after || before == gone.name(), "a slot of {before} moved to {after}");
            }
            let (before, after) = (place(&all), place(&rest));
            let (before, after) = (names(&all, &before), names(&rest, &after));
            let strays = before.iter().zip(after).filter(|(b, a)| **b != *a && **b != gone.name()).count();
            assert!(strays * 100 < usize::from(SLOTS), "without {gone:?}: {strays} strays");
        }
    }

    #[test]
    fn a_host_that_gains_weight_only_takes() {
        let before = [host("a", 1), host("b", 1), host("c", 1)];
        let after = [host("a", 1), host("b", 2), host("c", 1)];
        let (all, strays) =
            moved(&names(&before, &unbounded(&before)), &names(&after, &unbounded(&after)), "b");
        assert!(all > 0);
        assert_eq!(strays, 0);
    }

    /// The first table of a fleet is made by whichever process comes first, of whatever version. The
    /// numbers are from a program in Python that walks all draws of all hosts, highest first.
    #[test]
    fn placement_never_changes() {
        let folded = |hosts: &[Host]| {
            place(hosts).iter().fold(0_u32, |sum, &owner| sum.wrapping_mul(31).wrapping_add(owner.into()))
        };
        assert_eq!(folded(&[host("a", 1), host("b", 2), host("c", 1)]), 1_383_123_840);
        let urls: Vec<_> = (0..8).map(|i| host(&format!("redis://10.0.0.{i}:6379/0"), 1)).collect();
        assert_eq!(folded(&urls), 3_392_280_974);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        #[test]
        fn only_names_and_weights_matter(
            (hosts, shuffled) in prop::collection::btree_map("[a-z0-9.:]{1,12}", 1_u32..5, 1..7)
                .prop_map(|hosts| hosts.iter().map(|(name, weight)| host(name, *weight)).collect::<Vec<_>>())
                .prop_flat_map(|hosts| (Just(hosts.clone()), Just(hosts).prop_shuffle())),
        ) {
            let (owners, other) = (place(&hosts), place(&shuffled));
            prop_assert_eq!(names(&hosts, &owners), names(&shuffled, &other));

            let total: usize = hosts.iter().map(|host| host.weight() as usize).sum();
            for (host, count) in hosts.iter().zip(counts(&hosts, &owners)) {
                let share = (usize::from(SLOTS) * host.weight() as usize).div_ceil(total);
                prop_assert!(count <= share, "{host:?} has {count} slots, its share is {share}");
            }
        }
    }
}
