//! What each host, or each group, has one of: merged.

use std::collections::BTreeMap;

use futures::future::try_join_all;

use super::{
    super::{Group, Slot},
    database::Key,
    source::Source,
    target::Target,
};
use crate::{engine::redis::Registers, error::Result};

/// The tags that one register gets: of partitions of buffers, and of stand-ins.
type Tags<'a> = [Vec<&'a str>; 2];

/// Writes to the target what the registers of the source say. It may be repeated.
pub(super) async fn merge(
    source: &Source,
    target: &Target,
    paused: impl Iterator<Item = &Key>,
) -> Result<()> {
    let found = try_join_all(source.hosts.iter().map(|host| host.engine.registers())).await?;
    register(&found, target).await?;
    for key in paused {
        let asked = source.hosts.iter().map(|host| host.engine.paused_since(key));
        let Some(since) = try_join_all(asked).await?.into_iter().flatten().min() else { continue };
        match target.placement() {
            Some(_) => {
                try_join_all(target.peers.iter().map(|peer| peer.engine.pause_since(key, since))).await?;
            }
            None => target.owner(Slot::of_key(key)).engine.pause_since(key, since).await?,
        }
    }
    // Hosts of the source go on to count what began on them.
    if target.peers.iter().all(|peer| peer.same.is_none()) {
        count_bytes(&found, target).await?;
    }
    Ok(())
}

/// Registers each partition and each stand-in where its keys are.
async fn register(found: &[Registers], target: &Target) -> Result<()> {
    let mut registers: BTreeMap<(usize, Group), Tags<'_>> = BTreeMap::new();
    for (kind, tag) in found.iter().flat_map(|found| {
        let buffers = found.buffers.iter().map(|tag| (0, tag));
        buffers.chain(found.stand_ins.iter().map(|tag| (1, tag)))
    }) {
        let slot = Slot::of_tag(tag.as_bytes());
        let place = if let Some(placement) = target.placement() {
            (placement.router().host_for_tag(tag.as_bytes()), Group::default())
        } else {
            let partition = tag.rsplit_once('.').filter(|_| kind == 0);
            let partition = partition.and_then(|(name, index)| Some((name, index.parse().ok()?)));
            let slot = partition.map_or(slot, |(name, index)| Slot::of_partition(name, index));
            let group = Group::register_at(slot);
            (target.number_of(group.slot()), group)
        };
        registers.entry(place).or_default()[kind].push(tag);
    }
    for ((peer, group), [buffers, stand_ins]) in registers {
        target.peers[peer].engine.register(group, &buffers, &stand_ins).await?;
    }
    Ok(())
}

/// Counts the bytes of requests by hour. Nobody knows how many those have that go to a host: each gets its share of all.
async fn count_bytes(found: &[Registers], target: &Target) -> Result<()> {
    let mut all: BTreeMap<u64, u64> = BTreeMap::new();
    for (hour, bytes) in found.iter().flat_map(|found| &found.once_bytes) {
        *all.entry(*hour).or_default() += bytes;
    }
    let shares = |parts: usize| -> Vec<(u64, u64)> {
        all.iter().map(|(hour, bytes)| (*hour, bytes.div_ceil(parts as u64))).collect()
    };
    if target.placement().is_some() {
        let bytes = shares(target.peers.len());
        let count = target.peers.iter().map(|peer| peer.engine.count_once_bytes(Group::default(), &bytes));
        return try_join_all(count).await.map(drop);
    }
    let bytes = shares(Group::all().count());
    for group in Group::all() {
        target.owner(group.slot()).engine.count_once_bytes(group, &bytes).await?;
    }
    Ok(())
}
