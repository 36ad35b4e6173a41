//! Series on a Redis host: points in, and keys out of it.

use std::time::Duration;

use super::{Redis, chunk, script::Script, series_writer::Item};
use crate::{
    applied::one_for_all,
    engine::{
        request::Token,
        step::{Point, SeriesPart},
    },
    error::Result,
    model::resolution::Resolution,
    time::{Timestamp, mins},
};

/// Keys in one command that deletes. Only steps far below their retention have more.
const MAX_KEYS_PER_DELETE: usize = 1_000;

/// A time that is further from the server's is that of a replay.
const MAX_APART: Duration = mins(1);

/// Points that are late by more steps of the finest resolution go to chunks at once.
const MAX_OPEN_STEPS: u32 = 400;

impl Redis {
    /// Adds points to their open buckets, in batches, each of them once.
    pub(crate) async fn series_add(
        &self,
        part: &SeriesPart,
        points: Vec<Point>,
        now: Timestamp,
    ) -> Result<()> {
        let oldest = self.oldest_open(part, now);
        let item = |point: Point| Item { goes_to_chunks: point.at < oldest, point, now, token: None };
        self.series_write(part, points.into_iter().map(item).collect()).await
    }

    /// [`series_add`](Self::series_add) of points that another host may get if this one does not take them.
    pub(crate) async fn series_add_points(
        &self,
        part: &SeriesPart,
        points: &[Point],
        now: Timestamp,
    ) -> Result<()> {
        self.series_add(part, points.to_vec(), now).await
    }

    async fn series_write(&self, part: &SeriesPart, mut items: Vec<Item>) -> Result<()> {
        items.retain(|item| chunk::is_kept(&part.grid, item.point.at, item.now));
        if items.is_empty() {
            return Ok(());
        }
        // Before the first count, so that no key is missing in the lists.
        if part.grid.is_ranked && !self.open_buckets.is_ranked(part) {
            Box::pin(self.series_keep_ranks(part)).await?;
        }
        let writer = self.series_writers.of(part, &self.host, &self.keys, &self.open_buckets);
        one_for_all(writer.write(part.index, items).await?)
    }

    /// The time from which on points go to open buckets. Those before go to chunks at once: so many buckets would be looked at
    /// all the time, and few points would meet in one. So do all points of a replay, whose time that decides what is kept is not
    /// about the server's.
    fn oldest_open(&self, part: &SeriesPart, now: Timestamp) -> Timestamp {
        let apart = self.host.estimated_server_time().as_micros().abs_diff(now.as_micros());
        if u128::from(apart) > MAX_APART.as_micros() {
            return Timestamp::from_micros(i64::MAX);
        }
        let step = part.grid.resolutions.first().map_or(Duration::ZERO, |finest| finest.step);
        now.minus(step * MAX_OPEN_STEPS)
    }

    /// The time that decides what is kept.
    pub(crate) async fn series_now(&self, _part: &SeriesPart) -> Timestamp {
        self.host.server_time().await
    }

    pub(crate) async fn series_add_once(
        &self,
        part: &SeriesPart,
        point: Point,
        now: Timestamp,
        token: &Token,
    ) -> Result<()> {
        let goes_to_chunks = point.at < self.oldest_open(part, now);
        let item = Item { point, now, token: Some(Box::new(*token)), goes_to_chunks };
        self.series_write(part, vec![item]).await
    }

    /// Forgets the counts of a key in open buckets and in the chunks in which anything is kept at `now`; older chunks expire by
    /// themselves.
    pub(crate) async fn series_delete(&self, part: &SeriesPart, key: &str, now: Timestamp) -> Result<()> {
        let chunks = |resolution: &Resolution| {
            let step = resolution.step.as_secs();
            resolution.kept_chunks(now).map(move |chunk| self.keys.series_chunk(part, step, chunk, key))
        };
        let chunks: Vec<String> = part.grid.resolutions.iter().flat_map(chunks).collect();
        let lists = self.lists_of_keys(part, now);
        for chunks in chunks.chunks(MAX_KEYS_PER_DELETE) {
            let forget = |starts: &[i64]| {
                let keys = 1 + starts.len() + lists.len() + chunks.len();
                let mut call = self.host.call(Script::SeriesDelete, keys, 128 * keys);
                call.command.arg(self.keys.series_open(part));
                self.add_open_buckets(&mut call, part, starts);
                call.command.arg(&lists).arg(chunks).arg(key).arg(lists.len()).arg(starts);
                call
            };
            self.run_on_open_buckets(part, forget).await?;
        }
        Ok(())
    }
}
