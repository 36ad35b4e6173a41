//! Which node has which slot, as the nodes of a Redis Cluster say.
//!
//! Replies in, owners out: no connection, no clock.

use std::{collections::HashMap, fmt::Write as _, ops::RangeInclusive};

use redis::Value;

use super::reply::text;
use crate::engine::cluster::SLOTS;

/// The name or address of a node, and its port.
pub(crate) type Address = (Box<str>, u16);

/// A node says that a node has slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    slots: RangeInclusive<u16>,
    owner: Address,
    /// The configuration epoch of the owner: of two claims the one of the higher epoch is the newer.
    epoch: u64,
}

/// The owners of all slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotOwners {
    /// The nodes that have slots, in the order of their first slots.
    pub nodes: Vec<Address>,
    /// For each slot the place of its node.
    pub owners: Box<[Option<u16>]>,
    /// The highest configuration epoch of any owner.
    pub epoch: u64,
}

/// Reads the answers of the node `asked` to `CLUSTER SLOTS` and `CLUSTER NODES`. `None`: they have another form.
pub(super) fn claims(asked: &str, slots: &Value, nodes: Value) -> Option<Vec<Claim>> {
    let epochs = epochs(&text(nodes).unwrap_or_default());
    let Value::Array(ranges) = slots else { return None };
    ranges.iter().map(|range| claim(asked, range, &epochs)).collect()
}

fn claim(asked: &str, range: &Value, epochs: &HashMap<String, u64>) -> Option<Claim> {
    let Value::Array(words) = range else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(owner), ..] = &words[..] else { return None };
    let (first, last) = (u16::try_from(*first).ok()?, u16::try_from(*last).ok()?);
    let [endpoint, Value::Int(port), more @ ..] = &owner[..] else { return None };
    // A node that does not know under which name clients reach it leaves that to them.
    let endpoint = text(endpoint.clone()).filter(|endpoint| !matches!(&**endpoint, "" | "?"));
    let id = more.first().cloned().and_then(text).unwrap_or_default();
    (first <= last && last < SLOTS).then(|| Claim {
        slots: first..=last,
        owner: (endpoint.as_deref().unwrap_or(asked).into(), u16::try_from(*port).unwrap_or(0)),
        epoch: epochs.get(&id).copied().unwrap_or(0),
    })
}

/// The configuration epoch of each node, by its id.
fn epochs(nodes: &str) -> HashMap<String, u64> {
    let line = |line: &str| {
        let mut words = line.split(' ');
        let id = words.next()?.to_owned();
        Some((id, words.nth(5)?.parse().ok()?))
    };
    nodes.lines().filter_map(line).collect()
}

impl SlotOwners {
    /// Decides between claims.
    pub(super) fn of(claims: &[Claim]) -> Self {
        let mut best: Vec<Option<&Claim>> = vec![None; SLOTS.into()];
        for claim in claims {
            for slot in claim.slots.clone() {
                let best = &mut best[usize::from(slot)];
                if best.is_none_or(|best| best.epoch < claim.epoch) {
                    *best = Some(claim);
                }
            }
        }
        let mut nodes: Vec<Address> = vec![];
        let mut number = |claim: &Claim| {
            let known = nodes.iter().position(|node| *node == claim.owner).unwrap_or_else(|| {
                nodes.push(claim.owner.clone());
                nodes.len() - 1
            });
            u16::try_from(known).expect("a cluster has at most 16384 nodes with slots")
        };
        let owners = best.iter().map(|claim| claim.map(&mut number)).collect();
        let epoch = best.iter().flatten().map(|claim| claim.epoch).max().unwrap_or(0);
        Self { nodes, owners, epoch }
    }

    /// The ranges of slots that nobody has, as text: `0-99, 200`. Empty: each has an owner.
    pub(crate) fn missing(&self) -> String {
        let (mut ranges, mut slot) = (String::new(), 0);
        for run in self.owners.chunk_by(|a, b| a.is_none() == b.is_none()) {
            let (first, last) = (slot, slot + run.len() - 1);
            slot = last + 1;
            if run[0].is_some() {
                continue;
            }
            let comma = if ranges.is_empty() { "" } else { ", " };
            let end = if first == last { String::new() } else { format!("-{last}") };
            write!(ranges, "{comma}{first}{end}").expect("a string takes what is written");
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn range(first: i64, last: i64, endpoint: Value, id: &str) -> Value {
        let node = |endpoint, id| Value::Array(vec![endpoint, Value::Int(7), bulk(id), Value::Array(vec![])]);
        Value::Array(vec![
            Value::Int(first),
            Value::Int(last),
            node(endpoint, id),
            node(bulk("replica"), "r"),
        ])
    }

    const NODES: &str = "\
        aa 10.0.0.1:7@17,a.example myself,master - 0 0 3 connected 0-99\n\
        bb 10.0.0.2:7@17 master - 0 0 12 connected 100-16383\n\
        rr 10.0.0.3:7@17 slave aa 0 0 3 connected\n";

    fn read(slots: Vec<Value>) -> Vec<Claim> {
        claims("asked", &Value::Array(slots), bulk(NODES)).expect("ranges")
    }

    #[test]
    fn a_node_without_a_name_is_where_the_asked_one_is() {
        for endpoint in [Value::Nil, bulk(""), bulk("?")] {
            let claims = read(vec![range(0, 99, endpoint, "aa"), range(100, 16_383, bulk("b"), "bb")]);
            let owners = SlotOwners::of(&claims);
            assert_eq!(owners.nodes, [("asked".into(), 7), ("b".into(), 7)]);
            assert_eq!((owners.epoch, owners.missing()), (12, String::new()));
        }
        assert_eq!(claims("asked", &bulk("no"), bulk("")), None);
    }

    #[test]
    fn the_claim_of_the_higher_epoch_wins_whoever_is_asked_first() {
        let old = read(vec![range(0, 16_383, bulk("a"), "aa")]);
        let new = read(vec![range(50, 99, bulk("b"), "bb")]);
        for claims in [[old.clone(), new.clone()].concat(), [new, old].concat()] {
            let owners = SlotOwners::of(&claims);
            let name = |slot: usize| &*owners.nodes[usize::from(owners.owners[slot].expect("owned"))].0;
            assert_eq!([name(0), name(49), name(50), name(99), name(100)], ["a", "a", "b", "b", "a"]);
        }
    }

    #[test]
    fn slots_that_nobody_has_are_named_as_ranges() {
        let owners = SlotOwners::of(&read(vec![
            range(1, 99, bulk("a"), "aa"),
            range(101, 200, bulk("a"), "aa"),
            range(300, 16_382, bulk("b"), "bb"),
        ]));
        assert_eq!(owners.missing(), "0, 100, 201-299, 16383");
        assert_eq!(SlotOwners::of(&[]).missing(), "0-16383");
    }
}
