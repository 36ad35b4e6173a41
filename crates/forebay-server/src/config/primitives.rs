//! Reading `[series]` and `[buffers]`.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use forebay::{
    Buffer, Name, Series,
    buffer::{Bounds, ColumnType, Merge},
    series::Resolution,
    time::{days, hours, millis, secs},
};
use forebay_sql::{Migrate, Missing};

use super::{
    fields::{Fields, Node},
    model::BufferConfig,
};
use crate::{
    database::Dialect,
    text::{Span, quoted},
};

/// What a section declares. `None` is a definition with mistakes: its name is known all the same.
pub(super) type Declared<T> = BTreeMap<Name, Option<T>>;

const DEFAULT_FLUSH: Duration = secs(10);

/// `shared`: the store is not in this process.
pub(super) fn read_series(top: &mut Fields<'_>, shared: bool) -> Declared<Series> {
    section(top, "series", |name, node| {
        let mut fields = node.fields()?;
        let mut series = Series::new(name.as_str());
        if let Some(list) = fields.optional("resolutions") {
            // All are read before the first wrong one ends it, so that each shows its mistakes.
            let resolutions: Vec<Option<Resolution>> = list.list().iter().map(read_resolution).collect();
            if let Some(resolutions) = resolutions.into_iter().collect() {
                series = series.resolutions(resolutions);
            }
        }
        if let Some(partitions) = fields.optional("partitions").and_then(|node| node.number(1..=1_024)) {
            series = series.partitions(u16::try_from(partitions).expect("at most 1024"));
        }
        let bound = fields.optional("max_keys");
        if let Some(keys) = bound.as_ref().and_then(|node| node.number(1..=1 << 40)) {
            series = series.max_keys(keys);
        }
        if let (Some(node), true) = (bound, shared) {
            node.mistake("max_keys needs a store in this process (memory: or embedded:)");
        }
        fields.accept(series.check());
        fields.finish();
        Some(series)
    })
}

/// `10s/1d`: buckets of 10 s, kept for a day.
fn read_resolution(node: &Node<'_>) -> Option<Resolution> {
    let text = node.text()?;
    let Some((step, retention)) = text.split_once('/') else {
        node.mistake(format!(
            "resolution {}: lacks the / (a step, / and how long it is kept, such as 10s/1d)",
            quoted(&text)
        ));
        return None;
    };
    let (step, retention) = (node.accept(step.parse::<Span>()), node.accept(retention.parse::<Span>()));
    node.accept(Resolution::new(step?.0, retention?.0))
}

/// `dialect`: what they flush to, if that is known.
pub(super) fn read_buffers(top: &mut Fields<'_>, dialect: Option<Dialect>) -> Declared<BufferConfig> {
    section(top, "buffers", |name, node| {
        let mut fields = node.fields()?;
        let mut buffer = Buffer::new(name.as_str());
        if let Some(table) = fields.optional("table").and_then(|node| node.text()) {
            buffer = buffer.table(table);
        }
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
        if let Some(partitions) = fields.optional("partitions").and_then(|node| node.number(1..=1_024)) {
            buffer = buffer.partitions(u16::try_from(partitions).expect("at most 1024"));
        }
        if let Some(rows) = fields.optional("max_rows").and_then(|node| node.number(1..=100_000)) {
            buffer = buffer.max_rows(rows);
        }
        buffer = read_bounds(&mut fields, buffer);
        let flush_every =
            fields.optional("flush_every").and_then(|node| span_within(&node, millis(10)..=days(1)));
        let migrate = fields.optional("migrate").and_then(|node| node.flag()).map(Migrate::from);
        let missing = fields.optional("missing").and_then(|node| node.choice("missing", &MISSING));
        let retention = fields.optional("ledger_retention");
        let ledger_retention = retention.and_then(|node| span_within(&node, hours(1)..=days(3_650)));
        let schema = key.and(columns).and_then(|_| fields.accept(buffer.clone().build()));
        if let (Some(schema), Some(dialect)) = (&schema, dialect) {
            fields.accept(dialect.check_buffer(schema));
        }
        fields.finish();
        let flush_every = flush_every.unwrap_or(DEFAULT_FLUSH);
        Some(BufferConfig {
            definition: buffer,
            schema: schema?,
            flush_every,
            migrate,
            missing,
            ledger_retention,
        })
    })
}

/// How much may wait for the database.
fn read_bounds(fields: &mut Fields<'_>, buffer: Buffer) -> Buffer {
    let mut rows = |name| fields.optional(name).and_then(|node| node.number(1..=1 << 40));
    let defaults = Bounds::default();
    let (soft, hard) = (rows("soft_rows"), rows("hard_rows"));
    let hard = hard.unwrap_or(defaults.hard_rows.max(soft.unwrap_or(0)));
    let soft = soft.unwrap_or(defaults.soft_rows.min(hard));
    let mut age = |name| fields.optional(name).and_then(|node| span_within(&node, secs(1)..=days(3_650)));
    let (soft_age, hard_age) = (age("soft_age"), age("hard_age"));
    buffer.bounds_rows(soft, hard).bounds_age(soft_age, hard_age)
}

const MISSING: [(&str, Missing); 3] =
    [("insert", Missing::Insert), ("skip", Missing::Skip), ("dead_letter", Missing::DeadLetter)];

const COLUMN_TYPES: [(&str, ColumnType); 4] = [
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
/// integers; the other types have to be said.
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
    let by = match merge {
        Some(Merge::Last | Merge::First) => fields.required("by", "\"version\""),
        _ => fields.optional("by"),
    };
    let needs_version = matches!(merge, Some(Merge::Last | Merge::First));
    let by = by.and_then(|node| node.text());
    fields.finish();
    if needs_version && by.is_none() {
        return None;
    }
    Some((merge?, column_type?, by))
}

pub(super) fn span_within(node: &Node<'_>, range: RangeInclusive<Duration>) -> Option<Duration> {
    let span = node.parse::<Span>()?;
    if range.contains(&span.0) {
        return Some(span.0);
    }
    node.mistake(format!("{span} is outside {} to {}", Span(*range.start()), Span(*range.end())));
    None
}

/// A table of tables, each under a name.
pub(super) fn section<T>(
    top: &mut Fields<'_>,
    section: &'static str,
    read: impl Fn(&Name, &Node<'_>) -> Option<T>,
) -> Declared<T> {
    let mut all = BTreeMap::new();
    for (text, node) in top.optional(section).iter().flat_map(Node::entries) {
        let name = node.accept(Name::new(text));
        // Also where the name is none: its other mistakes are told in the same run.
        let value = read(name.as_ref().unwrap_or(&stand_in(text)), &node);
        if let Some(name) = name {
            all.insert(name, value);
        }
    }
    all
}

/// A name as near as may be to one that is none, so that what it names can be read.
pub(super) fn stand_in(text: &str) -> Name {
    let letter = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '_' | '-') => c,
        _ => '_',
    };
    let near: String = text.chars().map(letter).take(forebay::key::MAX_NAME - 1).collect();
    let near = near.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    Name::new(near).unwrap_or_else(|_| Name::new("x").expect("a letter"))
}
