//! The file of a database, as the system sees it.

use std::{
    fs,
    io::{Error, Result},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// Which file was opened. A process can go on writing into one that has no name any more.
#[derive(Debug)]
pub(super) struct OpenFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl OpenFile {
    /// The file of this name, which is open now.
    pub(super) fn of(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }

    /// Whether the name still leads to the file that is open.
    ///
    /// # Errors
    /// That it does not: what is committed then is in no file that anybody finds again.
    pub(super) fn check(&self) -> Result<()> {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            return Ok(());
        }
        Err(Error::other(
            "the file was deleted or replaced while it is open, and what is committed to it is lost: put it back, or restart \
             to begin with the file that is there",
        ))
    }
}

/// Device and inode.
fn identity(path: &Path) -> Result<(u64, u64)> {
    fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

/// Creates a file that nobody else may read, unless there is one. SQLite gives its log the same rights.
///
/// # Errors
/// None of its own: who opens the file says what is wrong.
pub(super) fn create_private(path: &Path) {
    let _ = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
}
