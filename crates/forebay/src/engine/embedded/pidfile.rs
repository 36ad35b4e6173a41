//! The file beside the store's file that names the process which has it open.

use std::{
    error::Error as _,
    fs,
    path::{Path, PathBuf},
    process,
};

use redb::DatabaseError;

use crate::error::Error;

/// The note `PATH.pid`: the process that has the file.
///
/// Only a hint: the lock is the system's, on the file itself. So a note left behind by a crash does no harm, and one
/// that cannot be written is only missed.
#[derive(Debug)]
pub(super) struct PidFile(Option<PathBuf>);

impl PidFile {
    /// Notes that this process has the file.
    pub(super) fn note(path: &Path) -> Self {
        let note = beside(path);
        if let Err(cause) = fs::write(&note, format!("{}\n", process::id())) {
            tracing::warn!(note = %note.display(), %cause, "cannot note who has the file");
            return Self(None);
        }
        Self(Some(note))
    }

    /// No file, no note.
    #[cfg(test)]
    pub(super) fn nobody() -> Self {
        Self(None)
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Some(note) = &self.0 {
            // Whoever reads it when it cannot be removed sees that the file is free first.
            let _ = fs::remove_file(note);
        }
    }
}

/// Whether a file cannot be opened because a process has it.
pub(super) fn is_held(error: &Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<DatabaseError>());
    matches!(cause, Some(DatabaseError::DatabaseAlreadyOpen))
}

/// Names the process that has the file, if that is why it cannot be opened.
pub(super) fn explain(path: &Path, error: Error) -> Error {
    if !is_held(&error) {
        return error;
    }
    let pid = fs::read_to_string(beside(path)).ok().and_then(|pid| pid.trim().parse::<u32>().ok());
    let advice = "speak to that one with --server URL, or stop it";
    let what = match pid {
        Some(pid) if pid == process::id() => "this process has it open already: share that handle".to_owned(),
        Some(pid) => format!("process {pid} has it open: {advice}"),
        None => format!("another process has it open: {advice}"),
    };
    Error::new(error.kind(), format!("opening embedded:{}: {what}", path.display()))
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pid");
    name.into()
}
