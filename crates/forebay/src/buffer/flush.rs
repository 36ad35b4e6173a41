//! From the store to SQL: rotate, apply, acknowledge.
//!
//! Any worker may do any of it at any time, also two at once: the generation's id in the sink's ledger
//! decides, and every step can be repeated. A crash before the commit leaves the batch to be applied
//! again; after it, the ledger answers [`Applied::Before`](crate::sink::Applied) and only the acknowledgement is repeated.

use std::{collections::HashSet, fmt, time::Duration};

use uuid::Uuid;

use super::{
    flush_lease::FlushLease,
    handle::{BufferHandle, sink_error},
    progress::Parked,
};
use crate::{
    engine::step::{BufferPart, Frozen, Generation, Rotate},
    error::{Error, ErrorKind, Result},
    model::RowCount,
    sink::{Applied, Batch, SinkError},
    time::Timestamp,
};

/// How many generations of a partition may wait for the sink. Beyond it the live one just grows: merging there
/// costs less than many small batches would.
const MAX_FROZEN: u64 = 4;

/// How many parked ones may be there as well. They wait for a person, and should not stop the others meanwhile.
const MAX_PARKED: u64 = 60;

/// Why something was not flushed, the worse the larger.
#[derive(Debug)]
pub(super) enum FlushError {
    /// Its host in the store did not answer. It says so at once, and says nothing about the others.
    Store(Error),
    /// No repetition mends why this batch cannot be applied; the others can be.
    Parked(Error),
    /// This batch holds writes that the sink's commit of the same id did not hold. It waits for a person.
    Diverged(Error),
    /// The sink, which is the same for all, could not take it.
    Sink(Error),
}

impl FlushError {
    pub(super) fn error(&self) -> &Error {
        let (Self::Store(error) | Self::Parked(error) | Self::Diverged(error) | Self::Sink(error)) = self;
        error
    }

    fn severity(&self) -> u8 {
        match self {
            Self::Store(_) => 0,
            Self::Parked(_) => 1,
            Self::Diverged(_) => 2,
            Self::Sink(_) => 3,
        }
    }
}

impl fmt::Display for FlushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error().fmt(f)
    }
}

/// What one pass over the partitions came to.
#[derive(Debug, Default)]
struct Pass {
    rows: u64,
    failure: Option<FlushError>,
}

impl Pass {
    /// Keeps the worst failure, and of equal ones the first.
    fn fail(&mut self, failure: FlushError) {
        if self.failure.as_ref().is_none_or(|known| known.severity() < failure.severity()) {
            self.failure = Some(failure);
        }
    }

    fn of(rotated: Result<()>) -> Self {
        Self { rows: 0, failure: rotated.err().map(FlushError::Store) }
    }

    fn and(mut self, other: Self) -> Self {
        self.rows += other.rows;
        other.failure.into_iter().for_each(|failure| self.fail(failure));
        self
    }

    fn sink_failed(&self) -> bool {
        matches!(self.failure, Some(FlushError::Sink(_)))
    }
}

/// Who flushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trigger {
    /// Somebody who waits until all is done, and may have mended what parked a batch.
    Manual,
    /// A flusher, which leaves to others what they are at, and lets parked batches lie.
    Background,
}

impl BufferHandle {
    /// Flushes everything that is live or frozen now. A host of the store that does not answer keeps its partitions;
    /// the others are flushed all the same.
    pub(super) async fn flush_all(&self) -> Result<u64> {
        let _alone = self.0.flushing.lock().await;
        self.check_running("flush it").await?;
        // What is frozen first: it is older, and a full queue would stop the rotation.
        let (parts, known) = self.find_parts().await;
        let mut pass = self.apply_frozen(&parts, Trigger::Manual).await;
        if !pass.sink_failed() {
            let rotated = self.rotate(&parts, Rotate::Now).await;
            let after = self.apply_frozen(&parts, Trigger::Manual).await;
            pass = pass.and(after).and(Pass::of(rotated));
        }
        let result = self.done(pass.and(Pass::of(known)));
        result.map_err(|failure| failure.error().clone())
    }

