//! Series on a Redis host.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use redis::Value;

use super::{
    Redis,
    chunk::{self, Gain},
    connection::{Call, Host},
    dedup,
    keys::Keys,
    reply::{foreign_key, text, unavailable, unexpected},
    script::Script,
    tokens::Tokens,
};
use crate::{
    engine::{
        request::Token,
        sequence::{Channel, InFlight, Refusals, Sent, Sequencer, Waiting},
        step::{Point, SeriesPart, Span},
    },
    error::{Result, Retry},
    key::Name,
    model::resolution::{Grid, Resolution},
    time::Timestamp,
};

/// Buckets in one script call: two milliseconds or so, in which the server does nothing else.
const MAX_BUCKETS_PER_CALL: usize = 500;

/// Keys in one command that deletes. Only steps far below their retention have more.
const MAX_KEYS_PER_DELETE: usize = 10_000;

/// How often a write is sent to a server whose replication id is another one by now.
const MAX_ATTEMPTS: usize = 5;

/// Flights under way to the partitions of a series: two keep server and client busy at once.
const WRITERS: u16 = 2;

/// The writers of this process. The lock protects the map, for one look-up at a time.
#[derive(Debug, Default)]
pub(super) struct Writers(Mutex<HashMap<Name, [Arc<Sequencer<PartitionWriter>>; WRITERS as usize]>>);

/// Every so many-th partition of a series, and where they are kept.
#[derive(Debug)]
pub(super) struct PartitionWriter {
    host: Arc<Host>,
    keys: Keys,
    grid: Arc<Grid>,
}

/// What one bucket gains, or what all buckets of a point with a token gain.
#[derive(Debug)]
pub(super) enum Item {
    Gain(Gain),
    Whole(Box<(Vec<Gain>, Token)>),
}

/// What a script call says after its stamp.
#[derive(Debug)]
pub(super) struct Batch {
    /// The places of its gains in the flight.
    places: Vec<usize>,
    tokens: Tokens,
    keys: Vec<String>,
    arguments: Vec<String>,
    bytes: usize,
}

impl Redis {
    /// More than [`MAX_BUCKETS_PER_CALL`] buckets are written in several calls, each of them once.
    pub(crate) async fn series_add(
        &self,
        part: &SeriesPart,
        points: Vec<Point>,
        now: Timestamp,
    ) -> Result<()> {
        let gains = chunk::gains(&part.grid, &points, now);
        if gains.is_empty() {
            return Ok(());
        }
        let outcomes = self.series_writer(part).write(part.index, gains.into_iter().map(Item::Gain)).await?;
        let some = outcomes.iter().any(Result::is_ok);
        match outcomes.into_iter().collect() {
            Err::<(), _>(error) if some => Err(error.with_retry(Retry::Unknown)),
            outcome => outcome,
        }
    }

    /// The time that decides what is kept.
    pub(crate) async fn series_now(&self, _part: &SeriesPart) -> Timestamp {
        self.host.server_time().await
    }

    /// In one call: the point's token stands for all of its buckets.
    pub(crate) async fn series_add_once(
        &self,
        part: &SeriesPart,
        point: Point,
        now: Timestamp,
        token: &Token,
    ) -> Result<()> {
        let gains = chunk::gains(&part.grid, &[point], now);
        if gains.is_empty() {
            return Ok(());
        }
        let item = Item::Whole(Box::new((gains, *token)));
        self.series_writer(part).write(part.index, [item]).await?.into_iter().collect()
    }

