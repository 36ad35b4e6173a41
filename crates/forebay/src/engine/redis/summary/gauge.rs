//! Gauges: a hash of some neighbouring buckets, by slot. `lua/summaries/gauge.lua` merges into it.

use std::collections::BTreeMap;

use redis::Value;

use crate::{
    engine::{redis::reply::pairs, step::Summaries},
    model::summary::{Observation, Summary, SummaryKind, gauge::Readings},
};

/// Few enough to be searched in a microsecond: a server keeps up to 512 such entries in one piece of memory.
pub(super) const BUCKETS_PER_KEY: i64 = 120;

/// The slots, each with its packed readings.
pub(super) fn gains(observed: &[(i64, &Observation)]) -> Vec<u8> {
    let mut slots: BTreeMap<i64, Summary> = BTreeMap::new();
    for (bucket, point) in observed {
        let slot = bucket.rem_euclid(BUCKETS_PER_KEY);
        slots.entry(slot).or_insert_with(|| Summary::new(SummaryKind::Gauge)).observe(point);
    }
    let mut bytes = vec![];
    for (slot, readings) in slots {
        bytes.extend_from_slice(&u16::try_from(slot).expect("below 120").to_le_bytes());
        bytes.extend(readings.pack());
    }
    bytes
}

pub(super) fn summaries(place: i64, answer: Value) -> Option<Summaries> {
    let read = |(slot, packed): (Vec<u8>, Vec<u8>)| {
        let slot: i64 = std::str::from_utf8(&slot).ok()?.parse().ok()?;
        let is_slot = (0..BUCKETS_PER_KEY).contains(&slot);
        let readings = Readings::unpack(&packed).filter(|_| is_slot)?;
        Some((place * BUCKETS_PER_KEY + slot, Summary::Gauge(readings)))
    };
    let mut summaries = pairs(answer)?.into_iter().map(read).collect::<Option<Summaries>>()?;
    summaries.sort_unstable_by_key(|(bucket, _)| *bucket);
    Some(summaries)
}
