//! What single keys of limits are allowed instead, on the embedded engine.

use std::collections::{BTreeMap, btree_map};

use parking_lot::{Mutex, MutexGuard};
use uuid::Uuid;

use super::Embedded;
use crate::{
    engine::step::{MAX_OVERRIDES, too_many_overrides},
    error::Result,
    key::Name,
};

/// What an override is called in the file, before its limit and key.
const OVERRIDE: &str = "override:";

/// All overrides. The lock is taken before the journal's, and for a look-up.
#[derive(Debug, Default)]
pub(super) struct Overrides(Mutex<BTreeMap<Name, Table>>);

#[derive(Debug)]
struct Table {
    mark: Uuid,
    by_key: BTreeMap<Box<str>, Box<str>>,
}

impl Table {
    fn new() -> Self {
        Self { mark: Uuid::new_v4(), by_key: BTreeMap::new() }
    }
}

impl Embedded {
    pub(crate) async fn override_set(
        &self,
        limit: &Name,
        key: &str,
        instead: Option<&str>,
        mark: Uuid,
    ) -> Result<bool> {
        let ticket = {
            let mut tables = self.overrides.lock();
            let table = tables.entry(limit.clone()).or_insert_with(Table::new);
            let mut record = self.journal.record()?;
            let held = table.by_key.len();
            match (table.by_key.entry(key.into()), instead) {
                (btree_map::Entry::Vacant(_), None) => return Ok(false),
                (btree_map::Entry::Vacant(_), Some(_)) if held >= MAX_OVERRIDES => {
                    return Err(too_many_overrides(limit));
                }
                (btree_map::Entry::Occupied(one), None) => drop(one.remove()),
                (one, Some(instead)) => drop(one.insert_entry(instead.into())),
            }
            table.mark = mark;
            record.fact(&format!("{OVERRIDE}{limit}:{key}"), instead);
            record.commit()
        };
        ticket.durable().await?;
        Ok(true)
    }

    pub(crate) async fn override_marks(&self) -> Result<Vec<(Name, Uuid)>> {
        Ok(self.overrides.lock().iter().map(|(limit, table)| (limit.clone(), table.mark)).collect())
    }

    pub(crate) async fn overrides(&self, limit: &Name) -> Result<Vec<(Box<str>, Box<str>)>> {
        let tables = self.overrides.lock();
        let table = tables.get(limit).into_iter().flat_map(|table| &table.by_key);
        Ok(table.map(|(key, instead)| (key.clone(), instead.clone())).collect())
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

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Table>> {
        self.0.lock()
    }
}
