//! Points on their way into chunks, and counts on their way out.
//!
//! Numbers in, numbers out: no clock, no connection. The forms of a chunk are described in
//! `lua/chunks.lua`.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use crate::{
    engine::step::Point,
    model::resolution::{Grid, MAX_COUNT, Resolution},
    time::{Timestamp, mins},
};

/// The gain of one bucket. The order keeps the buckets of a chunk together, by slot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Gain {
    pub key: Arc<str>,
    /// In seconds.
    pub step: u64,
    pub chunk: i64,
    pub slot: usize,
    /// How many the chunk has.
    pub slots: i64,
    pub n: u64,
    /// How long the chunk is to live, in milliseconds, if this is its first.
    pub ttl: u128,
}

impl Gain {
    /// The start of its bucket in seconds, ':' and its key: the name of the bucket in a stand-in.
    pub(super) fn field(&self) -> String {
        let start = self.bucket().saturating_mul(i64::try_from(self.step).expect("at most a day"));
        format!("{start}:{}", self.key)
    }

    fn bucket(&self) -> i64 {
        self.chunk * self.slots + i64::try_from(self.slot).expect("at most 3600 slots")
    }

    /// The bytes of its key.
    pub(super) fn heap_bytes(&self) -> usize {
        self.key.len()
    }

    fn same_chunk(&self, other: &Self) -> bool {
        (&self.key, self.step, self.chunk) == (&other.key, other.step, other.chunk)
    }
}

/// The gains of points in every resolution that still keeps their buckets.
pub(super) fn gains(grid: &Grid, points: &[Point], now: Timestamp) -> Vec<Gain> {
    let mut all = Vec::with_capacity(points.len() * grid.resolutions.len());
    for point in points {
        all.extend(kept(grid, point, now));
    }
    merge(all)
}

/// The gain of each point in the finest resolution that still keeps its bucket. From it the gains of all coarser ones follow,
/// whose steps are multiples.
pub(super) fn finest(grid: &Grid, points: &[Point], now: Timestamp) -> Vec<Gain> {
    merge(points.iter().filter_map(|point| kept(grid, point, now).next()).collect())
}

/// The start of the finest bucket of a time, in seconds.
pub(super) fn bucket_start(grid: &Grid, at: Timestamp) -> i64 {
    grid.resolutions.first().map_or(0, |finest| finest.start(finest.bucket(at)).as_secs())
}

/// The resolutions of a series as a list of open buckets has them: `10/86400,60/604800`.
pub(super) fn resolutions_text(grid: &Grid) -> String {
    let text =
        |resolution: &Resolution| format!("{}/{}", resolution.step.as_secs(), resolution.retention.as_secs());
    grid.resolutions.iter().map(text).collect::<Vec<_>>().join(",")
}

/// Reads that text.
pub(super) fn read_resolutions(text: &str) -> Option<Vec<Resolution>> {
    let read = |pair: &str| {
        let (step, retention) = pair.split_once('/')?;
        let span = |secs: &str| Some(Duration::from_secs(secs.parse().ok()?));
        Resolution::new(span(step)?, span(retention)?).ok()
    };
    text.split(',').map(read).collect()
}

/// Whether any resolution keeps a time.
pub(super) fn is_kept(grid: &Grid, at: Timestamp, now: Timestamp) -> bool {
    grid.resolutions.iter().any(|resolution| resolution.keeps(resolution.bucket(at), now))
}

/// For how long any bucket of a point is kept at most, of one that may be ahead of the clock.
pub(super) fn longest_life(grid: &Grid) -> Duration {
    let kept = |coarsest: &Resolution| coarsest.step + coarsest.retention;
    grid.resolutions.last().map(kept).unwrap_or_default() + mins(5)
}

/// The gains of a point, from the finest resolution to the coarsest.
fn kept<'a>(grid: &'a Grid, point: &'a Point, now: Timestamp) -> impl Iterator<Item = Gain> + 'a {
    let of = move |resolution: &Resolution| {
        gain(resolution, resolution.bucket(point.at), (&point.key, point.n), now)
    };
    grid.resolutions.iter().filter_map(of)
}

