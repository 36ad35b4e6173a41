//! Rows as a Redis host holds them: what goes to the scripts, and what comes back.
//!
//! Values in, values out: no connection, no clock.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
};

use hashbrown::hash_table::{Entry, HashTable};
use redis::{Cmd, Value as Reply};
use uuid::Uuid;

use super::{
    reply::{server_time, strings, text},
    tokens::Tokens,
};
use crate::{
    engine::{
        request::Token,
        sequence::{Refusals, Waiting},
        step::{BufferPart, BufferStats, Frozen, Generation, PendingRow},
    },
    error::{Error, ErrorKind, Result, invalid},
    key,
    model::{
        Column, ColumnType, Merge, Row, RowKey, Schema, Value,
        row::{merge_cells, overflow},
    },
    time::Timestamp,
};

/// The letter of the first column. With at most 32 of them none reaches `a`, and none is `#`.
const FIRST: u8 = b'A';

/// Set in the letter of a version that a text goes by. Other values are numbers, which order otherwise.
const TEXT: u8 = 0x80;

/// Cells in one script call: some milliseconds, in which the server does nothing else, and few enough to be unpacked
/// onto Lua's stack.
pub(super) const MAX_CELLS_PER_CALL: usize = 2_000;

/// A row on its way, and its token, if it is a part of a request that is carried out once.
#[derive(Debug)]
pub(super) struct Item {
    pub row: Row,
    pub token: Option<Box<Token>>,
}

impl Item {
    /// The bytes that it holds beside its own size.
    pub(super) fn heap_bytes(&self) -> usize {
        let Self { row, token } = self;
        let text = |cell: &Option<Value>| match cell {
            Some(Value::Text(text)) => text.len(),
            _ => 0,
        };
        let texts: usize = row.cells.iter().map(text).sum();
        row.key.as_str().len() + size_of_val(&*row.cells) + texts + token.as_deref().map_or(0, size_of_val)
    }
}

/// Rows of one partition, equal keys merged, as arguments of `lua/buffer_add.lua`.
#[derive(Debug, Default)]
pub(super) struct Merged {
    /// For each item its place in the flight, and its row.
    members: Vec<(usize, usize)>,
    rows: Vec<Shared>,
    /// The fields and values, one after the other, and where each ends.
    text: String,
    ends: Vec<usize>,
    /// How many cells each row has.
    cells: Vec<u8>,
    pub tokens: Tokens,
}

/// A row that several items may have become.
#[derive(Debug)]
struct Shared {
    /// The place of its first item.
    first: usize,
    /// Once there is a second.
    merged: Option<Box<[Option<Value>]>>,
    items: usize,
    /// An item of this key could not join: none that comes after it may.
    closed: bool,
}

impl Merged {
    /// Takes what goes together off `waiting`: items are merged if their sums fit; each row comes once.
    pub(super) fn new(schema: &Schema, items: &[(u16, Item)], waiting: &mut Waiting) -> Self {
        let mut merged = Self::default();
        let mut by_key: HashTable<usize> = HashTable::new();
        let solo = !waiting.solo.is_empty();
        let queue = if solo { &mut waiting.solo } else { &mut waiting.places };
        let mut left = VecDeque::new();
        let mut weight = 0;
        while let Some(place) = queue.pop_front() {
            let Item { row, token } = &items[place].1;
            if token.as_ref().is_some_and(|token| !merged.tokens.takes(token)) {
                left.push_back(place);
                continue;
            }
            let cells = row.cells.iter().flatten().count();
            if weight > 0 && weight + cells > MAX_CELLS_PER_CALL {
                left.push_back(place);
                break;
            }
            // A row with nothing to merge is merged.
            if cells > 0 && !merged.take(schema, items, &mut by_key, place, solo) {
                left.push_back(place);
                continue;
            }
            weight += cells;
        }
        left.append(queue);
        *queue = left;
        merged.write(schema, items);
        merged
    }

