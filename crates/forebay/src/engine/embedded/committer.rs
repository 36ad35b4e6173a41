//! The thread that commits what gathers in the journal.
//!
//! A thread of its own, because a commit waits for the disk: it must neither stop a runtime's worker nor end with a
//! runtime while somebody waits for it.

use std::{
    error::Error as _,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
};

use super::{
    batch::Batch,
    file::{Failure, File, Remedy},
    journal::Shared,
    pidfile::PidFile,
};
use crate::error::{Error, ErrorKind, Result};

/// The state of the thread.
pub(super) struct Committer {
    journal: Arc<Shared>,
    file: File,
    /// Says whose the file is, for as long as it is.
    pid_file: PidFile,
    state: State,
}

enum State {
    Working,
    /// A commit failed, or went to a file without its name: this is to be written once the file has been opened again.
    Repeat(Batch),
    /// A commit failed for good.
    Failed(Error),
}

impl Committer {
    /// Starts the thread; it ends, and gives the file back, when the journal does.
    pub(super) fn start(journal: Arc<Shared>, file: File, pid_file: PidFile) -> Result<()> {
        let committer = Self { journal, file, pid_file, state: State::Working };
        let started = thread::Builder::new().name("forebay-file".to_owned()).spawn(move || committer.run());
        started.map(drop).map_err(|cause| {
            Error::new(ErrorKind::Unavailable, "starting the thread that writes the file").with_source(cause)
        })
    }

    fn run(mut self) {
        while let Some(mut work) = self.journal.next() {
            let batch = std::mem::take(&mut work.batch);
            let repeats = matches!(self.state, State::Repeat(_));
            let wrote = !batch.is_empty() || repeats;
            match self.write(batch) {
                Ok(()) => {
                    if repeats {
                        tracing::info!(
                            "the file can be written again, and nothing that was in doubt is missing"
                        );
                    }
                    self.journal.committed(&work, wrote);
                }
                Err(failure) => {
                    let repeated = failure.remedy != Remedy::Restart;
                    // Once, and not every second that the disk stays full or the file away.
                    if !(repeats && repeated) {
                        let cause = failure.error.source().map(ToString::to_string);
                        tracing::error!(error = %failure.error, cause, repeated, "commit failed");
                    }
                    self.journal.failed(&work, &failure.error, failure.remedy);
                }
            }
        }
        let unwritten = match self.state {
            State::Working => Ok(()),
            State::Failed(error) => Err(error),
            State::Repeat(_) => Err(Error::new(
                ErrorKind::Unavailable,
                "closing with changes that could not be written: none of them was acknowledged",
            )),
        };
        let in_place = self.file.check_name().map_err(|failure| failure.error);
        // The note goes before the lock: a note written by the next process must stay.
        drop(self.pid_file);
        let closed = catch_unwind(AssertUnwindSafe(|| self.file.close()));
        let closed = closed.unwrap_or_else(|_| Err(panicked("closing")));
        self.journal.set_ended(in_place.and(unwritten).and(closed));
    }

    /// Writes a batch, and before it what an earlier commit failed to write.
    fn write(&mut self, batch: Batch) -> Result<(), Failure> {
        let (batch, reopen) = match std::mem::replace(&mut self.state, State::Working) {
            State::Working => (batch, false),
            State::Repeat(before) => (before.then(batch), true),
            State::Failed(error) => {
                self.state = State::Failed(error.clone());
                return Err(Failure { error, remedy: Remedy::Restart });
            }
        };
        let file = &mut self.file;
        // A panic must not leave waiters without an answer.
        let written = catch_unwind(AssertUnwindSafe(|| {
            if reopen {
                // Opening creates what is not there.
                file.check_name()?;
                file.reopen()?;
            }
            if reopen || !batch.is_empty() {
                file.commit(&batch)?;
            }
            // After the commit: a file that is lost before it is answered is noticed.
            file.check_name()
        }));
        let written = written
            .unwrap_or_else(|_| Err(Failure { error: panicked("writing to"), remedy: Remedy::Restart }));
        if let Err(failure) = &written {
            self.state = match failure.remedy {
                Remedy::Room | Remedy::PutBack => State::Repeat(batch),
                Remedy::Restart => State::Failed(failure.error.clone()),
            };
        }
        written
    }
}

fn panicked(doing: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{doing} the file panicked"))
}
