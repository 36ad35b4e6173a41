//! The values that a statement binds.

use std::marker::PhantomData;

use forebay::Timestamp;
use uuid::Uuid;

use super::{
    codec::Cell,
    datetime,
    dialect::{Dialect, Kind},
};

/// A parameter of a statement on Forebay's own tables.
#[derive(Debug)]
pub(crate) enum Parameter {
    Text(Option<String>),
    Integer(i64),
}

/// The parameters of a statement on Forebay's own tables, in order.
///
/// Each method adds one and returns its placeholder. Most databases do not number placeholders, so a statement's text has to
/// contain them in the order of the calls.
#[derive(Debug)]
pub(crate) struct Parameters<D> {
    pub(crate) values: Vec<Parameter>,
    /// Whether the statement's text differs from call to call, so that a prepared statement is of no use again.
    pub(crate) one_off: bool,
    dialect: PhantomData<D>,
}

/// The values that a statement binds.
#[derive(Debug)]
pub(crate) enum Bindings<'a, D: Dialect> {
    Parameters(Parameters<D>),
    /// Rows for a buffer's table, and the codecs of their columns.
    Rows {
        #[cfg_attr(
            not(feature = "postgres"),
            expect(dead_code, reason = "only arrays need the types of their elements")
        )]
        codecs: Vec<&'a D::Codec>,
        rows: Vec<&'a [Cell]>,
    },
}

impl<D: Dialect> Bindings<'_, D> {
    /// Whether the statement will be used again, so that it is worth preparing.
    #[cfg(any(feature = "sqlite", feature = "mysql"))]
    pub(crate) fn is_reused(&self) -> bool {
        !matches!(self, Self::Parameters(Parameters { one_off: true, .. }))
    }
}

impl<D: Dialect> Parameters<D> {
    pub(crate) fn new() -> Self {
        Self { values: vec![], one_off: false, dialect: PhantomData }
    }

    pub(crate) fn text(&mut self, text: impl Into<String>) -> String {
        self.push(Kind::Plain, Parameter::Text(Some(text.into())))
    }

    pub(crate) fn optional_text(&mut self, text: Option<&str>) -> String {
        self.push(Kind::Plain, Parameter::Text(text.map(str::to_owned)))
    }

    pub(crate) fn integer(&mut self, integer: i64) -> String {
        self.push(Kind::Plain, Parameter::Integer(integer))
    }

    pub(crate) fn uuid(&mut self, id: Uuid) -> String {
        self.push(Kind::Uuid, Parameter::Text(Some(id.to_string())))
    }

    /// A time, or NULL if it is outside the years 0 to 9999.
    pub(crate) fn time(&mut self, at: Option<Timestamp>) -> String {
        self.push(Kind::Time, Parameter::Text(at.and_then(datetime::text)))
    }

    /// A list, as a text of JSON.
    pub(crate) fn texts(&mut self, texts: &[String]) -> String {
        self.text(serde_json::json!(texts).to_string())
    }

    /// The condition that a column has one of these ids. An id that no row can have is left out.
    pub(crate) fn any_id(&mut self, column: &str, ids: &[u64]) -> String {
        let ids = ids.iter().filter_map(|id| i64::try_from(*id).ok()).map(|id| id.to_string());
        self.any_of(column, &ids.collect::<Vec<_>>())
    }

    /// The condition that a column has one of these UUIDs.
    pub(crate) fn any_uuid(&mut self, column: &str, ids: &[Uuid]) -> String {
        let ids = ids.iter().map(|id| format!("'{id}'"));
        self.any_of(column, &ids.collect::<Vec<_>>())
    }

    /// The values are part of the text, because databases limit the number of parameters.
    fn any_of(&mut self, column: &str, literals: &[String]) -> String {
        self.one_off = true;
        // Nothing equals NULL.
        let list = if literals.is_empty() { "NULL".into() } else { literals.join(", ") };
        format!("{column} IN ({list})")
    }

    fn push(&mut self, kind: Kind, value: Parameter) -> String {
        self.values.push(value);
        D::placeholder(self.values.len(), kind)
    }
}

impl<D: Dialect> From<Parameters<D>> for Bindings<'_, D> {
    fn from(parameters: Parameters<D>) -> Self {
        Self::Parameters(parameters)
    }
}
