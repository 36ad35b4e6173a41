//! The statements that merge rows into a table.
//!
//! Each takes a number of rows at once: their key cells and written cells, in order. The row of the table is `t`, the
//! row that comes `excluded` in an upsert and `x` in an update.

use forebay::buffer::Merge;

use super::form::Form;
use crate::common::{
    merge::How,
    plan::{self, Written},
};

type Plan = plan::Plan<Form>;
type Target = plan::Target<Form>;
type Assigned<'a> = plan::Assigned<'a, Form>;

/// Merges so many rows.
pub(super) fn merge(plan: &Plan, how: How, rows: usize) -> String {
    if how.insert { upsert(plan, how.written, rows) } else { update(plan, how.written, rows) }
}

/// Inserts rows, and merges those whose key is there.
fn upsert(plan: &Plan, written: Written, rows: usize) -> String {
    let keys: Vec<&str> = plan.keys.iter().map(|key| &*key.name).collect();
    let columns: Vec<&str> = keys.iter().copied().chain(plan.written(written).map(|c| &*c.name)).collect();
    let assigned = plan.assigned(written, |_, column| format!("excluded.{}", column.name));
    format!(
        "INSERT INTO {} AS t ({}) VALUES {} ON CONFLICT ({}) DO UPDATE SET {}",
        plan.table,
        columns.join(", "),
        places(columns.len(), rows),
        keys.join(", "),
        assignments(plan, &assigned),
    )
}

/// Merges rows whose key is there; the others change nothing.
fn update(plan: &Plan, written: Written, rows: usize) -> String {
    let width = plan.keys.len();
    let count = plan.written(written).count();
    let assigned = plan.assigned(written, |i, _| format!("x.column{}", width + i + 1));
    format!(
        "UPDATE {} AS t SET {} FROM (VALUES {}) AS x WHERE {}",
        plan.table,
        assignments(plan, &assigned),
        places(width + count, rows),
        matches(plan, "x.column"),
    )
}

/// Reads the value columns of the row with a key.
pub(super) fn select(plan: &Plan) -> String {
    let columns: Vec<&str> = plan.columns.iter().map(|column| &*column.name).collect();
    format!("SELECT {} FROM {} AS t WHERE {}", columns.join(", "), plan.table, matches(plan, "?"))
}

/// Removes the rows with a key.
pub(super) fn delete(plan: &Plan) -> String {
    format!("DELETE FROM {} AS t WHERE {}", plan.table, matches(plan, "?"))
}

/// Whether the key columns have the values called `of` with their numbers.
fn matches(plan: &Plan, of: &str) -> String {
    let keys = plan.keys.iter().enumerate();
    let matches: Vec<String> =
        keys.map(|(i, key)| same(&key.name, key.form, &format!("{of}{}", i + 1))).collect();
    matches.join(" AND ")
}

/// `(?,?),(?,?)`.
///
/// Not numbered: the driver looks up the name of a numbered place among all names before it, one by one.
fn places(width: usize, rows: usize) -> String {
    let row = format!("({})", vec!["?"; width].join(","));
    vec![row; rows].join(",")
}

fn assignments(plan: &Plan, assigned: &[Assigned<'_>]) -> String {
    let merged: Vec<String> =
        assigned.iter().map(|assigned| format!("{} = {}", assigned.column.name, merged(assigned))).collect();
    if merged.is_empty() {
        // A row without values still counts as reached when it is there.
        return format!("{0} = t.{0}", plan.keys[0].name);
    }
    merged.join(", ")
}

/// The merge of a column with a value that is not NULL. A NULL in the table counts as nothing.
fn merged(Assigned { column, new, by }: &Assigned<'_>) -> String {
    let old = format!("t.{}", column.name);
    let pick = |wins: String| format!("CASE WHEN {wins} THEN {new} ELSE {old} END");
    match (column.merge, by) {
        // SQLite makes a float of a sum that leaves 64 bits, and a number of any text. `abs` of the smallest integer
        // is an error: it is how an expression refuses a row. Adding `0 *` keeps it from being computed in advance.
        (Merge::Sum, _) => format!(
            "CASE WHEN {old} IS NULL THEN {new} \
             WHEN typeof({old}) = 'integer' AND typeof({old} + {new}) = 'integer' THEN {old} + {new} \
             ELSE abs(-9223372036854775808 + 0 * {new}) END"
        ),
        (Merge::Max, _) => pick(wins(column, ">", new)),
        (Merge::Min, _) => pick(wins(column, "<", new)),
        (Merge::Last, Some((by, version))) => pick(wins(by, ">", version)),
        (Merge::First, Some((by, version))) => pick(wins(by, "<", version)),
        // A value without its version is none: a schema takes no such write.
        _ => old,
    }
}

/// Whether the new value of a column is `than` the old one, or the old one is NULL.
fn wins(column: &Target, than: &str, new: &str) -> String {
    let old = format!("t.{}", column.name);
    format!("{old} IS NULL OR {new} {than} {}", comparable(&old, column.form))
}

/// What in the table compares with a value of ours: an application may have written RFC 3339, and a column may
/// compare texts without regard to case.
fn comparable(old: &str, form: Form) -> String {
    match form {
        Form::DateTime => format!("replace(rtrim({old}, 'Z'), 'T', ' ')"),
        Form::Text => format!("{old} COLLATE BINARY"),
        _ => old.to_owned(),
    }
}

/// Whether a key column has a value. Texts have to be the same bytes: in a column that ignores case two rows of one
/// batch could match one row of the table, and an update then takes only one of them. The plain comparison stays, for
/// the index.
fn same(name: &str, form: Form, value: &str) -> String {
    let plain = format!("t.{name} = {value}");
    match form {
        Form::Text => format!("{plain} AND t.{name} = {value} COLLATE BINARY"),
        _ => plain,
    }
}