    /// One `MGET`, which sees every chunk at the same moment. It shows a key of another type as one that is not there, so
    /// `EXISTS` counts them behind it.
    pub(crate) async fn series_read(&self, part: &SeriesPart, spans: &[Span<'_>]) -> Result<Vec<Vec<u64>>> {
        let (mut get, mut exist) = (redis::cmd("MGET"), redis::cmd("EXISTS"));
        let (mut chunks, mut keys) = (vec![], vec![]);
        for (place, span) in spans.iter().enumerate().filter(|(_, span)| span.from < span.to) {
            let Span { key, resolution, from, to } = *span;
            for chunk in resolution.place(from).0..=resolution.place(to - 1).0 {
                keys.push(self.keys.series_chunk(part, resolution.step.as_secs(), chunk, key));
                chunks.push((place, chunk));
            }
        }
        let count = |span: &Span<'_>| usize::try_from(span.to - span.from).unwrap_or(0);
        let mut counts: Vec<Vec<u64>> = spans.iter().map(|span| vec![0; count(span)]).collect();
        if chunks.is_empty() {
            return Ok(counts);
        }
        get.arg(&keys);
        exist.arg(&keys);
        let (texts, there) = match self.host.read([get, exist]).await? {
            [Value::Array(texts), Value::Int(there)] if texts.len() == chunks.len() => (texts, there),
            _ => return Err(unexpected(self.host.name(), "a read of a series")),
        };
        let mut absent = vec![];
        for (((place, chunk), key), text) in chunks.into_iter().zip(&keys).zip(texts) {
            let Value::BulkString(text) = text else {
                absent.push(key);
                continue;
            };
            let span = &spans[place];
            if !copy(&text, chunk, span, &mut counts[place]) {
                return Err(foreign_key(self.host.name(), &self.keys, key.as_bytes(), "string".into()));
            }
        }
        if usize::try_from(there).is_ok_and(|there| there > keys.len() - absent.len()) {
            self.check_absent(&absent).await?;
        }
        Ok(counts)
    }

    /// Whether keys without a text hold something else; one that was written just now is no mistake.
    async fn check_absent(&self, keys: &[&String]) -> Result<()> {
        let asks = keys.iter().map(|key| redis::cmd("TYPE").arg(key).to_owned()).collect();
        let kinds = self.host.read_all(asks).await?.into_iter().map(|kind| text(kind).unwrap_or_default());
        match keys.iter().zip(kinds).find(|(_, kind)| kind != "string" && kind != "none") {
            Some((key, kind)) => Err(foreign_key(self.host.name(), &self.keys, key.as_bytes(), kind)),
            None => Ok(()),
        }
    }

    /// Forgets the chunks in which anything is kept at `now`; older ones expire by themselves.
    pub(crate) async fn series_delete(&self, part: &SeriesPart, key: &str, now: Timestamp) -> Result<()> {
        let chunks = |resolution: &Resolution| {
            let step = resolution.step.as_secs();
            resolution.kept_chunks(now).map(move |chunk| self.keys.series_chunk(part, step, chunk, key))
        };
        let keys: Vec<String> = part.grid.resolutions.iter().flat_map(chunks).collect();
        for keys in keys.chunks(MAX_KEYS_PER_DELETE) {
            let mut command = redis::cmd("UNLINK");
            command.arg(keys);
            // Not sent again when in doubt: that would forget what was counted in between.
            self.host.command(&command).await?;
        }
        Ok(())
    }

    fn series_writer(&self, part: &SeriesPart) -> Arc<Sequencer<PartitionWriter>> {
        let mut writers = self.series_writers.0.lock();
        let writer = |_| {
            let (host, keys) = (self.host.clone(), self.keys.clone());
            let writer = PartitionWriter { host, keys, grid: part.grid.clone() };
            Sequencer::new(writer, self.host.clock().clone())
        };
        let writers = writers.entry(part.grid.name.clone()).or_insert_with(|| std::array::from_fn(writer));
        writers[usize::from(part.index % WRITERS)].clone()
    }
}

impl PartitionWriter {
    fn add(&self, in_flight: &InFlight<Batch>, replid: &str) -> Call {
        let batch = &in_flight.batch;
        let mut call = self.host.call(Script::SeriesAdd, batch.keys.len(), batch.bytes);
        call.command.arg(&batch.keys);
        dedup::add_client(&mut call, in_flight, replid);
        dedup::add_stamp(&mut call, in_flight);
        call.command.arg(batch.tokens.text()).arg(&batch.arguments);
        call
    }
}

impl Channel for PartitionWriter {
    type Item = Item;
    type Batch = Batch;
    /// Which tokens were there already, if any: nothing was counted then.
    type Outcome = String;

    /// The server works longer on a count than this process: better that it begins.
    const MAX_YIELDS: usize = 1;

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
        let part = SeriesPart { grid: self.grid.clone(), index };
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

    async fn transmit(&self, in_flight: &[&InFlight<Batch>]) -> Vec<Sent<String>> {
        let mut sent: Vec<Option<Sent<String>>> = in_flight.iter().map(|_| None).collect();
        for _ in 0..MAX_ATTEMPTS {
            let open: Vec<usize> = (0..in_flight.len()).filter(|&i| sent[i].is_none()).collect();
            if open.is_empty() {
                break;
            }
            let session = match self.host.session().await {
                Ok(session) => session,
                Err(error) => {
                    let unsent = |sent: Option<_>| sent.unwrap_or_else(|| Sent::Unsent(error.clone()));
                    return sent.into_iter().map(unsent).collect();
                }
            };
            let batches: Vec<&InFlight<Batch>> = open.iter().map(|&i| in_flight[i]).collect();
            let calls = |in_flight: &[&InFlight<Batch>], replid: &str| {
                in_flight.iter().map(|in_flight| (self.add(in_flight, replid), 1)).collect()
            };
            let answers = dedup::send(&self.host, &session, &batches, calls).await;
            for (i, answer) in open.into_iter().zip(answers) {
                sent[i] = match answer {
                    dedup::Answer::Sent(answer) => Some(answer),
                    dedup::Answer::Changed => None,
                    dedup::Answer::Other(..) => {
                        let error = unexpected(self.host.name(), "a write to a series");
                        Some(Sent::Refused(error.with_retry(Retry::Unknown)))
                    }
                };
            }
        }
        let error = || Sent::Unsent(unavailable(self.host.name(), "its replication id keeps changing"));
        sent.into_iter().map(|sent| sent.unwrap_or_else(error)).collect()
    }

    fn places(batch: &Batch) -> impl Iterator<Item = usize> {
        batch.places.iter().copied()
    }

    fn settle(&self, batch: &Batch, outcome: String, waiting: &mut Waiting, refusals: &mut Refusals) {
        let Some(settled) = batch.tokens.settle(&outcome, refusals) else { return };
        // Nothing was counted: the others go again, before those that came later.
        for &place in batch.places.iter().rev().filter(|place| !settled.contains(place)) {
            waiting.places.push_front(place);
        }
    }
}

/// Copies the counts of a chunk to where they belong in a span, if it is one.
fn copy(text: &[u8], chunk: i64, span: &Span<'_>, counts: &mut [u64]) -> bool {
    let slots = span.resolution.slots();
    let start = chunk * slots - span.from;
    chunk::each(text, usize::try_from(slots).expect("slots are positive"), |slot, n| {
        let place = usize::try_from(start + i64::try_from(slot).expect("at most 3600 slots"));
        if let Some(count) = place.ok().and_then(|place| counts.get_mut(place)) {
            *count = n;
        }
    })
}
