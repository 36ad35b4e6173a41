//! The statements that merge rows into a table.
//!
//! Each takes its rows as one JSON text, so that it is the same for any number of them. The row that comes is `x`, in
//! an upsert `VALUES(..)`; `JSON_TABLE` is read first and in its order, so that row locks are taken in the order of keys.

use forebay::buffer::Merge;

use super::form::Form;
use crate::common::{
    merge::How,
    plan::{self, Written},
};

type Plan = plan::Plan<Form>;
type Target = plan::Target<Form>;
type Assigned<'a> = plan::Assigned<'a, Form>;

/// Merges rows: inserts those whose key is not there, or leaves them out.
pub(super) fn merge(plan: &Plan, how: How) -> String {
    if how.insert { upsert(plan, how.written) } else { update(plan, how.written) }
}

fn upsert(plan: &Plan, written: Written) -> String {
    let keys = plan.keys.iter().enumerate().map(|(i, key)| key.form.typed(&format!("x.k{i}")));
    let values = plan.written(written).enumerate().map(|(i, column)| column.form.typed(&format!("x.c{i}")));
    let names = plan.keys.iter().map(|key| key.name.clone());
    let columns = names.chain(plan.written(written).map(|column| column.name.clone()));
    let assigned = plan.assigned(written, |_, column| format!("VALUES({})", column.name));
    format!(
        "INSERT INTO {} ({}) SELECT {} FROM {} ON DUPLICATE KEY UPDATE {}",
        plan.table,
        join(columns),
        join(keys.chain(values)),
        came(plan, written),
        assignments(&plan.table, plan, &assigned),
    )
}

fn update(plan: &Plan, written: Written) -> String {
    let assigned = plan.assigned(written, |i, column| column.form.typed(&format!("x.c{i}")));
    format!("UPDATE {} SET {}", found(plan, written), assignments("t", plan, &assigned))
}

/// Locks the rows that are there, and answers the places of those that came for them, counted from 1.
pub(super) fn lock(plan: &Plan, written: Written) -> String {
    format!("SELECT x.n FROM {} FOR UPDATE", found(plan, written))
}

/// Reads the value columns of the row with a key.
pub(super) fn select(plan: &Plan) -> String {
    let columns = plan.columns.iter().map(|c| c.form.selected(&format!("t.{}", c.name)));
    format!("SELECT {} FROM {}", join(columns), found(plan, 0))
}

/// Removes the rows with a key.
pub(super) fn delete(plan: &Plan) -> String {
    format!("DELETE t FROM {}", found(plan, 0))
}

/// What came, and the rows of the table with its keys.
fn found(plan: &Plan, written: Written) -> String {
    let matches: Vec<String> =
        plan.keys.iter().enumerate().map(|(i, key)| same(&key.name, &key.form, i)).collect();
    format!("{} STRAIGHT_JOIN {} AS t ON {}", came(plan, written), plan.table, matches.join(" AND "))
}

/// Whether a key column has what came. Where the column folds texts, they also have to be the same bytes; the plain
/// comparison stays, for the index.
fn same(name: &str, form: &Form, i: usize) -> String {
    let (old, new) = (format!("t.{name}"), format!("x.k{i}"));
    let plain = format!("{old} = {}", form.typed(&new));
    match form.folds() {
        Some(_) => format!("{plain} AND {} = {}", form.comparable(&old), form.comparable(&new)),
        None => plain,
    }
}

/// The rows of the statement's one parameter: keys `k0`.., values `c0`.., and `n`, their place.
fn came(plan: &Plan, written: Written) -> String {
    let keys = plan.keys.iter().enumerate().map(|(i, key)| (format!("k{i}"), &key.form));
    let values = plan.written(written).enumerate().map(|(i, column)| (format!("c{i}"), &column.form));
    let columns = keys.chain(values).enumerate();
    let columns =
        columns.map(|(at, (name, form))| format!("{name} {} PATH '$[{at}]' ERROR ON ERROR", form.json()));
    format!("JSON_TABLE(?, '$[*]' COLUMNS (n FOR ORDINALITY, {})) AS x", join(columns))
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

fn assignments(of: &str, plan: &Plan, assigned: &[Assigned<'_>]) -> String {
    let assignment =
        |assigned: &Assigned<'_>| format!("{of}.{} = {}", assigned.column.name, merged(of, assigned));
    let merged = join(assigned.iter().map(assignment));
    if merged.is_empty() {
        // A row without values still counts as reached when it is there.
        return format!("{of}.{0} = {of}.{0}", plan.keys[0].name);
    }
    merged
}

/// The merge of a column with a value that is not NULL. A NULL in the table counts as nothing, which `GREATEST` would
/// not see to; a sum that leaves the column's type is an error of the database's own.
fn merged(of: &str, Assigned { column, new, by }: &Assigned<'_>) -> String {
    let old = format!("{of}.{}", column.name);
    let pick = |wins: String| format!("IF({wins}, {new}, {old})");
    match (column.merge, by) {
        (Merge::Sum, _) => format!("COALESCE({old}, 0) + {new}"),
        (Merge::Max, _) => pick(wins(of, column, ">", new)),
        (Merge::Min, _) => pick(wins(of, column, "<", new)),
        (Merge::Last, Some((by, version))) => pick(wins(of, by, ">", version)),
        (Merge::First, Some((by, version))) => pick(wins(of, by, "<", version)),
        // A value without its version is none: a schema takes no such write.
        _ => old,
    }
}

/// Whether the new value of a column is `than` the old one, or the old one is NULL.
fn wins(of: &str, column: &Target, than: &str, new: &str) -> String {
    let old = format!("{of}.{}", column.name);
    let (a, b) = (column.form.comparable(new), column.form.comparable(&old));
    format!("{old} IS NULL OR {a} {than} {b}")
}
