//! The runtime of commands, and their exit statuses.

use std::pin::Pin;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

/// The exit status of a command that worked and was denied, or found a lock held by another.
pub(super) const DENIED: u8 = 1;

/// The exit status of a command that failed.
pub(super) const FAILED: u8 = 2;

/// Ends when somebody wants the command to end: on SIGINT or SIGTERM, which do not end it by themselves from then on.
pub(super) async fn interrupted() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Runs an async command.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    // The future is boxed, so that the runtime's loop is compiled once for each result and not for each command.
    let work: Pin<Box<dyn Future<Output = Result<T>> + '_>> = Box::pin(work);
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}
