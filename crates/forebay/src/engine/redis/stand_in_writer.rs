//! Writes to the stand-ins of the partitions of a series on a Redis host.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use uuid::Uuid;

use super::{
    announced,
    calls::Call,
    chunk::{self, Gain},
    connection::Host,
    dedup,
    keys::Keys,
    rows,
    script::Script,
    session::Session,
};
use crate::{
    engine::{
        cluster::Layout,
        sequence::{Channel, InFlight, Refusals, Sent, Sequencer, Waiting},
        step::{Place, SeriesPart},
    },
    error::Result,
    key::Name,
    model::resolution::Grid,
};

/// The most buckets in a generation, of all resolutions together: it is added to its partition in one script call.
const MAX_BUCKETS_PER_GENERATION: usize = 500;

/// The writers of this process. The lock protects the map, for one look-up at a time.
#[derive(Debug, Default)]
pub(super) struct Writers(Mutex<HashMap<(Name, u8), Writer>>);

type Writer = Arc<Sequencer<StandInWriter>>;

impl Writers {
    /// The writer of a stand-in.
    pub(super) fn of(
        &self,
        part: &SeriesPart,
        host: &Arc<Host>,
        keys: &Keys,
    ) -> Arc<Sequencer<StandInWriter>> {
        let writer = || {
            let (host, keys, grid) = (host.clone(), keys.clone(), part.grid.clone());
            let clock = host.clock().clone();
            Sequencer::new(StandInWriter { host, keys, grid, number: part.stand_in }, clock)
        };
        self.0.lock().entry((part.grid.name.clone(), part.stand_in)).or_insert_with(writer).clone()
    }

    /// All of them.
    pub(super) fn each(&self, mut act: impl FnMut(&Sequencer<StandInWriter>)) {
        self.0.lock().values().for_each(|writer| act(writer));
    }
}

/// Writer of the stand-ins of one number of all partitions of a series.
#[derive(Debug)]
pub(super) struct StandInWriter {
    host: Arc<Host>,
    keys: Keys,
    grid: Arc<Grid>,
    number: u8,
}

/// The arguments of a script call that are its own.
#[derive(Debug)]
pub(super) struct Batch {
    /// The places of its gains in the flight.
    places: Vec<usize>,
    pairs: Vec<(String, u64)>,
    bytes: usize,
}

impl StandInWriter {
    fn part(&self, index: u16) -> SeriesPart {
        SeriesPart::new(self.grid.clone(), index).stand_in(self.number)
    }

    /// The most points in a generation.
    fn most(&self) -> usize {
        MAX_BUCKETS_PER_GENERATION / self.grid.resolutions.len().max(1)
    }

    fn add(&self, in_flight: &InFlight<Batch>, replid: &str) -> Call {
        let (part, batch) = (self.part(in_flight.part), &in_flight.batch);
        let mut call = self.host.call(Script::StandInAdd, 3, 256 + batch.bytes);
        call.command.arg(self.keys.series_guard(&part)).arg(self.keys.stand_in_live(&part));
        call.command.arg(self.keys.stand_in_frozen(&part));
        dedup::add_client(&mut call, in_flight, replid);
        dedup::add_stamp(&mut call, in_flight, replid);
        // An id of its own for each transmission: the id of a generation that a store has forgotten, and the partition has not,
        // must never name another one.
        call.command.arg(rows::id_text(Uuid::now_v7())).arg(self.most());
        call.command.arg(chunk::longest_life(&self.grid).as_millis().to_string());
        for (field, n) in &batch.pairs {
            call.command.arg(field).arg(n);
        }
        call
    }
}

impl Channel for StandInWriter {
    type Item = Gain;
    type Batch = Batch;
    type Outcome = String;
    type Session = Session;

    const MAX_YIELDS: usize = 1;

    fn heap_bytes(gain: &Gain) -> usize {
        gain.heap_bytes()
    }

    fn merge(&self, _: u16, items: &[(u16, Gain)], waiting: &mut Waiting) -> Batch {
        let count = waiting.places.len().min(self.most());
        let places: Vec<usize> = waiting.places.drain(..count).collect();
        let gains = chunk::merge(places.iter().map(|&place| items[place].1.clone()).collect());
        let pairs: Vec<(String, u64)> = gains.iter().map(|gain| (gain.field(), gain.n)).collect();
        let bytes = pairs.iter().map(|(field, _)| field.len() + 24).sum();
        Batch { places, pairs, bytes }
    }

    /// A connection to a store that was told which stand-ins are written to, before they are. It is told each time: one that was
    /// emptied has forgotten it, and its replication id is the same.
    async fn ready(&self, in_flight: &[&InFlight<Batch>]) -> Result<Session> {
        let session = dedup::session(&self.host).await?;
        let entries = in_flight.iter().map(|in_flight| {
            let part = self.part(in_flight.part);
            (self.keys.stand_ins(self.keys.register_of(Place::Series(&part))), part.tag())
        });
        announced::announce(&self.host, entries).await?;
        Ok(session)
    }

    async fn transmit(&self, session: Result<Session>, in_flight: &[&InFlight<Batch>]) -> Vec<Sent<String>> {
        let calls = |in_flight: &[&InFlight<Batch>], replid: &str| {
            in_flight.iter().map(|in_flight| (self.add(in_flight, replid), 1)).collect()
        };
        let slot = |in_flight: &InFlight<Batch>| Layout::slot(Place::Series(&self.part(in_flight.part)));
        let answers = dedup::send_or_settle(&self.host, session, in_flight, slot, calls).await;
        dedup::results(&self.host, answers, "a write to a stand-in of a series")
    }

    fn places(batch: &Batch) -> impl DoubleEndedIterator<Item = usize> {
        batch.places.iter().copied()
    }

    fn settle(&self, _: &Batch, _: String, _: &mut Waiting, _: &mut Refusals) {}
}
