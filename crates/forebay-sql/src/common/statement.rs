//! The statements that merge rows into a table.
//!
//! Each takes any number of rows: their key cells `k0`.. and value cells `c0`.., in order. The row of the table is `t`, an
//! incoming row is `x`, and in the assignments of an upsert it is what the dialect calls `excluded`.

use forebay::buffer::Merge;

use super::{
    codec::ColumnCodec as _,
    dialect::Dialect,
    plan::{Assigned, ColumnSet, Key, MergeMode, Plan, Target},
};

/// Merges rows. Those that the table does not have are inserted or left out, by the mode.
pub(crate) fn merge<D: Dialect>(plan: &Plan<D>, mode: MergeMode, rows: usize) -> String {
    let set = mode.columns;
    let incoming = incoming(plan, set, rows, mode.reports_rows());
    if !mode.insert {
        let assigned = plan.assigned(set, |i, column| column.codec.typed(&value::<D>(plan, i)));
        return D::update(&plan.table, &incoming, &matches(plan), &assignments("t", plan, &assigned));
    }
    let keys = plan.keys.iter().enumerate().map(|(i, of)| of.codec.typed(&key::<D>(i)));
    let values = plan.written(set).enumerate().map(|(i, of)| of.codec.typed(&value::<D>(plan, i)));
    let source = D::inserted(&incoming, &join(keys.chain(values)));
    let names = plan.keys.iter().map(|key| key.name.clone());
    let columns = names.clone().chain(plan.written(set).map(|column| column.name.clone()));
    let assigned = plan.assigned(set, |_, column| D::excluded(&column.name));
    let assignments = assignments(&D::upserted(&plan.table), plan, &assigned);
    D::upsert(&plan.table, &join(columns), &source, &join(names), &assignments)
}

/// Locks the rows that the table has, and answers which of the incoming rows they are for, counted from 1.
#[cfg(feature = "mysql")]
pub(crate) fn lock<D: Dialect>(plan: &Plan<D>, set: ColumnSet) -> String {
    format!("SELECT {} FROM {}{}", D::cast("x.n"), joined(plan, set, true), D::LOCK_ROWS)
}

/// Reads the value columns of the rows with a key, as texts.
pub(crate) fn select<D: Dialect>(plan: &Plan<D>) -> String {
    let columns = join(plan.columns.iter().map(|c| c.codec.selected(&format!("t.{}", c.name))));
    match one_key(plan) {
        Some(matches) => format!("SELECT {columns} FROM {} AS t WHERE {matches}", plan.table),
        None => format!("SELECT {columns} FROM {}", joined(plan, 0, false)),
    }
}

/// Deletes the rows with a key.
pub(crate) fn delete<D: Dialect>(plan: &Plan<D>) -> String {
    match one_key(plan) {
        Some(matches) => format!("DELETE FROM {} AS t WHERE {matches}", plan.table),
        None => D::delete(&plan.table, &incoming(plan, 0, 1, false), &matches(plan)),
    }
}

/// The incoming rows, joined to the table's rows of the same keys.
fn joined<D: Dialect>(plan: &Plan<D>, set: ColumnSet, numbered: bool) -> String {
    let incoming = incoming(plan, set, 1, numbered);
    format!("{incoming}{}{} AS t ON {}", D::JOIN, plan.table, matches(plan))
}

fn incoming<D: Dialect>(plan: &Plan<D>, set: ColumnSet, rows: usize, numbered: bool) -> String {
    let name = |i: usize| match i.checked_sub(plan.keys.len()) {
        Some(value) => format!("c{value}"),
        None => format!("k{i}"),
    };
    let columns: Vec<_> = plan.codecs(set).enumerate().map(|(i, codec)| (name(i), codec)).collect();
    D::incoming(&columns, rows, numbered)
}

/// The i-th key column of the incoming rows.
fn key<D: Dialect>(i: usize) -> String {
    D::incoming_column(&format!("k{i}"), i)
}

/// The i-th value column of the incoming rows.
fn value<D: Dialect>(plan: &Plan<D>, i: usize) -> String {
    D::incoming_column(&format!("c{i}"), plan.keys.len() + i)
}

fn matches<D: Dialect>(plan: &Plan<D>) -> String {
    let same = |(i, of): (usize, &Key<D>)| of.codec.same(&format!("t.{}", of.name), &key::<D>(i));
    plan.keys.iter().enumerate().map(same).collect::<Vec<_>>().join(" AND ")
}

/// The condition that a row has the statement's one key, where the dialect binds that without an incoming table.
fn one_key<D: Dialect>(plan: &Plan<D>) -> Option<String> {
    let same =
        |(i, of): (usize, &Key<D>)| Some(of.codec.same(&format!("t.{}", of.name), &D::key_placeholder(i)?));
    Some(plan.keys.iter().enumerate().map(same).collect::<Option<Vec<_>>>()?.join(" AND "))
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

fn assignments<D: Dialect>(row: &str, plan: &Plan<D>, assigned: &[Assigned<'_, D>]) -> String {
    let assignment =
        |of: &Assigned<'_, D>| format!("{} = {}", D::assigned(row, &of.column.name), merged(row, of));
    let merged = join(assigned.iter().map(assignment));
    if merged.is_empty() {
        // A row without values still counts as reached if the table has it.
        let name = &plan.keys[0].name;
        return format!("{} = {row}.{name}", D::assigned(row, name));
    }
    merged
}

/// The merge of a column with a value that is not NULL. A NULL in the table counts as nothing.
fn merged<D: Dialect>(row: &str, Assigned { column, new, by }: &Assigned<'_, D>) -> String {
    let old = format!("{row}.{}", column.name);
    let pick = |wins: String| format!("CASE WHEN {wins} THEN {new} ELSE {old} END");
    match (column.merge, by) {
        (Merge::Sum, _) => D::sum(&old, new),
        (Merge::Max, _) => pick(wins(row, column, ">", new)),
        (Merge::Min, _) => pick(wins(row, column, "<", new)),
        (Merge::Last, Some((by, version))) => pick(wins_by(row, (by, version), (column, new), ">")),
        (Merge::First, Some((by, version))) => pick(wins_by(row, (by, version), (column, new), "<")),
        // A schema admits no value without its version.
        _ => old,
    }
}

/// Whether the new version wins. Of one version the new value has to win, so that the order of batches does not matter.
fn wins_by<D: Dialect>(
    row: &str,
    (by, version): (&Target<D>, &str),
    (column, new): (&Target<D>, &str),
    than: &str,
) -> String {
    let same = by.codec.compared(version, "=", &format!("{row}.{}", by.name));
    format!("{} OR {same} AND ({})", wins(row, by, than, version), wins(row, column, than, new))
}

/// Whether the new value of a column is `than` the old one, or the old one is NULL.
fn wins<D: Dialect>(row: &str, column: &Target<D>, than: &str, new: &str) -> String {
    let old = format!("{row}.{}", column.name);
    format!("{old} IS NULL OR {}", column.codec.compared(new, than, &old))
}
