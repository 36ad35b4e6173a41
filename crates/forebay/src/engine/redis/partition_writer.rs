//! Writes to the partitions of a buffer on a Redis host.

use std::sync::{Arc, OnceLock};

use uuid::Uuid;

use super::{
    announced::AnnouncedPartitions,
    calls::Call,
    connection::Host,
    dedup,
    keys::Keys,
    partition::Partition,
    reply::unavailable,
    rows::{self, Item, Merged},
    script::Script,
    session::Session,
};
use crate::{
    engine::{
        cluster::Layout,
        sequence::{Channel, InFlight, Refusals, Sent, Sequencer, Waiting},
        step::{BufferPart, Place},
    },
    error::Result,
    model::Schema,
};

/// Flights under way to the partitions of a buffer: server and client work at the same time. With four or eight of them
/// each has less to merge.
const WRITERS: u16 = 2;

/// The writers of this process: a list that only grows, for it is looked through for every write, by many threads, and
/// even a lock for readers would be what they wait for.
#[derive(Debug, Default)]
pub(super) struct Writers(OnceLock<Box<Writer>>);

impl Writers {
    /// The writer of a partition.
    pub(super) fn of(
        &self,
        schema: &Arc<Schema>,
        index: u16,
        host: &Arc<Host>,
        keys: &Keys,
    ) -> &Arc<Sequencer<PartitionWriter>> {
        let mut writers = self;
        loop {
            let writer = writers.0.get_or_init(|| Box::new(Writer::new(schema, host, keys)));
            let same = writer.schema.name == schema.name && writer.schema.fingerprint == schema.fingerprint;
            if Arc::ptr_eq(&writer.schema, schema) || same {
                return &writer.writers[usize::from(index % WRITERS)];
            }
            writers = &writer.next;
        }
    }

    /// All of them.
    pub(super) fn each(&self, mut act: impl FnMut(&Sequencer<PartitionWriter>)) {
        let mut writers = self;
        while let Some(writer) = writers.0.get() {
            writer.writers.iter().for_each(|writer| act(writer));
            writers = &writer.next;
        }
    }
}

/// The writers of one buffer.
#[derive(Debug)]
struct Writer {
    schema: Arc<Schema>,
    writers: [Arc<Sequencer<PartitionWriter>>; WRITERS as usize],
    next: Writers,
}

/// Writer of every [`WRITERS`]-th partition of a buffer.
#[derive(Debug)]
pub(super) struct PartitionWriter {
    host: Arc<Host>,
    keys: Keys,
    schema: Arc<Schema>,
    announced: AnnouncedPartitions,
}

impl Writer {
    fn new(schema: &Arc<Schema>, host: &Arc<Host>, keys: &Keys) -> Self {
        let writer = |_| {
            let (host, keys) = (host.clone(), keys.clone());
            let clock = host.clock().clone();
            let announced = AnnouncedPartitions::default();
            Sequencer::new(PartitionWriter { host, keys, schema: schema.clone(), announced }, clock)
        };
        Writer { schema: schema.clone(), writers: std::array::from_fn(writer), next: Writers::default() }
    }
}

impl PartitionWriter {
    fn part(&self, index: u16) -> BufferPart {
        BufferPart { schema: self.schema.clone(), index }
    }

    /// Calls that bring the batches, as few as may be, and of how many each is.
    ///
    /// One call for all partitions of this writer: most of what a batch costs the server is the call. A node of a Redis Cluster
    /// gets a call for each, since their slots differ.
    fn calls(&self, in_flight: &[&InFlight<Merged>], replid: &str) -> Vec<(Call, usize)> {
        let mut calls = vec![];
        let most = if self.host.is_node() { 1 } else { usize::MAX };
        let mut rest = in_flight;
        while !rest.is_empty() {
            let mut cells = 0;
            let fits = rest.iter().take(most).take_while(|in_flight| {
                let first = cells == 0;
                cells += in_flight.batch.cells();
                first || cells <= rows::MAX_CELLS_PER_CALL
            });
            let count = fits.count();
            let (batches, others) = rest.split_at(count);
            calls.push((self.call(batches, replid), count));
            rest = others;
        }
        calls
    }

