//! Reading `[buffers]`.

use std::time::Duration;

use forebay::{
    Buffer,
    buffer::{Bounds, ColumnType, Merge},
    time::{days, hours, millis, secs},
};
use forebay_sql::{Migrate, Missing};

use super::{
    dialect::Dialect,
    fields::{Fields, Node},
    model::BufferConfig,
    section::{Declared, read_partitions, section, span_within},
};

const DEFAULT_FLUSH: Duration = secs(10);

/// Reads the section; `dialect` is that of the database, if its URL is valid.
pub(super) fn read_buffers(top: &mut Fields<'_>, dialect: Option<Dialect>) -> Declared<BufferConfig> {
    section(top, "buffers", |name, node| {
        let mut fields = node.fields()?;
        let mut buffer = Buffer::new(name.as_str());
        buffer = fields.read("table", Node::text).into_iter().fold(buffer, Buffer::table);
        let key = fields.required("key", "{ id = \"text\" }");
        for (column, node) in key.iter().flat_map(Node::entries) {
            let column_type = node.choice("column type", &COLUMN_TYPES).unwrap_or(ColumnType::Text);
            buffer = buffer.key_of(column, column_type);
        }
        let columns = fields.required("columns", "{ hits = \"sum\" }");
        for (column, node) in columns.iter().flat_map(Node::entries) {
            let (merge, column_type, by) =
                read_column(&node).unwrap_or((Merge::Sum, ColumnType::Integer, None));
            buffer = match by {
                Some(by) => buffer.column_by(column, merge, column_type, by),
                None => buffer.column(column, merge, column_type),
            };
        }
        buffer = fields.read("partitions", read_partitions).into_iter().fold(buffer, Buffer::partitions);
        let max_rows = fields.read("max_rows", |node| node.number(1..=100_000));
        buffer = max_rows.into_iter().fold(buffer, Buffer::max_rows);
        buffer = read_bounds(&mut fields, buffer);
        let flush_every = fields.read("flush_every", |node| span_within(node, millis(10)..=days(1)));
        let migrate = fields.read("migrate", Node::flag).map(Migrate::from);
        let missing = fields.read("missing", |node| node.choice("missing", &MISSING));
        let ledger_retention =
            fields.read("ledger_retention", |node| span_within(node, hours(1)..=days(3_650)));
        fields.finish();
        let schema = key.and(columns).and_then(|_| node.accept(buffer.clone().build()))?;
        if let Some(dialect) = dialect {
            node.accept(dialect.check_buffer(&schema));
        }
        let flush_every = flush_every.unwrap_or(DEFAULT_FLUSH);
        Some(BufferConfig { definition: buffer, schema, flush_every, migrate, missing, ledger_retention })
    })
}

/// The bounds on pending rows.
fn read_bounds(fields: &mut Fields<'_>, buffer: Buffer) -> Buffer {
    let mut rows = |name| fields.read(name, |node| node.number(1..=1 << 40));
    let defaults = Bounds::default();
    let (soft, hard) = (rows("soft_rows"), rows("hard_rows"));
    let hard = hard.unwrap_or(defaults.hard_rows.max(soft.unwrap_or(0)));
    let soft = soft.unwrap_or(defaults.soft_rows.min(hard));
    let mut age = |name| fields.read(name, |node| span_within(node, secs(1)..=days(3_650)));
    let (soft_age, hard_age) = (age("soft_age"), age("hard_age"));
    buffer.bounds_rows(soft, hard).bounds_age(soft_age, hard_age)
}

const MISSING: [(&str, Missing); 3] =
    [("insert", Missing::Insert), ("skip", Missing::Skip), ("dead_letter", Missing::DeadLetter)];

pub(super) const COLUMN_TYPES: [(&str, ColumnType); 4] = [
    ("integer", ColumnType::Integer),
    ("text", ColumnType::Text),
    ("timestamp", ColumnType::Timestamp),
    ("uuid", ColumnType::Uuid),
];

const MERGES: [(&str, Merge); 5] = [
    ("sum", Merge::Sum),
    ("max", Merge::Max),
    ("min", Merge::Min),
    ("last", Merge::Last),
    ("first", Merge::First),
];

/// `"sum"`, `{ merge = "max", type = "timestamp" }`, or `{ merge = "last", type = "text", by = "version" }`. A sum is of
/// integers; the other merges need a type.
fn read_column(node: &Node<'_>) -> Option<(Merge, ColumnType, Option<String>)> {
    if node.is_text() {
        match node.choice("merge", &MERGES)? {
            Merge::Sum => {}
            Merge::Last | Merge::First => {
                node.mistake(
                    "lacks its type and version, such as { merge = \"last\", type = \"text\", by = \"version\" }",
                );
                return None;
            }
            _ => node.mistake("lacks its type, such as { merge = \"max\", type = \"timestamp\" }"),
        }
        return Some((Merge::Sum, ColumnType::Integer, None));
    }
    let mut fields = node.fields()?;
    let merge = fields.required("merge", "\"sum\"").and_then(|node| node.choice("merge", &MERGES));
    let column_type = match merge {
        Some(Merge::Sum) => fields.optional("type"),
        _ => fields.required("type", "\"timestamp\""),
    };
    let column_type =
        column_type.map_or(Some(ColumnType::Integer), |node| node.choice("column type", &COLUMN_TYPES));
    let needs_version = matches!(merge, Some(Merge::Last | Merge::First));
    let by = if needs_version { fields.required("by", "\"version\"") } else { fields.optional("by") };
    let by = by.and_then(|node| node.text());
    fields.finish();
    if needs_version && by.is_none() {
        return None;
    }
    Some((merge?, column_type?, by))
}
