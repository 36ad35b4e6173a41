//! Different elements: a HyperLogLog of the server's for each bucket. `lua/summaries/distinct.lua` adds to it.

use std::collections::HashSet;

use redis::Value;

use crate::{
    engine::step::Summaries,
    model::summary::{Observation, Observed, Summary, distinct::Registers},
};

/// The elements, each once.
pub(super) fn gains(observed: &[(i64, &Observation)]) -> Vec<u8> {
    let (mut there, mut bytes) = (HashSet::new(), vec![]);
    for (_, point) in observed {
        let Observed::Element(element) = &point.what else { continue };
        if there.insert(&**element) {
            let length = u16::try_from(element.len()).expect("an element has at most 512 bytes");
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(element.as_bytes());
        }
    }
    bytes
}

pub(super) fn summaries(bucket: i64, answer: Value) -> Option<Summaries> {
    match answer {
        Value::Nil => Some(vec![]),
        Value::BulkString(text) => Some(vec![(bucket, Summary::Distinct(Registers::read_redis(&text)?))]),
        _ => None,
    }
}