    /// Whether the item could join.
    fn take(
        &mut self,
        schema: &Schema,
        items: &[(u16, Item)],
        by_key: &mut HashTable<usize>,
        place: usize,
        solo: bool,
    ) -> bool {
        let Item { row, token } = &items[place].1;
        let hash = |row: &Row| key::hash(row.key.as_str().as_bytes());
        let Self { members, rows, tokens, .. } = self;
        let same = by_key.entry(
            hash(row),
            |&at| items[rows[at].first].1.row.key == row.key,
            |&at| hash(&items[rows[at].first].1.row),
        );
        let at = match same {
            Entry::Vacant(vacant) => {
                let at = *vacant.insert(rows.len()).get();
                rows.push(Shared { first: place, merged: None, items: 1, closed: solo });
                at
            }
            Entry::Occupied(at) => {
                let shared = &mut rows[*at.get()];
                if !shared.closed {
                    let into = shared.merged.get_or_insert_with(|| items[shared.first].1.row.cells.clone());
                    shared.closed = merge_cells(schema, into, &row.cells).is_err();
                }
                if shared.closed {
                    return false;
                }
                shared.items += 1;
                *at.get()
            }
        };
        members.push((place, at));
        if let Some(token) = token {
            tokens.add(token, place, at);
        }
        true
    }

    fn write(&mut self, schema: &Schema, items: &[(u16, Item)]) {
        let Self { rows, text, ends, cells, .. } = self;
        for shared in rows {
            let row = &items[shared.first].1.row;
            let merged = shared.merged.as_ref().unwrap_or(&row.cells);
            let before = ends.len();
            for turn in 0..3 {
                for (i, (column, cell)) in schema.columns.iter().zip(merged).enumerate() {
                    if let Some(value) = cell.as_ref().filter(|_| turn_of(column) == turn) {
                        text.push(char::from(letter(i)));
                        text.push_str(row.key.as_str());
                        ends.push(text.len());
                        write_cell(value, text);
                        ends.push(text.len());
                    }
                }
            }
            cells.push(u8::try_from((ends.len() - before) / 2).expect("a schema has at most 32 columns"));
        }
    }

    pub(super) fn places(&self) -> impl DoubleEndedIterator<Item = usize> {
        self.members.iter().map(|(place, _)| *place)
    }

    /// How many cells it has.
    pub(super) fn cells(&self) -> usize {
        self.ends.len() / 2
    }

    /// The bytes of its arguments, about.
    pub(super) fn bytes(&self) -> usize {
        self.text.len() + self.cells.len() + self.tokens.text().len()
    }

    /// Adds the arguments.
    pub(super) fn add_to(&self, command: &mut Cmd) {
        command.arg(self.tokens.text()).arg(&self.cells);
        let mut start = 0;
        for &end in &self.ends {
            command.arg(&self.text[start..end]);
            start = end;
        }
    }

    /// Reads the answer to an applied batch. Items that were refused merged with others wait again, unmerged.
    pub(super) fn settle(
        &self,
        schema: &Schema,
        refused: &str,
        waiting: &mut Waiting,
        refusals: &mut Refusals,
    ) {
        if self.tokens.settle(refused, self.places(), waiting, refusals) {
            return;
        }
        for one in refused.split(',') {
            let Some((row, column)) = refused_cell(schema, one) else { continue };
            let alone = self.rows.get(row).is_some_and(|row| row.items == 1);
            for (place, _) in self.members.iter().filter(|(_, of)| *of == row) {
                if alone {
                    refusals.push((*place, overflow(schema, column)));
                } else {
                    waiting.solo.push_back(*place);
                }
            }
        }
    }
}

/// Reads `3A`: the row, and the column that did not fit.
fn refused_cell<'a>(schema: &'a Schema, text: &str) -> Option<(usize, &'a Column)> {
    let (row, letter) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let column = usize::from(letter.bytes().next()?.checked_sub(FIRST)?);
    Some((row.parse().ok()?, schema.columns.get(column)?))
}

/// The field of a cell.
pub(super) fn field(column: usize, row: &RowKey) -> Vec<u8> {
    let mut field = Vec::with_capacity(1 + row.as_str().len());
    field.push(letter(column));
    field.extend_from_slice(row.as_str().as_bytes());
    field
}

