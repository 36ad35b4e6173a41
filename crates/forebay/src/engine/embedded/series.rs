//! Series of the embedded engine.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    Embedded,
    batch::{Block, DeferredWrite},
    chunk::{Chunk, of_step, step_of},
    codec::{Pack, Unpack, corrupt},
    engine::take_out,
    population::Member,
    series_table::Entry,
};
use crate::{
    engine::{
        request::Token,
        step::{
            Erasure, KeyCount, KeyMove, KeyRange, MemberStep, Members, Point, Rank, Ranked, SeriesPart, Span,
        },
    },
    error::Result,
    key::Name,
    model::resolution::Resolution,
    table::{SHARDS, Shard, Shards},
    time::{Timestamp, days},
};

/// A key keeps room for so many chunks more than it has: most have the same number all the time.
const SPARE: usize = 4;

impl Embedded {
    /// All points or, where a bound on keys refuses one, none.
    pub(crate) async fn series_add(
        &self,
        part: &SeriesPart,
        points: Vec<Point>,
        now: Timestamp,
    ) -> Result<()> {
        self.journal.check()?;
        let mut members = self.new_members(&part.grid.name, &points)?;
        let clock = self.clock.monotonic();
        for point in points {
            let hash = part.grid.name.hash_of(point.key.as_bytes());
            self.add_point(&mut self.series.lock(hash), hash, (part, &point), (now, clock), &mut members);
        }
        Ok(())
    }

    /// Room for the keys among `points` that the series does not have, if it has a bound.
    fn new_members(&self, series: &Name, points: &[Point]) -> Result<Vec<Member>> {
        let keys = points.iter().map(|point| &*point.key);
        self.populations.join_new(series, keys, |key| self.series_has(series, key))
    }

    fn series_has(&self, series: &Name, key: &str) -> bool {
        let hash = series.hash_of(key.as_bytes());
        self.series.lock(hash).find(hash, |entry| entry.is(series, key)).is_some()
    }

    /// Lets a series have so many keys and no more.
    pub(crate) fn series_bound(&self, series: &Name, keys: u64) {
        self.populations.bound(series, keys);
    }

    /// Whether a key can be added to.
    pub(crate) fn series_room(&self, series: &Name, key: &str) -> Result<()> {
        if !self.populations.are_bounded() || self.series_has(series, key) {
            return Ok(());
        }
        self.populations.of(series).check_room()
    }

    #[expect(clippy::unused_async, reason = "other engines have to be waited for")]
    pub(crate) async fn series_members(&self, _series: &Name, _step: MemberStep<'_>) -> Result<Members> {
        Ok(Members::default())
    }

    /// How many keys a series has.
    pub(crate) fn series_keys(&self, series: &Name) -> KeyCount {
        self.populations.of(series).count()
    }

    /// The time that decides what is kept.
    pub(crate) async fn series_now(&self, _part: &SeriesPart) -> Timestamp {
        self.clock.now()
    }

    pub(crate) async fn series_add_once(
        &self,
        part: &SeriesPart,
        point: Point,
        now: Timestamp,
        token: &Token,
    ) -> Result<()> {
        let series = &part.grid.name;
        let mut members = if self.tokens.lock().is_there(token.id) {
            vec![]
        } else {
            self.new_members(series, std::slice::from_ref(&point))?
        };
        let (monotonic, time) = (self.clock.monotonic(), self.clock.now());
        let commit = {
            let hash = series.hash_of(point.key.as_bytes());
            let mut shard = self.series.lock(hash);
            let mut tokens = self.tokens.lock();
            let mut record = self.journal.record()?;
            if !tokens.is_there(token.id) {
                let entry = self.add_point(&mut shard, hash, (part, &point), (now, monotonic), &mut members);
                if self.journal.is_kept() {
                    let blocks = entry.changed(monotonic, time);
                    record.include_deferred(DeferredWrite::Series {
                        series: series.clone(),
                        key: entry.key.clone(),
                        blocks,
                    });
                }
                tokens.note(token.id, None, time, &mut record);
            }
            record.commit(())
        };
        commit.durable().await
    }

