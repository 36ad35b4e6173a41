//! The name of the open file, as the system sees it.

use std::{
    fs::{self, File, Metadata},
    io,
    path::{Path, PathBuf},
};

/// Which file was opened under a path. A process can go on writing to a file that has no name any more.
#[derive(Debug)]
pub(super) struct Watched {
    path: PathBuf,
    identity: (u64, u64),
}

impl Watched {
    /// A file that was opened at a path.
    pub(super) fn new(path: &Path, file: &File) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(&file.metadata()?) })
    }

    /// Whether the path still leads to the open file.
    pub(super) fn is_in_place(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity)
    }
}

/// Device and inode.
#[cfg(unix)]
fn identity(file: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    (file.dev(), file.ino())
}

/// Other systems keep the name of a file that is open; only a missing one is noticed.
#[cfg(not(unix))]
fn identity(_: &Metadata) -> (u64, u64) {
    (0, 0)
}
