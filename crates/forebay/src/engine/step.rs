//! Arguments and answers of the steps.

#[cfg(feature = "redis")]
use std::borrow::Cow;
use std::{ops::Range, sync::Arc, time::Duration};

use uuid::Uuid;

#[cfg(feature = "redis")]
use crate::key::tag_text;
use crate::{
    error::{Error, ErrorKind},
    key::Name,
    model::{
        Row, Schema,
        rate::{
            allotments::AllotmentReply,
            rule::{Rule, State},
        },
        resolution::{Grid, Resolution},
        summary::{Summary, SummaryKind},
    },
    time::{Timestamp, mins},
};

/// A cost against one key of one limit. `cost` is at most the rule's quota; zero only looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Take<'a> {
    pub limit: &'a Name,
    pub key: &'a str,
    pub rule: Rule,
    pub cost: u64,
    /// How long the caller waits for a host; then the answer is an error of
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout). An engine in this process does not look at it.
    pub within: Duration,
}

/// The answer to a [`Take`]: the advanced state after the charge, or, if denied, the unchanged one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub allowed: bool,
    /// The time that decided, in microseconds.
    pub now: u64,
    pub state: State,
}

/// The result of a request for an allotment: the advanced state after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allotted {
    /// The time that decided, in microseconds.
    pub now: u64,
    pub state: State,
    pub reply: AllotmentReply,
}

/// The answer to several takes in one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TakenAll {
    /// All were charged, or none.
    pub allowed: bool,
    pub now: u64,
    /// In the order of the takes. The same key twice shows the same state twice.
    pub states: Vec<State>,
}

/// A step on the leases of one key of a concurrency limit. `id` tells leases apart; repeating a step changes
/// nothing but the time at which the lease ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaseStep<'a> {
    pub limit: &'a Name,
    pub key: &'a str,
    pub id: Uuid,
    pub act: LeaseAct,
}

/// The action of a [`LeaseStep`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum LeaseAct {
    /// Lends, if fewer than `most` are lent, for `ttl` from now; extends what is lent under the id already.
    Take { most: u64, ttl: Duration },
    /// Extends what stands to `ttl` from now.
    Renew { ttl: Duration },
    /// Releases.
    Release,
    /// Only reads.
    Peek,
    /// Reads, and removes a foreign value.
    Heal,
}

/// The leases of a key after a [`LeaseStep`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Leases {
    /// Whether the lease stands; after a release, whether it stood until now.
    pub held: bool,
    /// How many stand.
    pub number: u64,
    /// Until the first of them ends, unless it is extended.
    pub first_end: Option<Duration>,
    /// Until the last of them ends.
    pub last_end: Option<Duration>,
}

/// How many overrides of one limit a store keeps: every process has all of them in memory.
pub(crate) const MAX_OVERRIDES: usize = 10_000;

/// The error when a limit has [`MAX_OVERRIDES`].
pub(crate) fn too_many_overrides(limit: &Name) -> Error {
    let text = format!(
        "limit {limit}: it has {MAX_OVERRIDES} overrides, the most; remove some, or let the limit itself say it"
    );
    Error::new(ErrorKind::Overloaded, text)
}

/// One of the partitions over which the rows of a buffer spread. All its keys share a hash tag.
#[derive(Clone, Debug)]
pub(crate) struct BufferPart {
    pub schema: Arc<Schema>,
    pub index: u16,
}

#[cfg(feature = "redis")]
impl BufferPart {
    /// The hash tag of all its keys.
    pub(crate) fn tag(&self) -> String {
        format!("{}.{}", self.schema.name, self.index)
    }
}

/// When to freeze the live generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rotate {
    /// If there is anything.
    Now,
    /// If it is this old or has this many rows.
    Due { age: Duration, rows: u64 },
}

/// A frozen generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frozen {
    pub id: Uuid,
    /// When its first write came, on the engine's clock.
    pub born: Timestamp,
    pub rows: u64,
}

/// The contents of a frozen generation.
#[derive(Clone, Debug)]
pub(crate) struct Generation {
    pub id: Uuid,
    /// [`Schema::fingerprint`] of its writers. Another than today's: the columns have changed since.
    pub fingerprint: Box<str>,
    /// When its last write came, on the engine's clock; `None` if the engine does not record it.
    pub last_write: Option<Timestamp>,
    pub rows: Vec<Row>,
}

/// The unflushed values of a row in one generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PendingRow {
    /// The generation: live, or frozen and perhaps already in SQL.
    pub generation: Uuid,
    pub row: Row,
}

/// The size and age of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BufferStats {
    pub live_rows: u64,
    pub frozen_rows: u64,
    pub frozen: u64,
    /// When the oldest generation, live or frozen, had its first write, on the engine's clock.
    pub oldest: Option<Timestamp>,
    /// The engine's clock.
    pub now: Timestamp,
}

impl BufferStats {
    /// The number of rows, live and frozen.
    pub(crate) fn rows(&self) -> u64 {
        self.live_rows + self.frozen_rows
    }

