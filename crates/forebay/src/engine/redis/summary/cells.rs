//! Observations on their way into summaries: the keys that a batch writes to, and what is merged into each.
//!
//! Numbers in, texts out: no clock, no connection.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    engine::{redis::keys::Keys, step::SummaryPart},
    model::{resolution::Resolution, summary::Observation},
    time::Timestamp,
};

/// The arguments of a script that merges into summaries.
#[derive(Debug, Default)]
pub(super) struct Cells {
    /// The names of lists of keys.
    pub lists: Vec<String>,
    /// The name of each summary, what the script has to know of it, and what is merged into it.
    pub summaries: Vec<(String, String, Vec<u8>)>,
}

/// One key of the store, as a batch meets it.
#[derive(Default)]
struct Cell<'a> {
    ttl: Duration,
    list_ttl: Duration,
    /// Each with its bucket.
    observed: Vec<(i64, &'a Observation)>,
}

impl Cells {
    /// Merges observations, each with the time that decides what is kept. `first` is the place of the first list among the keys,
    /// from 1.
    pub(super) fn of<'a>(
        series: SummaryPart<'_>,
        observed: impl Iterator<Item = (&'a Observation, Timestamp)>,
        first: usize,
        keys: &Keys,
    ) -> Self {
        let SummaryPart { kind, part } = series;
        // In an order, so that the same batch is the same bytes.
        let mut cells: BTreeMap<(&Arc<str>, usize, i64), Cell<'a>> = BTreeMap::new();
        for (point, now) in observed {
            for (number, resolution) in part.grid.resolutions.iter().enumerate() {
                let bucket = resolution.bucket(point.at);
                if !resolution.keeps(bucket, now) {
                    continue;
                }
                let place = kind.place(bucket);
                let cell = cells.entry((&point.key, number, place)).or_default();
                let end = (place + 1) * kind.buckets_per_key();
                cell.ttl = cell.ttl.max(resolution.start(end).plus(resolution.retention).since(now));
                let chunk = resolution.place(bucket).0;
                cell.list_ttl = cell.list_ttl.max(resolution.lifetime(chunk, now).unwrap_or_default());
                cell.observed.push((bucket, point));
            }
        }
        let mut all = Self::default();
        let coarsest = part.grid.resolutions.len() - 1;
        for ((key, number, place), cell) in cells {
            let resolution = part.grid.resolutions[number];
            let list = if number == coarsest { all.list(series, resolution, &cell, first, keys) } else { 0 };
            let (ttl, list_ttl) = (millis_of(cell.ttl), millis_of(cell.list_ttl));
            let about = format!("{ttl} {list} {list_ttl} {}", key.len());
            all.summaries.push((
                keys.summary(series, resolution, place, key),
                about,
                kind.gains(&cell.observed),
            ));
        }
        all
    }

    /// The place of the list for the newest bucket of a cell of the coarsest resolution.
    fn list(
        &mut self,
        series: SummaryPart<'_>,
        resolution: Resolution,
        cell: &Cell<'_>,
        first: usize,
        keys: &Keys,
    ) -> usize {
        let newest = cell.observed.iter().map(|(bucket, _)| *bucket).max().unwrap_or_default();
        let name = keys.series_keys(series.part, resolution.place(newest).0);
        let place = self.lists.iter().position(|list| *list == name).unwrap_or_else(|| {
            self.lists.push(name);
            self.lists.len() - 1
        });
        first + place
    }

    /// About how many bytes it is.
    pub(super) fn bytes(&self) -> usize {
        let lists: usize = self.lists.iter().map(String::len).sum();
        let each = |(key, about, gains): &(String, String, Vec<u8>)| key.len() + about.len() + gains.len();
        lists + self.summaries.iter().map(each).sum::<usize>()
    }
}

/// Whole milliseconds, of which a started one counts.
fn millis_of(span: Duration) -> u128 {
    span.as_micros().div_ceil(1_000)
}
