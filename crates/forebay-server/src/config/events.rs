//! Reading `[events]`: their limits, series and buffers, and the values to write.

use std::collections::BTreeMap;

use forebay::{
    Limit, Name,
    buffer::{Column, ColumnType, KeyColumn, Merge, Schema, Value},
    event::Cell,
    key::Key,
    limit::Kind,
};

use super::{
    buffers::COLUMN_TYPES,
    fields::{Fields, Node},
    model::{BufferConfig, BufferUse, EventConfig, LimitUse},
    section::Declared,
    series::Declaration,
};
use crate::text::{quoted, unknown, value};

pub(super) fn read_events(
    top: &mut Fields<'_>,
    limits: &Declared<Limit>,
    series: &Declared<Declaration>,
    buffers: &Declared<BufferConfig>,
) -> BTreeMap<Name, EventConfig> {
    let mut events = BTreeMap::new();
    for (name, node) in top.optional("events").iter().flat_map(Node::entries) {
        let name = node.accept(Name::new(name));
        let Some(mut fields) = node.fields() else { continue };
        let its_limits = many(fields.either("limits", "limit"));
        let its_series = many(fields.optional("series"));
        let its_buffers = many(fields.either("buffers", "buffer"));
        if its_limits.is_empty() && its_series.is_empty() && its_buffers.is_empty() {
            fields.node.mistake("an event has at least one of limits, series and buffers");
        }
        let event = EventConfig {
            limits: its_limits.iter().filter_map(|node| read_limit(node, limits)).collect(),
            series: its_series.iter().filter_map(|node| read_series_use(node, series)).collect(),
            buffers: its_buffers.iter().filter_map(|node| read_buffer(node, buffers)).collect(),
        };
        check_repetition(&fields.node, &event);
        fields.finish();
        events.extend(name.map(|name| (name, event)));
    }
    events
}

/// A series of hits.
fn read_series_use(node: &Node<'_>, series: &Declared<Declaration>) -> Option<Name> {
    let (name, declaration) = declared(node, "series", series)?;
    if let Declaration::Summary(series) = declaration {
        let kind = series.kind();
        node.mistake(format!(
            "series {name}: it is of the kind {kind}, and an event counts in series of hits"
        ));
        return None;
    }
    Some(name)
}

fn many(node: Option<Node<'_>>) -> Vec<Node<'_>> {
    node.map(|node| node.one_or_many()).unwrap_or_default()
}

/// Looks up a name. `None` for a definition with mistakes, without a mistake of its own.
fn declared<'a, T>(node: &Node<'_>, what: &str, known: &'a Declared<T>) -> Option<(Name, &'a T)> {
    let (name, value) =
        node.declared(what, known.iter().map(|(name, value)| (name.as_str(), (name, value))))?;
    value.as_ref().map(|value| (name.clone(), value))
}

/// `"hits"`, or `{ name = "global", key = "*" }`.
fn read_limit(node: &Node<'_>, limits: &Declared<Limit>) -> Option<LimitUse> {
    if node.is_text() {
        return rate_limit(node, limits).map(|name| LimitUse { name, key: None });
    }
    let mut fields = node.fields()?;
    let name = fields.required("name", "\"global\"").and_then(|node| rate_limit(&node, limits));
    let key = fields.read("key", |node| {
        let key = node.text()?;
        node.accept(Key::new(&key));
        Some(key)
    });
    fields.finish();
    Some(LimitUse { name: name?, key })
}

/// A declared limit that an event can charge.
fn rate_limit(node: &Node<'_>, limits: &Declared<Limit>) -> Option<Name> {
    let (name, limit) = declared(node, "limit", limits)?;
    if limit.shape().0 == Kind::Concurrency {
        node.mistake(format!("limit {name} grants leases, and a hit has no end at which to release one"));
    }
    Some(name)
}

/// `"projects"`, or `{ name = "projects", row = { id = "$key" }, columns = { hits = "$n" } }`.
///
/// Without `row`, the only key column is `$key`. Without `columns`, sums are `$n` and timestamps `$at`.
fn read_buffer(node: &Node<'_>, buffers: &Declared<BufferConfig>) -> Option<BufferUse> {
    if node.is_text() {
        let (name, buffer) = declared(node, "buffer", buffers)?;
        let (row, columns) = (node.accept(default_row(&buffer.schema))?, default_columns(&buffer.schema));
        if columns.is_empty() {
            node.mistake("needs columns = { .. }: no column is a sum or a timestamp");
        }
        return Some(BufferUse { name, row, columns });
    }
    let mut fields = node.fields()?;
    let declared =
        fields.required("name", "\"projects\"").and_then(|node| declared(&node, "buffer", buffers));
    let (row, columns) = (fields.optional("row"), fields.optional("columns"));
    fields.finish();
    let (name, buffer) = declared?;
    let schema = &buffer.schema;
    let row = match row {
        Some(node) => read_row(&node, schema),
        None => node.accept(default_row(schema)),
    };
    let columns = columns.map_or_else(|| default_columns(schema), |node| read_columns(&node, schema));
    if columns.is_empty() {
        node.mistake("columns is empty: nothing would be written");
    }
    let is_named = |place: usize| columns.iter().any(|(column, _)| **column == *schema.columns[place].name);
    node.accept(schema.check_named(is_named));
    Some(BufferUse { name, row: row?, columns })
}

