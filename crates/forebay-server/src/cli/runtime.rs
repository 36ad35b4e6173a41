//! The runtime of commands, and their exit statuses.

use std::pin::Pin;

use anyhow::Result;

/// The exit status of a command that worked and was denied, or found a lock held by another.
pub(super) const DENIED: u8 = 1;

/// The exit status of a command that failed.
pub(super) const FAILED: u8 = 2;

/// Runs an async command.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    // The future is boxed, so that the runtime's loop is compiled once for each result and not for each command.
    let work: Pin<Box<dyn Future<Output = Result<T>> + '_>> = Box::pin(work);
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}
