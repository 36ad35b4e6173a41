//! Operators between vectors: which rows belong together, and their results.

use std::collections::BTreeMap;

use super::{
    Fault, Labels, Row,
    arithmetic::apply,
    expression::{Binary, Grouping, Many},
};

/// The rows of the side that has one row for each group, by the labels of the group.
type Groups<'a> = BTreeMap<Labels, Vec<&'a Row>>;

/// Applies an operator to the rows of both sides that belong together.
pub(super) fn between_rows(binary: &Binary, left: &[Row], right: &[Row]) -> Result<Vec<Row>, Fault> {
    let is_right_many = matches!(binary.matching.many, Many::Right(_));
    let (many, one) = if is_right_many { (right, left) } else { (left, right) };
    let groups = groups(binary, one)?;
    let mut results: BTreeMap<Labels, Row> = BTreeMap::new();
    for row in many {
        let Some(partners) = groups.get(&binary.matching.labels.signature(&row.labels)) else { continue };
        for partner in partners {
            let labels = result_labels(binary, &row.labels, &partner.labels);
            let empty = || Row { labels: labels.clone(), values: vec![None; row.values.len()] };
            let result = results.entry(labels.clone()).or_insert_with(empty);
            let pairs = row.values.iter().zip(&partner.values);
            for (slot, (value, other)) in result.values.iter_mut().zip(pairs) {
                let (Some(value), Some(other)) = (*value, *other) else { continue };
                let (left, right) = if is_right_many { (other, value) } else { (value, other) };
                let Some(value) = apply(binary.operator, binary.as_number, left, right) else { continue };
                if slot.replace(value).is_some() {
                    return Err(several_matches(binary, &labels));
                }
            }
        }
    }
    Ok(results.into_values().filter(Row::has_values).collect())
}

/// Applies an operator to each value of a vector and a number of the same instant.
pub(super) fn with_numbers(
    binary: &Binary,
    rows: Vec<Row>,
    numbers: &[f64],
    is_number_left: bool,
) -> Vec<Row> {
    let drops_name = !binary.operator.is_comparison() || binary.as_number;
    let apply_to = |mut row: Row| {
        for (slot, number) in row.values.iter_mut().zip(numbers) {
            let Some(value) = *slot else { continue };
            let (left, right) = if is_number_left { (*number, value) } else { (value, *number) };
            let result = apply(binary.operator, binary.as_number, left, right);
            // A filter keeps the value of the vector, whichever side it is on.
            let is_filter = binary.operator.is_comparison() && !binary.as_number;
            *slot = if is_filter { result.map(|_| value) } else { result };
        }
        if drops_name {
            row.labels = row.labels.without_name();
        }
        row
    };
    rows.into_iter().map(apply_to).filter(Row::has_values).collect()
}

impl Grouping {
    /// The labels by which the rows of two sides are compared.
    fn signature(&self, labels: &Labels) -> Labels {
        match self {
            Self::By(names) => labels.keep(names),
            Self::Without(names) => labels.without(names),
        }
    }
}

/// Groups the rows of the side of which a group has one row at an instant.
fn groups<'a>(binary: &Binary, rows: &'a [Row]) -> Result<Groups<'a>, Fault> {
    let mut groups: Groups<'a> = BTreeMap::new();
    for row in rows {
        let group = groups.entry(binary.matching.labels.signature(&row.labels)).or_default();
        let meets = |other: &&Row| {
            row.values.iter().zip(&other.values).any(|(one, two)| one.is_some() && two.is_some())
        };
        if let Some(other) = group.iter().find(|other| meets(other)) {
            let (side, many) = match binary.matching.many {
                Many::Right(_) => ("left", "right"),
                _ => ("right", "left"),
            };
            return Err(Fault::execution(format!(
                "found duplicate series on the {side} side of an operation, {} and {}: the labels that are matched must be \
                 unique there; group_{many} allows several on the {many} side only",
                other.labels, row.labels
            )));
        }
        group.push(row);
    }
    Ok(groups)
}

fn result_labels(binary: &Binary, many: &Labels, one: &Labels) -> Labels {
    let drops_name = !binary.operator.is_comparison() || binary.as_number;
    let mut labels = if drops_name { many.without_name() } else { many.clone() };
    match &binary.matching.many {
        Many::Neither => match &binary.matching.labels {
            Grouping::By(names) => labels.keep(names),
            // The name of the metric is compared never, and kept by a filter.
            Grouping::Without(names) => labels.without(names.split_last().map_or(&[], |(_, others)| others)),
        },
        Many::Left(included) | Many::Right(included) => {
            for name in included {
                labels.set(name, one.get(name));
            }
            labels
        }
    }
}

fn several_matches(binary: &Binary, labels: &Labels) -> Fault {
    let advice = match binary.matching.many {
        Many::Neither => {
            "several rows of the left side have one on the right: say so by group_left or group_right"
        }
        _ => "the labels of the results must be unique",
    };
    Fault::execution(format!("multiple matches for labels {labels}: {advice}"))
}
