//! Signals.

use anyhow::{Context, Result};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// SIGHUP, by which the process is asked to read its configuration again.
#[derive(Debug)]
pub struct Hangup(Signal);

impl Hangup {
    /// Listens for SIGHUP from now on, which no longer ends the process.
    ///
    /// # Errors
    /// When the system does not let signals be handled.
    pub fn listen() -> Result<Self> {
        signal(SignalKind::hangup()).context("listening for SIGHUP").map(Self)
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            // There will not be another one.
            std::future::pending::<()>().await;
        }
    }
}

/// Whether the process has been asked to stop. Clones share the answer.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Listens for SIGTERM and SIGINT from now on. A second one ends the process at once, after `tidy`.
    ///
    /// # Errors
    /// When the system does not let signals be handled.
    pub fn on_signal(tidy: impl Fn() + Send + 'static) -> Result<Self> {
        let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
        let (asked, stop) = watch::channel(false);
        tokio::spawn(async move {
            loop {
                let (name, number) = tokio::select! {
                    _ = terminate.recv() => ("SIGTERM", 15),
                    _ = interrupt.recv() => ("SIGINT", 2),
                };
                if asked.send_replace(true) {
                    tracing::warn!("{name} again: stopping at once");
                    tidy();
                    // As a shell says it of a process that a signal ended.
                    std::process::exit(128 + number);
                }
                tracing::info!("{name}: stopping; a second signal stops at once");
            }
        });
        Ok(Self(stop))
    }

    /// Waits until the process is asked to stop; returns at once if it has been.
    pub async fn requested(mut self) {
        // The sender lives in a task that never ends by itself.
        let _ = self.0.wait_for(|asked| *asked).await;
    }
}
