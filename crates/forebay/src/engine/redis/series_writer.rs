//! Writes to the partitions of a series on a Redis host.

use std::sync::{Arc, OnceLock};

use hashbrown::hash_table::{Entry, HashTable};

use super::{
    calls::Call,
    chunk::{self, Gain},
    connection::Host,
    dedup,
    keys::Keys,
    open_buckets::OpenBuckets,
    script::Script,
    session::Session,
    tokens::Tokens,
};
use crate::{
    engine::{
        cluster::Layout,
        request::Token,
        sequence::{Channel, InFlight, Refusals, Sent, Sequencer, Waiting},
        step::{Place, Point, SeriesPart},
    },
    error::Result,
    key,
    model::resolution::{Grid, MAX_COUNT},
    time::Timestamp,
};

/// Chunks in one script call: two milliseconds or so, in which the server does nothing else.
pub(super) const MAX_CHUNKS_PER_CALL: usize = 500;

/// Keys of open buckets in one batch, and in one script call: a millisecond or so.
const MAX_KEYS_PER_BATCH: usize = 1_000;
const MAX_KEYS_PER_CALL: usize = 2_000;

/// Flights under way to the partitions of a series: two keep server and client busy at once.
const WRITERS: u16 = 2;

/// The writers of this process: a list that only grows, as of buffers. Points are written by the definition they came with.
#[derive(Debug, Default)]
pub(super) struct Writers(OnceLock<Box<Writer>>);

/// The writers of one series.
#[derive(Debug)]
struct Writer {
    grid: Arc<Grid>,
    writers: [Arc<Sequencer<PartitionWriter>>; WRITERS as usize],
    next: Writers,
}

