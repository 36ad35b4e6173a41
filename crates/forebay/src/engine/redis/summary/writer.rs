//! Writes to the summaries of a series on a Redis host, each once.

use std::sync::Arc;

use parking_lot::Mutex;

use super::cells::Cells;
use crate::{
    engine::{
        cluster::Layout,
        redis::{calls::Call, connection::Host, dedup, keys::Keys, session::Session, tokens::Tokens},
        request::Token,
        sequence::{Channel, InFlight, Refusals, Sent, Sequencer, Waiting},
        step::{Place, SeriesPart, SummaryPart},
    },
    error::Result,
    model::{
        resolution::Grid,
        summary::{Observation, Observed, SummaryKind},
    },
    time::Timestamp,
};

/// Buckets in one script call, with those that share a key counted one by one: two milliseconds or so.
const MAX_BUCKETS_PER_CALL: usize = 2_000;

/// Flights under way to the partitions of a series: two keep server and client busy at once.
const WRITERS: usize = 2;

/// The writers of this process. Points are written by the definition they came with. The lock protects the list, for one look-up
/// at a time.
#[derive(Debug, Default)]
pub(in crate::engine::redis) struct Writers(Mutex<Vec<Writer>>);

/// The writers of one series.
#[derive(Debug)]
struct Writer {
    kind: SummaryKind,
    grid: Arc<Grid>,
    writers: [Arc<Sequencer<PartitionWriter>>; WRITERS],
}

impl Writers {
    /// The writer of a partition.
    pub(super) fn of(
        &self,
        series: SummaryPart<'_>,
        host: &Arc<Host>,
        keys: &Keys,
    ) -> Arc<Sequencer<PartitionWriter>> {
        let SummaryPart { kind, part } = series;
        let mut all = self.0.lock();
        let is = |writer: &Writer| {
            writer.kind == kind && (Arc::ptr_eq(&writer.grid, &part.grid) || writer.grid == part.grid)
        };
        let place = all.iter().position(is).unwrap_or_else(|| {
            let writer = |_| {
                let (host, keys, grid) = (host.clone(), keys.clone(), part.grid.clone());
                let clock = host.clock().clone();
                Sequencer::new(PartitionWriter { kind, host, keys, grid }, clock)
            };
            let (grid, writers) = (part.grid.clone(), std::array::from_fn(writer));
            all.push(Writer { kind, grid, writers });
            all.len() - 1
        });
        all[place].writers[usize::from(part.index) % WRITERS].clone()
    }

    /// All of them.
    pub(in crate::engine::redis) fn each(&self, mut act: impl FnMut(&Sequencer<PartitionWriter>)) {
        self.0.lock().iter().flat_map(|writer| &writer.writers).for_each(|writer| act(writer));
    }
}

/// Writer of every [`WRITERS`]-th partition of a series.
#[derive(Debug)]
pub(in crate::engine::redis) struct PartitionWriter {
    kind: SummaryKind,
    host: Arc<Host>,
    keys: Keys,
    grid: Arc<Grid>,
}

/// An observation that is kept at `now`, and its token, if it is a part of a request that is carried out once.
#[derive(Debug)]
pub(in crate::engine::redis) struct Item {
    pub point: Observation,
    pub now: Timestamp,
    pub token: Option<Box<Token>>,
}

/// Observations of one partition, merged.
#[derive(Debug)]
pub(in crate::engine::redis) struct Batch {
    /// The places of its observations in the flight.
    places: Vec<usize>,
    tokens: Tokens,
    cells: Cells,
}

impl PartitionWriter {
    fn part(&self, index: u16) -> SeriesPart {
        SeriesPart::new(self.grid.clone(), index)
    }

    fn call(&self, in_flight: &InFlight<Batch>, replid: &str) -> Call {
        let (part, Batch { tokens, cells, .. }) = (self.part(in_flight.part), &in_flight.batch);
        let set = tokens.hour().map(|hour| self.keys.series_once(&part, hour));
        let keys = 1 + usize::from(set.is_some()) + cells.lists.len() + cells.summaries.len();
        let mut call = self.host.call(self.kind.script(), keys, 256 + cells.bytes());
        call.command.arg(self.keys.series_guard(&part)).arg(set).arg(&cells.lists);
        for (key, ..) in &cells.summaries {
            call.command.arg(key);
        }
        dedup::add_client(&mut call, in_flight, replid);
        dedup::add_stamp(&mut call, in_flight, replid);
        call.command.arg(tokens.text());
        for (_, about, gains) in &cells.summaries {
            call.command.arg(about).arg(gains);
        }
        call
    }
}

impl Channel for PartitionWriter {
    type Item = Item;
    type Batch = Batch;
    /// The tokens that were there already, if any: nothing was merged then.
    type Outcome = String;
    type Session = Session;

    /// As of rows: what gathers meanwhile shares the call.
    const MAX_YIELDS: usize = 12;

    fn heap_bytes(item: &Item) -> usize {
        let element = match &item.point.what {
            Observed::Element(element) => element.len(),
            Observed::Value(_) => 0,
        };
        item.point.key.len() + element + item.token.as_deref().map_or(0, size_of_val)
    }

    fn merge(&self, index: u16, items: &[(u16, Item)], waiting: &mut Waiting) -> Batch {
        let most = (MAX_BUCKETS_PER_CALL / self.grid.resolutions.len()).max(1);
        let (places, tokens) =
            Tokens::choose(waiting, most, |_| true, |place| items[place].1.token.as_deref());
        let part = self.part(index);
        let observed = places.iter().map(|&place| (&items[place].1.point, items[place].1.now));
        let first = 2 + usize::from(tokens.hour().is_some());
        let cells = Cells::of(SummaryPart { kind: self.kind, part: &part }, observed, first, &self.keys);
        Batch { places, tokens, cells }
    }

    async fn ready(&self, _: &[&InFlight<Batch>]) -> Result<Session> {
        dedup::session(&self.host).await
    }

    async fn transmit(&self, session: Result<Session>, in_flight: &[&InFlight<Batch>]) -> Vec<Sent<String>> {
        let calls = |in_flight: &[&InFlight<Batch>], replid: &str| {
            in_flight.iter().map(|in_flight| (self.call(in_flight, replid), 1)).collect()
        };
        let slot = |in_flight: &InFlight<Batch>| Layout::slot(Place::Series(&self.part(in_flight.part)));
        let answers = dedup::send_or_settle(&self.host, session, in_flight, slot, calls).await;
        dedup::results(&self.host, answers, "a write to summaries of a series")
    }

    fn places(batch: &Batch) -> impl DoubleEndedIterator<Item = usize> {
        batch.places.iter().copied()
    }

    fn settle(&self, batch: &Batch, outcome: String, waiting: &mut Waiting, refusals: &mut Refusals) {
        batch.tokens.settle(&outcome, Self::places(batch), waiting, refusals);
    }
}
