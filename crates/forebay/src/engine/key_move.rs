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
    error::{Error, Result, Retry},
    model::resolution::{MAX_COUNT, Resolution},
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

/// The number of claims at most, where answers are lost.
const MAX_CLAIMS: usize = 3;

/// The engines with servers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Servers<'a> {
    One(&'a Redis),
    Several(&'a Cluster),
}

/// Runs a step, which has one name on one host and on several.
macro_rules! step {
    ($servers:expr, $it:ident => $answer:expr) => {
        match $servers {
            Servers::One($it) => $answer,
            Servers::Several($it) => $answer,
        }
    };
}

impl Servers<'_> {
    /// The time that decides what is kept of a partition.
    async fn now(self, part: &SeriesPart) -> Timestamp {
        step!(self, servers => servers.series_now(part).await)
    }

    /// Whether two partitions are on one host, whose memory is lost as a whole if it is.
    fn is_one(self, one: &SeriesPart, other: &SeriesPart) -> bool {
        match self {
            Self::One(_) => true,
            Self::Several(cluster) => {
                let host = |part| cluster.host_of_request(Place::Series(part)).0;
                host(one) == host(other)
            }
        }
    }
}

/// Gains that the target adds at once, and their id.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Slice {
    id: Uuid,
    gains: Vec<BucketGain>,
}

/// Moves the counts of a key, and answers how much that was.
///
/// # Errors
/// With [`Retry::Unknown`] after the counts were set aside: the move is continued in the background.
pub(super) async fn move_key(servers: Servers<'_>, part: &SeriesPart, moving: &KeyMove) -> Result<u64> {
    let mut claims = 0;
    loop {
        claims += 1;
        let now = servers.now(part).await;
        match step!(servers, servers => servers.series_claim(part, moving, now).await) {
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
    finish(servers, part, moving).await.map_err(unfinished)
}

/// Continues the moves from a partition that were given up.
pub(super) async fn continue_moves(servers: Servers<'_>, part: &SeriesPart) -> Result<()> {
    for moving in step!(servers, servers => servers.series_moves(part).await)? {
        let began = moving.id.get_timestamp().map_or(0, |at| at.to_unix().0);
        let age = servers.now(part).await.since(Timestamp::from_secs(began.cast_signed()));
        if age >= ABANDONED {
            finish(servers, part, &moving).await?;
        }
    }
    Ok(())
}

/// Hands what a move has set aside to its target, and ends it.
async fn finish(servers: Servers<'_>, part: &SeriesPart, moving: &KeyMove) -> Result<u64> {
    let target = SeriesPart::new(part.grid.clone(), part.grid.partition_of(&moving.to));
    let now = servers.now(part).await;
    let counts = step!(servers, servers => servers.series_moved(part, moving, now).await)?;
    let (sum, slices) = (sum_of(part, &counts), slices(part, moving.id, &counts));
    let offers = if servers.is_one(part, &target) { 1 } else { 2 };
    for offer in 0..offers {
        if offer > 0 {
            step!(servers, servers => servers.clock().clone()).sleep(HOLD).await;
        }
        for Slice { id, gains } in &slices {
            let now = servers.now(&target).await;
            let to = &*moving.to;
            step!(servers, servers => servers.series_receive_gains(&target, to, (*id, gains), now).await)?;
            failpoint!("series_move_received");
        }
    }
    let now = servers.now(part).await;
    step!(servers, servers => servers.series_end_move(part, moving, now).await)?;
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
