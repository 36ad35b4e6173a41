//! From an event's cells to a row.

use super::{
    definition::{Cell, Template},
    incoming::IncomingHit,
};
use crate::{
    error::{Result, invalid},
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
        for (column, cell) in &self.columns {
            check_cell(cell, column, self.buffer.column(column)?.1.column_type)?;
        }
        let is_named =
            |place: usize| self.columns.iter().any(|(name, _)| **name == *schema.columns[place].name);
        schema.check_named(is_named)
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