/// The gain of a bucket, if it is still kept.
pub(super) fn gain(
    resolution: &Resolution,
    bucket: i64,
    (key, n): (&Arc<str>, u64),
    now: Timestamp,
) -> Option<Gain> {
    if !resolution.keeps(bucket, now) {
        return None;
    }
    let (chunk, slot) = resolution.place(bucket);
    Some(Gain {
        key: key.clone(),
        step: resolution.step.as_secs(),
        chunk,
        slot,
        slots: resolution.slots(),
        n,
        // A chunk that holds a kept bucket has time left; a started millisecond counts.
        ttl: resolution.lifetime(chunk, now).unwrap_or_default().as_millis() + 1,
    })
}

/// One gain for each bucket, in order.
pub(super) fn merge(mut gains: Vec<Gain>) -> Vec<Gain> {
    gains.sort_unstable();
    gains.dedup_by(|next, kept| {
        let same = kept.same_chunk(next) && kept.slot == next.slot;
        if same {
            kept.n = kept.n.saturating_add(next.n).min(MAX_COUNT);
            kept.ttl = kept.ttl.max(next.ttl);
        }
        same
    });
    gains
}

/// The chunks of merged gains, as `lua/chunks.lua` has them.
pub(super) struct Arguments<'a> {
    /// Of each chunk the first gain, which names it, and the argument.
    pub chunks: Vec<(&'a Gain, String)>,
    /// The numbers of the chunks of the coarsest resolution. Each has a list of keys, at one place in `KEYS` after the other.
    pub lists: Vec<i64>,
    /// The buckets with lists of their largest keys, by step in seconds and number. Their places follow.
    pub tops: Vec<(u64, i64)>,
}

/// The arguments of the chunks of merged gains. `first` is the place of the first list of keys.
pub(super) fn arguments<'a>(gains: &'a [Gain], grid: &Grid, first: usize) -> Arguments<'a> {
    let coarsest = grid.resolutions.last().map(|coarsest| coarsest.step.as_secs());
    let ranked: Vec<u64> = grid.ranked().map(|resolution| resolution.step.as_secs()).collect();
    let mut lists: Vec<i64> = vec![];
    let of_coarsest = gains.iter().filter(|gain| Some(gain.step) == coarsest);
    of_coarsest.for_each(|gain| _ = place_of(&mut lists, gain.chunk));
    let first_top = first + lists.len();
    let mut tops: Vec<(u64, i64)> = vec![];
    let argument = |chunk: &'a [Gain]| {
        let gain = &chunk[0];
        let ttl = chunk.iter().map(|gain| gain.ttl).max().unwrap_or(gain.ttl);
        let is_coarsest = Some(gain.step) == coarsest;
        let place = if is_coarsest { first + place_of(&mut lists, gain.chunk) } else { 0 };
        let mut text = format!("{ttl} {} {place} {} 0 0", gain.slots, gain.key.len());
        for gain in chunk {
            let is_ranked = ranked.contains(&gain.step);
            let top = if is_ranked { first_top + place_of(&mut tops, (gain.step, gain.bucket())) } else { 0 };
            write!(text, " {} {} {top}", gain.slot, gain.n).expect("a string takes what is written");
        }
        (gain, text)
    };
    let chunks = gains.chunk_by(Gain::same_chunk).map(argument).collect();
    Arguments { chunks, lists, tops }
}

/// The place of an item in a list, where it is added if it is missing.
fn place_of<T: PartialEq>(list: &mut Vec<T>, item: T) -> usize {
    // There are few, and most are like the last one.
    list.iter().rposition(|other| *other == item).unwrap_or_else(|| {
        list.push(item);
        list.len() - 1
    })
}

