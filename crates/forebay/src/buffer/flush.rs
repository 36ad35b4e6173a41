//! Flushing from the store to SQL: rotate, apply, acknowledge.
//!
//! Any process may do any of these steps at any time, also two processes at once. The id of the generation in the sink's
//! ledger decides what counts, and every step can be repeated. After a crash before the commit the batch is applied again.
//! After a crash behind it the ledger answers [`Applied::Before`], and only the acknowledgement is repeated.

use std::{collections::HashSet, time::Duration};

use uuid::Uuid;

use super::{
    flush_lease::FlushLease,
    handle::{BufferHandle, Inner, sink_error},
    progress::Parked,
};
use crate::{
    engine::step::{BufferPart, Frozen, Generation, Rotate},
    error::{Error, ErrorKind, Result},
    model::RowCount,
    sink::{Applied, Batch, BoxFuture, SinkError},
    time::Timestamp,
};

/// At most this many generations of a partition wait for the sink. Beyond it the live generation grows instead: merging rows
/// there costs less than many small batches would.
const MAX_FROZEN: u64 = 4;

/// At most this many parked generations are allowed in addition. They wait for an operator, and should not stop the others.
const MAX_PARKED: u64 = 60;

/// The extent of a failure. A later variant is more severe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// A host of the store did not answer. This says nothing about the other hosts.
    Store,
    /// This batch cannot be applied, and a retry does not help. The other batches can be applied.
    Parked,
    /// This batch has writes that the sink's commit of the same id did not have. It waits for an operator.
    Diverged,
    /// The sink failed. All partitions share it.
    Sink,
}

/// A flush that failed.
#[derive(Debug)]
pub(super) struct FlushError {
    pub severity: Severity,
    pub error: Error,
}

impl Severity {
    fn of(self, error: Error) -> FlushError {
        FlushError { severity: self, error }
    }
}

/// The result of one pass over the partitions.
#[derive(Debug, Default)]
struct Pass {
    rows: u64,
    /// The most severe failure; of equal ones the first.
    failure: Option<FlushError>,
}

impl Pass {
    fn fail(&mut self, failure: FlushError) {
        if self.failure.as_ref().is_none_or(|known| known.severity < failure.severity) {
            self.failure = Some(failure);
        }
    }

    fn check_store(&mut self, answer: Result<()>) {
        answer.err().into_iter().for_each(|error| self.fail(Severity::Store.of(error)));
    }
}

/// The trigger of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trigger {
    /// A call that waits for the result. It retries parked batches: their cause may be fixed.
    Manual,
    /// The flusher. It skips parked batches, and partitions that another flusher works on.
    Background,
}

