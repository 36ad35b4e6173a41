//! From the store to SQL: rotate, apply, acknowledge.
//!
//! Any worker may do any of it at any time, also two at once: the generation's id in the sink's ledger
//! decides, and every step can be repeated. A crash before the commit leaves the batch to be applied
//! again; after it, the ledger answers [`Applied::Before`] and only the acknowledgement is repeated.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, task::JoinHandle};

use super::handle::{BufferHandle, Stats, sink_error};
use crate::{
    engine::step::{BufferPart, Rotate},
    error::{Error, ErrorKind, Result},
    sink::{Applied, Batch, SinkError},
    time::{millis, secs},
};

/// How many generations of a partition may wait for the sink. Beyond it the live one just grows: merging there
/// costs less than many small batches would.
const MOST_FROZEN: u64 = 4;

/// The pause after a failure, doubled each time, and its bound.
const BACK_OFF: Duration = millis(200);
const MOST_BACK_OFF: Duration = secs(30);

/// What the flushes of this process came to: tallies for people, no order needed between them.
#[derive(Debug, Default)]
pub(super) struct Progress {
    flushed: AtomicU64,
    dead: AtomicU64,
    replays: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl Progress {
    pub(super) fn stats(&self) -> Stats {
        Stats {
            flushed_rows: self.flushed.load(Ordering::Relaxed),
            dead_rows: self.dead.load(Ordering::Relaxed),
            replays: self.replays.load(Ordering::Relaxed),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            ..Stats::default()
        }
    }

    fn note(&self, applied: &Applied) -> u64 {
        match applied {
            Applied::Now { rows, dead } => {
                self.flushed.fetch_add(*rows, Ordering::Relaxed);
                self.dead.fetch_add(*dead, Ordering::Relaxed);
                *rows
            }
            Applied::Before => {
                self.replays.fetch_add(1, Ordering::Relaxed);
                0
            }
        }
    }

    fn note_end(&self, result: &Result<u64, Stuck>) {
        let error = result.as_ref().err().map(ToString::to_string);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }
}

/// Why a partition was not flushed.
#[derive(Debug)]
enum Stuck {
    /// Its host in the store did not answer. It says so at once, and says nothing about the others.
    Store(Error),
    /// The sink, which is the same for all, could not take it.
    Sink(Error),
}

impl Stuck {
    fn into_error(self) -> Error {
        let (Self::Store(error) | Self::Sink(error)) = self;
        error
    }
}

impl std::fmt::Display for Stuck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Store(error) | Self::Sink(error)) = self;
        error.fmt(f)
    }
}

/// What one pass over the partitions came to.
#[derive(Debug, Default)]
struct Pass {
    rows: u64,
    failure: Option<Stuck>,
}

impl Pass {
    /// Keeps the first failure, but one of the sink in any case: that one is to be waited out.
    fn fail(&mut self, stuck: Stuck) {
        let worse = matches!((&self.failure, &stuck), (None, _) | (Some(Stuck::Store(_)), Stuck::Sink(_)));
        if worse {
            self.failure = Some(stuck);
        }
    }

    fn of(rotated: Result<()>) -> Self {
        Self { rows: 0, failure: rotated.err().map(Stuck::Store) }
    }

    fn and(mut self, other: Self) -> Self {
        self.rows += other.rows;
        other.failure.into_iter().for_each(|stuck| self.fail(stuck));
        self
    }
}

impl BufferHandle {
    /// Flushes everything that is live or frozen now. A host of the store that does not answer keeps its partitions;
    /// the others are flushed all the same.
    pub(super) async fn flush_all(&self) -> Result<u64> {
        let _alone = self.0.flushing.lock().await;
        // What is frozen first: it is older, and a full queue would stop the rotation.
        let (parts, known) = self.find_parts().await;
        let mut pass = self.apply_frozen(&parts).await;
        if !matches!(pass.failure, Some(Stuck::Sink(_))) {
            let rotated = self.rotate(&parts, Rotate::Now).await;
            let after = self.apply_frozen(&parts).await;
            pass = pass.and(after).and(Pass::of(rotated));
        }
        self.done(pass.and(Pass::of(known))).map_err(Stuck::into_error)
    }

    /// Flushes what is due, and whatever an earlier flush left.
    async fn flush_due(&self, age: Duration) -> Result<u64, Stuck> {
        let _alone = self.0.flushing.lock().await;
        let due = Rotate::Due { age, rows: self.0.schema.max_rows };
        let (parts, known) = self.find_parts().await;
        let rotated = self.rotate(&parts, due).await;
        self.done(self.apply_frozen(&parts).await.and(Pass::of(rotated)).and(Pass::of(known)))
    }

    fn done(&self, pass: Pass) -> Result<u64, Stuck> {
        let result = pass.failure.map_or(Ok(pass.rows), Err);
        self.0.progress.note_end(&result);
        result
    }

    async fn rotate(&self, parts: &[BufferPart], rotate: Rotate) -> Result<()> {
        let engine = self.0.bay.engine();
        let rotations = parts.iter().map(|part| engine.buffer_rotate(part, rotate, MOST_FROZEN));
        futures::future::join_all(rotations).await.into_iter().try_for_each(|rotated| rotated.map(|_| ()))
    }