fn read_row(node: &Node<'_>, schema: &Schema) -> Option<Vec<Cell>> {
    let entries = node.entries();
    for (column, entry) in &entries {
        if !schema.keys.iter().any(|key| &*key.name == *column) {
            entry.mistake(unknown("key column", column, schema.keys.iter().map(|key| &*key.name)));
        }
    }
    let cell = |key: &KeyColumn| {
        let Some((_, entry)) = entries.iter().find(|(column, _)| *column == &*key.name) else {
            node.mistake(format!("lacks key column {}, such as {} = \"$key\"", key.name, key.name));
            return None;
        };
        read_cell(entry, key.column_type)
    };
    // All cells are read first, so that each shows its mistakes.
    let cells: Vec<Option<Cell>> = schema.keys.iter().map(cell).collect();
    cells.into_iter().collect()
}

fn read_columns(node: &Node<'_>, schema: &Schema) -> Vec<(String, Cell)> {
    let read = |(column, entry): (&str, Node<'_>)| {
        let Some(place) = schema.position(column) else {
            entry.mistake(unknown("column", column, schema.columns.iter().map(|column| &*column.name)));
            return None;
        };
        Some((column.to_owned(), read_cell(&entry, schema.columns[place].column_type)?))
    };
    node.entries().into_iter().filter_map(read).collect()
}

/// Reads `$key`, `$n`, `$at`, or a value; `$$` at the beginning of a text is a plain `$`.
fn read_cell(node: &Node<'_>, column_type: ColumnType) -> Option<Cell> {
    let is_integer = column_type == ColumnType::Integer;
    let (cell, fits, what) = if node.is_integer() {
        (Cell::Fixed(Value::Integer(node.integer()?)), is_integer, "an integer")
    } else {
        let text = node.text()?;
        match text.as_str() {
            "$key" => (Cell::Key, column_type != ColumnType::Timestamp, "$key"),
            "$n" => (Cell::N, is_integer, "$n"),
            "$at" => (Cell::At, column_type == ColumnType::Timestamp, "$at"),
            plain if !plain.starts_with('$') => return literal(node, plain, column_type),
            escaped if escaped.starts_with("$$") => return literal(node, &escaped[1..], column_type),
            other => {
                node.mistake(unknown("value", other, ["$key", "$n", "$at"]));
                return None;
            }
        }
    };
    if !fits {
        let name =
            COLUMN_TYPES.iter().find(|(_, known)| *known == column_type).map_or("unknown", |(name, _)| name);
        node.mistake(format!("{what} does not fit a column of type {}", quoted(name)));
    }
    fits.then_some(cell)
}

fn literal(node: &Node<'_>, text: &str, column_type: ColumnType) -> Option<Cell> {
    if column_type == ColumnType::Text && text.is_empty() {
        node.mistake("an empty text");
        return None;
    }
    node.accept(value(column_type, text)).map(Cell::Fixed)
}

fn default_row(schema: &Schema) -> Result<Vec<Cell>, String> {
    match &*schema.keys {
        [key] if key.column_type != ColumnType::Timestamp => Ok(vec![Cell::Key]),
        _ => Err(format!(
            "buffer {} needs row = {{ .. }}: its key is not one column that $key fits",
            schema.name
        )),
    }
}

fn default_columns(schema: &Schema) -> Vec<(String, Cell)> {
    // A version and its columns are written together, and have no default.
    let versioned =
        |place: usize| schema.columns.iter().any(|column| column.by.is_some_and(|by| by == place));
    let cell = |(place, column): (usize, &Column)| {
        let cell = match (column.merge, column.column_type) {
            (Merge::Sum, _) => Cell::N,
            _ if column.by.is_some() || versioned(place) => return None,
            (_, ColumnType::Timestamp) => Cell::At,
            _ => return None,
        };
        Some((column.name.to_string(), cell))
    };
    schema.columns.iter().enumerate().filter_map(cell).collect()
}

/// One take cannot charge a key of a limit twice, and a series or buffer that is named twice is a mistake.
fn check_repetition(node: &Node<'_>, event: &EventConfig) {
    let same_limit = |a: &LimitUse, b: &LimitUse| {
        a.name == b.name && (a.key == b.key || a.key.is_none() || b.key.is_none())
    };
    let limit = repeated(&event.limits, same_limit).map(|limit| ("limit", &limit.name));
    let series = repeated(&event.series, |a, b| a == b).map(|name| ("series", name));
    let buffer = repeated(&event.buffers, |a, b| a.name == b.name).map(|buffer| ("buffer", &buffer.name));
    for (what, name) in limit.into_iter().chain(series).chain(buffer) {
        node.mistake(format!("{what} {name} is named twice"));
    }
}

/// The first of `all` that is the same as an earlier one.
fn repeated<T>(all: &[T], same: impl Fn(&T, &T) -> bool) -> Option<&T> {
    all.iter().enumerate().find(|(n, b)| all[..*n].iter().any(|a| same(a, b))).map(|(_, b)| b)
}
