//! Aggregations over rows.

use std::{cmp::Ordering, collections::BTreeMap};

use super::{
    Fault, Labels, Row,
    arithmetic::{Sum, larger, smaller},
    expression::{Aggregate, Grouping},
};

/// Aggregates the rows of each group, instant by instant. `limits` has the number of rows of `topk` at each instant.
pub(super) fn aggregate(
    operator: Aggregate,
    grouping: &Grouping,
    limits: &[f64],
    rows: Vec<Row>,
) -> Result<Vec<Row>, Fault> {
    let mut groups: BTreeMap<Labels, Vec<Row>> = BTreeMap::new();
    for row in rows {
        groups.entry(grouping.of(&row.labels)).or_default().push(row);
    }
    if !matches!(operator, Aggregate::Top | Aggregate::Bottom) {
        return Ok(groups.into_iter().map(|(labels, rows)| fold(operator, labels, &rows)).collect());
    }
    if limits.iter().any(|limit| limit.is_nan()) {
        return Err(Fault::execution("topk and bottomk: the number of rows is not a number"));
    }
    Ok(groups.into_values().flat_map(|rows| select(operator, limits, rows)).collect())
}

impl Grouping {
    /// The labels of a row's group.
    pub(super) fn of(&self, labels: &Labels) -> Labels {
        match self {
            Self::By(names) => labels.keep(names),
            Self::Without(names) => labels.without(names).without_name(),
        }
    }
}

/// One row for a group.
fn fold(operator: Aggregate, labels: Labels, rows: &[Row]) -> Row {
    let instants = rows.first().map_or(0, |row| row.values.len());
    let at = |instant: usize| {
        let mut values = rows.iter().filter_map(|row| row.values[instant]).peekable();
        values.peek()?;
        let (mut sum, mut count) = (Sum::default(), 0_u32);
        Some(match operator {
            Aggregate::Min => values.fold(f64::NAN, smaller),
            Aggregate::Max => values.fold(f64::NAN, larger),
            Aggregate::Count => values.count() as f64,
            _ => {
                values.for_each(|value| {
                    sum.add(value);
                    count += 1;
                });
                if operator == Aggregate::Average { sum.value() / f64::from(count) } else { sum.value() }
            }
        })
    };
    Row { labels, values: (0..instants).map(at).collect() }
}

/// The rows of a group with the largest or smallest values, at each instant. Of a single instant, they are in their order.
fn select(operator: Aggregate, limits: &[f64], mut rows: Vec<Row>) -> Vec<Row> {
    let before = |left: f64, right: f64| {
        // A value that is not a number is last.
        let order = match (left.is_nan(), right.is_nan()) {
            (false, false) => left.partial_cmp(&right).unwrap_or(Ordering::Equal),
            (left, right) => return left.cmp(&right),
        };
        if operator == Aggregate::Top { order.reverse() } else { order }
    };
    for (instant, limit) in limits.iter().enumerate() {
        let mut ranked: Vec<(usize, f64)> =
            rows.iter().enumerate().filter_map(|(place, row)| Some((place, row.values[instant]?))).collect();
        ranked.sort_by(|(_, left), (_, right)| before(*left, *right));
        let dropped = ranked.into_iter().enumerate().filter(|(rank, _)| *rank as f64 + 1.0 > *limit);
        for (_, (place, _)) in dropped {
            rows[place].values[instant] = None;
        }
    }
    rows.retain(Row::has_values);
    if limits.len() == 1 {
        let value = |row: &Row| row.values[0].unwrap_or(f64::NAN);
        rows.sort_by(|left, right| before(value(left), value(right)));
    }
    rows
}