    fn call(&self, in_flight: &[&InFlight<Merged>], replid: &str) -> Call {
        let schema = &self.schema;
        let bytes: usize = in_flight.iter().map(|in_flight| in_flight.batch.bytes()).sum();
        let sets = in_flight.iter().filter(|in_flight| in_flight.batch.tokens.hour().is_some()).count();
        let mut call = self.host.call(
            Script::BufferAdd,
            2 * in_flight.len() + sets,
            256 + 128 * in_flight.len() + 2 * bytes,
        );
        for in_flight in in_flight {
            let part = self.part(in_flight.part);
            call.command.arg(self.keys.buffer(&part, "guard")).arg(self.keys.buffer(&part, "live"));
        }
        for in_flight in in_flight {
            if let Some(hour) = in_flight.batch.tokens.hour() {
                call.command.arg(self.keys.buffer_once(&self.part(in_flight.part), hour));
            }
        }
        if let Some(first) = in_flight.first() {
            dedup::add_client(&mut call, first, replid);
        }
        // An id of its own for each transmission: the id of a generation that a store has forgotten, and SQL has
        // not, must never name another one. Its last digits tell the batches apart.
        let id = rows::id_text(Uuid::now_v7());
        call.command.arg(id).arg(&*schema.fingerprint).arg(rows::kinds(schema)).arg(in_flight.len());
        for in_flight in in_flight {
            dedup::add_stamp(&mut call, in_flight, replid);
            in_flight.batch.add_to(&mut call.command);
        }
        call
    }
}

impl Channel for PartitionWriter {
    type Item = Item;
    type Batch = Merged;
    /// The refused cells, as the script names them.
    type Outcome = String;
    type Session = Session;

    /// Costs some microseconds, and makes a flight up to twice as large.
    const MAX_YIELDS: usize = 12;

    fn heap_bytes(item: &Item) -> usize {
        item.heap_bytes()
    }

    fn merge(&self, _: u16, items: &[(u16, Item)], waiting: &mut Waiting) -> Merged {
        Merged::new(&self.schema, items, waiting)
    }

    /// A connection to a store that was told which partitions are written to, before they are: a flusher that knows another
    /// number of partitions finds them by that.
    async fn ready(&self, in_flight: &[&InFlight<Merged>]) -> Result<Session> {
        let entry = |part| {
            let part = self.part(part);
            (self.keys.buffers(self.keys.register_of(Place::Buffer(&part))), part.tag())
        };
        let parts = in_flight.iter().map(|in_flight| in_flight.part);
        self.announced.ready(&self.host, parts, entry).await
    }

    async fn transmit(&self, session: Result<Session>, in_flight: &[&InFlight<Merged>]) -> Vec<Sent<String>> {
        let calls = |in_flight: &[&InFlight<Merged>], replid: &str| self.calls(in_flight, replid);
        let slot = |in_flight: &InFlight<Merged>| Layout::slot(Place::Buffer(&self.part(in_flight.part)));
        let answers = dedup::send_or_settle(&self.host, session, in_flight, slot, calls).await;
        let mut sent = Vec::with_capacity(answers.len());
        for (in_flight, answer) in in_flight.iter().zip(answers) {
            sent.push(match answer {
                Ok(answer) => answer,
                Err((word, id)) => {
                    let part = &self.part(in_flight.part);
                    Partition { host: &self.host, keys: &self.keys, part }.make_way(&id).await;
                    let why = format!("the live generation stays {word}");
                    Sent::Again(unavailable(self.host.name(), why))
                }
            });
        }
        sent
    }

    fn places(batch: &Merged) -> impl DoubleEndedIterator<Item = usize> {
        batch.places()
    }

    fn settle(&self, batch: &Merged, refused: String, waiting: &mut Waiting, refusals: &mut Refusals) {
        batch.settle(&self.schema, &refused, waiting, refusals);
    }
}