/// Visits the slots of a chunk that have a count, in whatever form it is. `false`: it is no chunk.
pub(super) fn each(chunk: &[u8], slots: usize, mut visit: impl FnMut(usize, u64)) -> bool {
    if chunk.len() == 8 * slots {
        let counts = chunk.as_chunks::<8>().0.iter().map(|count| u64::from_be_bytes(*count));
        counts.enumerate().for_each(|(slot, count)| visit(slot, count));
    } else if chunk.len() == 4 * slots {
        let counts = chunk.as_chunks::<4>().0.iter().map(|count| u32::from_be_bytes(*count).into());
        counts.enumerate().for_each(|(slot, count)| visit(slot, count));
    } else if let (pairs, []) = chunk.as_chunks::<6>()
        && chunk.len() < 4 * slots
    {
        let pairs = pairs.iter().map(|&[a, b, count @ ..]| (u16::from_be_bytes([a, b]), count));
        let used =
            pairs.map(|(slot, count)| (usize::from(slot), count)).take_while(|&(slot, _)| slot < slots);
        used.for_each(|(slot, count)| visit(slot, u32::from_be_bytes(count).into()));
    } else {
        return false;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Name,
        model::resolution::Resolution,
        time::{days, hours, secs},
    };

    fn grid() -> Grid {
        let resolutions = [(secs(10), hours(1)), (days(1), days(100))]
            .map(|(step, retention)| Resolution::new(step, retention).expect("valid"));
        Grid {
            name: Name::new("hits").expect("valid"),
            resolutions: resolutions.into(),
            partitions: 1,
            is_ranked: false,
        }
    }

    fn point(key: &str, secs: i64, n: u64) -> Point {
        Point { key: key.into(), at: Timestamp::from_secs(secs), n }
    }

    const NOW: i64 = 7_205;

    fn lines(points: &[Point]) -> Vec<String> {
        let gains = gains(&grid(), points, Timestamp::from_secs(NOW));
        let line =
            |(gain, text): (&Gain, String)| format!("{} {} {}: {text}", gain.key, gain.step, gain.chunk);
        arguments(&gains, &grid(), 7).chunks.into_iter().map(line).collect()
    }

    #[test]
    fn points_of_one_bucket_are_one_gain() {
        let points = [point("b", NOW, 1), point("a", NOW, 2), point("b", NOW - 8, 4), point("b", NOW - 4, 8)];
        let year = days(366).as_millis() + days(100).as_millis() - 7_205_000 + 1;
        assert_eq!(
            lines(&points),
            [
                "a 10 2: 7195001 360 0 1 0 0 0 2 0".to_owned(),
                format!("a 86400 0: {year} 366 7 1 0 0 0 2 8"),
                "b 10 1: 3595001 360 0 1 0 0 359 4 0".to_owned(),
                "b 10 2: 7195001 360 0 1 0 0 0 9 0".to_owned(),
                format!("b 86400 0: {year} 366 7 1 0 0 0 13 8"),
            ]
        );
    }

    #[test]
    fn what_is_not_kept_any_more_is_left_out() {
        let old = NOW - i64::try_from(hours(1).as_secs()).expect("few") - 10;
        let lines = lines(&[point("k", old, 1)]);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("k 86400"), "{lines:?}");
    }

    #[test]
    fn a_gain_stops_at_the_largest_count() {
        let huge = u64::MAX / 2 - 5;
        let gains =
            gains(&grid(), &[point("k", NOW, huge), point("k", NOW, huge)], Timestamp::from_secs(NOW));
        assert_eq!(gains[0].n, MAX_COUNT);
    }

    #[test]
    fn resolutions_are_read_back() {
        let text = resolutions_text(&grid());
        assert_eq!(text, "10/3600,86400/8640000");
        assert_eq!(read_resolutions(&text).as_deref(), Some(&*grid().resolutions));
        for other in ["", "10", "10/x", "7/100", "10/3600,"] {
            assert_eq!(read_resolutions(other), None, "{other}");
        }
    }

    fn counts(chunk: &[u8], slots: usize) -> Vec<(usize, u64)> {
        let mut counts = vec![];
        each(chunk, slots, |slot, n| counts.push((slot, n)));
        counts.retain(|&(_, n)| n > 0);
        counts
    }

    #[test]
    fn each_form_is_read_and_nothing_else() {
        let pairs = [0, 1, 0, 0, 0, 5, 0, 9, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0];
        assert_eq!(counts(&pairs, 10), [(1, 5), (9, u32::MAX.into())]);
        assert_eq!(counts(&pairs, 9), [(1, 5)], "a slot that there is not");
        assert_eq!(counts(&[0, 0, 0, 0, 0, 0, 1, 2], 2), [(1, 258)]);
        let wide = [[0; 8], [0x7f, 255, 255, 255, 255, 255, 255, 255]].concat();
        assert_eq!(counts(&wide, 2), [(1, MAX_COUNT)]);
        for other in [0, 5, 17, 41, 42, 60, 81, 1_000] {
            assert_eq!(counts(&vec![1; other], 10), [], "{other} bytes");
        }
    }
}
