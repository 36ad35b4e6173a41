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

impl<B: StorageBackend> StorageBackend for Storage<B> {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data().map_err(|cause| io::Error::other(format!("sync failed: {cause}")))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.query_lock_range(start, end)
    }
}

/// Whether a failure is that the disk, or the user's share of it, is full.
pub(super) fn is_full(cause: &redb::Error) -> bool {
    let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    matches!(cause, redb::Error::Io(cause) if full.contains(&cause.kind()))
}