    /// The age of the oldest write.
    pub(crate) fn age(&self) -> Duration {
        self.oldest.map_or(Duration::ZERO, |oldest| self.now.since(oldest))
    }
}

/// The partitions of buffers that a store has.
#[derive(Clone, Debug, Default)]
pub(crate) struct BufferParts {
    /// Buffer and index, each once.
    pub found: Vec<(Name, u16)>,
    /// A host that did not say: there may be more.
    pub failure: Option<Error>,
}

/// One of the partitions over which the keys of a series spread. All its keys share a hash tag.
#[derive(Clone, Debug)]
pub(crate) struct SeriesPart {
    pub grid: Arc<Grid>,
    pub index: u16,
    /// The number of the stand-in of this partition. 0: the partition itself.
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "without hosts nothing stands in"))]
    pub stand_in: u8,
}

impl SeriesPart {
    /// The partition itself.
    pub(crate) fn new(grid: Arc<Grid>, index: u16) -> Self {
        Self { grid, index, stand_in: 0 }
    }
}

#[cfg(feature = "redis")]
impl SeriesPart {
    /// The hash tag of all its keys.
    pub(crate) fn tag(&self) -> String {
        match self.stand_in {
            0 => format!("{}.{}", self.grid.name, self.index),
            number => format!("{}.{}~{number}", self.grid.name, self.index),
        }
    }

    /// A stand-in of this partition.
    pub(crate) fn stand_in(&self, number: u8) -> Self {
        Self { stand_in: number, ..self.clone() }
    }
}

/// The generation that a stand-in hands over next.
#[cfg(feature = "redis")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HandedPoints {
    /// The generation's id, which no other generation has.
    pub generation: Uuid,
    pub points: Vec<Point>,
}

/// A count at a time. It goes to every resolution that still keeps its bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    pub key: Arc<str>,
    pub at: Timestamp,
    /// 1 to 2^31.
    pub n: u64,
}

/// A partition of a series that keeps summaries of this kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SummaryPart<'a> {
    pub kind: SummaryKind,
    pub part: &'a SeriesPart,
}

/// The summaries of a span: those that hold anything, each with its bucket, by bucket.
pub(crate) type Summaries = Vec<(i64, Summary)>;

/// The open buckets that are to be sealed.
#[cfg(feature = "redis")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// Those that are old enough.
    Due,
    #[cfg_attr(not(test), expect(dead_code, reason = "tests do not wait"))]
    All,
}

/// Buckets of one resolution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BucketRun {
    pub resolution: Resolution,
    pub buckets: Range<i64>,
}

/// A bucket that loses what other buckets had, which are finer and inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ErasedPart {
    pub resolution: Resolution,
    pub bucket: i64,
    pub part: Vec<BucketRun>,
}

/// The deletion of a span of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Erasure {
    /// In seconds.
    pub start: i64,
    pub end: i64,
    /// Buckets with all that goes, each count once.
    pub total: Vec<BucketRun>,
    pub zero: Vec<BucketRun>,
    pub parts: Vec<ErasedPart>,
}

/// A move of all counts of a key of a series to another key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyMove {
    /// No other move has it. It tells when the move began.
    pub id: Uuid,
    pub from: Box<str>,
    pub to: Box<str>,
}

/// The counts that a move has set aside.
#[cfg(feature = "redis")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MovedCounts {
    /// Of the finest buckets whose counts were in no chunk: by start in seconds, sorted. They belong to every resolution.
    pub open: Vec<(i64, u64)>,
    /// Of each chunk the counts of its buckets.
    pub chunks: Vec<Vec<BucketGain>>,
}

/// The gain of one bucket of one resolution.
#[cfg(feature = "redis")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BucketGain {
    pub resolution: Resolution,
    pub bucket: i64,
    pub n: u64,
}

/// The first keys of a series that begin with a text and come after another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyRange<'a> {
    pub prefix: &'a str,
    pub after: Option<&'a str>,
    pub most: usize,
}

impl KeyRange<'_> {
    pub(crate) fn contains(&self, key: &str) -> bool {
        !key.is_empty() && key.starts_with(self.prefix) && self.after.is_none_or(|after| key > after)
    }
}

/// A step on the members of a series, which has a bound on its keys.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "an engine in this process counts by itself"))]
pub(crate) enum MemberStep<'a> {
    /// New keys become members if all of them fit. Each comes with the time until which its count is kept.
    Claim { keys: &'a [(&'a str, Timestamp)], most: u64 },
    /// Only tells whether a key would fit.
    Check { key: &'a str, most: u64 },
    /// A key may have no count any more.
    Doubt { key: &'a str },
    /// Members of which it can be told by now whether they have counts, and was not.
    Due { most: usize },
    /// Members that were due: those that have no count, and those that do.
    Looked { gone: &'a [String], kept: &'a [String] },
}

/// For how long a process knows of a member without another claim, at least; twice that at most.
pub(crate) const MEMBER_KNOWN: Duration = mins(1);

/// The answer to a [`MemberStep`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Members {
    /// The number of members, if new ones do not fit: nothing was done.
    pub full: Option<u64>,
    pub due: Vec<String>,
}

