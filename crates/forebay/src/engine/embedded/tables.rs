//! The tables of the file: how a batch gets into them, and how they are read.
//!
//! Rows of generations and keys of limits are logs: a commit appends one entry per generation and shard that it
//! changes, however many rows and keys there are, and reading lets the later entry win. In a tree by row each commit
//! would write a page per row. What a log has too much is bounded: memory has the whole, and rewrites it.

use redb::{Error, ReadTransaction, Table, TableDefinition, TableError, WriteTransaction};

use super::{
    batch::{Batch, Block, Change, DeferredWrite, GenerationRecord, HoldRecord},
    codec::Pack,
};
use crate::key::Name;

/// By name, as text: `format`, `forebay`, `session`, `fence`, `paused:<buffer>`, `request:<request>`,
/// `token:<token>`, `override:<limit>:<key>`.
pub(super) const META: TableDefinition<&str, &str> = TableDefinition::new("meta");

/// By number: buffer, partition, fingerprint, id, born, frozen.
pub(super) const GENERATIONS: TableDefinition<u64, GenerationRow> = TableDefinition::new("generations");
type GenerationRow = (&'static str, u16, &'static str, u128, i64, bool);

/// By generation and entry: packed rows.
pub(super) const ROWS: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("rows");

/// By lock: owner, fence, ttl, as of, held for, remaining.
pub(super) const HOLDS: TableDefinition<&str, (u128, u64, u64, i64, u64, u64)> =
    TableDefinition::new("holds");

/// By shard and entry: packed keys.
pub(super) const LIMITS: TableDefinition<(u16, u64), &[u8]> = TableDefinition::new("limits");

/// By step, first bucket, series and key: a packed block. Time comes before the names, so that the blocks being
/// written are neighbours: a commit then writes few pages, however many keys it is about.
pub(super) const SERIES: TableDefinition<(u32, i64, &str, &str), &[u8]> = TableDefinition::new("series");

/// By step, bucket, series and key, as blocks: a packed summary. Files of versions before have no such table until one is
/// written.
pub(super) const SUMMARIES: TableDefinition<(u32, i64, &str, &str), &[u8]> =
    TableDefinition::new("summaries");

type Result<T, E = Error> = std::result::Result<T, E>;

/// Creates the tables that are not there.
pub(super) fn create(transaction: &WriteTransaction) -> Result<()> {
    transaction.open_table(META)?;
    transaction.open_table(GENERATIONS)?;
    transaction.open_table(ROWS)?;
    transaction.open_table(HOLDS)?;
    transaction.open_table(LIMITS)?;
    transaction.open_table(SERIES)?;
    transaction.open_table(SUMMARIES)?;
    Ok(())
}

/// Reads one of the facts about the file.
pub(super) fn meta(transaction: &ReadTransaction, name: &str) -> Result<Option<String>> {
    match transaction.open_table(META) {
        Ok(table) => Ok(table.get(name)?.map(|value| value.value().to_owned())),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(cause) => Err(cause.into()),
    }
}

/// Writes a batch; `next` is the number of the next entry of any log.
pub(super) fn write(transaction: &WriteTransaction, batch: &Batch, next: &mut u64) -> Result<()> {
    if !batch.generations.is_empty() {
        write_generations(transaction, batch, next)?;
    }
    if !batch.holds.is_empty() {
        write_holds(transaction, batch)?;
    }
    if !batch.facts.is_empty() {
        let mut facts = transaction.open_table(META)?;
        for (name, value) in &batch.facts {
            match value {
                Some(value) => drop(facts.insert(&**name, &**value)?),
                None => drop(facts.remove(&**name)?),
            }
        }
    }
    if !batch.deferred.is_empty() {
        write_deferred(transaction, &batch.deferred, next)?;
    }
    Ok(())
}

fn write_generations(transaction: &WriteTransaction, batch: &Batch, next: &mut u64) -> Result<()> {
    let mut generations = transaction.open_table(GENERATIONS)?;
    let mut log = transaction.open_table(ROWS)?;
    for (&number, change) in &batch.generations {
        let all = (number, 0)..=(number, u64::MAX);
        match change {
            None => {
                generations.remove(number)?;
                log.retain_in(all, |_, _| false)?;
            }
            Some(Change { record, rewrite, rows }) => {
                if let Some(record) = record {
                    let GenerationRecord { buffer, partition, fingerprint, id, born, frozen } = record;
                    let (buffer, id, born) = (buffer.as_str(), id.as_u128(), born.as_micros());
                    generations.insert(number, (buffer, *partition, &**fingerprint, id, born, *frozen))?;
                }
                if *rewrite {
                    log.retain_in(all, |_, _| false)?;
                }
                if !rows.is_empty() {
                    let mut pack = Pack::default();
                    for (key, cells) in rows {
                        pack.row(key, cells);
                    }
                    log.insert((number, *next), pack.bytes())?;
                    *next += 1;
                }
            }
        }
    }
    Ok(())
}

fn write_holds(transaction: &WriteTransaction, batch: &Batch) -> Result<()> {
    let mut holds = transaction.open_table(HOLDS)?;
    for (name, hold) in &batch.holds {
        match hold {
            None => drop(holds.remove(&**name)?),
            Some(HoldRecord { owner, fence, ttl, at, held_for, remaining }) => {
                let hold = (owner.as_u128(), *fence, *ttl, at.as_micros(), *held_for, *remaining);
                holds.insert(&**name, hold)?;
            }
        }
    }
    if batch.fence > 0 {
        transaction.open_table(META)?.insert("fence", &*batch.fence.to_string())?;
    }
    Ok(())
}

fn write_deferred(transaction: &WriteTransaction, deferred: &[DeferredWrite], next: &mut u64) -> Result<()> {
    let mut limits = transaction.open_table(LIMITS)?;
    let mut blocks_of = transaction.open_table(SERIES)?;
    for write in deferred {
        match write {
            DeferredWrite::Limits { shard, rewrite, packed } => {
                if *rewrite {
                    limits.retain_in((*shard, 0)..=(*shard, u64::MAX), |_, _| false)?;
                }
                if packed.len() > 0 {
                    limits.insert((*shard, *next), packed.bytes())?;
                    *next += 1;
                }
            }
            DeferredWrite::Series { series, key, blocks } => {
                write_blocks(&mut blocks_of, series, key, blocks)?;
            }
            DeferredWrite::Summaries { series, key, blocks } => {
                write_blocks(&mut transaction.open_table(SUMMARIES)?, series, key, blocks)?;
            }
        }
    }
    Ok(())
}

fn write_blocks(
    table: &mut Table<'_, (u32, i64, &'static str, &'static str), &'static [u8]>,
    series: &Name,
    key: &str,
    blocks: &[(Block, Option<Pack>)],
) -> Result<()> {
    for (block, packed) in blocks {
        let place = (block.step, block.start, series.as_str(), key);
        match packed {
            Some(packed) => drop(table.insert(place, packed.bytes())?),
            None => drop(table.remove(place)?),
        }
    }
    Ok(())
}
