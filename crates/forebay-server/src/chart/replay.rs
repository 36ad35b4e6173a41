//! The chart of a replay: allowed and limited hits.

use std::{collections::BTreeMap, time::Duration};

use forebay::Timestamp;

use super::{
    Graph, Kind, Options, Row,
    bars::{Grid, SECOND, floor, round_widths},
    draw,
};

/// The number of steps while counting: more than any picture has bars.
const MAX_STEPS: usize = 4_096;

/// Counts allowed and limited hits, by the time in the log.
///
/// The length of a log is not known before its end. So it begins with steps of a second and widens them when there are too
/// many. Memory stays below half a megabyte. Events may come in any order.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// The length of a step in microseconds.
    step: i64,
    /// Allowed and limited, by the beginning of their step in microseconds.
    counts: BTreeMap<i64, [u64; 2]>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self { step: SECOND, counts: BTreeMap::new() }
    }
}

impl Timeline {
    /// Counts `n` hits, allowed or limited ones.
    pub fn add(&mut self, at: Timestamp, allowed: bool, n: u64) {
        let counts = if allowed { [n, 0] } else { [0, n] };
        add(self.counts.entry(floor(at.as_micros(), self.step)).or_default(), counts);
        while self.counts.len() > MAX_STEPS {
            let wider = round_widths().find(|&width| width > self.step);
            self.step = wider.unwrap_or_else(|| self.step.saturating_mul(2));
            for (at, counts) in std::mem::take(&mut self.counts) {
                add(self.counts.entry(floor(at, self.step)).or_default(), counts);
            }
        }
    }

    /// Draws the counts as an SVG picture, allowed below limited.
    ///
    /// `title` may be any text.
    pub fn chart(&self, title: &str, options: &Options) -> String {
        let first = self.counts.first_key_value().map_or(0, |(&at, _)| at);
        let last = self.counts.last_key_value().map_or(0, |(&at, _)| at.saturating_add(self.step));
        let span = Timestamp::from_micros(first)..Timestamp::from_micros(last);
        // More points than any picture has columns, so that the chart groups them.
        let grid = Grid::new(&span, Duration::from_micros(self.step.unsigned_abs()), MAX_STEPS, 0);
        let mut counts = [vec![0_u64; grid.columns], vec![0; grid.columns]];
        for (&at, both) in &self.counts {
            // A step at an end of the calendar may have no point.
            let Some(place) = grid.place(Timestamp::from_micros(at)) else { continue };
            for (sums, n) in counts.iter_mut().zip(both) {
                sums[place] = sums[place].saturating_add(*n);
            }
        }
        let [allowed, limited] = counts;
        let graph = Graph {
            title: title.to_owned(),
            unit: "hits per {}".to_owned(),
            starts: (0..grid.columns).map(|column| grid.edge(column)).collect(),
            end: grid.edge(grid.columns),
            step: Some(Duration::from_micros(grid.width.unsigned_abs())),
            counted: span,
            rows: vec![Row::counts("allowed", allowed), Row::counts("limited", limited)],
        };
        draw(graph, &Options { kind: Kind::Stacked, ..options.clone() })
    }
}

fn add(sums: &mut [u64; 2], counts: [u64; 2]) {
    for (sum, n) in sums.iter_mut().zip(counts) {
        *sum = sum.saturating_add(n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowed_and_limited_are_told_apart_and_summed() {
        let mut timeline = Timeline::default();
        for second in (0..7_200).rev() {
            timeline.add(Timestamp::from_secs(second), true, 1);
            timeline.add(Timestamp::from_secs(second), false, 2);
        }
        let svg = timeline.chart("hit", &Options::default());
        assert!(svg.contains("allowed: sum 7,200") && svg.contains("limited: sum 14,400"), "{svg}");
        assert!(svg.contains("hits per 30s"), "{svg}");
    }

    #[test]
    fn memory_and_picture_stay_small_whatever_the_times_are() {
        let mut timeline = Timeline::default();
        let mut at = 1_i64;
        for n in 0..100_000 {
            at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(n);
            timeline.add(Timestamp::from_micros(at), true, 1);
        }
        timeline.add(Timestamp::from_micros(i64::MIN), false, u64::MAX);
        timeline.add(Timestamp::from_micros(i64::MAX), false, 1);
        assert!(timeline.counts.len() <= MAX_STEPS);
        let svg = timeline.chart("hit", &Options::default());
        assert!(svg.contains("allowed: sum 100,000") && svg.len() < 100_000, "{} bytes", svg.len());
    }

    #[test]
    fn nothing_replayed_is_a_chart_that_says_so() {
        assert!(Timeline::default().chart("hit", &Options::default()).contains("nothing was counted"));
    }
}
