//! A sink that counts and times its batches.

use std::{sync::Arc, time::Duration};

use forebay::{
    Clock,
    buffer::{RowKey, Schema},
    sink::{Applied, Batch, BoxFuture, DeadLetter, Replayed, Sink, SinkError, Snapshot},
};

use crate::metrics::FlushMetrics;

/// A sink that counts and times its batches.
#[derive(Clone, Debug)]
pub(crate) struct MeasuredSink {
    sink: Arc<dyn Sink>,
    clock: Clock,
    metrics: FlushMetrics,
}

impl MeasuredSink {
    /// Measures `sink`.
    pub(crate) fn new(sink: Arc<dyn Sink>, clock: &Clock, metrics: FlushMetrics) -> Self {
        Self { sink, clock: clock.clone(), metrics }
    }
}

/// Passes calls on to the inner sink.
macro_rules! delegate {
    ($a:lifetime: $(fn $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {$(
        fn $name<$a>(&$a self, $($argument: $type),*) -> BoxFuture<$a, Result<$answer, SinkError>> {
            self.sink.$name($($argument),*)
        }
    )*};
}

impl Sink for MeasuredSink {
    fn apply<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Applied, SinkError>> {
        Box::pin(async {
            let began = self.clock.monotonic();
            let applied = self.sink.apply(batch).await;
            self.metrics.seconds.record(self.clock.monotonic().saturating_sub(began));
            match &applied {
                Ok(Applied::Now { rows, dead, .. }) => {
                    self.metrics.rows.increment(*rows);
                    self.metrics.dead.increment(*dead);
                }
                Ok(Applied::Before) => self.metrics.replays.increment(1),
                // The gauges of parked batches show the others.
                Ok(_) => {}
                Err(_) => self.metrics.failures.increment(1),
            }
            applied
        })
    }

    fn warnings(&self) -> Vec<String> {
        self.sink.warnings()
    }

    fn ledger_retention(&self) -> Option<Duration> {
        self.sink.ledger_retention()
    }

    delegate! { 'a:
        fn prepare(schema: &'a Schema) -> ();
        fn read(schema: &'a Schema, row: &'a RowKey, ids: &'a [uuid::Uuid]) -> Snapshot;
        fn dead_letters(schema: &'a Schema, after: u64, limit: u32) -> Vec<DeadLetter>;
        fn count_dead(schema: &'a Schema) -> u64;
        fn replay_dead(schema: &'a Schema, ids: &'a [u64]) -> Replayed;
        fn move_row(schema: &'a Schema, from: &'a RowKey, to: &'a RowKey) -> RowKey;
        fn ping() -> ();
    }
}