impl Writers {
    /// The writer of a partition.
    pub(super) fn of(
        &self,
        part: &SeriesPart,
        host: &Arc<Host>,
        keys: &Keys,
        open: &Arc<OpenBuckets>,
    ) -> &Arc<Sequencer<PartitionWriter>> {
        let mut writers = self;
        loop {
            let writer = writers.0.get_or_init(|| Box::new(Writer::new(&part.grid, host, keys, open)));
            if Arc::ptr_eq(&writer.grid, &part.grid) || writer.grid == part.grid {
                return &writer.writers[usize::from(part.index % WRITERS)];
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

impl Writer {
    fn new(grid: &Arc<Grid>, host: &Arc<Host>, keys: &Keys, open: &Arc<OpenBuckets>) -> Self {
        let writer = |_| {
            let (host, keys, clock) = (host.clone(), keys.clone(), host.clock().clone());
            let resolutions = chunk::resolutions_text(grid).into();
            let writer = PartitionWriter { host, keys, grid: grid.clone(), resolutions, open: open.clone() };
            Sequencer::new(writer, clock)
        };
        Self { grid: grid.clone(), writers: std::array::from_fn(writer), next: Writers::default() }
    }
}

/// Writer of every [`WRITERS`]-th partition of a series.
#[derive(Debug)]
pub(super) struct PartitionWriter {
    host: Arc<Host>,
    keys: Keys,
    grid: Arc<Grid>,
    /// Those of the grid, as text.
    resolutions: Box<str>,
    open: Arc<OpenBuckets>,
}

/// A point that is kept at `now`, and its token, if it is a part of a request that is carried out once.
#[derive(Debug)]
pub(super) struct Item {
    pub point: Point,
    pub now: Timestamp,
    pub token: Option<Box<Token>>,
    /// Whether no open bucket takes it.
    pub goes_to_chunks: bool,
}

/// Points of one partition, merged.
#[derive(Debug)]
pub(super) struct Batch {
    /// The places of its points in the flight.
    places: Vec<usize>,
    tokens: Tokens,
    gains: Gains,
}

/// The gains of a batch, as arguments of a script.
#[derive(Debug)]
enum Gains {
    /// Of open buckets.
    Open(Vec<OpenGain>),
    Chunks(ChunkGains),
}

/// The gains of chunks.
#[derive(Debug)]
struct ChunkGains {
    /// The names of lists of keys, and of lists of the largest keys.
    lists: Vec<String>,
    /// The name and the argument of each chunk.
    chunks: Vec<(String, String)>,
}

/// The gains of one open bucket: of each key once.
#[derive(Debug)]
struct OpenGain {
    start: i64,
    keys: Vec<(Arc<str>, u64)>,
}

impl Batch {
    /// The keys of open buckets in it.
    fn open_keys(&self) -> usize {
        match &self.gains {
            Gains::Open(buckets) => buckets.iter().map(|bucket| bucket.keys.len()).sum(),
            Gains::Chunks(_) => 0,
        }
    }
}

impl PartitionWriter {
    fn part(&self, index: u16) -> SeriesPart {
        SeriesPart::new(self.grid.clone(), index)
    }

    /// Calls that bring the batches, and of how many each is: one for all batches of open buckets, as few as may be. A node of a
    /// Redis Cluster gets a call for each, since their slots differ.
    fn calls(&self, in_flight: &[&InFlight<Batch>], replid: &str) -> Vec<(Call, usize)> {
        let most = if self.host.is_node() { 1 } else { usize::MAX };
        let (mut calls, mut rest) = (vec![], in_flight);
        while let [first, ..] = rest {
            if let Gains::Chunks(chunks) = &first.batch.gains {
                calls.push((self.add_to_chunks(first, chunks, replid), 1));
                rest = &rest[1..];
                continue;
            }
            let mut keys = 0;
            let fits = rest.iter().take(most).take_while(|in_flight| {
                let first = keys == 0;
                keys += in_flight.batch.open_keys();
                matches!(in_flight.batch.gains, Gains::Open(_)) && (first || keys <= MAX_KEYS_PER_CALL)
            });
            let count = fits.count();
            calls.push((self.add(&rest[..count], replid), count));
            rest = &rest[count..];
        }
        calls
    }

    fn add(&self, in_flight: &[&InFlight<Batch>], replid: &str) -> Call {
        let buckets = |in_flight: &InFlight<Batch>| match &in_flight.batch.gains {
            Gains::Open(buckets) => buckets.len(),
            Gains::Chunks(_) => 0,
        };
        let further = in_flight.iter().map(|in_flight| buckets(in_flight).saturating_sub(1)).sum::<usize>();
        let sets = in_flight.iter().filter(|in_flight| in_flight.batch.tokens.hour().is_some()).count();
        let keys = in_flight.iter().map(|in_flight| in_flight.batch.open_keys()).sum::<usize>();
        let mut call = self.host.call(
            Script::SeriesAdd,
            3 * in_flight.len() + sets + further,
            256 + 256 * in_flight.len() + 64 * (keys + sets + further),
        );
        let (mut sets_and_further, mut arguments) = (vec![], vec![]);
        for in_flight in in_flight {
            let (part, batch) = (self.part(in_flight.part), &in_flight.batch);
            let Gains::Open(buckets) = &batch.gains else { continue };
            call.command.arg(self.keys.series_guard(&part)).arg(self.keys.series_open(&part));
            sets_and_further.extend(batch.tokens.hour().map(|hour| self.keys.series_once(&part, hour)));
            for (place, bucket) in buckets.iter().enumerate() {
                let key = self.keys.series_bucket(&part, bucket.start);
                if place == 0 {
                    call.command.arg(key);
                } else {
                    sets_and_further.push(key);
                }
            }
            arguments.push((in_flight, buckets));
        }
        call.command.arg(sets_and_further);
        if let Some(first) = in_flight.first() {
            dedup::add_client(&mut call, first, replid);
        }
        call.command.arg(chunk::longest_life(&self.grid).as_millis().to_string());
        call.command.arg(&*self.resolutions).arg(in_flight.len());
        for (in_flight, buckets) in arguments {
            dedup::add_stamp(&mut call, in_flight, replid);
            call.command.arg(in_flight.batch.tokens.text()).arg(buckets.len());
            for bucket in buckets {
                call.command.arg(bucket.start).arg(bucket.keys.len());
                for (key, n) in &bucket.keys {
                    call.command.arg(&**key).arg(*n);
                }
            }
        }
        call
    }

    fn add_to_chunks(&self, in_flight: &InFlight<Batch>, gains: &ChunkGains, replid: &str) -> Call {
        let (part, tokens) = (self.part(in_flight.part), &in_flight.batch.tokens);
        let ChunkGains { lists, chunks } = gains;
        let set = tokens.hour().map(|hour| self.keys.series_once(&part, hour));
        let bytes: usize = chunks.iter().map(|(key, argument)| key.len() + argument.len()).sum();
        let keys = 2 + usize::from(set.is_some()) + lists.len() + chunks.len();
        let mut call = self.host.call(Script::SeriesAddChunks, keys, 256 + bytes);
        call.command.arg(self.keys.series_guard(&part)).arg(self.keys.series_open(&part)).arg(set).arg(lists);
        for (key, _) in chunks {
            call.command.arg(key);
        }
        dedup::add_client(&mut call, in_flight, replid);
        dedup::add_stamp(&mut call, in_flight, replid);
        call.command.arg(tokens.text());
        for (_, argument) in chunks {
            call.command.arg(argument);
        }
        call
    }

    /// The gains of points in open buckets, each key of a bucket once.
    fn open_gains<'a>(&self, points: impl Iterator<Item = &'a Point>) -> Vec<OpenGain> {
        let mut buckets: Vec<(OpenGain, HashTable<usize>)> = vec![];
        for point in points {
            let start = chunk::bucket_start(&self.grid, point.at);
            let found = buckets.iter().rposition(|(bucket, _)| bucket.start == start).unwrap_or_else(|| {
                buckets.push((OpenGain { start, keys: vec![] }, HashTable::new()));
                buckets.len() - 1
            });
            let (OpenGain { keys, .. }, places) = &mut buckets[found];
            let hash = |key: &str| key::hash(key.as_bytes());
            let same = places.entry(hash(&point.key), |&at| keys[at].0 == point.key, |&at| hash(&keys[at].0));
            match same {
                Entry::Occupied(at) => {
                    let (_, n) = &mut keys[*at.get()];
                    *n = n.saturating_add(point.n).min(MAX_COUNT);
                }
                Entry::Vacant(vacant) => {
                    vacant.insert(keys.len());
                    keys.push((point.key.clone(), point.n));
                }
            }
        }
        buckets.into_iter().map(|(bucket, _)| bucket).collect()
    }

    /// The gains of points in chunks. `first` is the place of the first list of keys.
    fn chunk_gains<'a>(
        &self,
        part: &SeriesPart,
        items: impl Iterator<Item = &'a Item>,
        first: usize,
    ) -> ChunkGains {
        let gains =
            items.flat_map(|item| chunk::gains(&self.grid, std::slice::from_ref(&item.point), item.now));
        let gains = chunk::merge(gains.collect());
        let chunk::Arguments { chunks, lists, tops } = chunk::arguments(&gains, &self.grid, first);
        let named = |(gain, argument): (&Gain, String)| {
            (self.keys.series_chunk(part, gain.step, gain.chunk, &gain.key), argument)
        };
        let lists = lists.into_iter().map(|chunk| self.keys.series_keys(part, chunk));
        let tops = tops.into_iter().map(|(step, bucket)| self.keys.series_top(part, step, bucket));
        ChunkGains { lists: lists.chain(tops).collect(), chunks: chunks.into_iter().map(named).collect() }
    }
}

impl Channel for PartitionWriter {
    type Item = Item;
    type Batch = Batch;
    /// Which tokens were there already, if any: nothing was counted then.
    type Outcome = String;
    type Session = Session;

    /// As of rows: what gathers meanwhile shares the call.
    const MAX_YIELDS: usize = 12;

    fn heap_bytes(item: &Item) -> usize {
        item.point.key.len() + item.token.as_deref().map_or(0, size_of_val)
    }

    fn merge(&self, index: u16, items: &[(u16, Item)], waiting: &mut Waiting) -> Batch {
        let part = self.part(index);
        let goes_to_chunks = |place: &usize| items[*place].1.goes_to_chunks;
        let first = waiting.places.front().is_some_and(goes_to_chunks);
        let to_chunks = first || self.open.is_crowded(&part);
        let most =
            if to_chunks { MAX_CHUNKS_PER_CALL / self.grid.resolutions.len() } else { MAX_KEYS_PER_BATCH };
        let fits = |place| goes_to_chunks(&place) == first;
        let (places, tokens) = Tokens::choose(waiting, most, fits, |place| items[place].1.token.as_deref());
        let chosen = places.iter().map(|&place| &items[place].1);
        let gains = if to_chunks {
            let first = 3 + usize::from(tokens.hour().is_some());
            Gains::Chunks(self.chunk_gains(&part, chosen, first))
        } else {
            let (buckets, now) =
                (self.open_gains(chosen.map(|item| &item.point)), self.host.clock().monotonic());
            for bucket in &buckets {
                self.open.note(&part, bucket.start, now);
            }
            Gains::Open(buckets)
        };
        Batch { places, tokens, gains }
    }

    async fn ready(&self, _: &[&InFlight<Batch>]) -> Result<Session> {
        dedup::session(&self.host).await
    }

    async fn transmit(&self, session: Result<Session>, in_flight: &[&InFlight<Batch>]) -> Vec<Sent<String>> {
        let calls = |in_flight: &[&InFlight<Batch>], replid: &str| self.calls(in_flight, replid);
        let slot = |in_flight: &InFlight<Batch>| Layout::slot(Place::Series(&self.part(in_flight.part)));
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