    /// Flushes what is due, and whatever an earlier flush left; nothing while the buffer is paused.
    pub(super) async fn flush_due(&self, age: Duration) -> Result<u64, FlushError> {
        let _alone = self.0.flushing.lock().await;
        if self.is_paused().await.map_err(FlushError::Store)? {
            return Ok(0);
        }
        let due = Rotate::Due { age, rows: self.0.batch_size.rows(self.0.schema.max_rows) };
        let (parts, known) = self.find_parts().await;
        let rotated = self.rotate(&parts, due).await;
        let applied = self.apply_frozen(&parts, Trigger::Background).await;
        self.done(applied.and(Pass::of(rotated)).and(Pass::of(known)))
    }

    fn done(&self, pass: Pass) -> Result<u64, FlushError> {
        let failure = pass.failure.as_ref().map(ToString::to_string);
        self.0.progress.note_end(failure.or_else(|| self.0.progress.parked_reason()));
        pass.failure.map_or(Ok(pass.rows), Err)
    }

    async fn rotate(&self, parts: &[BufferPart], rotate: Rotate) -> Result<()> {
        let engine = self.0.store.engine();
        let most = |part: &BufferPart| MAX_FROZEN + self.0.progress.parked_in(part.index).min(MAX_PARKED);
        let rotations = parts.iter().map(|part| engine.buffer_rotate(part, rotate, most(part)));
        futures::future::join_all(rotations).await.into_iter().try_for_each(|rotated| rotated.map(|_| ()))
    }

    /// Applies every frozen generation, oldest first within a partition. One partition's failure does not stop the
    /// others.
    async fn apply_frozen(&self, parts: &[BufferPart], trigger: Trigger) -> Pass {
        let engine = self.0.store.engine();
        let lists = futures::future::join_all(parts.iter().map(|part| engine.buffer_frozen(part))).await;
        let mut pass = Pass::default();
        for (part, list) in parts.iter().zip(lists) {
            match list {
                Ok(list) => {
                    let ids: HashSet<Uuid> = list.iter().map(|frozen| frozen.id).collect();
                    self.0.progress.keep_parked(part.index, |id| ids.contains(&id));
                    pass = pass.and(self.apply_part(part, &list, trigger).await);
                }
                Err(error) => pass.fail(FlushError::Store(error)),
            }
        }
        pass
    }

    async fn apply_part(&self, part: &BufferPart, list: &[Frozen], trigger: Trigger) -> Pass {
        let mut pass = Pass::default();
        let Some(oldest) = list.first() else { return pass };
        let lease = match trigger {
            Trigger::Manual => None,
            Trigger::Background => match FlushLease::take(self, part, oldest).await {
                FlushLease::HeldByOther => return pass,
                lease => Some(lease),
            },
        };
        let clock = self.0.store.clock();
        for frozen in list {
            if trigger == Trigger::Background && self.0.progress.is_parked(frozen.id, clock.monotonic()) {
                continue;
            }
            match self.apply_one(part, frozen).await {
                Ok(rows) => {
                    self.0.progress.unpark(frozen.id);
                    pass.rows += rows;
                }
                Err(failure @ (FlushError::Parked(_) | FlushError::Diverged(_))) => {
                    self.park(part, frozen, &failure);
                    pass.fail(failure);
                }
                Err(failure) => {
                    pass.fail(failure);
                    break;
                }
            }
        }
        if let Some(lease) = lease {
            lease.release(self).await;
        }
        pass
    }

