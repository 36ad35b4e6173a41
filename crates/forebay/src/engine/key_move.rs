//! Moves of the counts of one key of a series to another key, which may be on another host.
//!
//! First the source sets the counts aside, in one step: from there on they belong to the move. Then the target gets them in
//! slices. Each slice has an id, which the target remembers, and what was set aside does not change. So the move may be
//! continued by anybody, at any time, and as often as it takes. Points that come to the source meanwhile are counted there.
//! Between the two steps a reader finds the counts at neither key.

use std::time::Duration;

use uuid::Uuid;

use super::{
    cluster::Cluster,
    redis::Redis,
    step::{BucketGain, KeyMove, MovedCounts, Place, SeriesPart},
};
use crate::{
    clock::Clock,
    error::{Error, Result, Retry},
    model::resolution::{MAX_COUNT, Resolution},
    sink::BoxFuture,
    time::{Timestamp, secs},
};

/// Gains in one step, and starts of open buckets: each has a gain in every resolution, of which there are at most eight.
const GAINS_PER_SLICE: usize = 500;
const STARTS_PER_SLICE: usize = 60;

/// For how long the source keeps what the target on another host has. A server that writes its log to disk every second may lose
/// two seconds of it when it dies.
const HOLD: Duration = secs(3);

/// A move that is older is continued by other processes.
const ABANDONED: Duration = secs(15);

/// How often a claim is repeated whose answer was lost.
const MAX_CLAIMS: usize = 3;

/// The steps of a move. Each may be repeated.
pub(super) trait KeyMoves: Sync {
    fn now<'a>(&'a self, part: &'a SeriesPart) -> BoxFuture<'a, Timestamp>;
    fn claim<'a>(
        &'a self,
        part: &'a SeriesPart,
        moving: &'a KeyMove,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<bool>>;
    fn moves<'a>(&'a self, part: &'a SeriesPart) -> BoxFuture<'a, Result<Vec<KeyMove>>>;
    fn moved<'a>(
        &'a self,
        part: &'a SeriesPart,
        moving: &'a KeyMove,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<MovedCounts>>;
    fn receive<'a>(
        &'a self,
        part: &'a SeriesPart,
        key: &'a str,
        slice: &'a Slice,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<()>>;
    fn end<'a>(
        &'a self,
        part: &'a SeriesPart,
        moving: &'a KeyMove,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<()>>;
    fn clock(&self) -> Clock;
    /// Whether two partitions are on one host, whose memory is lost as a whole if it is.
    fn is_one_host(&self, one: &SeriesPart, other: &SeriesPart) -> bool;
}

/// Gains that the target adds at once, and their id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    pub id: Uuid,
    pub gains: Vec<BucketGain>,
}

/// Moves the counts of a key, and answers how much that was.
///
/// # Errors
/// With [`Retry::Unknown`] after the counts were set aside: the move is continued in the background.
pub(super) async fn move_key(engine: &impl KeyMoves, part: &SeriesPart, moving: &KeyMove) -> Result<u64> {
    let mut claims = 0;
    loop {
        claims += 1;
        let now = engine.now(part).await;
        match engine.claim(part, moving, now).await {
            Ok(true) => break,
            Ok(false) => return Ok(0),
            Err(error) if error.retry() == Retry::Unknown && claims < MAX_CLAIMS => {}
            Err(error) => return Err(error),
        }
    }
    failpoint!("series_move_claimed");
    let unfinished = |error: Error| {
        error
            .in_context("the counts are set aside, and are moved as soon as the host answers")
            .with_retry(Retry::Unknown)
    };
    finish(engine, part, moving).await.map_err(unfinished)
}

/// Continues the moves from a partition that were given up.
pub(super) async fn continue_moves(engine: &impl KeyMoves, part: &SeriesPart) -> Result<()> {
    for moving in engine.moves(part).await? {
        let began = moving.id.get_timestamp().map_or(0, |at| at.to_unix().0);
        let age = engine.now(part).await.since(Timestamp::from_secs(began.cast_signed()));
        if age >= ABANDONED {
            finish(engine, part, &moving).await?;
        }
    }
    Ok(())
}

/// Hands what a move has set aside to its target, and ends it.
async fn finish(engine: &impl KeyMoves, part: &SeriesPart, moving: &KeyMove) -> Result<u64> {
    let target = SeriesPart::new(part.grid.clone(), part.grid.partition_of(&moving.to));
    let counts = engine.moved(part, moving, engine.now(part).await).await?;
    let (sum, slices) = (sum_of(part, &counts), slices(part, moving.id, &counts));
    let offers = if engine.is_one_host(part, &target) { 1 } else { 2 };
    for offer in 0..offers {
        if offer > 0 {
            engine.clock().sleep(HOLD).await;
        }
        for slice in &slices {
            engine.receive(&target, &moving.to, slice, engine.now(&target).await).await?;
            failpoint!("series_move_received");
        }
    }
    engine.end(part, moving, engine.now(part).await).await?;
    Ok(sum)
}

