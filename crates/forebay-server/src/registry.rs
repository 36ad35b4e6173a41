//! The open limits, series, buffers and events, by the names that the configuration gives them.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context, Result, anyhow};
use forebay::{Name, buffer::BufferHandle, event::EventHandle, limit::LimitHandle, series::SeriesHandle};

use crate::{
    metrics::{BufferMetrics, EventMetrics, LimitMetrics, SeriesMetrics},
    text::unknown,
};

/// A declared part and its metrics.
#[derive(Clone, Debug)]
pub struct Entry<H, M> {
    /// The part.
    pub handle: H,
    /// Its metrics.
    pub metrics: M,
}

/// A series and its counters.
pub type SeriesEntry = Entry<SeriesHandle, SeriesMetrics>;

/// A buffer and its gauges.
pub type BufferEntry = Entry<BufferHandle, BufferMetrics>;

/// A limit and its counters.
pub type LimitEntry = Entry<LimitHandle, LimitMetrics>;

/// An event, its counters, and its limits in the order of its definition.
#[derive(Clone, Debug)]
pub struct EventEntry {
    /// The event.
    pub handle: EventHandle,
    /// Its counters.
    pub metrics: EventMetrics,
    /// Its limits.
    pub limits: Vec<LimitEntry>,
}

/// The declared entries of one kind, by name.
#[derive(Debug)]
pub struct Registry<T> {
    pub(crate) kind: &'static str,
    /// All entries, by name.
    pub entries: BTreeMap<Name, T>,
}

/// The configuration does not declare a name. The message suggests the nearest one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName(String);

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UnknownName {}

/// Finds a declared name; `kind` is for the error.
///
/// # Errors
/// If it is not declared.
pub(crate) fn find<'a, T>(
    kind: &str,
    name: &str,
    entries: &'a BTreeMap<Name, T>,
) -> Result<(&'a Name, &'a T), UnknownName> {
    let found = Name::new(name).ok().and_then(|name| entries.get_key_value(&name));
    found.ok_or_else(|| UnknownName(unknown(kind, name, entries.keys().map(Name::as_str)).to_string()))
}

impl<T> Registry<T> {
    /// Opens every definition of a section of the configuration.
    pub(crate) fn open<C>(
        kind: &'static str,
        configs: &BTreeMap<Name, C>,
        open: impl Fn(&Name, &C) -> Result<T>,
    ) -> Result<Self> {
        let open = |(name, config): (&Name, &C)| {
            let entry = open(name, config).with_context(|| format!("opening {kind} {name}"))?;
            Ok((name.clone(), entry))
        };
        Ok(Self { kind, entries: configs.iter().map(open).collect::<Result<_>>()? })
    }

    /// Finds a declared name.
    ///
    /// # Errors
    /// If it is not declared.
    pub fn find(&self, name: &str) -> Result<&T, UnknownName> {
        find(self.kind, name, &self.entries).map(|(_, entry)| entry)
    }

    /// The entry of a name that the checked configuration uses.
    pub(crate) fn declared(&self, name: &Name) -> &T {
        self.entries.get(name).expect("the configuration was checked: the names that it uses are declared")
    }

    /// The entry of a name, if it was opened when the server started.
    pub(crate) fn opened(&self, name: &Name) -> Result<&T> {
        let entry = self.entries.get(name);
        entry.ok_or_else(|| anyhow!("{} {name} is new, and opened at the next start", self.kind))
    }
}