    /// Brings one generation to the sink, and lets the store forget it.
    async fn apply_one(&self, part: &BufferPart, frozen: &Frozen) -> Result<u64, FlushError> {
        let engine = self.0.store.engine();
        let sink = self.sink().map_err(FlushError::Sink)?;
        let Some(generation) = engine.buffer_read(part, frozen.id).await.map_err(FlushError::Store)? else {
            return Ok(0);
        };
        if generation.fingerprint != part.schema.fingerprint {
            return Err(FlushError::Parked(self.other_shape(&generation.fingerprint)));
        }
        self.check_age(frozen, &generation).await?;
        failpoint!("flush_after_read");
        let batch = Batch::new(generation.id, part.schema.clone(), part.index, generation.rows)
            .last_written(generation.last_write);
        let clock = self.0.store.clock();
        let began = clock.monotonic();
        let applied = sink.apply(&batch).await.map_err(|error| self.failed(&batch, error))?;
        self.0.batch_size.applied(clock.monotonic().saturating_sub(began), part.schema.max_rows);
        failpoint!("flush_after_apply");
        if let Applied::WrittenSince { committed } = applied {
            return Err(FlushError::Diverged(self.written_since(&batch, committed)));
        }
        let rows = self.0.progress.note(&applied);
        engine.buffer_ack(part, frozen.id, batch.last_write).await.map_err(FlushError::Store)?;
        failpoint!("flush_after_ack");
        Ok(rows)
    }

    /// A generation that is older than the sink remembers, and that it does not know, may have been applied and forgotten.
    async fn check_age(&self, frozen: &Frozen, generation: &Generation) -> Result<(), FlushError> {
        let sink = self.sink().map_err(FlushError::Sink)?;
        let (age, Some(retention)) = (self.0.store.clock().now().since(frozen.born), sink.ledger_retention())
        else {
            return Ok(());
        };
        let Some(row) = generation.rows.first().filter(|_| age > retention) else { return Ok(()) };
        let schema = &self.0.schema;
        let snapshot = sink.read(schema, &row.key, &[frozen.id]).await;
        if snapshot.map_err(|error| FlushError::Sink(sink_error(error)))?.applied.contains(&frozen.id) {
            return Ok(());
        }
        let (name, id, rows) = (&schema.name, frozen.id, RowCount(frozen.rows));
        let (age, retention) = (age.as_secs(), retention.as_secs());
        Err(FlushError::Parked(Error::new(
            ErrorKind::Configuration,
            format!(
                "buffer {name}: batch {id} of {rows} is {age} s old, and the ledger keeps {retention} s: nobody can tell \
                 whether it was applied; if it was not, raise ledger_retention beyond its age"
            ),
        )))
    }

    fn park(&self, part: &BufferPart, frozen: &Frozen, why: &FlushError) {
        let now = self.0.store.clock().monotonic();
        let (id, partition, rows, reason) = (frozen.id, part.index, frozen.rows, why.to_string());
        let parked = Parked { id, partition, rows, reason, diverged: matches!(why, FlushError::Diverged(_)) };
        if self.0.progress.park(parked, now) {
            let (buffer, batch, error) = (&part.schema.name, id, why);
            tracing::error!(%buffer, partition, %batch, rows, %error, "a batch is parked: it stays in the store");
        }
    }

    fn written_since(&self, batch: &Batch, committed: Timestamp) -> Error {
        let (name, id, partition, rows) =
            (&self.0.schema.name, batch.id, batch.partition, RowCount(batch.rows.len() as u64));
        let last = batch.last_write.unwrap_or(committed);
        let text = format!(
            "buffer {name}: batch {id} of {rows}, partition {partition}, was written to until {last}, and the ledger has \
             it as it was at {committed}: the store went back in time, and what was written since is in no commit; compare its \
             rows with the table, correct that, then delete the batch"
        );
        Error::new(ErrorKind::Corrupt, text)
    }

    fn other_shape(&self, fingerprint: &str) -> Error {
        let schema = &self.0.schema;
        Error::new(
            ErrorKind::Configuration,
            format!(
                "buffer {}: a batch that waits was written for {fingerprint}, and the buffer is now {}: flush with the old \
                 definition first",
                schema.name, schema.fingerprint
            ),
        )
    }

    fn failed(&self, batch: &Batch, error: SinkError) -> FlushError {
        let permanent = matches!(error, SinkError::Permanent(_));
        let (name, id, rows) = (&self.0.schema.name, batch.id, RowCount(batch.rows.len() as u64));
        let error =
            sink_error(error).in_context(format_args!("buffer {name}: applying batch {id} of {rows}"));
        if permanent { FlushError::Parked(error) } else { FlushError::Sink(error) }
    }
}
