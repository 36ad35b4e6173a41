//! The identity of a database's file.

use std::{
    fs,
    io::{Error, Result},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// The file that was opened. A process can go on writing to a file that was deleted.
#[derive(Debug)]
pub(super) struct OpenFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl OpenFile {
    /// Records the identity of a file that is open now.
    pub(super) fn of(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }

    /// Checks that the path still leads to the open file.
    ///
    /// # Errors
    /// If it does not: commits then go to a file that nobody can open again.
    pub(super) fn check(&self) -> Result<()> {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            return Ok(());
        }
        Err(Error::other(
            "the file was deleted or replaced while it is open, so commits to it are lost: put it back, or restart to use \
             the file that has its name now",
        ))
    }
}

/// Device and inode.
fn identity(path: &Path) -> Result<(u64, u64)> {
    fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

/// Creates a file that only its owner can read, unless it exists. SQLite gives its log the same rights. An error is ignored,
/// because opening the file reports it.
pub(super) fn create_private(path: &Path) {
    let _ = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
}
