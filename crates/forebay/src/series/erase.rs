//! Deletion of a span of a key: which buckets become zero, and which lose a part of their count.
//!
//! Numbers in, numbers out: no clock, no engine.

use super::cover::{Cover, cover, finest_kept, is_edge, nearest_edge, oldest, plan_sum};
use crate::{
    engine::step::{BucketRun, ErasedPart, Erasure},
    error::{Result, out_of_range},
    model::resolution::Resolution,
    time::Timestamp,
};

/// Plans the deletion of `from..to`. Each end is where a bucket begins of the finest resolution that is still kept there.
///
/// # Errors
/// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) for another end, and for one inside a coarse bucket of which finer
/// ones are not kept any more, so that nobody knows the part that goes.
pub(super) fn plan_erase(
    resolutions: &[Resolution],
    from: Timestamp,
    to: Timestamp,
    now: Timestamp,
) -> Result<Erasure> {
    if from >= to {
        return Err(out_of_range(format!("from {from} to {to}: a span ends after it begins")));
    }
    let whole = plan_sum(resolutions, from, to, now);
    let oldest = oldest(resolutions, now);
    let (start, end) = (from.max(oldest), to.min(whole.to));
    if whole.runs.is_empty() {
        return Ok(Erasure { start: start.as_secs(), end: end.as_secs(), ..Erasure::default() });
    }
    // Before the oldest bucket there is nothing, and after the last one neither.
    let start = if from <= whole.from { whole.from } else { start };
    if start != whole.from || from > oldest && from != whole.from {
        return Err(off_edge(resolutions, "from", from, now));
    }
    if to < whole.to {
        let widest = whole.runs.last().map(|run| &resolutions[run.resolution]);
        return Err(match widest.filter(|_| is_edge(resolutions, to, now)) {
            Some(widest) => in_coarse(widest, ("to", to)),
            None => off_edge(resolutions, "to", to, now),
        });
    }
    let mut erasure = Erasure {
        start: start.as_secs(),
        end: end.as_secs(),
        total: runs(resolutions, &whole),
        ..Erasure::default()
    };
    for (place, resolution) in resolutions.iter().enumerate() {
        // Of a bucket that is cut by an end a part goes; those between become zero.
        let (first, last) = (resolution.bucket(start), resolution.bucket(end));
        let begins_inside = resolution.start(first) < start;
        let ends_inside = resolution.start(last) < end;
        let zero = first + i64::from(begins_inside)..last;
        if zero.start < zero.end {
            erasure.zero.push(BucketRun { resolution: *resolution, buckets: zero });
        }
        let mut cut = vec![];
        if begins_inside {
            cut.push(first);
        }
        if ends_inside && (last != first || !begins_inside) {
            cut.push(last);
        }
        for bucket in cut.into_iter().filter(|bucket| resolution.keeps(*bucket, now)) {
            let (begin, stop) = (resolution.start(bucket).max(start), resolution.start(bucket + 1).min(end));
            let part =
                place.checked_sub(1).map(|finer| cover(&resolutions[..=finer], finer, begin, stop, now));
            let Some(part) = part.filter(|part| part.from == begin && part.to == stop) else {
                let side = if bucket == first && begins_inside { ("from", from) } else { ("to", to) };
                return Err(in_coarse(resolution, side));
            };
            erasure.parts.push(ErasedPart {
                resolution: *resolution,
                bucket,
                part: runs(resolutions, &part),
            });
        }
    }
    Ok(erasure)
}

/// The runs of a cover, each with its resolution.
pub(super) fn runs(resolutions: &[Resolution], cover: &Cover) -> Vec<BucketRun> {
    let run = |run: &super::cover::Run| BucketRun {
        resolution: resolutions[run.resolution],
        buckets: run.buckets.clone(),
    };
    cover.runs.iter().map(run).collect()
}

fn off_edge(resolutions: &[Resolution], name: &str, at: Timestamp, now: Timestamp) -> crate::Error {
    let step = finest_kept(resolutions, at, now).map_or(0, |finest| resolutions[finest].step.as_secs());
    let nearest = nearest_edge(resolutions, at, now);
    out_of_range(format!(
        "{name} {at}: counts are kept by {step} s there, so that a deletion begins and ends at multiples of that, such as {nearest}"
    ))
}

fn in_coarse(resolution: &Resolution, (name, at): (&str, Timestamp)) -> crate::Error {
    let bucket = resolution.span(at);
    out_of_range(format!(
        "{name} {at}: it cuts the bucket from {} to {}, and not all finer ones of it are kept: use one of these times",
        bucket.start, bucket.end
    ))
}
