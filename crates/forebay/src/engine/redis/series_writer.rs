//! Writes to the partitions of a series on a Redis host.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{
    calls::Call,
    chunk::{self, Gain},
    connection::Host,
    dedup,
    keys::Keys,
    script::Script,
    session::Session,
    tokens::Tokens,
};
use crate::{
    engine::{
        cluster::Layout,
        request::Token,
        sequence::{Channel, InFlight, Refusals, Sent, Sequencer, Waiting},
        step::{Place, SeriesPart},
    },
    error::Result,
    key::Name,
    model::resolution::Grid,
};

/// Buckets in one script call: two milliseconds or so, in which the server does nothing else.
const MAX_BUCKETS_PER_CALL: usize = 500;

/// Flights under way to the partitions of a series: two keep server and client busy at once.
const WRITERS: u16 = 2;

/// The writers of this process. The lock protects the map, for one look-up at a time.
#[derive(Debug, Default)]
pub(super) struct Writers(Mutex<HashMap<Name, [Arc<Sequencer<PartitionWriter>>; WRITERS as usize]>>);

impl Writers {
    /// The writer of a partition.
    pub(super) fn of(
        &self,
        part: &SeriesPart,
        host: &Arc<Host>,
        keys: &Keys,
    ) -> Arc<Sequencer<PartitionWriter>> {
        let mut writers = self.0.lock();
        let writer = |_| {
            let (host, keys, clock) = (host.clone(), keys.clone(), host.clock().clone());
            let writer = PartitionWriter { host, keys, grid: part.grid.clone() };
            Sequencer::new(writer, clock)
        };
        let writers = writers.entry(part.grid.name.clone()).or_insert_with(|| std::array::from_fn(writer));
        writers[usize::from(part.index % WRITERS)].clone()
    }

    /// All of them.
    pub(super) fn each(&self, mut act: impl FnMut(&Sequencer<PartitionWriter>)) {
        self.0.lock().values().flatten().for_each(|writer| act(writer));
    }
}

/// Writer of every [`WRITERS`]-th partition of a series.
#[derive(Debug)]
pub(super) struct PartitionWriter {
    host: Arc<Host>,
    keys: Keys,
    grid: Arc<Grid>,
}

/// The gain of one bucket, or the gains of all buckets of a point with a token.
#[derive(Debug)]
pub(super) enum Item {
    Gain(Gain),
    Whole(Box<(Vec<Gain>, Token)>),
}

/// The keys and arguments of a script call, after its stamp.
#[derive(Debug)]
pub(super) struct Batch {
    /// The places of its gains in the flight.
    places: Vec<usize>,
    tokens: Tokens,
    keys: Vec<String>,
    arguments: Vec<String>,
    bytes: usize,
}

impl PartitionWriter {
    fn add(&self, in_flight: &InFlight<Batch>, replid: &str) -> Call {
        let batch = &in_flight.batch;
        let mut call = self.host.call(Script::SeriesAdd, batch.keys.len(), batch.bytes);
        call.command.arg(&batch.keys);
        dedup::add_client(&mut call, in_flight, replid);
        dedup::add_stamp(&mut call, in_flight, replid);
        call.command.arg(batch.tokens.text()).arg(&batch.arguments);
        call
    }
}

impl Channel for PartitionWriter {
    type Item = Item;
    type Batch = Batch;
    /// Which tokens were there already, if any: nothing was counted then.
    type Outcome = String;
    type Session = Session;

    /// The server works longer on a count than this process: better that it begins.
    const MAX_YIELDS: usize = 1;

    fn heap_bytes(item: &Item) -> usize {
        match item {
            Item::Gain(gain) => gain.heap_bytes(),
            Item::Whole(whole) => {
                let gains = whole.0.iter().map(|gain| size_of_val(gain) + gain.heap_bytes());
                size_of_val(&**whole) + gains.sum::<usize>()
            }
        }
    }

    fn merge(&self, index: u16, items: &[(u16, Item)], waiting: &mut Waiting) -> Batch {
        let (mut gains, mut places, mut left) = (vec![], vec![], VecDeque::new());
        let mut tokens = Tokens::default();
        while gains.len() < MAX_BUCKETS_PER_CALL
            && let Some(place) = waiting.places.pop_front()
        {
            match &items[place].1 {
                Item::Gain(gain) => gains.push(gain.clone()),
                Item::Whole(whole) => {
                    let (all, token) = &**whole;
                    if !tokens.takes(token) {
                        left.push_back(place);
                        continue;
                    }
                    tokens.add(token, place, 0);
                    gains.extend(all.iter().cloned());
                }
            }
            places.push(place);
        }
        left.append(&mut waiting.places);
        waiting.places = left;
        let gains = chunk::merge(gains);
        let part = SeriesPart::new(self.grid.clone(), index);
        let mut keys = vec![self.keys.series_guard(&part)];
        keys.extend(tokens.hour().map(|hour| self.keys.series_once(&part, hour)));
        let bytes = tokens.text().len();
        let mut batch = Batch { places, tokens, keys, arguments: vec![], bytes };
        for (gain, argument) in chunk::arguments(&gains) {
            let key = self.keys.series_chunk(&part, gain.step, gain.chunk, &gain.key);
            batch.bytes += key.len() + argument.len();
            batch.keys.push(key);
            batch.arguments.push(argument);
        }
        batch
    }

    async fn ready(&self, _: &[&InFlight<Batch>]) -> Result<Session> {
        dedup::session(&self.host).await
    }

    async fn transmit(&self, session: Result<Session>, in_flight: &[&InFlight<Batch>]) -> Vec<Sent<String>> {
        let calls = |in_flight: &[&InFlight<Batch>], replid: &str| {
            in_flight.iter().map(|in_flight| (self.add(in_flight, replid), 1)).collect()
        };
        let slot = |in_flight: &InFlight<Batch>| {
            Layout::slot(Place::Series(&SeriesPart::new(self.grid.clone(), in_flight.part)))
        };
        let answers = dedup::send_or_settle(&self.host, session, in_flight, slot, calls).await;
        dedup::results(&self.host, answers, "a write to a series")
    }

    fn places(batch: &Batch) -> impl DoubleEndedIterator<Item = usize> {
        batch.places.iter().copied()
    }

    fn settle(&self, batch: &Batch, outcome: String, waiting: &mut Waiting, refusals: &mut Refusals) {
        batch.tokens.settle(&outcome, Self::places(batch), waiting, refusals);
    }
}
