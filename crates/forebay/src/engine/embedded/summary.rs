//! Summaries of series of the embedded engine.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    Embedded,
    batch::{Block, DeferredWrite},
    codec::{Pack, Unpack, corrupt},
    engine::take_out,
    population::Member,
    summary_table::{Cell, Entry},
};
use crate::{
    engine::{
        request::Token,
        step::{KeyRange, Span, Summaries, SummaryPart},
    },
    error::{Error, ErrorKind, Result},
    key::Name,
    model::{
        resolution::Resolution,
        summary::{Observation, Summary, SummaryKind},
    },
    table::{SHARDS, Shard},
    time::{Timestamp, days},
};

/// A key keeps room for so many summaries more than it has.
const SPARE: usize = 8;

impl Embedded {
    /// All observations or, where a bound on keys refuses one, none.
    pub(crate) async fn summary_add(
        &self,
        series: SummaryPart<'_>,
        points: Vec<Observation>,
        now: Timestamp,
    ) -> Result<()> {
        self.journal.check()?;
        let name = &series.part.grid.name;
        let mut members = self.new_summary_members(name, &points)?;
        let clock = self.clock.monotonic();
        for point in points {
            let hash = name.hash_of(point.key.as_bytes());
            self.observe(&mut self.summaries.lock(hash), series, &point, (now, clock), &mut members);
        }
        Ok(())
    }

    pub(crate) async fn summary_add_once(
        &self,
        series: SummaryPart<'_>,
        point: Observation,
        now: Timestamp,
        token: &Token,
    ) -> Result<()> {
        let name = &series.part.grid.name;
        let mut members = if self.tokens.lock().is_there(token.id) {
            vec![]
        } else {
            self.new_summary_members(name, std::slice::from_ref(&point))?
        };
        let (monotonic, time) = (self.clock.monotonic(), self.clock.now());
        let commit = {
            let mut shard = self.summaries.lock(name.hash_of(point.key.as_bytes()));
            let mut tokens = self.tokens.lock();
            let mut record = self.journal.record()?;
            if !tokens.is_there(token.id) {
                let entry = self.observe(&mut shard, series, &point, (now, monotonic), &mut members);
                if self.journal.is_kept() {
                    let blocks = entry.changed(monotonic, time);
                    let (series, key) = (name.clone(), entry.key.clone());
                    record.include_deferred(DeferredWrite::Summaries { series, key, blocks });
                }
                tokens.note(token.id, None, time, &mut record);
            }
            record.commit(())
        };
        commit.durable().await
    }

    /// Room for the keys among `points` that the series does not have, if it has a bound.
    fn new_summary_members(&self, series: &Name, points: &[Observation]) -> Result<Vec<Member>> {
        let keys = points.iter().map(|point| &*point.key);
        self.populations.join_new(series, keys, |key| {
            let hash = series.hash_of(key.as_bytes());
            self.summaries.lock(hash).find(hash, |entry| entry.is(series, key)).is_some()
        })
    }

