//! The cells of a row as a JSON object.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use serde_json::Value;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{AdditionalProperties, ObjectBuilder, OneOfBuilder, Type},
    },
};

use crate::text::quoted;

/// The cells of a row by column, each column once.
#[derive(Clone, Debug)]
pub(crate) struct Cells(pub(crate) Vec<(String, Value)>);

struct CellsVisitor;

impl<'de> Visitor<'de> for CellsVisitor {
    type Value = Cells;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of columns and their values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Cells, A::Error> {
        let mut cells: Vec<(String, Value)> = vec![];
        while let Some(column) = map.next_key::<String>()? {
            if cells.iter().any(|(other, _)| *other == column) {
                return Err(A::Error::custom(format!("column {} is written twice", quoted(&column))));
            }
            // A buffer has at most 32 columns. The bound keeps the search above short.
            if cells.len() == 64 {
                return Err(A::Error::custom("more than 64 columns"));
            }
            cells.push((column, map.next_value()?));
        }
        Ok(Cells(cells))
    }
}

impl<'de> Deserialize<'de> for Cells {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(CellsVisitor)
    }
}

impl PartialSchema for Cells {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String);
        let value = OneOfBuilder::new().item(text).item(ObjectBuilder::new().schema_type(Type::Number));
        let value = AdditionalProperties::RefOr(value.into());
        let object = ObjectBuilder::new().schema_type(Type::Object).additional_properties(Some(value));
        object
            .description(Some("Columns and their values, as the configuration declares them"))
            .build()
            .into()
    }
}

impl ToSchema for Cells {}
