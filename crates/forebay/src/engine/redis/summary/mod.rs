//! Summaries of series on a Redis host. `writer.rs` writes to them, once; `cells.rs` are the arguments of that; and each kind has
//! a file of its own, with its script in `lua/summaries/`.

mod cells;
mod distinct;
mod gauge;
mod kind;
mod percentiles;
mod read;
mod writer;

use super::{Redis, chunk, script::Script};
use crate::{
    applied::one_for_all,
    engine::{request::Token, step::SummaryPart},
    error::Result,
    model::{resolution::Resolution, summary::Observation},
    time::{Timestamp, mins},
};

pub(super) use writer::Writers;

/// Keys in one command that deletes: half a millisecond or so. A HyperLogLog is given back in the background.
const MAX_KEYS_PER_DELETE: usize = 1_000;

impl Redis {
    pub(crate) async fn summary_add(
        &self,
        series: SummaryPart<'_>,
        points: Vec<Observation>,
        now: Timestamp,
    ) -> Result<()> {
        let item = |point| writer::Item { point, now, token: None };
        self.summary_write(series, points.into_iter().map(item).collect()).await
    }

    pub(crate) async fn summary_add_once(
        &self,
        series: SummaryPart<'_>,
        point: Observation,
        now: Timestamp,
        token: &Token,
    ) -> Result<()> {
        let item = writer::Item { point, now, token: Some(Box::new(*token)) };
        self.summary_write(series, vec![item]).await
    }

    async fn summary_write(&self, series: SummaryPart<'_>, mut items: Vec<writer::Item>) -> Result<()> {
        items.retain(|item| chunk::is_kept(&series.part.grid, item.point.at, item.now));
        if items.is_empty() {
            return Ok(());
        }
        let writer = self.summary_writers.of(series, &self.host, &self.keys);
        one_for_all(writer.write(series.part.index, items).await?)
    }

    /// Forgets the summaries of a key in which anything is kept at `now`; older ones expire by themselves.
    pub(crate) async fn summary_delete(
        &self,
        series: SummaryPart<'_>,
        key: &str,
        now: Timestamp,
    ) -> Result<()> {
        let SummaryPart { kind, part } = series;
        let names = |resolution: &Resolution| {
            let resolution = *resolution;
            // A point may be so far ahead of the clock.
            let last = resolution.bucket(now.plus(mins(5))) + 1;
            let places = kind.place(resolution.oldest_kept(now))..=kind.place(last);
            places.map(move |place| self.keys.summary(series, resolution, place, key))
        };
        let names: Vec<String> = part.grid.resolutions.iter().flat_map(names).collect();
        let lists = self.lists_of_keys(part, now);
        for names in names.chunks(MAX_KEYS_PER_DELETE) {
            let keys = lists.len() + names.len();
            let mut call = self.host.call(Script::SummaryDelete, keys, 128 * keys);
            call.command.arg(&lists).arg(names).arg(key).arg(lists.len());
            self.host.run_one(call).await?;
        }
        Ok(())
    }
}
