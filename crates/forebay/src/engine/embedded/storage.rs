//! The bytes under the database.

use std::{io, ops::Bound};

use redb::{BackendError, StorageBackend};

/// A backend of redb's whose failed syncs are never taken for a full disk.
///
/// A write that finds the disk full has not happened, and can be repeated. After a failed sync the system may have
/// thrown away what it did not write and still show it to readers, so that a repeated sync succeeds over a hole;
/// and a thinly provisioned disk reports that it is full only then. What was synced last is all that is known to be
/// there, and only a restart reads it.
///
/// # Source
/// Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020.
#[derive(Debug)]
pub(super) struct Storage<B>(pub B);

/// Methods that the backend below answers.
macro_rules! delegate {
    ($(fn $name:ident(&self $(, $argument:ident: $type:ty)*) -> $answer:ty;)*) => {$(
        fn $name(&self $(, $argument: $type)*) -> $answer {
            self.0.$name($($argument),*)
        }
    )*};
}

impl<B: StorageBackend> StorageBackend for Storage<B> {
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data().map_err(|cause| io::Error::other(format!("sync failed: {cause}")))
    }

    delegate! {
        fn len(&self) -> io::Result<u64>;
        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
        fn set_len(&self, len: u64) -> io::Result<()>;
        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;
        fn close(&self) -> io::Result<()>;
        fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError>;
        fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError>;
        fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError>;
        fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError>;
        fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError>;
        fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError>;
    }
}

/// Whether a failure is that the disk, or the user's share of it, is full.
pub(super) fn is_full(cause: &redb::Error) -> bool {
    let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    matches!(cause, redb::Error::Io(cause) if full.contains(&cause.kind()))
}