    /// Takes an observation in each resolution. A new key takes one of `members`, for which there is room.
    fn observe<'s>(
        &self,
        shard: &'s mut Shard<'_, Entry>,
        series: SummaryPart<'_>,
        point: &Observation,
        times: (Timestamp, Duration),
        members: &mut Vec<Member>,
    ) -> &'s mut Entry {
        let grid = &series.part.grid;
        let hash = grid.name.hash_of(point.key.as_bytes());
        let found = shard.entry(hash, |entry| entry.is(&grid.name, &point.key), Entry::hash);
        let entry = found.or_insert_with(|| {
            // A key that went since it was found there is no new one: the bound does not refuse it.
            let member = members.pop().unwrap_or_else(|| self.populations.of(&grid.name).join());
            Entry::new(member, point.key.clone())
        });
        let entry = entry.into_mut();
        grid.resolutions.iter().for_each(|resolution| entry.observe((series.kind, resolution), point, times));
        entry
    }

    pub(crate) async fn summary_read(
        &self,
        series: SummaryPart<'_>,
        spans: &[Span<'_>],
    ) -> Result<Vec<Summaries>> {
        let (name, clock) = (&series.part.grid.name, self.clock.monotonic());
        let read = |span: &Span<'_>| {
            let hash = name.hash_of(span.key.as_bytes());
            let shard = self.summaries.lock(hash);
            let entry = shard.find(hash, |entry| entry.is(name, span.key));
            entry.map(|entry| entry.read(series.kind, span, clock)).unwrap_or_default()
        };
        Ok(spans.iter().map(read).collect())
    }

    /// Looks at the keys of all series that keep summaries.
    pub(crate) async fn summary_list(
        &self,
        series: SummaryPart<'_>,
        range: &KeyRange<'_>,
        _now: Timestamp,
    ) -> Result<Vec<String>> {
        let clock = self.clock.monotonic();
        let mut first: BTreeSet<Arc<str>> = BTreeSet::new();
        for index in 0..SHARDS {
            for entry in self.summaries.lock_index(index).iter() {
                let is_kept = entry.cells.iter().any(|cell| cell.deadline > clock);
                if is_kept && entry.member.series().is(&series.part.grid.name) && range.contains(&entry.key) {
                    first.insert(entry.key.clone());
                    if first.len() > range.most {
                        first.pop_last();
                    }
                }
            }
        }
        Ok(first.into_iter().map(|key| String::from(&*key)).collect())
    }

    pub(crate) async fn summary_delete(
        &self,
        series: SummaryPart<'_>,
        key: &str,
        _now: Timestamp,
    ) -> Result<()> {
        let name = &series.part.grid.name;
        let hash = name.hash_of(key.as_bytes());
        let mut shard = self.summaries.lock(hash);
        if let Ok(entry) = shard.find_entry(hash, |entry| entry.is(name, key)) {
            let (entry, _) = entry.remove();
            self.defer_summaries(&entry, entry.cells.iter().filter_map(Cell::gone).collect());
        }
        Ok(())
    }

    pub(super) fn sweep_summaries(&self, now: Duration) {
        let keep = |entry: &mut Entry| {
            let gone = take_out(&mut entry.cells, SPARE, |cell| cell.deadline <= now);
            self.defer_summaries(entry, gone.iter().filter_map(Cell::gone).collect());
            !entry.cells.is_empty()
        };
        self.summaries.retain(keep, Entry::hash);
    }

    /// Lets what has changed ride to the file.
    pub(super) fn defer_all_summaries(&self) {
        let (now, time) = (self.clock.monotonic(), self.clock.now());
        for index in 0..SHARDS {
            // Under the shard's lock: a deletion that comes after must not reach the file before.
            let mut shard = self.summaries.lock_index(index);
            for entry in shard.iter_mut().filter(|entry| entry.unsaved) {
                let changed = entry.changed(now, time);
                self.defer_summaries(entry, changed);
            }
        }
    }

    fn defer_summaries(&self, entry: &Entry, blocks: Vec<(Block, Option<Pack>)>) {
        if !blocks.is_empty() {
            let (series, key) = (entry.member.series().clone(), entry.key.clone());
            self.journal.defer(DeferredWrite::Summaries { series, key, blocks });
        }
    }

    /// Takes a summary as the file has it, unless its time is over.
    pub(super) fn restore_summary(
        &self,
        block: Block,
        series: &Name,
        key: &str,
        packed: &[u8],
    ) -> Result<()> {
        let mut unpack = Unpack::new(packed);
        let left = Timestamp::from_secs(unpack.int()?).since(self.clock.now());
        if Resolution::new(Duration::from_secs(block.step.into()), days(1)).is_err() {
            return Err(corrupt());
        }
        let number = unpack.uint()?;
        let kind = SummaryKind::of_number(number).ok_or_else(|| {
            let text =
                format!("series {series}: the file has a kind of series of a later version, number {number}");
            Error::new(ErrorKind::Corrupt, text)
        })?;
        let summary = Summary::unpack(kind, unpack.rest()).ok_or_else(corrupt)?;
        let hash = series.hash_of(key.as_bytes());
        let mut shard = self.summaries.lock(hash);
        let mut entry = shard
            .entry(hash, |entry| entry.is(series, key), Entry::hash)
            .or_insert_with(|| Entry::new(self.populations.of(series).join(), key.into()));
        // One whose time is over is thrown away, here and in the file, by the next sweep.
        let deadline = self.clock.monotonic().saturating_add(left);
        entry.get_mut().restore(block, summary, deadline);
        Ok(())
    }
}