impl BufferHandle {
    /// Flushes everything that is live or frozen now. Partitions on a host of the store that does not answer stay; the
    /// others are flushed.
    ///
    /// The future is boxed, so that it is compiled in this crate, rather than in each one that flushes.
    pub(super) fn flush_all(&self) -> BoxFuture<'_, Result<u64>> {
        Box::pin(self.flush_parts())
    }

    async fn flush_parts(&self) -> Result<u64> {
        let _flushing = self.0.flushing.lock().await;
        self.check_not_paused("flush it").await?;
        let mut pass = Pass::default();
        let (parts, known) = self.find_parts().await;
        // Frozen generations first: they are older, and a full queue would prevent the rotation.
        self.apply_frozen(&parts, Trigger::Manual, &mut pass).await;
        if pass.failure.as_ref().is_none_or(|failure| failure.severity != Severity::Sink) {
            pass.check_store(self.rotate(&parts, Rotate::Now).await);
            self.apply_frozen(&parts, Trigger::Manual, &mut pass).await;
        }
        pass.check_store(known);
        self.finish(pass).map_err(|failure| failure.error)
    }

    /// Flushes what is due, and whatever an earlier flush left. Does nothing while the buffer is paused.
    pub(super) async fn flush_due(&self, age: Duration) -> Result<u64, FlushError> {
        let _flushing = self.0.flushing.lock().await;
        if self.is_paused().await.map_err(|error| Severity::Store.of(error))? {
            return Ok(0);
        }
        let mut pass = Pass::default();
        let due = Rotate::Due { age, rows: self.0.batch_size.rows(self.0.schema.max_rows) };
        let (parts, known) = self.find_parts().await;
        pass.check_store(self.rotate(&parts, due).await);
        self.apply_frozen(&parts, Trigger::Background, &mut pass).await;
        pass.check_store(known);
        self.finish(pass)
    }

    fn finish(&self, pass: Pass) -> Result<u64, FlushError> {
        let failure = pass.failure.as_ref().map(|failure| failure.error.to_string());
        self.0.progress.note_end(failure.or_else(|| self.0.progress.parked_reason()));
        pass.failure.map_or(Ok(pass.rows), Err)
    }

    async fn rotate(&self, parts: &[BufferPart], rotate: Rotate) -> Result<()> {
        let engine = self.0.store.engine();
        let most = |part: &BufferPart| MAX_FROZEN + self.0.progress.parked_in(part.index).min(MAX_PARKED);
        let rotations = parts.iter().map(|part| engine.buffer_rotate(part, rotate, most(part)));
        futures::future::join_all(rotations).await.into_iter().try_for_each(|rotated| rotated.map(drop))
    }

    /// Applies every frozen generation, the oldest of a partition first. The failure of one partition does not stop the
    /// others.
    async fn apply_frozen(&self, parts: &[BufferPart], trigger: Trigger, pass: &mut Pass) {
        let engine = self.0.store.engine();
        let lists = futures::future::join_all(parts.iter().map(|part| engine.buffer_frozen(part))).await;
        for (part, list) in parts.iter().zip(lists) {
            match list {
                Ok(list) => {
                    let ids: HashSet<Uuid> = list.iter().map(|frozen| frozen.id).collect();
                    self.0.progress.keep_parked(part.index, |id| ids.contains(&id));
                    self.apply_part(part, &list, trigger, pass).await;
                }
                Err(error) => pass.fail(Severity::Store.of(error)),
            }
        }
    }

    async fn apply_part(&self, part: &BufferPart, list: &[Frozen], trigger: Trigger, pass: &mut Pass) {
        let Some(oldest) = list.first() else { return };
        let lease = match trigger {
            Trigger::Manual => FlushLease::NotNeeded,
            Trigger::Background => FlushLease::acquire(self, part, oldest).await,
        };
        if matches!(lease, FlushLease::HeldByOther) {
            return;
        }
        let Inner { progress, store, .. } = &*self.0;
        for frozen in list {
            if trigger == Trigger::Background && progress.is_parked(frozen.id, store.clock().monotonic()) {
                continue;
            }
            match self.apply_one(part, frozen).await {
                Ok(rows) => {
                    progress.unpark(frozen.id);
                    pass.rows += rows;
                }
                Err(failure) if matches!(failure.severity, Severity::Parked | Severity::Diverged) => {
                    self.park(part, frozen, &failure);
                    pass.fail(failure);
                }
                Err(failure) => {
                    pass.fail(failure);
                    break;
                }
            }
        }
        lease.release(self).await;
    }

    /// Applies one generation to the sink, and removes it from the store.
    async fn apply_one(&self, part: &BufferPart, frozen: &Frozen) -> Result<u64, FlushError> {
        let Inner { store, schema, progress, batch_size, .. } = &*self.0;
        let sink = self.sink().map_err(|error| Severity::Sink.of(error))?;
        let read =
            store.engine().buffer_read(part, frozen.id).await.map_err(|error| Severity::Store.of(error))?;
        let Some(generation) = read else { return Ok(0) };
        if generation.fingerprint != schema.fingerprint {
            return Err(Severity::Parked.of(self.other_definition(&generation.fingerprint)));
        }
        self.check_age(frozen, &generation).await?;
        failpoint!("flush_after_read");
        let batch = Batch::new(generation.id, schema.clone(), part.index, generation.rows)
            .last_written(generation.last_write);
        let started = store.clock().monotonic();
        let applied = sink.apply(&batch).await.map_err(|error| self.apply_failed(&batch, error))?;
        batch_size.applied(store.clock().monotonic().saturating_sub(started), schema.max_rows);
        failpoint!("flush_after_apply");
        if let Applied::WrittenSince { committed } = applied {
            return Err(Severity::Diverged.of(self.diverged(&batch, committed)));
        }
        let rows = progress.note(&applied);
        store
            .engine()
            .buffer_ack(part, frozen.id, batch.last_write)
            .await
            .map_err(|error| Severity::Store.of(error))?;
        failpoint!("flush_after_ack");
        Ok(rows)
    }

    /// Parks a generation that is older than the sink's ledger and unknown there: it may have been applied and forgotten.
    async fn check_age(&self, frozen: &Frozen, generation: &Generation) -> Result<(), FlushError> {
        let (schema, sink) = (&self.0.schema, self.sink().map_err(|error| Severity::Sink.of(error))?);
        let age = self.0.store.clock().now().since(frozen.born);
        let Some(retention) = sink.ledger_retention().filter(|retention| age > *retention) else {
            return Ok(());
        };
        let Some(row) = generation.rows.first() else { return Ok(()) };
        let snapshot = sink.read(schema, &row.key, &[frozen.id]).await;
        if snapshot.map_err(|error| Severity::Sink.of(sink_error(error)))?.applied.contains(&frozen.id) {
            return Ok(());
        }
        let (name, id, rows) = (&schema.name, frozen.id, RowCount(frozen.rows));
        let (age, retention) = (age.as_secs(), retention.as_secs());
        let text = format!(
            "buffer {name}: batch {id} of {rows} is {age} s old and the ledger keeps {retention} s, so it may have been \
             applied before; if it was not, raise ledger_retention above its age"
        );
        Err(Severity::Parked.of(Error::new(ErrorKind::Configuration, text)))
    }

    fn park(&self, part: &BufferPart, frozen: &Frozen, failure: &FlushError) {
        let now = self.0.store.clock().monotonic();
        let (id, partition, rows, reason) = (frozen.id, part.index, frozen.rows, failure.error.to_string());
        let diverged = failure.severity == Severity::Diverged;
        if self.0.progress.park(Parked { id, partition, rows, reason, diverged }, now) {
            let buffer = &part.schema.name;
            tracing::error!(%buffer, partition, batch = %id, rows, error = %failure.error, "a batch is parked: it stays in the store");
        }
    }

    fn diverged(&self, batch: &Batch, committed: Timestamp) -> Error {
        let (name, id, partition, rows) =
            (&self.0.schema.name, batch.id, batch.partition, RowCount(batch.rows.len() as u64));
        let last = batch.last_write.unwrap_or(committed);
        let text = format!(
            "buffer {name}: batch {id} of {rows}, partition {partition}, has writes until {last}, and the ledger has it as of \
             {committed}: the store went back in time, and the writes since are in no commit; compare the rows of the batch \
             with the table, correct the table, then delete the batch"
        );
        Error::new(ErrorKind::Corrupt, text)
    }

    fn other_definition(&self, fingerprint: &str) -> Error {
        let schema = &self.0.schema;
        let text = format!(
            "buffer {}: a waiting batch was written for {fingerprint}, and the buffer is now {}: flush with the old definition \
             first",
            schema.name, schema.fingerprint
        );
        Error::new(ErrorKind::Configuration, text)
    }

    fn apply_failed(&self, batch: &Batch, error: SinkError) -> FlushError {
        let severity =
            if matches!(error, SinkError::Permanent(_)) { Severity::Parked } else { Severity::Sink };
        let rows = RowCount(batch.rows.len() as u64);
        severity.of(self.sink_failed(format_args!("applying batch {} of {rows}", batch.id))(error))
    }
}
