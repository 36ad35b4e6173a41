//! Simulates how evenly keys and partitions lie on hosts, and how much moves when a host joins: the numbers of
//! `docs/scaling.md`. It connects to nothing: `cargo run --release -p forebay-bench --bin placement`.

#![expect(clippy::print_stdout, reason = "this is its output")]

use std::collections::HashMap;

use anyhow::Result;
use forebay::cluster::{FirstPlacement, Hosts};

/// Keys of each simulation.
const KEYS: usize = 1_000_000;

/// Stores of the same size with other names: one alone may be lucky.
const STORES: usize = 20;

/// Slots of a Redis Cluster.
const SLOTS: usize = 16_384;

/// Groups of limits in a Redis Cluster: see `docs/decisions/0034-the-keys-of-a-redis-cluster.md`.
const GROUPS: usize = 64;

fn main() -> Result<()> {
    println!(
        "independent hosts: keys on the fullest host over the mean, and keys that move when one joins over the ideal"
    );
    println!("{:>6} {:>8} {:>8}", "hosts", "skew", "moved");
    for hosts in [2, 3, 4, 8, 16, 64, 256, 999] {
        let (skew, moved) = keys(hosts)?;
        println!("{hosts:>6} {skew:>8.2} {moved:>8.3}");
    }
    println!("\nindependent hosts: partitions on the fullest host over the mean, median of {STORES} stores");
    let partitions = [16, 32, 64, 128, 256, 1_024];
    heading(&partitions);
    for hosts in [2, 3, 4, 8, 16, 64] {
        let skews: Vec<f64> = partitions.iter().map(|count| spread(hosts, *count)).collect::<Result<_>>()?;
        row(hosts, &skews);
    }
    println!(
        "\nRedis Cluster of equal ranges: partitions on the fullest primary over the mean; last, groups of limits"
    );
    heading(&partitions);
    for primaries in [3, 4, 6, 8, 16, 64] {
        let mut skews: Vec<f64> = partitions.iter().map(|count| in_cluster(primaries, *count)).collect();
        skews.push(groups_in_cluster(primaries));
        row(primaries, &skews);
    }
    Ok(())
}

fn heading(partitions: &[usize]) {
    let columns: Vec<String> = partitions.iter().map(|count| format!("{count:>6}")).collect();
    println!("{:>6} {}", "hosts", columns.join(" "));
}

fn row(hosts: usize, skews: &[f64]) {
    let columns: Vec<String> = skews.iter().map(|skew| format!("{skew:>6.2}")).collect();
    println!("{hosts:>6} {}", columns.join(" "));
}

fn placement(store: usize, hosts: usize) -> Result<FirstPlacement> {
    let host = |list: Hosts, number: usize| {
        let name = format!("cache-{store}-{number}");
        list.host(&name, format!("redis://{name}:6379"))
    };
    Ok((0..hosts).fold(Hosts::new(), host).first_placement()?)
}

/// The skew of keys, and how many move when a host joins over how many have to.
fn keys(hosts: usize) -> Result<(f64, f64)> {
    let (before, after) = (placement(0, hosts)?, placement(0, hosts + 1)?);
    let (mut counts, mut moved) = (HashMap::new(), 0);
    for key in 0..KEYS {
        let key = format!("user:{key}");
        let host = before.host_of(&key);
        *counts.entry(host).or_insert(0_usize) += 1;
        moved += usize::from(host != after.host_of(&key));
    }
    let ideal = KEYS as f64 / (hosts + 1) as f64;
    Ok((skew(counts.into_values(), hosts), moved as f64 / ideal))
}

/// The skew of the partitions of one structure.
fn spread(hosts: usize, partitions: usize) -> Result<f64> {
    let mut skews = vec![];
    for store in 0..STORES {
        let placement = placement(store, hosts)?;
        let mut counts = HashMap::new();
        for partition in 0..partitions {
            *counts.entry(placement.host_of(format!("{{hits.{partition}}}"))).or_insert(0_usize) += 1;
        }
        skews.push(skew(counts.into_values(), hosts));
    }
    skews.sort_by(f64::total_cmp);
    Ok(skews[STORES / 2])
}

/// Partition 0 lies anywhere, and each further one as far from all before as can be: bits in reverse order.
fn in_cluster(primaries: usize, partitions: usize) -> f64 {
    let bits = SLOTS.trailing_zeros();
    let slot = |partition: usize| (5_061 + (partition.reverse_bits() >> (usize::BITS - bits))) % SLOTS;
    by_range(primaries, (0..partitions).map(slot))
}

fn groups_in_cluster(primaries: usize) -> f64 {
    by_range(primaries, (0..GROUPS).map(|group| group * (SLOTS / GROUPS) + SLOTS / GROUPS / 2))
}

/// The skew over primaries that have equal ranges of slots.
fn by_range(primaries: usize, slots: impl Iterator<Item = usize>) -> f64 {
    let mut counts = vec![0; primaries];
    slots.for_each(|slot| counts[slot * primaries / SLOTS] += 1);
    skew(counts, primaries)
}

fn skew(counts: impl IntoIterator<Item = usize>, hosts: usize) -> f64 {
    let (mut largest, mut all) = (0, 0);
    for count in counts {
        largest = largest.max(count);
        all += count;
    }
    largest as f64 * hosts as f64 / all as f64
}
