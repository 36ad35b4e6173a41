//! The counts of a series as its definition says, and their samples as text: written without the program's own code.

use std::{collections::BTreeMap, fmt::Write as _};

/// The resolutions: the length of a bucket and its retention, in seconds.
pub(super) const RESOLUTIONS: [(i64, i64); 3] = [(10, 2 * 3_600), (60, 8 * 3_600), (300, 36 * 3_600)];

/// A point: key, count, its time, and the time at which it came, in milliseconds.
pub(super) type Point = (&'static str, u64, i64, i64);

/// Random numbers of a seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    /// A number from 0 up to `bound`, exclusive.
    ///
    /// # Source
    /// <https://prng.di.unimi.it/splitmix64.c>
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    pub(super) fn within(&mut self, from: i64, to: i64) -> i64 {
        from + i64::try_from(self.below((to - from).unsigned_abs())).expect("a small number")
    }

    pub(super) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).expect("a place")]
    }
}

/// Whether the bucket around a time is kept, `now` in milliseconds.
pub(super) fn keeps((step, kept): (i64, i64), at: i64, now: i64) -> bool {
    (at.div_euclid(step * 1_000) + 1) * step * 1_000 + kept * 1_000 > now
}

/// Points of six keys in the 36 hours before `now`. Those of the last hour come in any order, some of them hours late.
pub(super) fn points(random: &mut Random, now: i64) -> Vec<Point> {
    let mut points: Vec<Point> = vec![];
    let ago = |secs: i64| now - secs * 1_000;
    let (start, hour) = (ago(36 * 3_600 - 600), 3_600_000);
    let mut fill = |key, mut at: i64, to: i64, pause: u64, most: u64, random: &mut Random| {
        while at < to {
            let early = at < now - hour;
            // One of twenty comes later than it is kept in the finest resolution.
            let came = if early && random.below(20) > 0 { at } else { now };
            points.push((key, 1 + random.below(most), at, came));
            at += 1 + i64::try_from(random.below(pause * 1_000)).expect("a small number");
        }
    };
    fill("steady", start, now, 40, 30, random);
    fill("ended", start, ago(5_000), 30, 9, random);
    let mut at = start;
    while at < now {
        // Bursts of some minutes, gaps of up to two hours.
        let end = (at + random.within(60_000, 1_200_000)).min(now);
        fill("gaps", at, end, 25, 200, random);
        at = end + random.within(180_000, 7_200_000);
    }
    fill("rare", start, now, 9_000, 3, random);
    fill("born", ago(3_300), now, 20, 5, random);
    // Begins with a single count at the edge of a bucket, and has large ones 15 minutes later.
    let birth = ago(4_500).div_euclid(300_000) * 300_000 + 1_000;
    points.push(("young", 1, birth, now));
    for bucket in 1..300 {
        let at = birth + 900_000 + bucket * 10_000;
        if at < now {
            points.push(("young", 3_000 + random.below(500), at, now));
        }
    }
    begin_steeply(&mut points, now);
    points.sort_by_key(|(_, _, _, came)| *came);
    points
}

/// Makes the first bucket of each key larger than all others, in each resolution.
///
/// If a counter begins inside of a window, releases before 3.0 extend it to the time at which it was zero, if that is up to 1.1
/// steps before its first sample; later ones at most by half a step. After a large first bucket both extend it by half a step.
/// After a small one both extend it to zero: so begins the key `young`.
fn begin_steeply(points: &mut Vec<Point>, now: i64) {
    for (resolution, large) in RESOLUTIONS.into_iter().zip([5_000, 500_000, 50_000_000]) {
        let firsts = buckets(points, resolution, now).into_iter().filter(|(key, _)| *key != "young");
        let first = |(key, counts): (_, BTreeMap<i64, u64>)| {
            let (start, _) = counts.into_iter().next().expect("no key is without counts");
            (key, large, start * 1_000 + 1, now)
        };
        points.extend(firsts.map(first).collect::<Vec<_>>());
    }
}

/// The counts of each key by the start of the bucket in seconds, of one resolution, as they are kept at `now`.
pub(super) fn buckets(
    points: &[Point],
    resolution: (i64, i64),
    now: i64,
) -> BTreeMap<&'static str, BTreeMap<i64, u64>> {
    let mut buckets: BTreeMap<_, BTreeMap<i64, u64>> = BTreeMap::new();
    for (key, n, at, came) in points {
        if keeps(resolution, *at, *came) && keeps(resolution, *at, now) {
            let start = at.div_euclid(resolution.0 * 1_000) * resolution.0;
            *buckets.entry(*key).or_default().entry(start).or_default() += n;
        }
    }
    buckets
}

/// The samples of both metrics, in the text form of OpenMetrics. Their names are `v` and the length of a bucket.
pub(super) fn samples(points: &[Point], now: i64) -> String {
    let mut text = String::new();
    for resolution in RESOLUTIONS {
        let step = resolution.0;
        for (key, counts) in buckets(points, resolution, now) {
            let (Some((first, _)), Some((last, _))) = (counts.first_key_value(), counts.last_key_value())
            else {
                continue;
            };
            let (mut gauge, mut total) = (String::new(), 0);
            let mut start = *first;
            while start <= *last {
                let count = counts.get(&start).copied().unwrap_or_default();
                total += count;
                let end = start + step;
                let _ = writeln!(gauge, "v{step}{{key=\"{key}\"}} {count} {end}");
                let _ = writeln!(text, "v{step}_total{{key=\"{key}\"}} {total} {end}");
                start = end;
            }
            text.push_str(&gauge);
        }
    }
    text
}
