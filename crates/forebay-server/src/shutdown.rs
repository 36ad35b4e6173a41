//! The signals that stop the server, or reload its configuration.

use anyhow::{Context, Result};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// SIGHUP, which reloads the configuration.
#[derive(Debug)]
pub struct Hangup(Signal);

impl Hangup {
    /// Handles SIGHUP from now on, so that it no longer ends the process.
    ///
    /// # Errors
    /// If the system does not let signals be handled.
    pub fn listen() -> Result<Self> {
        signal(SignalKind::hangup()).context("listening for SIGHUP").map(Self)
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            // There are no more signals.
            std::future::pending::<()>().await;
        }
    }
}

/// Tells whether the process should stop. Clones share the state.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Handles SIGTERM and SIGINT from now on. A second one ends the process at once, after `cleanup`.
    ///
    /// # Errors
    /// If the system does not let signals be handled.
    pub fn on_signal(cleanup: impl Fn() + Send + 'static) -> Result<Self> {
        let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
        let (requested, stop) = watch::channel(false);
        tokio::spawn(async move {
            loop {
                let (name, number) = tokio::select! {
                    _ = terminate.recv() => ("SIGTERM", 15),
                    _ = interrupt.recv() => ("SIGINT", 2),
                };
                if requested.send_replace(true) {
                    tracing::warn!("{name} again: stopping at once");
                    cleanup();
                    // The exit status of a shell for a process that a signal ended.
                    std::process::exit(128 + number);
                }
                tracing::info!("{name}: stopping; a second signal stops at once");
            }
        });
        Ok(Self(stop))
    }

    /// Waits until the process should stop.
    pub async fn requested(mut self) {
        // The sender is in a task that never ends by itself.
        let _ = self.0.wait_for(|requested| *requested).await;
    }
}
