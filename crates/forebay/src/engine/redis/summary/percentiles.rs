//! Percentiles: a hash of counts by bin for each bucket. `lua/summaries/percentiles.lua` adds to it, and describes its fields.

use redis::Value;

use crate::{
    engine::{redis::reply::pairs, step::Summaries},
    model::summary::{
        Observation, Summary, SummaryKind,
        percentiles::{NEGATIVE, POSITIVE, Sketch},
    },
};

/// The sketch of the values.
pub(super) fn gains(observed: &[(i64, &Observation)]) -> Vec<u8> {
    let mut summary = Summary::new(SummaryKind::Percentiles);
    for (_, point) in observed {
        summary.observe(point);
    }
    let Summary::Percentiles(sketch) = summary else { return vec![] };
    let (min, max) = sketch.bounds.unwrap_or_default();
    let mut bytes = [min.to_le_bytes(), max.to_le_bytes()].concat();
    // A batch has a few thousand points.
    let count = |n: u64| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    bytes.extend(count(sketch.zero));
    let mut side = |bins: Vec<(i32, u64)>, most: i32| {
        bytes.extend(u16::try_from(most).expect("at most 2 048").to_le_bytes());
        bytes.extend(u16::try_from(bins.len()).expect("at most 2 048").to_le_bytes());
        for (bin, n) in bins {
            bytes.extend(bin.to_le_bytes());
            bytes.extend(count(n));
        }
    };
    side(sketch.positive.iter().collect(), POSITIVE);
    side(sketch.negative.iter().collect(), NEGATIVE);
    bytes
}

pub(super) fn summaries(bucket: i64, answer: Value) -> Option<Summaries> {
    let fields = pairs(answer)?;
    if fields.is_empty() {
        return Some(vec![]);
    }
    let (mut sketch, mut min, mut max) = (Sketch::default(), None, None);
    for (field, value) in fields {
        let bound =
            || Some(f64::from_le_bytes(value.as_slice().try_into().ok()?)).filter(|bound| bound.is_finite());
        let count = || std::str::from_utf8(&value).ok()?.parse::<u64>().ok();
        let bin = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<i32>().ok();
        match &field[..] {
            b"min" => min = Some(bound()?),
            b"max" => max = Some(bound()?),
            b"z" => sketch.zero = count()?,
            b"ph" | b"pl" | b"nh" | b"nl" => {}
            [b'p', rest @ ..] => sketch.positive.add_stored(bin(rest)?, count()?)?,
            [b'n', rest @ ..] => sketch.negative.add_stored(bin(rest)?, count()?)?,
            _ => return None,
        }
    }
    sketch.bounds = Some((min?, max?));
    Some(vec![(bucket, Summary::Percentiles(sketch))])
}
