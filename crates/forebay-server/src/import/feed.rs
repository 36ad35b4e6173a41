//! Reads batches on a thread.

use std::{
    panic,
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result};
use tokio::sync::mpsc;

use super::reader::{Batch, Reader};

/// Batches that the thread reads ahead.
const MAX_AHEAD: usize = 2;

/// Reads batches on its own thread, which waits for a disk or a pipe, decompresses and parses. It is no task of the runtime,
/// which would wait for a read of standard input at exit.
pub(crate) struct Feed {
    batches: mpsc::Receiver<Batch>,
    thread: Option<JoinHandle<Result<(), forebay::Error>>>,
}

impl Feed {
    /// Starts to read.
    ///
    /// # Errors
    /// If the system cannot start a thread.
    pub(crate) fn start(mut reader: Reader) -> Result<Self> {
        let (sender, batches) = mpsc::channel(MAX_AHEAD);
        let fill = move || {
            while let Some(batch) = reader.next_batch()? {
                if sender.blocking_send(batch).is_err() {
                    break;
                }
            }
            Ok(())
        };
        let thread = thread::Builder::new().name("import".to_owned()).spawn(fill);
        let thread = thread.context("starting the thread that reads the file")?;
        Ok(Self { batches, thread: Some(thread) })
    }

    /// The next batch; `None` at the end.
    ///
    /// # Errors
    /// If the file cannot be read. Earlier batches have been returned before.
    pub(crate) async fn next(&mut self) -> Result<Option<Batch>> {
        if let Some(batch) = self.batches.recv().await {
            return Ok(Some(batch));
        }
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(None),
            Some(Ok(ended)) => Ok(ended.map(|()| None)?),
            Some(Err(panicked)) => panic::resume_unwind(panicked),
        }
    }
}
