//! Overrides of single keys of limits in the embedded engine.

use std::collections::btree_map;

use uuid::Uuid;

use super::{
    Embedded,
    override_table::{OVERRIDE, Table},
};
use crate::{
    engine::step::{MAX_OVERRIDES, too_many_overrides},
    error::Result,
    key::Name,
};

impl Embedded {
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
