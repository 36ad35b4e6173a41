//! A sink that is counted and timed.

use std::{sync::Arc, time::Duration};

use forebay::{
    Clock,
    buffer::{RowKey, Schema},
    sink::{Applied, Batch, BoxFuture, DeadLetter, Replayed, Sink, SinkError, Snapshot},
};

use crate::metrics::FlushMetrics;

/// A sink whose batches are counted and timed.
#[derive(Clone, Debug)]
pub(crate) struct MeasuredSink {
    sink: Arc<dyn Sink>,
    clock: Clock,
    metrics: FlushMetrics,
}

impl MeasuredSink {
    /// Counts what `sink` does.
    pub(crate) fn new(sink: Arc<dyn Sink>, clock: &Clock, metrics: FlushMetrics) -> Self {
        Self { sink, clock: clock.clone(), metrics }
    }
}

impl Sink for MeasuredSink {
    fn prepare<'a>(&'a self, schema: &'a Schema) -> BoxFuture<'a, Result<(), SinkError>> {
        self.sink.prepare(schema)
    }

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
                // Parked, and shown by the gauges of what is parked.
                Ok(_) => {}
                Err(_) => self.metrics.failures.increment(1),
            }
            applied
        })
    }

    fn read<'a>(
        &'a self,
        schema: &'a Schema,
        row: &'a RowKey,
        ids: &'a [uuid::Uuid],
    ) -> BoxFuture<'a, Result<Snapshot, SinkError>> {
        self.sink.read(schema, row, ids)
    }

    fn warnings(&self) -> Vec<String> {
        self.sink.warnings()
    }

    fn ledger_retention(&self) -> Option<Duration> {
        self.sink.ledger_retention()
    }

    fn dead_letters<'a>(
        &'a self,
        schema: &'a Schema,
        after: u64,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<DeadLetter>, SinkError>> {
        self.sink.dead_letters(schema, after, limit)
    }

    fn count_dead<'a>(&'a self, schema: &'a Schema) -> BoxFuture<'a, Result<u64, SinkError>> {
        self.sink.count_dead(schema)
    }

    fn replay_dead<'a>(
        &'a self,
        schema: &'a Schema,
        ids: &'a [u64],
    ) -> BoxFuture<'a, Result<Replayed, SinkError>> {
        self.sink.replay_dead(schema, ids)
    }

    fn move_row<'a>(
        &'a self,
        schema: &'a Schema,
        from: &'a RowKey,
        to: &'a RowKey,
    ) -> BoxFuture<'a, Result<RowKey, SinkError>> {
        self.sink.move_row(schema, from, to)
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        self.sink.ping()
    }
}
