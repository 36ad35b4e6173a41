//! Seals the open buckets of series, and continues moves of keys that were given up, for as long as the store is open.
//!
//! Nothing depends on it but the speed of reads and the memory of the store: an open bucket counts as much as a sealed one, and
//! any process that knows the series may seal it later.

use std::time::Duration;

use futures::{StreamExt, stream};

use super::{
    dispatch::Engine,
    step::{SeriesPart, Which},
};
use crate::{
    clock::Clock,
    time::{millis, secs},
};

/// Between two looks at the partitions of which this process knows that they have open buckets.
const INTERVAL: Duration = millis(500);

/// After so many of them all partitions are looked at: other processes may have died.
const TURNS_TO_ALL: u64 = 10;

/// Partitions that are looked at and sealed at a time.
const MAX_AT_A_TIME: usize = 4;

/// A partition whose host does not answer is left for the next turn after so long.
const PATIENCE: Duration = secs(10);

/// Seals open buckets again and again, until the store is dropped or closed: `open` gives none then.
pub(super) async fn seal_series(open: impl Fn() -> Option<Engine>, clock: Clock) {
    for turn in 1u64.. {
        clock.sleep(INTERVAL).await;
        let Some(engine) = open() else { return };
        let all = turn.is_multiple_of(TURNS_TO_ALL);
        let parts = engine.series_to_seal(all);
        drop(engine);
        let seal = async |part: SeriesPart| {
            let Some(engine) = open() else { return };
            let work = async {
                engine.series_seal(&part, Which::Due).await?;
                if all { engine.series_continue_moves(&part).await } else { Ok(()) }
            };
            match clock.timeout(PATIENCE, work).await {
                Some(Ok(())) => {}
                Some(Err(error)) => tracing::debug!(series = %part.grid.name, %error, "buckets stay open"),
                None => tracing::debug!(series = %part.grid.name, "buckets stay open: no answer"),
            }
        };
        stream::iter(parts).map(seal).buffer_unordered(MAX_AT_A_TIME).collect::<()>().await;
    }
}
