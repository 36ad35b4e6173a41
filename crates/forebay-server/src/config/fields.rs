//! Reads a TOML document and collects its mistakes: every value knows its path and its line.
//!
//! It does not use `serde`, which stops at the first mistake and loses the line inside a table that has more than one
//! form.

use std::{cell::RefCell, ops::RangeInclusive, str::FromStr};

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::{environment::Environment, mistake::Mistake};
use crate::text::{quoted, unknown};

/// A file while it is read.
pub(super) struct Document<'a> {
    /// Its name in mistakes.
    file: &'a str,
    text: &'a str,
    environment: &'a Environment<'a>,
    mistakes: RefCell<Vec<Mistake>>,
}

impl<'a> Document<'a> {
    pub(super) fn new(file: &'a str, text: &'a str, environment: &'a Environment<'a>) -> Self {
        Self { file, text, environment, mistakes: RefCell::default() }
    }

    pub(super) fn mistake(&self, offset: usize, message: impl Into<String>) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = 1 + before.matches('\n').count();
        self.mistakes.borrow_mut().push(Mistake::in_line(self.file, line, message));
    }

    pub(super) fn into_mistakes(self) -> Vec<Mistake> {
        self.mistakes.into_inner()
    }

    /// The whole document, which is a table.
    pub(super) fn root(&'a self, value: &'a DeValue<'a>) -> Node<'a> {
        Node { document: self, path: String::new(), offset: 0, value }
    }

    /// Replaces `${NAME}` by the environment variable; `$${` is a plain `${`.
    fn interpolate(&self, text: &str) -> Result<String, String> {
        let mut done = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, variable) = (&rest[..at], &rest[at + 2..]);
            if let Some(before) = before.strip_suffix('$') {
                done.push_str(before);
                done.push_str("${");
                rest = variable;
                continue;
            }
            done.push_str(before);
            let Some((name, after)) = variable.split_once('}') else {
                return Err(format!("{}: ${{ lacks its }} ($${{ writes a plain ${{)", quoted(text)));
            };
            let Some(value) = (self.environment)(name) else {
                return Err(format!("environment variable {} is not set", quoted(name)));
            };
            done.push_str(&value);
            rest = after;
        }
        done.push_str(rest);
        Ok(done)
    }
}

/// A value, with its path and its position.
#[derive(Clone)]
pub(super) struct Node<'a> {
    document: &'a Document<'a>,
    /// The full name, for example `limits.hits.rate`; empty for the whole document.
    path: String,
    offset: usize,
    value: &'a DeValue<'a>,
}

impl<'a> Node<'a> {
    /// Adds a mistake in this value.
    pub(super) fn mistake(&self, message: impl std::fmt::Display) {
        self.mistake_at(self.offset, message);
    }

    fn mistake_at(&self, offset: usize, message: impl std::fmt::Display) {
        let separator = if self.path.is_empty() { "" } else { ": " };
        self.document.mistake(offset, format!("{}{separator}{message}", self.path));
    }

