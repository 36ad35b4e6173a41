//! Reads a log on a thread, and sends its events in batches.

use std::{
    mem, panic,
    thread::{self, JoinHandle},
    time::Duration,
};

use forebay::{Error, ErrorKind};
use tokio::sync::mpsc;

use super::{BadLine, Event, Input, Parser, Reader, Step, Tally};

/// Events per batch: enough that the channel costs nothing per line.
const BATCH_LEN: usize = 1_024;

/// Batches in the channel: the thread reads that far ahead.
const MAX_AHEAD: usize = 8;

/// The number of bad lines that are sent. The others are only counted.
const MAX_SHOWN: u64 = 10;

/// A part of a log.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Events in time order.
    pub events: Vec<Event>,
    /// Skipped lines; only the first ten of a log.
    pub bad: Vec<BadLine>,
    /// The lines of the log that were read so far.
    pub tally: Tally,
}

/// Reads a log on its own thread, which waits for a disk or a pipe, decompresses and parses.
///
/// It is no task of the runtime: a task that waits for standard input cannot be stopped, and the runtime would wait for
/// it at exit. Dropping the feed ends the thread at its next batch.
#[derive(Debug)]
pub struct Feed {
    batches: mpsc::Receiver<Batch>,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Feed {
    /// Starts to read `input`; see [`Reader::new`] for `parser` and `reorder`.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the system cannot start a thread.
    pub fn start(input: Input, parser: impl Into<Parser>, reorder: Duration) -> Result<Self, Error> {
        let (sender, batches) = mpsc::channel(MAX_AHEAD);
        let reader = Reader::new(input, parser, reorder);
        let outlet = Outlet { sender, batch: Batch::default(), lines: 0 };
        let thread = thread::Builder::new().name("replay".to_owned()).spawn(move || outlet.fill(reader));
        let thread = thread.map_err(|cause| {
            Error::new(ErrorKind::Unavailable, "starting the thread that reads the log").with_source(cause)
        })?;
        Ok(Self { batches, thread: Some(thread) })
    }

    /// The next batch; `None` at the end of the log. The last batch has the tally of the whole log.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the input fails. Earlier batches have been returned before.
    ///
    /// # Cancellation
    /// Nothing is lost: the next call returns the batch.
    pub async fn next(&mut self) -> Result<Option<Batch>, Error> {
        if let Some(batch) = self.batches.recv().await {
            return Ok(Some(batch));
        }
        // The channel is closed: the thread has ended, or is about to.
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
    /// Lines since the last batch, so that progress is reported even if no line yields an event.
    lines: usize,
}

impl Outlet {
    /// Reads until the log ends or fails, or the receiver is dropped.
    fn fill(mut self, mut reader: Reader) -> Result<(), Error> {
        loop {
            let step = reader.advance(|event| {
                self.batch.events.push(event);
                if self.batch.events.len() >= BATCH_LEN {
                    self.send();
                }
            });
            self.batch.tally = reader.tally();
            self.lines += 1;
            match step {
                Ok(Step::Bad(line)) if self.batch.tally.bad <= MAX_SHOWN => self.batch.bad.push(line),
                Ok(Step::Line | Step::Bad(_)) => {}
                ended @ (Ok(Step::End) | Err(_)) => {
                    self.send();
                    return ended.map(drop);
                }
            }
            if self.lines >= BATCH_LEN {
                self.send();
            }
            if self.sender.is_closed() {
                return Ok(());
            }
        }
    }

    fn send(&mut self) {
        let next = Batch { tally: self.batch.tally, ..Batch::default() };
        // `fill` notices a closed channel.
        let _ = self.sender.blocking_send(mem::replace(&mut self.batch, next));
        self.lines = 0;
    }
}
