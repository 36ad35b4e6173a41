//! Flushing: in the background, on request, and until nothing is left.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinHandle};

use super::{
    flush::Severity,
    handle::{BufferHandle, sink_error},
};
#[cfg(doc)]
use crate::buffer::Stats;
use crate::{
    backoff::Backoff,
    error::{Error, ErrorKind, Result},
    sink::Sink,
    time::{millis, secs},
};

/// The pauses after the sink failed.
const SINK_RETRY: Backoff = Backoff::new(millis(200), secs(30));

/// The longest pause between two checks whether a flush is due.
const MAX_CHECK_INTERVAL: Duration = secs(1);

/// Flushes a buffer in the background after [`spawn`](Self::spawn).
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{Buffer, Forebay, sink::MemorySink, time::secs};
///
/// let bay = Forebay::open("memory:").await?;
/// let projects = bay.buffer(Buffer::new("projects").key("id").sum("hits"))?;
/// let flushing = projects.flush_to(MemorySink::new()).every(secs(5)).prepare().await?.spawn();
/// projects.row("42").add("hits", 1).await?;
/// assert_eq!(flushing.stop().await?, 1); // the rows of the last flush
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a flusher does nothing until `spawn`"]
pub struct Flusher {
    buffer: BufferHandle,
    every: Duration,
    /// The buffer already had another sink, so this flusher flushes nothing.
    has_other_sink: bool,
}

impl BufferHandle {
    /// Sets the sink of this buffer, and returns a flusher for it.
    ///
    /// The first call sets the sink. The flusher of a later call flushes nothing: preparing and stopping it are errors.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # use forebay::{Buffer, Forebay, sink::MemorySink};
    /// # let bay = Forebay::open("memory:").await?;
    /// let projects = bay.buffer(Buffer::new("projects").key("id").sum("hits"))?;
    /// let flushing = projects.flush_to(MemorySink::new()).prepare().await?.spawn();
    /// # drop(flushing);
    /// # Ok(()) }
    /// ```
    pub fn flush_to(&self, sink: impl Sink) -> Flusher {
        let has_other_sink = self.0.sink.set(Arc::new(sink)).is_err();
        Flusher { buffer: self.clone(), every: secs(10), has_other_sink }
    }

    /// Flushes all writes that were acknowledged before the call. Returns the number of rows that this call committed to
    /// SQL.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] without a sink, or if a batch has to be parked; [`ErrorKind::Unavailable`] while the
    /// buffer is paused; else the error of the store or the database. Rows that are not flushed stay, and the next flush
    /// retries them.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # use forebay::{Buffer, Forebay, sink::MemorySink};
    /// # let bay = Forebay::open("memory:").await?;
    /// let projects = bay.buffer(Buffer::new("projects").key("id").sum("hits"))?;
    /// let _flusher = projects.flush_to(MemorySink::new()).prepare().await?;
    /// projects.row("42").add("hits", 1).await?;
    /// assert_eq!((projects.flush().await?, projects.flush().await?), (1, 0));
    /// # Ok(()) }
    /// ```
    pub async fn flush(&self) -> Result<u64> {
        self.sink()?;
        self.flush_all().await
    }

    /// Flushes until the store holds no rows of this buffer, for as long as the sink needs. Use it before you remove a
    /// buffer, a table or a store. It does not end while others write faster than it flushes, or while batches are parked.
    ///
    /// Returns the number of rows that this call committed to SQL.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] without a sink.
    ///
    /// # Cancellation
    /// Dropping the future stops it between two steps of a flush. Each step may be repeated.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// # let projects = bay.buffer(forebay::Buffer::new("projects").key("id").sum("hits"))?;
    ///
    /// # let _flusher = projects.flush_to(forebay::sink::MemorySink::new()).prepare().await?;
    /// projects.row("42").add("hits", 1).await?;
    /// assert_eq!(projects.drain().await?, 1);
    /// assert_eq!(projects.stats().await?.pending_rows, 0);
    /// # Ok(()) }
    /// ```
    pub async fn drain(&self) -> Result<u64> {
        self.sink()?;
        let (mut rows, mut backoff) = (0, SINK_RETRY);
        loop {
            match self.flush().await {
                Ok(flushed) => rows += flushed,
                Err(error) => {
                    let pause = backoff.after_failure();
                    tracing::warn!(buffer = %self.0.schema.name, %error, ?pause, "draining failed; trying again");
                    self.0.store.clock().sleep(pause).await;
                    continue;
                }
            }
            if self.stats().await.is_ok_and(|stats| stats.pending_rows == 0) {
                return Ok(rows);
            }
            backoff.reset();
        }
    }
}

