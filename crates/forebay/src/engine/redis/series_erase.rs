//! Deletion of a span of a key of a series on a Redis host.

use std::collections::HashMap;

use redis::Cmd;

use super::{
    Redis,
    reply::{text, unexpected},
    script::Script,
};
use crate::{
    engine::step::{BucketRun, Erasure, SeriesPart},
    error::{Result, out_of_range},
    model::resolution::Resolution,
};

/// The most chunks in one deletion: it is one call.
const MAX_CHUNKS: usize = 2_000;

/// The chunks of a deletion, each once, in the order of their first use.
#[derive(Default)]
struct Chunks {
    places: HashMap<(u64, i64), usize>,
    names: Vec<(Resolution, i64)>,
}

impl Chunks {
    fn place(&mut self, resolution: Resolution, chunk: i64) -> usize {
        let Self { places, names } = self;
        *places.entry((resolution.step.as_secs(), chunk)).or_insert_with(|| {
            names.push((resolution, chunk));
            names.len()
        })
    }

    /// Runs by chunk: of each its place, its first slot and its last.
    fn runs(&mut self, runs: &[BucketRun]) -> Vec<[usize; 3]> {
        let mut found = vec![];
        for BucketRun { resolution, buckets } in runs {
            let mut bucket = buckets.start;
            while bucket < buckets.end {
                let (chunk, first) = resolution.place(bucket);
                let end = buckets.end.min((chunk + 1) * resolution.slots());
                let last = resolution.place(end - 1).1;
                found.push([self.place(*resolution, chunk), first, last]);
                bucket = end;
            }
        }
        found
    }
}

impl Redis {
    pub(crate) async fn series_erase(&self, part: &SeriesPart, key: &str, erasure: &Erasure) -> Result<u64> {
        let mut chunks = Chunks::default();
        let (total, zero) = (chunks.runs(&erasure.total), chunks.runs(&erasure.zero));
        let mut parts = vec![];
        for erased in &erasure.parts {
            let (chunk, slot) = erased.resolution.place(erased.bucket);
            parts.push((chunks.place(erased.resolution, chunk), slot, chunks.runs(&erased.part)));
        }
        if chunks.names.len() > MAX_CHUNKS {
            let (name, count) = (&part.grid.name, chunks.names.len());
            let text = format!(
                "series {name}: a deletion in {count} chunks: at most {MAX_CHUNKS}; delete a shorter span"
            );
            return Err(out_of_range(text));
        }
        let erase = |starts: &[i64]| {
            let count = 1 + starts.len() + chunks.names.len();
            let mut call = self.host.call(Script::SeriesErase, count, 128 * count);
            call.command.arg(self.keys.series_open(part));
            self.add_open_buckets(&mut call, part, starts);
            let command = &mut call.command;
            for (resolution, chunk) in &chunks.names {
                command.arg(self.keys.series_chunk(part, resolution.step.as_secs(), *chunk, key));
            }
            command.arg(key).arg(starts.len());
            for start in starts {
                command.arg(*start).arg(i32::from((erasure.start..erasure.end).contains(start)));
            }
            command.arg(chunks.names.len());
            for (resolution, _) in &chunks.names {
                command.arg(resolution.slots());
            }
            add_runs(command, &total);
            add_runs(command, &zero);
            command.arg(parts.len());
            for (place, slot, runs) in &parts {
                add_runs(command.arg(*place).arg(*slot), runs);
            }
            call
        };
        let sum = text(self.run_on_open_buckets(part, erase).await?).and_then(|sum| sum.parse().ok());
        sum.ok_or_else(|| unexpected(self.host.name(), "a deletion in a series"))
    }
}

fn add_runs(command: &mut Cmd, runs: &[[usize; 3]]) {
    command.arg(runs.len());
    for run in runs {
        command.arg(run);
    }
}
