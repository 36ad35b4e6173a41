//! What flushes a buffer in the background.

use std::time::Duration;

use tokio::{sync::watch, task::JoinHandle};

use super::{
    flush::Stuck,
    handle::{BufferHandle, sink_error},
    pace::back_off,
};
#[cfg(doc)]
use crate::buffer::Stats;
use crate::{
    error::{Error, Result},
    time::secs,
};

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
                    Stuck::Store(_) | Stuck::Parked(_) | Stuck::Diverged(_) => every.min(secs(1)),
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