    /// Adds a point in each resolution. A new key takes one of `members`, for which there is room.
    fn add_point<'s>(
        &self,
        shard: &'s mut Shard<'_, Entry>,
        hash: u64,
        (part, point): (&SeriesPart, &Point),
        (now, clock): (Timestamp, Duration),
        members: &mut Vec<Member>,
    ) -> &'s mut Entry {
        let name = &part.grid.name;
        let found = shard.entry(hash, |entry| entry.is(name, &point.key), Entry::hash);
        let entry = found.or_insert_with(|| {
            // A key that went since it was found there is no new one: the bound does not refuse it.
            let member = members.pop().unwrap_or_else(|| self.populations.of(name).join());
            let mut entry = Entry::new(member, point.key.clone());
            entry.chunks.reserve_exact(part.grid.resolutions.len());
            entry
        });
        let entry = entry.into_mut();
        part.grid.resolutions.iter().for_each(|resolution| entry.add(resolution, point, now, clock));
        entry
    }

    pub(crate) async fn series_read(&self, part: &SeriesPart, spans: &[Span<'_>]) -> Result<Vec<Vec<u64>>> {
        let read = |span: &Span<'_>| {
            let hash = part.grid.name.hash_of(span.key.as_bytes());
            let shard = self.series.lock(hash);
            match shard.find(hash, |entry| entry.is(&part.grid.name, span.key)) {
                Some(entry) => entry.read(span),
                None => span.zeros(),
            }
        };
        Ok(spans.iter().map(read).collect())
    }

    /// Looks at the keys of all series.
    #[expect(clippy::unused_async, reason = "other engines have to be waited for")]
    pub(crate) async fn series_list(
        &self,
        part: &SeriesPart,
        range: &KeyRange<'_>,
        _now: Timestamp,
    ) -> Result<Vec<String>> {
        let clock = self.clock.monotonic();
        let mut first: BTreeSet<Arc<str>> = BTreeSet::new();
        for index in 0..SHARDS {
            for entry in self.series.lock_index(index).iter() {
                let is_full = first.len() >= range.most;
                if !entry.member.series().is(&part.grid.name)
                    || !range.contains(&entry.key)
                    || is_full && first.last().is_some_and(|last| *last < entry.key)
                    || entry.chunks.iter().all(|chunk| chunk.deadline <= clock)
                {
                    continue;
                }
                first.insert(entry.key.clone());
                if is_full {
                    first.pop_last();
                }
            }
        }
        Ok(first.into_iter().map(|key| String::from(&*key)).collect())
    }

    /// Looks at the keys of all series.
    #[expect(clippy::unused_async, reason = "other engines have to be waited for")]
    pub(crate) async fn series_rank(&self, part: &SeriesPart, rank: &Rank<'_>) -> Result<Option<Ranked>> {
        let mut largest: BTreeSet<(u64, Arc<str>)> = BTreeSet::new();
        let mut others = 0;
        for index in 0..SHARDS {
            for entry in self.series.lock_index(index).iter() {
                if !entry.member.series().is(&part.grid.name) || !(rank.fits)(&entry.key) {
                    continue;
                }
                let sum = entry.sum(rank.runs);
                if sum == 0 {
                    continue;
                }
                if largest.len() >= rank.most {
                    if largest.first().is_some_and(|(least, _)| *least >= sum) {
                        others = others.max(sum);
                        continue;
                    }
                    others = largest.pop_first().map_or(others, |(least, _)| others.max(least));
                }
                largest.insert((sum, entry.key.clone()));
            }
        }
        let keys = largest.into_iter().map(|(sum, key)| (String::from(&*key), sum)).collect();
        Ok(Some(Ranked { keys, others }))
    }

    pub(crate) async fn series_delete(&self, part: &SeriesPart, key: &str, _now: Timestamp) -> Result<()> {
        let hash = part.grid.name.hash_of(key.as_bytes());
        let mut shard = self.series.lock(hash);
        if let Ok(entry) = shard.find_entry(hash, |entry| entry.is(&part.grid.name, key)) {
            let (entry, _) = entry.remove();
            self.defer_series(&entry, entry.chunks.iter().flat_map(Chunk::gone).collect());
        }
        Ok(())
    }

    /// In one record of the journal: after a crash the counts are at one of the keys.
    pub(crate) async fn series_move(
        &self,
        part: &SeriesPart,
        moving: &KeyMove,
        now: Timestamp,
    ) -> Result<u64> {
        self.journal.check()?;
        let series = &part.grid.name;
        let [from, to] = [&moving.from, &moving.to].map(|key| series.hash_of(key.as_bytes()));
        let [from_shard, to_shard] = [from, to].map(Shards::<Entry>::index);
        let (sum, commit) = {
            // In ascending order, as everybody locks them.
            let mut low = self.series.lock_index(from_shard.min(to_shard));
            let mut high = (from_shard != to_shard).then(|| self.series.lock_index(from_shard.max(to_shard)));
            let source =
                if from_shard <= to_shard { &mut low } else { high.as_mut().expect("there are two") };
            let Ok(source) = source.find_entry(from, |entry| entry.is(series, &moving.from)) else {
                return Ok(0);
            };
            let (source, _) = source.remove();
            let target =
                if to_shard <= from_shard { &mut low } else { high.as_mut().expect("there are two") };
            let found = target.entry(to, |entry| entry.is(series, &moving.to), Entry::hash);
            let new = || Entry::new(self.populations.of(series).join(), (*moving.to).into());
            let target = found.or_insert_with(new).into_mut();
            let coarsest = part.grid.resolutions.last().map(step_of);
            let sum =
                source.chunks.iter().map(|chunk| target.absorb(chunk, coarsest)).fold(0, u64::saturating_add);
            let mut record = self.journal.record()?;
            if self.journal.is_kept() {
                let gone = source.chunks.iter().flat_map(Chunk::gone).collect();
                let changed = target.changed(self.clock.monotonic(), now);
                for (key, blocks) in [(&source.key, gone), (&target.key, changed)] {
                    let (series, key) = (series.clone(), key.clone());
                    record.include_deferred(DeferredWrite::Series { series, key, blocks });
                }
            }
            (sum, record.commit(()))
        };
        commit.durable().await?;
        Ok(sum)
    }

    pub(crate) async fn series_erase(&self, part: &SeriesPart, key: &str, erasure: &Erasure) -> Result<u64> {
        self.journal.check()?;
        let series = &part.grid.name;
        let hash = series.hash_of(key.as_bytes());
        let (erased, commit) = {
            let mut shard = self.series.lock(hash);
            let Some(entry) = shard.find_mut(hash, |entry| entry.is(series, key)) else { return Ok(0) };
            let erased = entry.erase(erasure);
            let mut record = self.journal.record()?;
            if self.journal.is_kept() {
                let blocks = entry.changed(self.clock.monotonic(), self.clock.now());
                record.include_deferred(DeferredWrite::Series {
                    series: series.clone(),
                    key: entry.key.clone(),
                    blocks,
                });
            }
            (erased, record.commit(()))
        };
        commit.durable().await?;
        Ok(erased)
    }

    pub(super) fn sweep_series(&self, now: Duration) {
        let keep = |entry: &mut Entry| {
            let gone = take_out(&mut entry.chunks, SPARE, |chunk| chunk.deadline <= now);
            self.defer_series(entry, gone.iter().flat_map(Chunk::gone).collect());
            !entry.chunks.is_empty()
        };
        self.series.retain(keep, Entry::hash);
    }

    /// Lets what has changed ride to the file.
    pub(super) fn defer_all_series(&self) {
        let (now, time) = (self.clock.monotonic(), self.clock.now());
        for index in 0..SHARDS {
            // Under the shard's lock: a deletion that comes after must not reach the file before.
            let mut shard = self.series.lock_index(index);
            for entry in shard.iter_mut().filter(|entry| entry.unsaved) {
                let changed = entry.changed(now, time);
                self.defer_series(entry, changed);
            }
        }
    }

    fn defer_series(&self, entry: &Entry, blocks: Vec<(Block, Option<Pack>)>) {
        if !blocks.is_empty() {
            let (series, key) = (entry.member.series().clone(), entry.key.clone());
            self.journal.defer(DeferredWrite::Series { series, key, blocks });
        }
    }

    /// Takes a block as the file has it, unless its time is over.
    pub(super) fn restore_block(&self, block: Block, series: &Name, key: &str, packed: &[u8]) -> Result<()> {
        let mut unpack = Unpack::new(packed);
        let left = Timestamp::from_secs(unpack.int()?).since(self.clock.now());
        if Resolution::new(Duration::from_secs(block.step.into()), days(1)).is_err() {
            return Err(corrupt());
        }
        let (index, first) = of_step(block.step).place(block.start);
        let hash = series.hash_of(key.as_bytes());
        let mut shard = self.series.lock(hash);
        let mut entry = shard
            .entry(hash, |entry| entry.is(series, key), Entry::hash)
            .or_insert_with(|| Entry::new(self.populations.of(series).join(), key.into()));
        let chunk = entry.get_mut().chunk(block.step, index);
        // One whose time is over is thrown away, here and in the file, by the next sweep.
        chunk.deadline = chunk.deadline.max(self.clock.monotonic().saturating_add(left));
        while !unpack.is_empty() {
            let (offset, n) = (unpack.uint()?, unpack.uint()?);
            let slot = usize::try_from(offset).ok().and_then(|offset| first.checked_add(offset));
            if !slot.is_some_and(|slot| chunk.restore(slot, n)) {
                return Err(corrupt());
            }
        }
        Ok(())
    }
}
