//! The overrides of limits in memory.

use std::collections::BTreeMap;

use parking_lot::{Mutex, MutexGuard};
use uuid::Uuid;

use crate::key::Name;

/// The prefix of an override's fact in the file, before its limit and key.
pub(super) const OVERRIDE: &str = "override:";

/// All overrides. The lock is taken before the journal's, and for a look-up.
#[derive(Debug, Default)]
pub(super) struct Overrides(Mutex<BTreeMap<Name, Table>>);

#[derive(Debug)]
pub(super) struct Table {
    pub mark: Uuid,
    pub by_key: BTreeMap<Box<str>, Box<str>>,
}

impl Table {
    pub(super) fn new() -> Self {
        Self { mark: Uuid::new_v4(), by_key: BTreeMap::new() }
    }
}

impl Overrides {
    /// Takes what the file says about an override.
    pub(super) fn restore_fact(&self, name: &str, fact: &str) {
        if let Some((limit, key)) = name.strip_prefix(OVERRIDE).and_then(|name| name.split_once(':')) {
            let mut tables = self.lock();
            let table = tables.entry(Name::from_store(limit)).or_insert_with(Table::new);
            table.by_key.insert(key.into(), fact.into());
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Table>> {
        self.0.lock()
    }
}
