//! Reads of series on a Redis host: of open buckets and chunks, as of one moment.

use futures::future::try_join_all;
use redis::Value;

use super::{
    Redis, chunk,
    open_list::{OpenList, SEALS},
    reply::{foreign_key, text, unavailable, unexpected},
};
use crate::{
    engine::step::{SeriesPart, Span},
    error::Result,
    model::resolution::MAX_COUNT,
    time::Timestamp,
};

/// The number of reads at most, where each meets a move of counts to chunks.
const MAX_READS: usize = 20;

/// The bytes of a question about several keys: what a server reads at once, and a margin. Of one it reads in parts others may
/// move counts in the middle.
const MAX_QUESTION_BYTES: usize = 8_000;

/// The bytes of the name of a chunk or a bucket beside those of its key, about.
const NAME_BYTES: usize = 60;

impl Redis {
    /// One round trip. The spans of many keys are several questions, each of which is short enough for a server to read at once.
    pub(crate) async fn series_read(&self, part: &SeriesPart, spans: &[Span<'_>]) -> Result<Vec<Vec<u64>>> {
        let starts = self.known_starts(part).await;
        // Of a span without an open bucket nothing moves.
        let bytes = |span: &Span<'_>| {
            let is_open = starts.iter().any(|start| contains(span, *start));
            if is_open { 2 * (span.key.len() + NAME_BYTES) } else { 0 }
        };
        let mut groups: Vec<&[Span<'_>]> = vec![];
        let mut rest = spans;
        while !rest.is_empty() {
            let mut sum = 0;
            let fits = rest.iter().take_while(|span| {
                let is_first = sum == 0;
                sum += bytes(span);
                is_first || sum <= MAX_QUESTION_BYTES
            });
            let (group, others) = rest.split_at(fits.count());
            groups.push(group);
            rest = others;
        }
        if let [group] = groups[..] {
            return self.series_read_group(part, group, starts).await;
        }
        let read = groups.into_iter().map(|group| self.series_read_group(part, group, starts.clone()));
        Ok(try_join_all(read).await?.concat())
    }

    /// The starts of the open buckets that are known, and of those in which other processes may count now.
    pub(super) async fn known_starts(&self, part: &SeriesPart) -> Vec<i64> {
        let mut starts = self.open_buckets.of(part);
        if let Some(finest) = part.grid.resolutions.first() {
            let current = finest.bucket(self.host.server_time().await);
            starts.extend([current - 1, current].map(|bucket| finest.start(bucket).as_secs()));
        }
        starts
    }

    /// One pipeline. It reads the open buckets before their chunks, and how often counts were moved from those to these before
    /// and after: if they were moved in between it reads again. So it does if there is an open bucket for which it did not ask.
    pub(super) async fn series_read_group(
        &self,
        part: &SeriesPart,
        spans: &[Span<'_>],
        mut starts: Vec<i64>,
    ) -> Result<Vec<Vec<u64>>> {
        let spans_with_buckets = || spans.iter().filter(|span| span.from < span.to);
        if spans_with_buckets().next().is_none() {
            return Ok(spans.iter().map(Span::zeros).collect());
        }
        let within = |start: i64| spans_with_buckets().any(|span| contains(span, start));
        let mut keys: Vec<&str> = spans_with_buckets().map(|span| span.key).collect();
        keys.sort_unstable();
        keys.dedup();
        for _ in 0..MAX_READS {
            starts.retain(|&start| within(start));
            starts.sort_unstable();
            starts.dedup();
            let Moment { open, buckets, counts, is_one } =
                self.series_moment(part, spans, &keys, &starts).await?;
            self.open_buckets.learn(part, &open, self.host.clock().monotonic());
            let are_known = open.iter().all(|start| !within(*start) || starts.binary_search(start).is_ok());
            if is_one && are_known {
                return Ok(with_open(spans, counts, &keys, &starts, &buckets));
            }
            starts = open;
        }
        Err(unavailable(self.host.name(), "counts of the series are moved to chunks all the time"))
    }

    /// Reads open buckets and chunks, and tells whether it saw them at one moment.
    async fn series_moment(
        &self,
        part: &SeriesPart,
        spans: &[Span<'_>],
        keys: &[&str],
        starts: &[i64],
    ) -> Result<Moment> {
        let (chunks, shared) = self.chunks_of(part, spans, starts);
        let names: Vec<&String> = chunks.iter().map(|(.., name)| name).collect();
        let ask = |name, keys: &[&String]| redis::cmd(name).arg(keys).to_owned();
        let open = self.keys.series_open(part);
        let mut commands = vec![redis::cmd("HGETALL").arg(&open).to_owned()];
        let bucket =
            |&start: &i64| redis::cmd("HMGET").arg(self.keys.series_bucket(part, start)).arg(keys).to_owned();
        commands.extend(starts.iter().map(bucket));
        let halves = [&names[..shared], &names[shared..]];
        commands.extend(Some(halves[0]).filter(|names| !names.is_empty()).map(|names| ask("MGET", names)));
        commands.push(redis::cmd("HGET").arg(&open).arg(SEALS).to_owned());
        commands.extend(Some(halves[1]).filter(|names| !names.is_empty()).map(|names| ask("MGET", names)));
        commands.push(ask("EXISTS", &names));
        let mut values = self.host.read_all(commands).await?.into_iter();
        let mut next = || values.next().ok_or_else(|| unexpected(self.host.name(), "a read of a series"));
        let open = self.read(OpenList::read(next()?))?;
        let mut buckets = vec![];
        for _ in starts {
            buckets.push(self.read(read_counts(next()?, keys.len()))?);
        }
        let mut texts = vec![];
        let mut after = Value::Nil;
        for (place, names) in halves.into_iter().enumerate() {
            if !names.is_empty() {
                texts.extend(self.read(array(next()?))?);
            }
            if place == 0 {
                after = next()?;
            }
        }
        let there = next()?;
        let counts = self.counts_of(spans, &chunks, texts, &there).await?;
        let is_one = open.seals == text(after);
        Ok(Moment { open: open.starts().collect(), buckets, counts, is_one })
    }

    /// A part of an answer, if it could be read.
    fn read<T>(&self, part: Option<T>) -> Result<T> {
        part.ok_or_else(|| unexpected(self.host.name(), "a read of a series"))
    }

    /// The chunks of spans: of each the place of its span, its number and its key. First come those in which an open bucket is,
    /// and how many these are: only between them and the buckets counts can move.
    fn chunks_of(
        &self,
        part: &SeriesPart,
        spans: &[Span<'_>],
        starts: &[i64],
    ) -> (Vec<(usize, i64, String)>, usize) {
        let (mut shared, mut others) = (vec![], vec![]);
        for (place, span) in spans.iter().enumerate().filter(|(_, span)| span.from < span.to) {
            let Span { key, resolution, from, to } = *span;
            let chunk_of = |at: Timestamp| resolution.place(resolution.bucket(at)).0;
            let open: Vec<i64> = starts.iter().map(|start| chunk_of(Timestamp::from_secs(*start))).collect();
            for chunk in resolution.place(from).0..=resolution.place(to - 1).0 {
                let name = self.keys.series_chunk(part, resolution.step.as_secs(), chunk, key);
                let chunks = if open.contains(&chunk) { &mut shared } else { &mut others };
                chunks.push((place, chunk, name));
            }
        }
        let count = shared.len();
        shared.append(&mut others);
        (shared, count)
    }

    /// The counts in chunks. `MGET` shows a key of another type as one that is not there, so `EXISTS` counts them behind it.
    async fn counts_of(
        &self,
        spans: &[Span<'_>],
        chunks: &[(usize, i64, String)],
        texts: Vec<Value>,
        there: &Value,
    ) -> Result<Vec<Vec<u64>>> {
        let mut counts: Vec<Vec<u64>> = spans.iter().map(Span::zeros).collect();
        let mut absent = vec![];
        for ((place, chunk, key), text) in chunks.iter().zip(texts) {
            let Value::BulkString(text) = text else {
                absent.push(key);
                continue;
            };
            let slots = usize::try_from(spans[*place].resolution.slots()).expect("slots are positive");
            if !chunk::each(&text, slots, spans[*place].copy(*chunk, &mut counts[*place])) {
                return Err(foreign_key(self.host.name(), &self.keys, key.as_bytes(), "string".into()));
            }
        }
        let present = i64::try_from(chunks.len() - absent.len()).unwrap_or(i64::MAX);
        if matches!(there, Value::Int(there) if *there > present) {
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
}

/// Whether the bucket that starts then, in seconds, is in a span.
fn contains(span: &Span<'_>, start: i64) -> bool {
    (span.from..span.to).contains(&span.resolution.bucket(Timestamp::from_secs(start)))
}

/// The answers to a read of a series.
struct Moment {
    /// The starts of all open buckets.
    open: Vec<i64>,
    /// The counts of each key in each open bucket that was asked for.
    buckets: Vec<Vec<u64>>,
    /// The counts in the chunks of each span.
    counts: Vec<Vec<u64>>,
    /// Whether nothing was moved in between.
    is_one: bool,
}

fn array(reply: Value) -> Option<Vec<Value>> {
    match reply {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

/// The counts of so many keys in an open bucket.
fn read_counts(reply: Value, keys: usize) -> Option<Vec<u64>> {
    let read = |count| match count {
        Value::Nil => Some(0),
        count => text(count)?.parse().ok(),
    };
    array(reply)?.into_iter().map(read).collect::<Option<Vec<u64>>>().filter(|counts| counts.len() == keys)
}

/// Adds the counts of open buckets to those in chunks.
fn with_open(
    spans: &[Span<'_>],
    mut counts: Vec<Vec<u64>>,
    keys: &[&str],
    starts: &[i64],
    buckets: &[Vec<u64>],
) -> Vec<Vec<u64>> {
    for (span, counts) in spans.iter().zip(&mut counts) {
        let Ok(key) = keys.binary_search(&span.key) else { continue };
        for (start, bucket) in starts.iter().zip(buckets) {
            let place = span.resolution.bucket(Timestamp::from_secs(*start)) - span.from;
            if let Some(count) = usize::try_from(place).ok().and_then(|place| counts.get_mut(place)) {
                *count = count.saturating_add(bucket[key]).min(MAX_COUNT);
            }
        }
    }
    counts
}
