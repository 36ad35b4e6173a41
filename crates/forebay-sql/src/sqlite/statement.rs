//! The statements that merge rows into a table.
//!
//! Each takes a number of rows at once: their key cells and written cells, in order. The row of the table is `t`, the
//! row that comes `excluded` in an upsert and `x` in an update.

use forebay::buffer::Merge;

use super::{
    form::Form,
    plan::{Plan, Target, Written},
};

/// Inserts rows, and merges those whose key is there.
pub(super) fn upsert(plan: &Plan, written: Written, rows: usize) -> String {
    let keys: Vec<&str> = plan.keys.iter().map(|key| &*key.name).collect();
    let columns: Vec<&str> = keys.iter().copied().chain(plan.written(written).map(|c| &*c.name)).collect();
    let merged = plan.written(written).map(|column| assignment(column, &format!("excluded.{}", column.name)));
    format!(
        "INSERT INTO {} AS t ({}) VALUES {} ON CONFLICT ({}) DO UPDATE SET {}",
        plan.table,
        columns.join(", "),
        places(columns.len(), rows),
        keys.join(", "),
        assignments(plan, merged),
    )
}

/// Merges rows whose key is there; the others change nothing.
pub(super) fn update(plan: &Plan, written: Written, rows: usize) -> String {
    let width = plan.keys.len();
    let count = plan.written(written).count();
    let merged = plan
        .written(written)
        .enumerate()
        .map(|(i, column)| assignment(column, &format!("x.column{}", width + i + 1)));
    let matches: Vec<String> = plan
        .keys
        .iter()
        .enumerate()
        .map(|(i, key)| same(&key.name, key.form, &format!("x.column{}", i + 1)))
        .collect();
    format!(
        "UPDATE {} AS t SET {} FROM (VALUES {}) AS x WHERE {}",
        plan.table,
        assignments(plan, merged),
        places(width + count, rows),
        matches.join(" AND "),
    )
}

/// Reads the value columns of the row with a key.
pub(super) fn select(plan: &Plan) -> String {
    let columns: Vec<&str> = plan.columns.iter().map(|column| &*column.name).collect();
    let matches: Vec<String> = plan.keys.iter().map(|key| format!("{} = ?", key.name)).collect();
    format!("SELECT {} FROM {} WHERE {}", columns.join(", "), plan.table, matches.join(" AND "))
}

/// `(?,?),(?,?)`.
///
/// Not numbered: the driver looks up the name of a numbered place among all names before it, one by one.
fn places(width: usize, rows: usize) -> String {
    let row = format!("({})", vec!["?"; width].join(","));
    vec![row; rows].join(",")
}

fn assignments(plan: &Plan, merged: impl Iterator<Item = String>) -> String {
    let merged: Vec<String> = merged.collect();
    if merged.is_empty() {
        // A row without values still counts as reached when it is there.
        return format!("{0} = t.{0}", plan.keys[0].name);
    }
    merged.join(", ")
}

fn assignment(column: &Target, new: &str) -> String {
    format!("{} = {}", column.name, merged(column, new))
}

/// The merge of a column with a value that is not NULL. A NULL in the table counts as nothing.
fn merged(column: &Target, new: &str) -> String {
    let old = format!("t.{}", column.name);
    match column.merge {
        // SQLite makes a float of a sum that leaves 64 bits, and a number of any text. `abs` of the smallest integer
        // is an error: it is how an expression refuses a row. Adding `0 *` keeps it from being computed in advance.
        Merge::Sum => format!(
            "CASE WHEN {old} IS NULL THEN {new} \
             WHEN typeof({old}) = 'integer' AND typeof({old} + {new}) = 'integer' THEN {old} + {new} \
             ELSE abs(-9223372036854775808 + 0 * {new}) END"
        ),
        merge => {
            let sign = if merge == Merge::Max { ">" } else { "<" };
            let comparable = comparable(&old, column.form);
            format!("CASE WHEN {old} IS NULL OR {new} {sign} {comparable} THEN {new} ELSE {old} END")
        }
    }
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
