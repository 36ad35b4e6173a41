//! Rows as a Redis host holds them: what goes to the scripts, and what comes back.
//!
//! Values in, values out: no connection, no clock.

use std::collections::{BTreeMap, HashMap};

use redis::{Cmd, Value as Reply};
use uuid::Uuid;

use super::reply::{server_time, strings, text};
use crate::{
    buffer::{Column, ColumnType, Merge, Row, RowKey, Schema, Value, row::overflow},
    engine::step::{BufferPart, BufferStats, Frozen, Generation, PendingRow},
    error::{Error, ErrorKind, Result},
    time::Timestamp,
};

/// The letter of the first column. With at most 32 of them none reaches `a`, and none is `#`.
const FIRST: u8 = b'A';

/// The rows of one caller, on their way.
#[derive(Debug)]
pub(super) struct Pending {
    rows: Vec<Row>,
    /// For each row its answer, once there is one.
    answers: Vec<Option<Result<()>>>,
    /// Merged with another's rows, one of these was refused: they go on their own now.
    apart: bool,
}

/// Rows of several callers, equal keys merged.
#[derive(Debug)]
pub(super) struct Merged {
    rows: Vec<Row>,
    /// For each unanswered row of the callers, in order, its place in `rows`.
    places: Vec<usize>,
    /// How many went into each.
    parts: Vec<usize>,
}

impl Pending {
    pub(super) fn new(rows: Vec<Row>) -> Self {
        // A row with nothing to merge is merged.
        let nothing = |row: &Row| row.cells.iter().all(Option::is_none).then_some(Ok(()));
        let answers = rows.iter().map(nothing).collect();
        Self { rows, answers, apart: false }
    }

    pub(super) fn weight(&self) -> usize {
        self.rows.len().max(1)
    }

    fn unanswered(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().zip(&self.answers).filter(|(_, answer)| answer.is_none()).map(|(row, _)| row)
    }
}

impl Merged {
    pub(super) fn new<'a>(schema: &Schema, writes: impl Iterator<Item = &'a Pending>) -> Self {
        let mut merged = Self { rows: vec![], places: vec![], parts: vec![] };
        let mut by_key: HashMap<&RowKey, usize> = HashMap::new();
        for write in writes {
            for row in write.unanswered() {
                let same = by_key.get(&row.key).copied().filter(|_| !write.apart);
                let fits = same.filter(|&place| merged.rows[place].merge(schema, row).is_ok());
                let place = fits.unwrap_or_else(|| {
                    merged.rows.push(row.clone());
                    merged.parts.push(0);
                    merged.rows.len() - 1
                });
                merged.parts[place] += 1;
                merged.places.push(place);
                if write.apart {
                    // Nothing joins a row that goes on its own.
                    by_key.remove(&row.key);
                } else {
                    by_key.insert(&row.key, place);
                }
            }
        }
        merged
    }

    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Adds the rows to the arguments of `lua/buffer_add.lua`.
    pub(super) fn write(&self, schema: &Schema, command: &mut Cmd) {
        for row in &self.rows {
            command.arg(row.cells.iter().flatten().count());
            for turn in 0..3 {
                for (i, (column, cell)) in schema.columns.iter().zip(&row.cells).enumerate() {
                    if let Some(value) = cell.as_ref().filter(|_| turn_of(column) == turn) {
                        command.arg(field(i, &row.key)).arg(value.to_text());
                    }
                }
            }
        }
    }

    /// Tells each caller; `Err`: some of its rows were refused together with another's, and go again apart.
    pub(super) fn answers(
        &self,
        schema: &Schema,
        writes: Vec<Pending>,
        refused: &str,
    ) -> Vec<Result<Vec<Result<()>>, Pending>> {
        let refused: HashMap<usize, &Column> = refused
            .split(',')
            .filter_map(|one| {
                let (letter, place) = (one.bytes().last()?, one.get(..one.len() - 1)?);
                Some((place.parse().ok()?, schema.columns.get(usize::from(letter.checked_sub(FIRST)?))?))
            })
            .collect();
        let mut places = self.places.iter();
        let mut answer = |mut write: Pending| {
            for answer in write.answers.iter_mut().filter(|answer| answer.is_none()) {
                let &place = places.next().expect("each unanswered row has a place");
                match refused.get(&place) {
                    Some(_) if self.parts[place] > 1 => write.apart = true,
                    Some(column) => *answer = Some(Err(overflow(schema, column))),
                    None => *answer = Some(Ok(())),
                }
            }
            if write.answers.iter().all(Option::is_some) {
                return Ok(write.answers.into_iter().flatten().collect());
            }
            Err(write)
        };
        writes.into_iter().map(&mut answer).collect()
    }
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
pub(super) fn kinds(schema: &Schema) -> String {
    let is_text = |column: &Column| matches!(column.column_type, ColumnType::Text | ColumnType::Uuid);
    let kind = |column: &Column| match (column.by, column.merge, is_text(column)) {
        (Some(by), ..) => char::from(letter(by)),
        (None, Merge::Sum, _) => 's',
        (None, Merge::Max, false) => '>',
        (None, Merge::Min, false) => '<',
        (None, Merge::Max, true) => 'x',
        (None, Merge::Min, true) => 'n',
        (None, Merge::Last | Merge::First, _) => unreachable!("a checked schema has their versions"),
    };
    schema.columns.iter().map(kind).collect()
}

/// What the fields of a column begin with.
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
    Ok(Generation { id, fingerprint, rows: rows.into_values().collect() })
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

fn read_cell(part: &BufferPart, column: usize, value: &[u8]) -> Result<Value> {
    let column_type = part.schema.columns[column].column_type;
    let text = std::str::from_utf8(value).map_err(|_| corrupt(part, "a value that is no text"))?;
    Value::from_text(column_type, text)
        .map_err(|cause| corrupt(part, "a value of another type").with_source(cause))
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
