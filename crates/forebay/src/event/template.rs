//! From an event's cells to a row.

use super::{
    definition::{Cell, Template},
    incoming::IncomingHit,
};
use crate::{
    error::{Result, invalid},
    key::Key,
    model::{ColumnType, Row, Value},
};

impl Template {
    /// Checks that every cell fits its column.
    pub(super) fn check(&self) -> Result<()> {
        let schema = self.buffer.schema();
        if self.row.len() != schema.keys.len() {
            let (want, got, name) = (schema.keys.len(), self.row.len(), &schema.name);
            return Err(invalid(format!("{got} row cells for the {want} key columns of buffer {name}")));
        }
        if self.columns.is_empty() {
            return Err(invalid(format!("names no column of buffer {}", schema.name)));
        }
        for (column, cell) in schema.keys.iter().zip(&self.row) {
            check_cell(cell, &column.name, column.column_type)?;
        }
        for (nth, (column, cell)) in self.columns.iter().enumerate() {
            check_cell(cell, column, self.buffer.column(column)?.1.column_type)?;
            if self.columns[..nth].iter().any(|(before, _)| before == column) {
                return Err(invalid(format!("names column {column:?} of buffer {} twice", schema.name)));
            }
        }
        let is_named =
            |place: usize| self.columns.iter().any(|(name, _)| **name == *schema.columns[place].name);
        schema.check_named(is_named)
    }

    /// Whether the key of a hit fits, by a look at it. `false`: to fill the row tells.
    pub(super) fn fits(&self, hit: IncomingHit<'_>) -> bool {
        let schema = self.buffer.schema();
        let fits = |kind, cell: &Cell| match (cell, kind) {
            // Escaped, a text is at most three times as long.
            (Cell::Key, ColumnType::Text) => 3 * hit.key.as_str().len() <= Key::MAX_BYTES,
            (Cell::Key, _) => value(cell, kind, hit).is_ok(),
            _ => true,
        };
        let ([column], [cell]) = (&*schema.keys, &*self.row) else { return false };
        let mut columns = self.columns.iter().filter_map(|(name, cell)| Some((schema.position(name)?, cell)));
        fits(column.column_type, cell)
            && columns.all(|(place, cell)| fits(schema.columns[place].column_type, cell))
    }

    /// The row of one hit.
    pub(super) fn fill(&self, hit: IncomingHit<'_>) -> Result<Row> {
        let schema = self.buffer.schema();
        let keys = schema.keys.iter().zip(&self.row);
        let keys = keys.map(|(column, cell)| value(cell, column.column_type, hit));
        let mut write = self.buffer.row_of(keys.collect::<Result<Vec<Value>>>()?);
        for (column, cell) in &self.columns {
            let Some(place) = schema.position(column) else { continue };
            write = write.merge(column, value(cell, schema.columns[place].column_type, hit)?);
        }
        write.into_row()
    }
}

fn check_cell(cell: &Cell, column: &str, kind: ColumnType) -> Result<()> {
    let fits = match cell {
        // A key that is no integer or no UUID is refused hit by hit.
        Cell::Key => kind != ColumnType::Timestamp,
        Cell::N => kind == ColumnType::Integer,
        Cell::At => kind == ColumnType::Timestamp,
        Cell::Fixed(fixed) => fixed.column_type() == kind,
    };
    if fits {
        Ok(())
    } else {
        Err(invalid(format!("{cell:?} does not fit column {column:?}, which is {kind:?}")))
    }
}

fn value(cell: &Cell, kind: ColumnType, hit: IncomingHit<'_>) -> Result<Value> {
    match cell {
        Cell::Key => Value::from_text(kind, hit.key.as_str()),
        Cell::N => Ok(Value::Integer(i64::try_from(hit.n.get()).unwrap_or(i64::MAX))),
        Cell::At => Ok(Value::Timestamp(hit.times.at)),
        Cell::Fixed(fixed) => Ok(fixed.clone()),
    }
}
