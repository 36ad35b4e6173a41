//! A column of a batch as one parameter: an array. So a statement's text does not depend on its number of rows.

use sqlx::{
    Postgres, Type,
    encode::{Encode, IsNull},
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgTypeInfo, types::Oid},
};

use crate::common::codec::Cell;

/// The type of an array's elements. The numbers are in Postgres's `pg_type.dat` and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    Int2,
    Int4,
    Int8,
    Text,
    Uuid,
    Timestamp,
    TimestampTz,
}

impl Element {
    /// Its name in a statement.
    pub(super) fn name(self) -> &'static str {
        self.catalogued().0
    }

    /// Its name, its id, and the id of the type of its arrays.
    fn catalogued(self) -> (&'static str, u32, u32) {
        match self {
            Self::Int2 => ("int2", 21, 1_005),
            Self::Int4 => ("int4", 23, 1_007),
            Self::Int8 => ("int8", 20, 1_016),
            Self::Text => ("text", 25, 1_009),
            Self::Uuid => ("uuid", 2_950, 2_951),
            Self::Timestamp => ("timestamp", 1_114, 1_115),
            Self::TimestampTz => ("timestamptz", 1_184, 1_185),
        }
    }
}

/// A column of values that are not NULL.
#[derive(Debug)]
pub(super) struct Array<'a> {
    pub(super) element: Element,
    pub(super) cells: Vec<&'a Cell>,
}

impl Type<Postgres> for Array<'_> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(Element::Text.catalogued().2))
    }
}

impl Encode<'_, Postgres> for Array<'_> {
    /// <https://www.postgresql.org/docs/current/protocol-overview.html#PROTOCOL-FORMAT-CODES>; the layout is that of
    /// `array_send` and of the element's own.
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let rows = i32::try_from(self.cells.len())?;
        let (_, element, _) = self.element.catalogued();
        // One dimension without NULL, whose index begins at 1.
        for number in [1, 0, element.cast_signed(), rows, 1] {
            buffer.extend_from_slice(&number.to_be_bytes());
        }
        for cell in &self.cells {
            match (self.element, cell) {
                (Element::Int2, Cell::Integer(n)) => value(buffer, &i16::try_from(*n)?.to_be_bytes())?,
                (Element::Int4, Cell::Integer(n)) => value(buffer, &i32::try_from(*n)?.to_be_bytes())?,
                (_, Cell::Integer(n)) => value(buffer, &n.to_be_bytes())?,
                (_, Cell::Text(text)) => value(buffer, text.as_bytes())?,
                (_, Cell::Bytes(bytes)) => value(buffer, bytes)?,
            }
        }
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_oid(Oid(self.element.catalogued().2)))
    }
}

fn value(buffer: &mut PgArgumentBuffer, bytes: &[u8]) -> Result<(), BoxDynError> {
    buffer.extend_from_slice(&i32::try_from(bytes.len())?.to_be_bytes());
    buffer.extend_from_slice(bytes);
    Ok(())
}
