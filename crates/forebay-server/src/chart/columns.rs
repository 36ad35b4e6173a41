//! Groups the points of a graph to columns that are wide enough to see.

use std::time::Duration;

use forebay::Timestamp;
use jiff::tz::TimeZone;

use super::{
    bars::Grid,
    graph::{Graph, Number},
};
use crate::text::Span;

/// The columns of a picture.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Columns {
    /// The places at which the columns begin, and the end of the last one.
    pub edges: Vec<Timestamp>,
    /// The values of each row, one for each column.
    pub values: Vec<Vec<Option<Number>>>,
    /// Whether a column extends beyond the span that is counted.
    pub partial: Vec<bool>,
    /// The length of a column as text, such as `1h` or `3 points`.
    pub length: String,
}

impl Columns {
    /// At most `most` columns or one more.
    pub(super) fn new(graph: &Graph, most: usize, zone: &TimeZone) -> Self {
        let (edges, places, length) = match graph.step {
            Some(step) => regular(graph, step, most, zone),
            None => irregular(graph, most),
        };
        let count = edges.len().saturating_sub(1);
        let mut members = vec![vec![]; count];
        for (point, place) in places.into_iter().enumerate() {
            members[place].push(point);
        }
        let value = |row: &super::Row, points: &Vec<usize>| {
            row.merge.of(points.iter().map(|&point| row.values.get(point).copied().flatten()))
        };
        let values = graph.rows.iter().map(|row| members.iter().map(|points| value(row, points)).collect());
        let partial =
            edges.windows(2).map(|edge| edge[0] < graph.counted.start || edge[1] > graph.counted.end);
        Self { values: values.collect(), partial: partial.collect(), edges, length }
    }

    pub(super) fn len(&self) -> usize {
        self.partial.len()
    }
}

type Grouped = (Vec<Timestamp>, Vec<usize>, String);

fn regular(graph: &Graph, step: Duration, most: usize, zone: &TimeZone) -> Grouped {
    let span = graph.span();
    let grid = Grid::new(&span, step, most, offset(span.start, zone));
    let edges = (0..=grid.columns).map(|column| grid.edge(column)).collect();
    let last = grid.columns.saturating_sub(1);
    let places = graph.starts.iter().map(|&start| grid.place(start).unwrap_or(last));
    let length = Span(Duration::from_micros(grid.width.unsigned_abs())).to_string();
    (edges, if grid.columns == 0 { vec![] } else { places.collect() }, length)
}

/// Points of the calendar: several of them in a row make a column.
fn irregular(graph: &Graph, most: usize) -> Grouped {
    let each = graph.starts.len().div_ceil(most.max(1)).max(1);
    let starts = graph.starts.iter().copied().step_by(each);
    let edges = starts.chain((!graph.starts.is_empty()).then_some(graph.end)).collect();
    let places = (0..graph.starts.len()).map(|point| point / each).collect();
    let length = if each == 1 { "point".to_owned() } else { format!("{each} points") };
    (edges, places, length)
}

/// The offset of the zone from UTC, in microseconds.
fn offset(at: Timestamp, zone: &TimeZone) -> i64 {
    jiff::Timestamp::from_microsecond(at.as_micros())
        .map_or(0, |at| i64::from(zone.to_offset(at).seconds()) * 1_000_000)
}

#[cfg(test)]
mod tests {
    use forebay::time::secs;

    use super::*;
    use crate::chart::{Merge, Role, Row};

    fn graph(step: Option<Duration>, starts: &[i64], end: i64, counts: &[u64]) -> Graph {
        let at = Timestamp::from_secs;
        let starts: Vec<_> = starts.iter().map(|&secs| at(secs)).collect();
        let rows = vec![
            Row::counts("n", counts.iter().copied()),
            Row { merge: Merge::Max, role: Role::Moving, ..Row::counts("m", counts.iter().copied()) },
        ];
        let counted = starts[0]..at(end - 5);
        Graph { title: String::new(), unit: String::new(), starts, end: at(end), step, counted, rows }
    }

    fn whole(counts: &[i128]) -> Vec<Option<Number>> {
        counts.iter().map(|&n| Some(Number::Whole(n))).collect()
    }

    #[test]
    fn points_that_share_a_column_merge_as_their_row_says() {
        let graph = graph(Some(secs(10)), &[0, 10, 20, 30, 40, 50, 60], 70, &[1, 2, 3, 4, 5, 6, 7]);
        let columns = Columns::new(&graph, 3, &TimeZone::UTC);
        assert_eq!(columns.values, [whole(&[6, 15, 7]), whole(&[3, 6, 7])]);
        assert_eq!((columns.length.as_str(), columns.partial.as_slice()), ("30s", &[false, false, true][..]));
        let all = Columns::new(&graph, 7, &TimeZone::UTC);
        assert_eq!((all.values[0].clone(), all.edges.len()), (whole(&[1, 2, 3, 4, 5, 6, 7]), 8));
    }

    #[test]
    fn points_of_the_calendar_keep_their_edges() {
        // Days in March 2026 in Berlin: the second has 23 hours.
        let graph = graph(None, &[1_774_652_400, 1_774_738_800, 1_774_821_600], 1_774_908_000, &[24, 23, 24]);
        let columns = Columns::new(&graph, 9, &TimeZone::UTC);
        assert_eq!(columns.edges[1..], [graph.starts[1], graph.starts[2], graph.end]);
        let two = Columns::new(&graph, 2, &TimeZone::UTC);
        assert_eq!((two.values[0].clone(), two.length.as_str()), (whole(&[47, 24]), "2 points"));
        assert_eq!(two.edges, [graph.starts[0], graph.starts[2], graph.end]);
    }

    #[test]
    fn no_point_is_no_column() {
        let mut graph = graph(Some(secs(10)), &[0], 10, &[1]);
        graph.starts.clear();
        for step in [Some(secs(10)), None] {
            graph.step = step;
            assert_eq!(Columns::new(&graph, 5, &TimeZone::UTC).len(), 0);
        }
    }
}
