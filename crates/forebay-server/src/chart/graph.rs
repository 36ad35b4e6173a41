//! The contents of a chart: rows of values over the same points.

use std::{cmp::Ordering, fmt, time::Duration};

use forebay::Timestamp;

use crate::text::grouped;

/// The rows that have a colour of their own. Further ones are added up to one row.
pub(super) const MAX_ROWS: usize = 10;

/// The content of a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// The line above the chart. Any text, such as a key from a client.
    pub title: String,
    /// The unit of the values, such as `hits per 1h`; with `{}` for the length of a column.
    pub unit: String,
    /// When each point begins, the oldest first.
    pub starts: Vec<Timestamp>,
    /// When the newest point ends.
    pub end: Timestamp,
    /// The length of a point; `None` if they differ.
    pub step: Option<Duration>,
    /// The span that is counted: the first and the last point may extend beyond it.
    pub counted: std::ops::Range<Timestamp>,
    /// The values.
    pub rows: Vec<Row>,
}

/// Values of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The name in the legend: any text.
    pub name: String,
    /// Its look.
    pub role: Role,
    /// The way in which the values of several points become one, where a point would be narrower than a few pixels.
    pub merge: Merge,
    /// A value for each point; `None` where there is none.
    pub values: Vec<Option<Number>>,
}

/// The look of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// As the kind of the chart says.
    Main,
    /// A faint line: the same points of an earlier period.
    Previous,
    /// A line over the values: their moving average.
    Moving,
}

impl Role {
    /// The name in the picture's data.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Previous => "previous",
            Self::Moving => "moving",
        }
    }
}

/// The way in which several values become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// They are added.
    Sum,
    /// Their average.
    Mean,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// The newest.
    Last,
}

/// A value of a chart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A count, or a difference of two.
    Whole(i128),
    /// A rate, an average, a place on a line.
    Real(f64),
}

impl Number {
    /// The value as a height.
    pub(super) fn as_f64(self) -> f64 {
        match self {
            Self::Whole(n) => n as f64,
            Self::Real(value) => value,
        }
    }

    /// The value for programs: without separators.
    pub(super) fn plain(self) -> String {
        match self {
            Self::Whole(n) => n.to_string(),
            Self::Real(value) => value.to_string(),
        }
    }

    fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => Self::Whole(a.saturating_add(b)),
            (a, b) => Self::Real((a.as_f64() + b.as_f64()).clamp(f64::MIN, f64::MAX)),
        }
    }
}

impl From<u64> for Number {
    fn from(count: u64) -> Self {
        Self::Whole(i128::from(count))
    }
}

impl From<i64> for Number {
    fn from(difference: i64) -> Self {
        Self::Whole(i128::from(difference))
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl fmt::Display for Number {
    /// Prints the value for readers: `1,234`, `0.25`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Whole(n) => {
                let sign = if n < 0 { "-" } else { "" };
                match u64::try_from(n.unsigned_abs()) {
                    Ok(size) => write!(f, "{sign}{}", grouped(size, ',')),
                    Err(_) => write!(f, "{n}"),
                }
            }
            Self::Real(value) if value.abs() >= 1e15 || (value != 0.0 && value.abs() < 1e-3) => {
                write!(f, "{value:.3e}")
            }
            Self::Real(value) => {
                let text = format!("{value:.4}");
                f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
            }
        }
    }
}

impl Merge {
    /// One value of several; `None` if none of them is there.
    pub(super) fn of(self, values: impl IntoIterator<Item = Option<Number>>) -> Option<Number> {
        let mut there = values.into_iter().flatten();
        let first = there.next()?;
        let by = |keep: Ordering| {
            move |a: Number, b: Number| if b.as_f64().total_cmp(&a.as_f64()) == keep { b } else { a }
        };
        Some(match self {
            Self::Sum => there.fold(first, Number::plus),
            Self::Min => there.fold(first, by(Ordering::Less)),
            Self::Max => there.fold(first, by(Ordering::Greater)),
            Self::Last => there.last().unwrap_or(first),
            Self::Mean => {
                let (sum, count) = there.fold((first, 1_u32), |(sum, n), value| (sum.plus(value), n + 1));
                // One value stays what it is.
                if count == 1 { first } else { Number::Real(sum.as_f64() / f64::from(count)) }
            }
        })
    }
}

impl Row {
    /// A row of counts.
    pub fn counts(name: impl Into<String>, values: impl IntoIterator<Item = u64>) -> Self {
        let values = values.into_iter().map(|count| Some(count.into())).collect();
        Self { name: name.into(), role: Role::Main, merge: Merge::Sum, values }
    }