    /// Applies every frozen generation, oldest first within a partition. One partition's failure does not stop the
    /// others.
    async fn apply_frozen(&self, parts: &[BufferPart]) -> Pass {
        let engine = self.0.bay.engine();
        let lists = futures::future::join_all(parts.iter().map(|part| engine.buffer_frozen(part))).await;
        let mut pass = Pass::default();
        for (part, list) in parts.iter().zip(lists) {
            let outcome = match list {
                Ok(list) => self.apply_part(part, list.into_iter().map(|frozen| frozen.id).collect()).await,
                Err(error) => Err(Stuck::Store(error)),
            };
            match outcome {
                Ok(applied) => pass.rows += applied,
                Err(stuck) => pass.fail(stuck),
            }
        }
        pass
    }

    async fn apply_part(&self, part: &BufferPart, ids: Vec<uuid::Uuid>) -> Result<u64, Stuck> {
        let engine = self.0.bay.engine();
        let sink = self.sink().map_err(Stuck::Sink)?;
        let mut rows = 0;
        for id in ids {
            let Some(generation) = engine.buffer_read(part, id).await.map_err(Stuck::Store)? else {
                continue;
            };
            if generation.fingerprint != part.schema.fingerprint {
                return Err(Stuck::Sink(self.other_shape(&generation.fingerprint)));
            }
            failpoint!("flush_after_read");
            let batch = Batch::new(generation.id, part.schema.clone(), part.index, generation.rows);
            let applied = sink.apply(&batch).await;
            let applied = applied.map_err(|error| Stuck::Sink(self.failed(&batch, error)))?;
            failpoint!("flush_after_apply");
            rows += self.0.progress.note(&applied);
            engine.buffer_ack(part, id).await.map_err(Stuck::Store)?;
            failpoint!("flush_after_ack");
        }
        Ok(rows)
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

    fn failed(&self, batch: &Batch, error: SinkError) -> Error {
        let error = sink_error(error);
        let (name, id, rows) = (&self.0.schema.name, batch.id, batch.rows.len());
        Error::new(error.kind(), format!("buffer {name}: applying batch {id} of {rows} rows: {error}"))
            .with_source(error)
    }
}

/// What flushes a buffer in the background, once [`spawn`](Self::spawn)ed.
#[derive(Clone, Debug)]
#[must_use = "a flusher does nothing until `spawn`"]
pub struct Flusher {
    buffer: BufferHandle,
    every: Duration,
}

impl Flusher {
    pub(super) fn new(buffer: BufferHandle) -> Self {
        Self { buffer, every: secs(10) }
    }

    /// How long a write waits at most before it is on its way, default 10 s. A partition that reaches the buffer's
    /// `max_rows` does not wait.
    pub fn every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// Gets the database ready: checks the table, creates what it may create.
    ///
    /// # Errors
    /// What the sink says: what is missing, and how to mend it.
    pub async fn prepare(self) -> Result<Self> {
        let sink = self.buffer.sink()?;
        let name = &self.buffer.0.schema.name;
        sink.prepare(&self.buffer.0.schema).await.map_err(|error| {
            let error = sink_error(error);
            Error::new(error.kind(), format!("buffer {name}: {error}")).with_source(error)
        })?;
        Ok(self)
    }

    /// Starts flushing, at once what an earlier process left, then whenever it is due.
    ///
    /// Must be called inside a tokio runtime. Failures are kept in [`Stats::last_error`], logged, and tried again: those
    /// of the sink after a pause that grows to 30 s, those of a host of the store in its turn, since the others go on.
    pub fn spawn(self) -> Flushing {
        let (stop, stopped) = watch::channel(false);
        let buffer = self.buffer.clone();
        Flushing { stop, task: tokio::spawn(run(self.buffer, self.every, stopped)), buffer }
    }
}

/// A flusher that runs. Dropping it stops it without a last flush.
#[derive(Debug)]
pub struct Flushing {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    buffer: BufferHandle,
}

impl Flushing {
    /// Stops, after flushing once more what was acknowledged. Returns the rows of that last flush.
    ///
    /// # Errors
    /// When that flush failed: what is left stays in the store, and the next start takes it up.
    pub async fn stop(mut self) -> Result<u64> {
        self.stop.send_replace(true);
        // The task ends after the step it is in; it panicking must not keep the last flush from happening.
        let _ = (&mut self.task).await;
        self.buffer.flush().await
    }
}

impl Drop for Flushing {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

async fn run(buffer: BufferHandle, every: Duration, mut stopped: watch::Receiver<bool>) {
    let clock = buffer.0.bay.clock().clone();
    let mut failures = 0;
    while !*stopped.borrow_and_update() {
        let pause = match buffer.flush_due(every).await {
            Ok(_) => {
                failures = 0;
                every.min(secs(1))
            }
            Err(stuck) => {
                failures += 1;
                let pause = match &stuck {
                    Stuck::Sink(_) => back_off(failures),
                    Stuck::Store(_) => every.min(secs(1)),
                };
                // What lasts is said ever more seldom.
                if failures.is_power_of_two() {
                    tracing::warn!(buffer = %buffer.0.schema.name, error = %stuck, failures, ?pause, "flush failed; the rows are kept");
                }
                pause
            }
        };
        tokio::select! {
            () = clock.sleep(pause) => {}
            _ = stopped.changed() => {}
        }
    }
}

/// Doubles with each failure up to 30 s, and spreads over the last half so that many processes do not come together.
fn back_off(failures: u32) -> Duration {
    let pause = BACK_OFF.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(MOST_BACK_OFF);
    let spread =
        f64::from(u32::try_from(uuid::Uuid::now_v7().as_u128() & 0xffff).expect("sixteen bits")) / 65_536.0;
    pause.mul_f64(0.5 + spread / 2.0)
}