/// The sum of all points: of the coarsest resolution, which keeps every one.
fn sum_of(part: &SeriesPart, counts: &MovedCounts) -> u64 {
    let coarsest = part.grid.resolutions.last().copied();
    let chunks =
        counts.chunks.iter().flatten().filter(|gain| Some(gain.resolution) == coarsest).map(|gain| gain.n);
    chunks.chain(counts.open.iter().map(|(_, n)| *n)).fold(0, u64::saturating_add)
}

/// The slices of what a move has set aside: the same ones whenever it is asked for.
fn slices(part: &SeriesPart, id: Uuid, counts: &MovedCounts) -> Vec<Slice> {
    let mut slices = vec![];
    for gains in &counts.chunks {
        for gains in gains.chunks(GAINS_PER_SLICE) {
            let Some(BucketGain { resolution, bucket, .. }) = gains.first() else { continue };
            let id = slice_id(id, &[resolution.step.as_secs().cast_signed(), *bucket]);
            slices.push(Slice { id, gains: gains.to_vec() });
        }
    }
    for starts in counts.open.chunks(STARTS_PER_SLICE) {
        let gains = starts.iter().flat_map(|&(start, n)| {
            let at = Timestamp::from_secs(start);
            let gain = move |resolution: &Resolution| BucketGain {
                resolution: *resolution,
                bucket: resolution.bucket(at),
                n: n.min(MAX_COUNT),
            };
            part.grid.resolutions.iter().map(gain)
        });
        slices.push(Slice { id: slice_id(id, &[starts[0].0]), gains: gains.collect() });
    }
    slices
}

/// The id of a slice: with the time of the move's, and else by the first bucket of the slice.
fn slice_id(id: Uuid, first: &[i64]) -> Uuid {
    let bytes: Vec<u8> = first.iter().flat_map(|number| number.to_be_bytes()).collect();
    let hash = xxhash_rust::xxh3::xxh3_128_with_seed(&bytes, id.as_u64_pair().1);
    let (time, rest) = (id.as_u128() & !((1 << 76) - 1), hash & ((1 << 76) - 1));
    // The bits of the variant say that the time is one.
    Uuid::from_u128((time | rest) & !(0b11 << 62) | 0b10 << 62)
}

/// The steps of an engine with servers have the same names on one host and on several.
macro_rules! key_moves {
    ($engine:ty, $clock:expr, $is_one_host:expr) => {
        impl KeyMoves for $engine {
            fn now<'a>(&'a self, part: &'a SeriesPart) -> BoxFuture<'a, Timestamp> {
                Box::pin(self.series_now(part))
            }

            fn claim<'a>(
                &'a self,
                part: &'a SeriesPart,
                moving: &'a KeyMove,
                now: Timestamp,
            ) -> BoxFuture<'a, Result<bool>> {
                Box::pin(self.series_claim(part, moving, now))
            }

            fn moves<'a>(&'a self, part: &'a SeriesPart) -> BoxFuture<'a, Result<Vec<KeyMove>>> {
                Box::pin(self.series_moves(part))
            }

            fn moved<'a>(
                &'a self,
                part: &'a SeriesPart,
                moving: &'a KeyMove,
                now: Timestamp,
            ) -> BoxFuture<'a, Result<MovedCounts>> {
                Box::pin(self.series_moved(part, moving, now))
            }

            fn receive<'a>(
                &'a self,
                part: &'a SeriesPart,
                key: &'a str,
                slice: &'a Slice,
                now: Timestamp,
            ) -> BoxFuture<'a, Result<()>> {
                Box::pin(self.series_receive_gains(part, key, (slice.id, &slice.gains), now))
            }

            fn end<'a>(
                &'a self,
                part: &'a SeriesPart,
                moving: &'a KeyMove,
                now: Timestamp,
            ) -> BoxFuture<'a, Result<()>> {
                Box::pin(self.series_end_move(part, moving, now))
            }

            fn clock(&self) -> Clock {
                let clock: fn(&Self) -> Clock = $clock;
                clock(self)
            }

            fn is_one_host(&self, one: &SeriesPart, other: &SeriesPart) -> bool {
                let is_one_host: fn(&Self, &SeriesPart, &SeriesPart) -> bool = $is_one_host;
                is_one_host(self, one, other)
            }
        }
    };
}

key_moves!(Redis, |redis| redis.clock().clone(), |_, _, _| true);
key_moves!(Cluster, |cluster| cluster.clock(), |cluster, one, other| {
    cluster.host_of_request(Place::Series(one)).0 == cluster.host_of_request(Place::Series(other)).0
});
