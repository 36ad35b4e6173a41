//! The summaries of series in memory.

use std::{sync::Arc, time::Duration};

use super::{batch::Block, chunk::step_of, codec::Pack, population::Member};
use crate::{
    engine::step::{Span, Summaries},
    key::Name,
    model::{
        resolution::Resolution,
        summary::{Observation, Summary, SummaryKind},
    },
    time::Timestamp,
};

/// One key of one series that keeps summaries.
#[derive(Debug)]
pub(super) struct Entry {
    pub member: Member,
    pub key: Arc<str>,
    /// Sorted by [`Cell::place`].
    pub cells: Vec<Cell>,
    /// Has changed since the journal saw it.
    pub unsaved: bool,
}

/// The summary of one bucket.
#[derive(Debug)]
pub(super) struct Cell {
    /// The resolution, in seconds.
    step: u32,
    bucket: i64,
    /// On the engine's monotonic clock; by then the bucket is not kept.
    pub deadline: Duration,
    summary: Summary,
    /// Has changed since the journal saw it.
    unsaved: bool,
    /// The file has it.
    saved: bool,
}

impl Cell {
    /// The sort key of cells.
    fn place(&self) -> (u32, i64) {
        (self.step, self.bucket)
    }

    fn block(&self) -> Block {
        Block { step: self.step, start: self.bucket }
    }

    /// Its block, if the file has it: it goes.
    pub(super) fn gone(&self) -> Option<(Block, Option<Pack>)> {
        self.saved.then(|| (self.block(), None))
    }

    /// Its block, packed. `until` is the deadline by the time of day.
    fn changed(&mut self, until: Timestamp) -> (Block, Option<Pack>) {
        (self.unsaved, self.saved) = (false, true);
        let mut pack = Pack::default();
        // A started second counts, as of chunks.
        let deadline = until.plus(Duration::from_micros(999_999)).as_secs();
        pack.int(deadline).uint(self.summary.kind().number()).raw(&self.summary.pack());
        (self.block(), Some(pack))
    }
}

impl Entry {
    pub(super) fn new(member: Member, key: Arc<str>) -> Self {
        Self { member, key, cells: vec![], unsaved: false }
    }

    pub(super) fn hash(&self) -> u64 {
        self.member.series().hash_of(self.key.as_bytes())
    }

    pub(super) fn is(&self, series: &Name, key: &str) -> bool {
        *self.key == *key && self.member.series().is(series)
    }

    /// Takes an observation in a resolution that still keeps its bucket.
    pub(super) fn observe(
        &mut self,
        (kind, resolution): (SummaryKind, &Resolution),
        point: &Observation,
        (now, clock): (Timestamp, Duration),
    ) {
        let bucket = resolution.bucket(point.at);
        let Some(left) = resolution.left(bucket, now) else { return };
        let cell = self.cell(kind, step_of(resolution), bucket);
        cell.deadline = cell.deadline.max(clock + left);
        cell.summary.observe(point);
        cell.unsaved = true;
        self.unsaved = true;
    }

    /// Takes a summary as the file has it.
    pub(super) fn restore(&mut self, Block { step, start }: Block, summary: Summary, deadline: Duration) {
        let cell = self.cell(summary.kind(), step, start);
        (cell.summary, cell.deadline, cell.saved) = (summary, deadline, true);
    }

    /// The cell of a bucket; an empty one if there is none, or one of another kind: the definition has changed since.
    fn cell(&mut self, kind: SummaryKind, step: u32, bucket: i64) -> &mut Cell {
        let place = match self.cells.binary_search_by_key(&(step, bucket), Cell::place) {
            Ok(place) => place,
            Err(place) => {
                let (deadline, summary) = (Duration::ZERO, Summary::new(kind));
                let cell = Cell { step, bucket, deadline, summary, unsaved: false, saved: false };
                self.cells.insert(place, cell);
                place
            }
        };
        let cell = &mut self.cells[place];
        if cell.summary.kind() != kind {
            cell.summary = Summary::new(kind);
        }
        cell
    }

    /// The summaries of a span that are kept by the monotonic clock.
    pub(super) fn read(&self, kind: SummaryKind, span: &Span<'_>, clock: Duration) -> Summaries {
        let step = step_of(&span.resolution);
        let from = self.cells.partition_point(|cell| cell.place() < (step, span.from));
        let within = self.cells[from..].iter().take_while(|cell| cell.place() < (step, span.to));
        let kept = within.filter(|cell| cell.deadline > clock && cell.summary.kind() == kind);
        kept.map(|cell| (cell.bucket, cell.summary.clone())).collect()
    }

    /// The blocks that have changed, packed.
    pub(super) fn changed(&mut self, now: Duration, time: Timestamp) -> Vec<(Block, Option<Pack>)> {
        self.unsaved = false;
        let until = |cell: &Cell| time.plus(cell.deadline.saturating_sub(now));
        let changed = self.cells.iter_mut().filter(|cell| cell.unsaved);
        changed.map(|cell| cell.changed(until(cell))).collect()
    }
}
