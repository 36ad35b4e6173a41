//! The overrides of limits in memory.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::key::Name;

/// The prefix of an override's fact in the file, before its limit and key.
pub(super) const OVERRIDE: &str = "override:";

/// All overrides, by limit. Their lock is taken before the journal's, and for a look-up.
pub(super) type Overrides = BTreeMap<Name, Table>;

/// The overrides of a limit.
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

/// Takes what the file says about an override.
pub(super) fn restore_fact(overrides: &mut Overrides, name: &str, fact: &str) {
    if let Some((limit, key)) = name.strip_prefix(OVERRIDE).and_then(|name| name.split_once(':')) {
        let table = overrides.entry(Name::from_store(limit)).or_insert_with(Table::new);
        table.by_key.insert(key.into(), fact.into());
    }
}
