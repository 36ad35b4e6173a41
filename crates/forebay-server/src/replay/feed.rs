//! A log's events in batches, from a thread of their own.

use std::{
    mem, panic,
    thread::{self, JoinHandle},
    time::Duration,
};

use forebay::{Error, ErrorKind};
use tokio::sync::mpsc;

use super::{BadLine, Event, Input, Parser, Reader, Step, Tally};

/// Events per batch: enough that handing one over costs nothing per line.
const BATCH: usize = 1_024;

/// Batches that wait. Reading goes no further ahead than that.
const WAITING: usize = 8;

/// How many bad lines are handed on; the rest is only counted.
const SHOWN: u64 = 10;

/// A part of a log.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Events whose turn has come, in order.
    pub events: Vec<Event>,
    /// The lines that were skipped; of a whole log the first ten.
    pub bad: Vec<BadLine>,
    /// What has been read of the log so far.
    pub tally: Tally,
}

/// Reads a log on a thread of its own: waiting for a disk or a pipe, unpacking and parsing.
///
/// A thread and not a task of the runtime: one that waits for standard input cannot be stopped, and the
/// runtime would wait for it at exit. Dropping the feed ends the thread at its next batch.
#[derive(Debug)]
pub struct Feed {
    batches: mpsc::Receiver<Batch>,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Feed {
    /// Starts to read `input`; see [`Reader::new`] for `parser` and `reorder`.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the system gives no thread.
    pub fn start(input: Input, parser: impl Into<Parser>, reorder: Duration) -> Result<Self, Error> {
        let (sender, batches) = mpsc::channel(WAITING);
        let reader = Reader::new(input, parser, reorder);
        let outlet = Outlet { sender, batch: Batch::default(), lines: 0 };
        let thread = thread::Builder::new().name("replay".to_owned()).spawn(move || outlet.fill(reader));
        let thread = thread.map_err(|cause| {
            Error::new(ErrorKind::Unavailable, "starting the thread that reads the log").with_source(cause)
        })?;
        Ok(Self { batches, thread: Some(thread) })
    }

    /// The next batch, `None` at the end of the log. The last batch has the whole log's tally.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the input fails; what was read before has been handed out.
    ///
    /// # Cancellation
    /// Nothing is lost: the batch is there for the next call.
    pub async fn next(&mut self) -> Result<Option<Batch>, Error> {
        if let Some(batch) = self.batches.recv().await {
            return Ok(Some(batch));
        }
        // The channel is closed, so the thread has ended but for its last instructions.
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(None),
            Some(Ok(ended)) => ended.map(|()| None),
            Some(Err(panicked)) => panic::resume_unwind(panicked),
        }
    }
}

/// The thread's end of the channel.
struct Outlet {
    sender: mpsc::Sender<Batch>,
    batch: Batch,
    /// Lines since the last batch: where all are bad or held back, progress is still told.
    lines: usize,
}

impl Outlet {
    /// Reads until the log ends, fails, or nobody listens any more.
    fn fill(mut self, mut reader: Reader) -> Result<(), Error> {
        loop {
            let step = reader.advance(|event| {
                self.batch.events.push(event);
                if self.batch.events.len() >= BATCH {
                    self.send();
                }
            });
            self.batch.tally = reader.tally();
            self.lines += 1;
            match step {
                Ok(Step::Bad(line)) if self.batch.tally.bad <= SHOWN => self.batch.bad.push(line),
                Ok(Step::Line | Step::Bad(_)) => {}
                Ok(Step::End) => {
                    self.send();
                    return Ok(());
                }
                Err(error) => {
                    self.send();
                    return Err(error);
                }
            }
            if self.lines >= BATCH {
                self.send();
            }
            if self.sender.is_closed() {
                return Ok(());
            }
        }
    }

    fn send(&mut self) {
        let next = Batch { tally: self.batch.tally, ..Batch::default() };
        // A closed channel is noticed by `fill`.
        let _ = self.sender.blocking_send(mem::replace(&mut self.batch, next));
        self.lines = 0;
    }
}