/// The refusal of a new key of a series.
pub(crate) fn no_room(series: &Name, keys: u64, most: u64) -> Error {
    let text = format!(
        "series {series}: a new key beside {keys}: at most {most} (max_keys); one is given up when its last count has left the \
         retention"
    );
    Error::new(ErrorKind::Overloaded, text)
}

/// The lists of the largest keys of a partition to look into: those of the coarsest buckets, or of finer ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RankLevel {
    Coarse,
    Fine,
}

/// A question for the keys of a partition with the largest counts in a span.
#[derive(Clone, Copy)]
pub(crate) struct Rank<'a> {
    /// The buckets that cover the span, each count once.
    pub runs: &'a [BucketRun],
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "only servers have lists"))]
    pub start: Timestamp,
    /// Exclusive.
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "only servers have lists"))]
    pub end: Timestamp,
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "only servers have lists"))]
    pub level: RankLevel,
    /// Whether a key is asked for.
    pub fits: &'a (dyn Fn(&str) -> bool + Sync),
    /// The number of keys in the answer, at most.
    pub most: usize,
}

/// The keys of a partition that may have the largest counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranked {
    /// Each with the count that it has at most.
    pub keys: Vec<(String, u64)>,
    /// The count that any other key has at most.
    pub others: u64,
}

/// Buckets `from..to` of one key in one resolution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span<'a> {
    pub key: &'a str,
    pub resolution: Resolution,
    pub from: i64,
    pub to: i64,
}

impl Span<'_> {
    /// A count of zero for each bucket.
    pub(crate) fn zeros(&self) -> Vec<u64> {
        vec![0; usize::try_from(self.to - self.from).unwrap_or(0)]
    }

    /// Copies the counts of a chunk, by slot, to where they belong in `counts`.
    pub(crate) fn copy(&self, chunk: i64, counts: &mut [u64]) -> impl FnMut(usize, u64) {
        let start = chunk * self.resolution.slots() - self.from;
        move |slot, n| {
            let place = usize::try_from(start + i64::try_from(slot).expect("at most 3600 slots"));
            if let Some(count) = place.ok().and_then(|place| counts.get_mut(place)) {
                *count = n;
            }
        }
    }
}

/// The keys of a series that a store has, and how many times its bound refused a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyCount {
    pub keys: u64,
    pub refused: u64,
}

/// How long a free lock is kept for the first in its queue before the second may take it as well, then the third,
/// and so on. Longer than a waiter's heartbeat, so that a wake-up that got lost does not cost a place; short, because
/// a process that died in the queue blocks for so long.
pub(crate) const HANDOFF_WINDOW: Duration = Duration::from_secs(2);

/// How many may wait for one lock.
pub(crate) const MAX_WAITERS: usize = 16_384;

/// A structure whose keys are all on one host.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "without hosts nobody looks into it"))]
pub(crate) enum Place<'a> {
    /// The limits of a key, or the request of an idempotency key.
    Key(&'a str),
    /// A lock, or what concerns a whole buffer.
    Named(&'a str),
    Buffer(&'a BufferPart),
    Series(&'a SeriesPart),
    /// The overrides of all limits. One host has them, so that one question tells whether any have changed.
    Overrides,
}

#[cfg(feature = "redis")]
impl Place<'_> {
    /// The hash tag of all keys in it.
    pub(crate) fn tag(&self) -> Cow<'_, str> {
        match self {
            Self::Key(key) | Self::Named(key) => tag_text(key),
            Self::Buffer(part) => part.tag().into(),
            Self::Series(part) => part.tag().into(),
            Self::Overrides => Cow::Borrowed("overrides"),
        }
    }
}

/// A request for a lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim<'a> {
    pub name: &'a str,
    /// Drawn afresh for each acquisition: with it a lost reply can be asked for again.
    pub owner: Uuid,
    pub ttl: Duration,
    /// Some: take a place in the queue, and keep it for so long without being heard of.
    pub queue: Option<Duration>,
}

impl Claim<'_> {
    /// The error when [`MAX_WAITERS`] wait.
    pub(crate) fn overcrowded(&self) -> Error {
        let text = format!("lock {:?}: {MAX_WAITERS} wait for it already, the most", self.name);
        Error::new(ErrorKind::Overloaded, text)
    }
}

/// The answer to a [`Claim`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// The claimant holds the lock, from the engine's now for the ttl.
    Granted { fence: u64 },
    /// Another owner holds it, or is next.
    Held {
        /// The holder; for a free lock, the first waiter.
        holder: Uuid,
        /// Until the holder's lease ends; zero for a free lock.
        remaining: Duration,
        /// How many wait before the claimant, or would if it queued.
        ahead: u64,
    },
}
