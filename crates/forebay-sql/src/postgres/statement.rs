//! The statements that merge rows into a table.
//!
//! Each takes a column as one array, so that its text, and what Postgres prepared for it, is the same for any number of
//! rows. The row of the table is `t`, the row that comes `x`, in an upsert `excluded`.

use forebay::buffer::Merge;

use super::{array::Element, form::Form};
use crate::common::{
    merge::How,
    plan::{self, Written},
};

type Plan = plan::Plan<Form>;
type Target = plan::Target<Form>;
type Assigned<'a> = plan::Assigned<'a, Form>;

/// Merges rows. Where each has to be reached, an update answers the places of those that were, counted from 1.
pub(super) fn merge(plan: &Plan, how: How) -> String {
    match how {
        How { insert: true, written, .. } => upsert(plan, written),
        How { written, all: true, .. } => {
            update(plan, written, " WITH ORDINALITY", ", place", " RETURNING x.place")
        }
        How { written, .. } => update(plan, written, "", "", ""),
    }
}

/// Inserts rows, and merges those whose key is there.
fn upsert(plan: &Plan, written: Written) -> String {
    let keys: Vec<&str> = plan.keys.iter().map(|key| &*key.name).collect();
    let columns: Vec<&str> = keys.iter().copied().chain(plan.written(written).map(|c| &*c.name)).collect();
    let assigned = plan.assigned(written, |_, column| format!("excluded.{}", column.name));
    format!(
        "INSERT INTO {} AS t ({}) SELECT {} FROM unnest({}) AS x({}) ON CONFLICT ({}) DO UPDATE SET {}",
        plan.table,
        columns.join(", "),
        names(plan, written, "x."),
        arrays(plan, written),
        names(plan, written, ""),
        keys.join(", "),
        assignments(plan, &assigned),
    )
}

/// Merges rows whose key is there; the others change nothing.
fn update(plan: &Plan, written: Written, ordinality: &str, place: &str, returning: &str) -> String {
    let assigned = plan.assigned(written, |i, _| format!("x.c{i}"));
    format!(
        "UPDATE {} AS t SET {} FROM unnest({}){ordinality} AS x({}{place}) WHERE {}{returning}",
        plan.table,
        assignments(plan, &assigned),
        arrays(plan, written),
        names(plan, written, ""),
        matches(plan),
    )
}

/// Reads the value columns of the row with a key.
pub(super) fn select(plan: &Plan) -> String {
    let columns: Vec<String> =
        plan.columns.iter().map(|c| c.form.selected(&format!("t.{}", c.name))).collect();
    format!(
        "SELECT {} FROM {} AS t, unnest({}) AS x({}) WHERE {}",
        columns.join(", "),
        plan.table,
        arrays(plan, 0),
        names(plan, 0, ""),
        matches(plan),
    )
}

/// Removes the rows with a key.
pub(super) fn delete(plan: &Plan) -> String {
    format!(
        "DELETE FROM {} AS t USING unnest({}) AS x({}) WHERE {}",
        plan.table,
        arrays(plan, 0),
        names(plan, 0, ""),
        matches(plan),
    )
}

/// `$1::int8[], $2::text[]`.
fn arrays(plan: &Plan, written: Written) -> String {
    let arrays = plan.forms(written).enumerate();
    join(arrays.map(|(i, form)| format!("${}::{}[]", i + 1, form.element.name())))
}

/// `x.k0, x.c0, x.c1`.
fn names(plan: &Plan, written: Written, of: &str) -> String {
    let keys = (0..plan.keys.len()).map(|i| format!("{of}k{i}"));
    join(keys.chain((0..plan.written(written).count()).map(|i| format!("{of}c{i}"))))
}

fn matches(plan: &Plan) -> String {
    let matches = plan.keys.iter().enumerate().map(|(i, key)| format!("t.{} = x.k{i}", key.name));
    matches.collect::<Vec<_>>().join(" AND ")
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

fn assignments(plan: &Plan, assigned: &[Assigned<'_>]) -> String {
    let merged =
        join(assigned.iter().map(|assigned| format!("{} = {}", assigned.column.name, merged(assigned))));
    if merged.is_empty() {
        // A row without values still counts as reached when it is there.
        return format!("{0} = t.{0}", plan.keys[0].name);
    }
    merged
}

/// The merge of a column with a value that is not NULL. A NULL in the table counts as nothing, which `greatest` and
/// `least` see to here; a sum that leaves the column's type is an error of Postgres's own.
fn merged(Assigned { column, new, by }: &Assigned<'_>) -> String {
    let old = format!("t.{}", column.name);
    match (column.merge, by) {
        (Merge::Sum, _) => format!("coalesce({old}, 0) + {new}"),
        (Merge::Max, _) => format!("greatest({old}{}, {new})", bytes(column)),
        (Merge::Min, _) => format!("least({old}{}, {new})", bytes(column)),
        (Merge::Last, Some((by, version))) => decided(&old, new, by, ">", version),
        (Merge::First, Some((by, version))) => decided(&old, new, by, "<", version),
        // A value without its version is none: a schema takes no such write.
        _ => old,
    }
}

/// The new value if its version is `than` the old version, or that is NULL.
fn decided(old: &str, new: &str, by: &Target, than: &str, version: &str) -> String {
    let seen = format!("t.{}", by.name);
    format!("CASE WHEN {seen} IS NULL OR {version} {than} {seen}{} THEN {new} ELSE {old} END", bytes(by))
}

/// Compares texts as the buffer does: byte by byte, whatever the column's collation.
fn bytes(column: &Target) -> &'static str {
    if column.form.element == Element::Text { " COLLATE \"C\"" } else { "" }
}