impl Flusher {
    fn check(&self) -> Result<()> {
        if !self.has_other_sink {
            return Ok(());
        }
        let name = &self.buffer.0.schema.name;
        let text = format!("buffer {name}: it already has another sink: call flush_to once");
        Err(Error::new(ErrorKind::Configuration, text))
    }

    /// Sets how long a write waits at most for its flush to begin, default 10 s. A partition that reaches the buffer's
    /// `max_rows` is flushed earlier.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{Buffer, sink::MemorySink, time::secs};
    /// let projects = bay.buffer(Buffer::new("projects").key("id").sum("hits"))?;
    /// let flushing = projects.flush_to(MemorySink::new()).every(secs(2)).prepare().await?.spawn();
    /// # flushing.stop().await?;
    /// # Ok(()) }
    /// ```
    pub fn every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// Prepares the database: checks the table, and creates what the sink may create.
    ///
    /// # Errors
    /// The sink's error, which says what is missing and what to do; [`ErrorKind::Configuration`] if the buffer already has
    /// another sink.
    pub async fn prepare(self) -> Result<Self> {
        self.check()?;
        let schema = &self.buffer.0.schema;
        let prepared = self.buffer.sink()?.prepare(schema).await;
        prepared.map_err(|error| sink_error(error).in_context(format_args!("buffer {}", schema.name)))?;
        Ok(self)
    }

    /// Starts flushing: first what an earlier process left, then whatever is due.
    ///
    /// Must be called inside a tokio runtime. A failure is logged, kept in [`Stats::last_error`], and retried. After a failure
    /// of the sink the pauses grow to 30 s; after one of a host of the store there is no extra pause, because the other hosts
    /// go on. If the buffer already has another sink, this logs an error, flushes nothing, and [`stop`](Flushing::stop)
    /// returns that error.
    pub fn spawn(self) -> Flushing {
        let (stop, stopped) = watch::channel(false);
        let (buffer, refused) = (self.buffer.clone(), self.check().err());
        let task = match &refused {
            None => tokio::spawn(run(self.buffer, self.every, stopped)),
            Some(error) => {
                tracing::error!(%error, "nothing is flushed to the second sink");
                tokio::spawn(async {})
            }
        };
        Flushing { stop, task, buffer, refused }
    }
}

/// A flusher that runs. Dropping it stops it without a last flush.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # use forebay::{Buffer, Forebay, sink::MemorySink};
/// # let bay = Forebay::open("memory:").await?;
/// let projects = bay.buffer(Buffer::new("projects").key("id").sum("hits"))?;
/// let flushing = projects.flush_to(MemorySink::new()).prepare().await?.spawn();
/// flushing.stop().await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Flushing {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    buffer: BufferHandle,
    refused: Option<Error>,
}

impl Flushing {
    /// Stops the flusher after one last flush of what was acknowledged. Returns the number of rows of that flush.
    ///
    /// # Errors
    /// When the last flush failed: its rows stay in the store, and the next start flushes them.
    /// [`ErrorKind::Configuration`] if the buffer already had another sink.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{Buffer, sink::MemorySink};
    /// let projects = bay.buffer(Buffer::new("projects").key("id").sum("hits"))?;
    /// let flushing = projects.flush_to(MemorySink::new()).prepare().await?.spawn();
    /// projects.row("42").add("hits", 1).await?;
    /// flushing.stop().await?; // at shutdown: what was acknowledged is in the database
    /// # Ok(()) }
    /// ```
    pub async fn stop(mut self) -> Result<u64> {
        self.stop.send_replace(true);
        // The task ends after its current step. If it panicked, the last flush happens all the same.
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
        let mut pause = every.min(MAX_CHECK_INTERVAL);
        match buffer.flush_due(every).await {
            Ok(_) => backoff.reset(),
            // No more writes come; the next start flushes what is left.
            Err(failure) if failure.error.kind() == ErrorKind::Closed => return,
            Err(failure) => {
                let sink_pause = backoff.after_failure();
                if failure.severity == Severity::Sink {
                    pause = sink_pause;
                }
                let failures = backoff.failures();
                // A failure that lasts is logged less and less often.
                if failures.is_power_of_two() {
                    tracing::warn!(buffer = %buffer.0.schema.name, error = %failure.error, failures, ?pause, "flush failed; the rows are kept");
                }
            }
        }
        tokio::select! {
            () = clock.sleep(pause) => {}
            _ = stopped.changed() => {}
        }
    }
}
