//! The keys of both sides, counted.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{
    super::claim::Claim,
    source::{Source, each_key},
    target::Target,
};
use crate::{
    error::{Error, ErrorKind, Result},
    key,
    model::KeysOfKind,
};

/// Counts the keys of both sides.
///
/// # Errors
/// If they differ by more than can have expired.
pub(super) async fn compare(
    (from, to): (&Source, &Target),
    claim: &Claim,
    expiring: &BTreeMap<&str, u64>,
    force: bool,
) -> Result<Vec<KeysOfKind>> {
    let (mut source, mut target) = (BTreeMap::new(), BTreeMap::new());
    for (number, host) in from.hosts.iter().enumerate() {
        let mut known = HashSet::new();
        each_key(&host.engine, claim, |key| {
            let is_here = from.home(&key) == Some(number);
            if let Some(kind) = host.engine.kind_of(&key).filter(|_| is_here && known.insert(key::hash(&key)))
            {
                *source.entry(kind).or_insert(0_u64) += 1;
            }
        })
        .await?;
    }
    let engine = &from.hosts[0].engine;
    for (number, peer) in to.peers.iter().enumerate() {
        let mut known = HashSet::new();
        each_key(&peer.engine, claim, |key| {
            // In a Redis Cluster keys have other names, and lie where these say.
            let is_here =
                to.placement().is_none() || to.place(engine, &key).is_some_and(|place| place.peer == number);
            if let Some(kind) = peer.engine.kind_of(&key).filter(|_| is_here && known.insert(key::hash(&key)))
            {
                *target.entry(kind).or_insert(0_u64) += 1;
            }
        })
        .await?;
    }
    let has_others = !to.is_alone().await?;
    let mut kinds = vec![];
    for kind in source.keys().chain(target.keys()).copied().collect::<BTreeSet<_>>() {
        let count = |counts: &BTreeMap<&str, u64>| counts.get(kind).copied().unwrap_or(0);
        let (before, after) = (count(&source), count(&target));
        let may_differ = count(expiring);
        let has_more = after > before + may_differ && (kind != "plain" || !has_others) && !force;
        if after + may_differ < before || has_more {
            let text = format!(
                "the source has {before} keys of kind {kind}, and the target {after}: somebody writes there, or the target \
                 had keys of an earlier attempt; nothing was changed on the source"
            );
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        kinds.push(KeysOfKind { kind: kind.into(), source: before, target: after });
    }
    Ok(kinds)
}