/// The order of a row's cells: sums, which alone can be refused; what goes by a version; the rest, and versions with it.
fn turn_of(column: &Column) -> usize {
    match (column.merge, column.by) {
        (Merge::Sum, _) => 0,
        (_, Some(_)) => 1,
        _ => 2,
    }
}

/// A character for how each column merges, as `lua/buffer_add.lua` wants it.
pub(super) fn kinds(schema: &Schema) -> Vec<u8> {
    let is_text = |column: &Column| matches!(column.column_type, ColumnType::Text | ColumnType::Uuid);
    let kind = |column: &Column| match (column.by, column.merge, is_text(column)) {
        (Some(by), _, false) => letter(by),
        (Some(by), _, true) => letter(by) | TEXT,
        (None, Merge::Sum, _) => b's',
        (None, Merge::Max, false) => b'>',
        (None, Merge::Min, false) => b'<',
        (None, Merge::Max, true) => b'x',
        (None, Merge::Min, true) => b'n',
        (None, Merge::Last | Merge::First, _) => unreachable!("a checked schema has their versions"),
    };
    schema.columns.iter().map(kind).collect()
}

/// The first byte of a column's fields.
fn letter(column: usize) -> u8 {
    FIRST + u8::try_from(column).expect("a schema has at most 32 columns")
}

/// The text of a generation's id.
pub(super) fn id_text(id: Uuid) -> String {
    id.hyphenated().to_string()
}

/// Reads the list of frozen generations.
pub(super) fn frozen(list: Reply) -> Option<Vec<Frozen>> {
    strings(list)?.iter().map(|entry| one_frozen(entry)).collect()
}

fn one_frozen(entry: &str) -> Option<Frozen> {
    let mut words = entry.split(' ');
    Some(Frozen {
        id: Uuid::parse_str(words.next()?).ok()?,
        born: Timestamp::from_micros(words.next()?.parse().ok()?),
        rows: words.next()?.parse().ok()?,
    })
}

/// Reads a generation from all its fields. One of another shape comes without its rows: their columns are not these.
pub(super) fn generation(part: &BufferPart, id: Uuid, fields: &[(Vec<u8>, Vec<u8>)]) -> Result<Generation> {
    let meta = |name: &str| fields.iter().find(|(field, _)| field == name.as_bytes()).map(|(_, value)| value);
    let shape = meta("#shape").and_then(|shape| std::str::from_utf8(shape).ok());
    let last = meta("#last").and_then(|last| std::str::from_utf8(last).ok()?.parse().ok());
    let fingerprint: Box<str> = shape.ok_or_else(|| corrupt(part, "a generation without a shape"))?.into();
    let mut rows: BTreeMap<&[u8], Row> = BTreeMap::new();
    if fingerprint == part.schema.fingerprint {
        for (field, value) in fields {
            let Some((&letter, key)) = field.split_first().filter(|(letter, _)| **letter != b'#') else {
                continue;
            };
            let key_text = std::str::from_utf8(key).map_err(|_| corrupt(part, "a key that is no text"))?;
            let row =
                rows.entry(key).or_insert_with(|| Row::empty(&part.schema, RowKey::from_store(key_text)));
            let column = usize::from(letter.wrapping_sub(FIRST));
            let cell =
                row.cells.get_mut(column).ok_or_else(|| corrupt(part, "a column that it does not have"))?;
            *cell = Some(read_cell(part, column, value)?);
        }
    }
    let last_write = last.map(Timestamp::from_micros);
    Ok(Generation { id, fingerprint, last_write, rows: rows.into_values().collect() })
}

/// Reads `#gen`, `#shape` and the cells of one row, if the generation has it and is of today's shape.
pub(super) fn pending(part: &BufferPart, row: &RowKey, reply: Reply) -> Result<Option<PendingRow>> {
    let Reply::Array(values) = reply else { return Err(corrupt(part, "a row that is none")) };
    let mut values = values.into_iter();
    let (id, shape) = (values.next().and_then(text), values.next().and_then(text));
    let (Some(id), Some(shape)) = (id, shape) else { return Ok(None) };
    if *shape != *part.schema.fingerprint {
        return Ok(None);
    }
    let generation = Uuid::parse_str(&id).map_err(|_| corrupt(part, "an id that is none"))?;
    let mut pending = PendingRow { generation, row: Row::empty(&part.schema, row.clone()) };
    for (column, value) in values.enumerate() {
        if let Reply::BulkString(value) = value {
            pending.row.cells[column] = Some(read_cell(part, column, &value)?);
        }
    }
    Ok(pending.row.cells.iter().any(Option::is_some).then_some(pending))
}

