//! What flushes a buffer in the background.

use std::time::Duration;

use tokio::{sync::watch, task::JoinHandle};

use super::{
    flush::FlushError,
    handle::{BufferHandle, sink_error},
};
#[cfg(doc)]
use crate::buffer::Stats;
use crate::{
    backoff::Backoff,
    error::{Error, ErrorKind, Result},
    time::{millis, secs},
};

/// The pauses after the sink failed.
pub(super) const SINK_RETRY: Backoff = Backoff::new(millis(200), secs(30));

/// What flushes a buffer in the background, once [`spawn`](Self::spawn)ed.
#[derive(Clone, Debug)]
#[must_use = "a flusher does nothing until `spawn`"]
pub struct Flusher {
    buffer: BufferHandle,
    every: Duration,
    /// The buffer flushes to another sink.
    taken: bool,
}

impl Flusher {
    pub(super) fn new(buffer: BufferHandle, taken: bool) -> Self {
        Self { buffer, every: secs(10), taken }
    }

    fn check(&self) -> Result<()> {
        if !self.taken {
            return Ok(());
        }
        let name = &self.buffer.0.schema.name;
        let text = format!("buffer {name}: it flushes to another sink: call flush_to once");
        Err(Error::new(ErrorKind::Configuration, text))
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
    /// What the sink says: what is missing, and how to mend it; [`ErrorKind::Configuration`] if the buffer flushes to another.
    pub async fn prepare(self) -> Result<Self> {
        self.check()?;
        let sink = self.buffer.sink()?;
        let name = &self.buffer.0.schema.name;
        sink.prepare(&self.buffer.0.schema)
            .await
            .map_err(|error| sink_error(error).in_context(format_args!("buffer {name}")))?;
        Ok(self)
    }

    /// Starts flushing, at once what an earlier process left, then whenever it is due.
    ///
    /// Must be called inside a tokio runtime. Failures are kept in [`Stats::last_error`], logged, and tried again: those
    /// of the sink after a pause that grows to 30 s, those of a host of the store in its turn, since the others go on. If the
    /// buffer flushes to another sink already, nothing is flushed to this one: that is logged, and [`stop`](Flushing::stop)
    /// says it.
    pub fn spawn(self) -> Flushing {
        let (stop, stopped) = watch::channel(false);
        let (buffer, refused) = (self.buffer.clone(), self.check().err());
        if let Some(error) = &refused {
            tracing::error!(%error, "nothing is flushed to the second sink");
        }
        let task = match refused {
            None => tokio::spawn(run(self.buffer, self.every, stopped)),
            Some(_) => tokio::spawn(async {}),
        };
        Flushing { stop, task, buffer, refused }
    }
}

/// A flusher that runs. Dropping it stops it without a last flush.
#[derive(Debug)]
pub struct Flushing {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    buffer: BufferHandle,
    refused: Option<Error>,
}

impl Flushing {
    /// Stops, after flushing once more what was acknowledged. Returns the rows of that last flush.
    ///
    /// # Errors
    /// When that flush failed: what is left stays in the store, and the next start takes it up. [`ErrorKind::Configuration`] if
    /// this was a second sink, to which nothing was flushed.
    pub async fn stop(mut self) -> Result<u64> {
        self.stop.send_replace(true);
        // The task ends after the step it is in; it panicking must not keep the last flush from happening.
        let _ = (&mut self.task).await;
        if let Some(error) = self.refused.take() {
            return Err(error);
        }
        self.buffer.flush().await
    }
}

impl Drop for Flushing {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

async fn run(buffer: BufferHandle, every: Duration, mut stopped: watch::Receiver<bool>) {
    let clock = buffer.0.store.clock().clone();
    let mut backoff = SINK_RETRY;
    while !*stopped.borrow_and_update() {
        let pause = match buffer.flush_due(every).await {
            Ok(_) => {
                backoff.reset();
                every.min(secs(1))
            }
            // Nothing comes any more; what is there waits for the next start.
            Err(failure) if failure.error().kind() == ErrorKind::Closed => return,
            Err(failure) => {
                let mut pause = backoff.after_failure();
                if !matches!(failure, FlushError::Sink(_)) {
                    pause = every.min(secs(1));
                }
                let failures = backoff.failures();
                // What lasts is said ever more seldom.
                if failures.is_power_of_two() {
                    tracing::warn!(buffer = %buffer.0.schema.name, error = %failure, failures, ?pause, "flush failed; the rows are kept");
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
