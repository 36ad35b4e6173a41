//! Overrides of single keys of limits in the embedded engine.

use std::collections::{BTreeMap, btree_map};

use uuid::Uuid;

use super::Embedded;
use crate::{
    engine::step::{MAX_OVERRIDES, too_many_overrides},
    error::Result,
    key::Name,
};

/// The prefix of an override's fact in the file, before its limit and key.
const OVERRIDE: &str = "override:";

/// All overrides, by limit. Their lock is taken before the journal's, and for a look-up.
pub(super) type Overrides = BTreeMap<Name, Table>;

/// The overrides of a limit.
#[derive(Debug)]
pub(super) struct Table {
    mark: Uuid,
    by_key: BTreeMap<Box<str>, Box<str>>,
}

impl Table {
    fn new() -> Self {
        Self { mark: Uuid::new_v4(), by_key: BTreeMap::new() }
    }
}

impl Embedded {
    /// Takes what the file says about an override.
    pub(super) fn restore_override(&self, name: &str, fact: &str) {
        if let Some((limit, key)) = name.strip_prefix(OVERRIDE).and_then(|name| name.split_once(':')) {
            let mut tables = self.overrides.lock();
            let table = tables.entry(Name::from_store(limit)).or_insert_with(Table::new);
            table.by_key.insert(key.into(), fact.into());
        }
    }

    pub(crate) async fn override_set(
        &self,
        limit: &Name,
        key: &str,
        instead: Option<&str>,
        mark: Uuid,
    ) -> Result<bool> {
        let commit = {
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
            record.note(|batch| batch.fact(&format!("{OVERRIDE}{limit}:{key}"), instead));
            record.commit(true)
        };
        commit.durable().await
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