    /// The sum, or what stands for it with another merge.
    pub(super) fn summary(&self) -> Option<Number> {
        self.merge.of(self.values.iter().copied())
    }

    /// The name of the summary, for the description.
    pub(super) const fn summary_name(&self) -> &'static str {
        match self.merge {
            Merge::Sum => "sum",
            Merge::Mean => "average",
            Merge::Min => "smallest",
            Merge::Max => "largest",
            Merge::Last => "last",
        }
    }
}

impl Graph {
    /// The rows of a role.
    pub(super) fn of(&self, role: Role) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.role == role)
    }

    /// The end of a point.
    pub(super) fn end_of(&self, point: usize) -> Timestamp {
        self.starts.get(point + 1).copied().unwrap_or(self.end)
    }

    /// The time from the first point's beginning to the last one's end.
    pub(super) fn span(&self) -> std::ops::Range<Timestamp> {
        self.starts.first().copied().unwrap_or(self.end)..self.end
    }

    /// The same graph without values that have no height, and with at most [`MAX_ROWS`] rows of each role. Those with the largest summaries keep their own, in their
    /// order; the others are added up to a last one.
    pub(super) fn bounded(mut self) -> Self {
        for value in self.rows.iter_mut().flat_map(|row| &mut row.values) {
            *value = value.filter(|value| value.as_f64().is_finite());
        }
        let size = |row: &Row| row.summary().map_or(f64::NEG_INFINITY, Number::as_f64);
        let mut mains: Vec<(usize, f64)> = self.of(Role::Main).map(size).enumerate().collect();
        if mains.len() <= MAX_ROWS {
            return self;
        }
        mains.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let mut own: Vec<usize> = mains.iter().take(MAX_ROWS - 1).map(|(place, _)| *place).collect();
        own.sort_unstable();
        let rows = std::mem::take(&mut self.rows);
        for role in [Role::Main, Role::Previous, Role::Moving] {
            let mut kept = vec![];
            let mut others = vec![];
            for (place, row) in rows.iter().filter(|row| row.role == role).enumerate() {
                if own.contains(&place) { kept.push(row.clone()) } else { others.push(row) }
            }
            self.rows.extend(kept);
            self.rows.extend(sum_of(&others, format!("{} others", others.len())));
        }
        self
    }
}

/// The point-by-point sum of rows; `None` of no row.
pub(super) fn sum_of(rows: &[&Row], name: String) -> Option<Row> {
    let first = rows.first()?;
    let point = |place: usize| Merge::Sum.of(rows.iter().map(|row| row.values.get(place).copied().flatten()));
    let values = (0..first.values.len()).map(point).collect();
    Some(Row { name, role: first.role, merge: first.merge, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_merge_as_their_kind_says_and_gaps_are_no_zeros() {
        let values = [None, Some(Number::Whole(3)), None, Some(Number::Whole(-1)), Some(Number::Whole(2))];
        let all =
            [Merge::Sum, Merge::Mean, Merge::Min, Merge::Max, Merge::Last].map(|merge| merge.of(values));
        let whole = |n| Some(Number::Whole(n));
        assert_eq!(all, [whole(4), Some(Number::Real(4.0 / 3.0)), whole(-1), whole(3), whole(2)]);
        assert_eq!(Merge::Sum.of([None, None]), None);
        assert_eq!(Merge::Mean.of([whole(7)]), whole(7));
    }

    #[test]
    fn numbers_are_shown_in_full() {
        let shown = |number: Number| number.to_string();
        assert_eq!(shown(u64::MAX.into()), "18,446,744,073,709,551,615");
        assert_eq!(shown((-1_234_i64).into()), "-1,234");
        assert_eq!(
            [0.0, 0.25, 1234.5, 1e-9, 1e300].map(|value| shown(value.into())),
            ["0", "0.25", "1234.5", "1.000e-9", "1.000e300"]
        );
    }

    #[test]
    fn many_rows_are_the_largest_and_the_others() {
        let rows = (0..12_u64).map(|n| Row::counts(format!("k{n}"), [n % 7, 1])).collect();
        let starts = vec![Timestamp::UNIX_EPOCH, Timestamp::from_secs(1)];
        let end = Timestamp::from_secs(2);
        let counted = Timestamp::UNIX_EPOCH..end;
        let graph =
            Graph { title: String::new(), unit: String::new(), starts, end, step: None, counted, rows };
        let graph = graph.bounded();
        let names: Vec<_> = graph.rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["k1", "k2", "k3", "k4", "k5", "k6", "k9", "k10", "k11", "3 others"]);
        assert_eq!(graph.rows[9].values, [Some(Number::Whole(1)), Some(Number::Whole(3))]);
    }
}