    /// Takes the value of a result, or adds its error as a mistake.
    pub(super) fn accept<T, E: std::fmt::Display>(&self, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.mistake(error)).ok()
    }

    fn wrong<T>(&self, accepted: &str) -> Option<T> {
        let found = match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.mistake(format!("{found}, where {accepted} is accepted"));
        None
    }

    /// A string, its `${VARIABLES}` replaced.
    pub(super) fn text(&self) -> Option<String> {
        match self.value {
            DeValue::String(text) => self.accept(self.document.interpolate(text)),
            _ => self.wrong("a string"),
        }
    }

    /// A string that is read as a `T`.
    pub(super) fn parse<T: FromStr<Err: std::fmt::Display>>(&self) -> Option<T> {
        self.text().and_then(|text| self.accept(text.parse()))
    }

    /// An integer of any sign.
    pub(super) fn integer(&self) -> Option<i64> {
        let DeValue::Integer(integer) = self.value else { return self.wrong("an integer") };
        match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(n) => Some(n),
            Err(_) => self.wrong("an integer from -2^63 to 2^63-1"),
        }
    }

    /// An integer in `range`.
    pub(super) fn number(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let n = self.integer()?;
        let fits = u64::try_from(n).ok().filter(|n| range.contains(n));
        if fits.is_none() {
            self.mistake(format!("{n} is outside {} to {}", range.start(), range.end()));
        }
        fits
    }

    /// `true` or `false`.
    pub(super) fn flag(&self) -> Option<bool> {
        match self.value {
            DeValue::Boolean(flag) => Some(*flag),
            _ => self.wrong("true or false"),
        }
    }

    /// One of some words.
    pub(super) fn choice<T: Copy>(&self, what: &str, choices: &[(&str, T)]) -> Option<T> {
        self.declared(what, choices.iter().copied())
    }

    /// A declared name.
    pub(super) fn declared<'n, T>(
        &self,
        what: &str,
        known: impl IntoIterator<Item = (&'n str, T)>,
    ) -> Option<T> {
        let name = self.text()?;
        let mut names = vec![];
        for (candidate, value) in known {
            if candidate == name {
                return Some(value);
            }
            names.push(candidate);
        }
        self.mistake(unknown(what, &name, names));
        None
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self.value, DeValue::String(_))
    }

    pub(super) fn is_integer(&self) -> bool {
        matches!(self.value, DeValue::Integer(_))
    }

    /// A table with a fixed set of fields.
    pub(super) fn fields(&self) -> Option<Fields<'a>> {
        match self.value {
            DeValue::Table(table) => Some(Fields { node: self.clone(), table, known: vec![] }),
            _ => self.wrong("a table"),
        }
    }

    /// A table whose keys are names of the user, in alphabetical order.
    pub(super) fn entries(&self) -> Vec<(&'a str, Node<'a>)> {
        let DeValue::Table(table) = self.value else {
            self.wrong::<()>("a table");
            return vec![];
        };
        table.iter().map(|(key, value)| (&**key.get_ref(), self.child(key, value))).collect()
    }

    fn child(&self, key: &Spanned<DeString<'a>>, value: &'a Spanned<DeValue<'a>>) -> Self {
        let (parent, name) = (&self.path, key.get_ref());
        let path = if parent.is_empty() { name.to_string() } else { format!("{parent}.{name}") };
        // The line is that of the key: a table's own span may begin in an earlier line.
        Node { document: self.document, path, offset: key.span().start, value: value.get_ref() }
    }

    /// A list; another value is short for a list of one.
    pub(super) fn one_or_many(&self) -> Vec<Node<'a>> {
        match self.value {
            DeValue::Array(_) => self.list(),
            _ => vec![self.clone()],
        }
    }

    /// A list.
    pub(super) fn list(&self) -> Vec<Node<'a>> {
        let DeValue::Array(array) = self.value else {
            self.wrong::<()>("a list");
            return vec![];
        };
        let item = |(n, value): (usize, &'a Spanned<DeValue<'a>>)| Node {
            document: self.document,
            path: format!("{}[{n}]", self.path),
            offset: value.span().start,
            value: value.get_ref(),
        };
        array.iter().enumerate().map(item).collect()
    }
}

/// A table with a fixed set of fields. [`finish`](Self::finish) reports the fields that were not read.
#[must_use = "unknown fields are found by `finish`"]
pub(super) struct Fields<'a> {
    /// The table as a value.
    pub(super) node: Node<'a>,
    table: &'a DeTable<'a>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// An optional field.
    pub(super) fn optional(&mut self, name: &'static str) -> Option<Node<'a>> {
        self.known.push(name);
        let (key, value) = self.table.get_key_value(name)?;
        Some(self.node.child(key, value))
    }

    /// The value of an optional field, as `read` reads it.
    pub(super) fn read<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&Node<'a>) -> Option<T>,
    ) -> Option<T> {
        self.optional(name).and_then(|node| read(&node))
    }

    /// A required field; `example` is a value for the message.
    pub(super) fn required(&mut self, name: &'static str, example: &str) -> Option<Node<'a>> {
        let node = self.optional(name);
        if node.is_none() {
            self.node.mistake(format!("lacks {name}, such as {name} = {example}"));
        }
        node
    }

    /// A field with two names; both at once are a mistake.
    pub(super) fn either(&mut self, name: &'static str, short: &'static str) -> Option<Node<'a>> {
        let (long, short_node) = (self.optional(name), self.optional(short));
        if let (Some(_), Some(node)) = (&long, &short_node) {
            node.mistake(format!("{short} and {name} are the same field; write one of them"));
        }
        long.or(short_node)
    }

    /// Adds a mistake for every unknown field.
    pub(super) fn finish(self) {
        for (key, _) in self.table {
            let name: &str = key.get_ref();
            if !self.known.contains(&name) {
                let error = unknown("field", name, self.known.iter().copied());
                self.node.mistake_at(key.span().start, error);
            }
        }
    }
}