/// A cell's text: the value's own, but microseconds in base 16. They order as decimals do, and fit into the allocator's
/// next smaller size: 16 bytes less for each.
fn write_cell(value: &Value, to: &mut String) {
    let Value::Timestamp(at) = value else { return value.write_text(to) };
    let sign = if at.as_micros() < 0 { "-" } else { "" };
    write!(to, "{sign}{:x}", at.as_micros().unsigned_abs()).expect("a string takes what is written");
}

fn read_cell(part: &BufferPart, column: usize, value: &[u8]) -> Result<Value> {
    let column_type = part.schema.columns[column].column_type;
    let text = std::str::from_utf8(value).map_err(|_| corrupt(part, "a value that is no text"))?;
    let strange = |cause| corrupt(part, "a value of another type").with_source(cause);
    if column_type == ColumnType::Timestamp {
        let micros = i64::from_str_radix(text, 16).map_err(|cause| invalid(cause.to_string()));
        return micros.map(|micros| Value::Timestamp(Timestamp::from_micros(micros))).map_err(strange);
    }
    Value::from_text(column_type, text).map_err(strange)
}

/// Reads `#gen`, `#born` and `#rows` of what is live, the list of frozen generations, and the server's time.
pub(super) fn stats([live, list, time]: [Reply; 3]) -> Option<BufferStats> {
    let Reply::Array(live) = live else { return None };
    let mut live = live.into_iter().map(text);
    let (id, born, rows) = (live.next()?, live.next()?, live.next()?);
    let frozen = frozen(list)?;
    let mut stats = BufferStats {
        frozen_rows: frozen.iter().map(|frozen| frozen.rows).sum(),
        frozen: frozen.len() as u64,
        oldest: frozen.iter().map(|frozen| frozen.born).min(),
        now: Timestamp::from_micros(i64::try_from(server_time(time)?).ok()?),
        ..BufferStats::default()
    };
    // Rotated between the two questions it is among the frozen ones already.
    let id = id.and_then(|id| Uuid::parse_str(&id).ok());
    if id.is_some_and(|id| frozen.iter().all(|frozen| frozen.id != id)) {
        let born = Timestamp::from_micros(born?.parse().ok()?);
        stats.live_rows = rows?.parse().ok()?;
        stats.oldest = Some(stats.oldest.map_or(born, |oldest| oldest.min(born)));
    }
    Some(stats)
}

fn corrupt(part: &BufferPart, what: &str) -> Error {
    let (name, index) = (&part.schema.name, part.index);
    Error::new(ErrorKind::Corrupt, format!("buffer {name}, partition {index}: the store holds {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Buffer;

    #[test]
    fn times_are_read_back_and_order_as_text_of_one_length() {
        let schema = Buffer::new("p").key("id").max("at").build().expect("valid");
        let part = BufferPart { schema, index: 0 };
        let text = |micros: i64| {
            let mut text = String::new();
            write_cell(&Timestamp::from_micros(micros).into(), &mut text);
            text
        };
        for micros in [0, 1, -1, 9, 10, 15, 16, -16, i64::MAX, i64::MIN, 1_790_000_000_000_000] {
            let read = read_cell(&part, 0, text(micros).as_bytes()).expect("ours");
            assert_eq!(read, Value::from(Timestamp::from_micros(micros)));
        }
        assert_eq!(text(1_790_000_000_000_000), "65bfeda25e000");
        assert!(text(9) < text(10) && text(1_790_000_000_000_009) < text(1_790_000_000_000_010));
        assert!(read_cell(&part, 0, b"noon").is_err());
    }
}
