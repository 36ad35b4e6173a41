//! The state that every handle shares: the engine, the clock, and the engine that decides while the store is away.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    clock::Clock,
    engine::{Engine, embedded::Embedded},
    error::{Error, ErrorKind, Result, invalid},
    key::Name,
};

/// An open store as the primitives see it. Clones share it.
///
/// [`Forebay`](crate::Forebay) hands it to each handle. The primitives know nothing of `Forebay`.
#[derive(Clone, Debug)]
pub(crate) struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    engine: Engine,
    clock: Clock,
    /// Decides for limits with `OnError::Local` while the store does not answer.
    fallback: OnceLock<Engine>,
    once_bytes: u64,
    /// The kind of each series. The lock protects the map, for one look-up at a time.
    kinds: Mutex<HashMap<Name, &'static str>>,
}

impl Store {
    pub(crate) fn new(engine: Engine, clock: Clock, once_bytes: u64) -> Self {
        Self(Arc::new(Inner {
            engine,
            clock,
            fallback: OnceLock::new(),
            once_bytes,
            kinds: Mutex::default(),
        }))
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// The clock of the embedded engine and of all waiting.
    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Runs a step for at most `span`. `action` says what it was in the error of one that does not answer. An engine in this
    /// process has no timeout: nothing can answer in its place.
    pub(crate) async fn in_time<T>(
        &self,
        span: Duration,
        action: impl FnOnce() -> String,
        step: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        if self.engine().is_in_process() {
            return step.await;
        }
        self.clock().timeout(span, step).await.unwrap_or_else(|| {
            let text = format!("{}: no answer from the store within {span:?}", action());
            Err(Error::new(ErrorKind::Timeout, text))
        })
    }

    /// An engine in this process, which starts empty at its first use.
    pub(crate) fn fallback(&self) -> &Engine {
        self.0.fallback.get_or_init(|| Engine::Embedded(Embedded::in_memory(self.0.clock.clone())))
    }

    /// Notes what a series counts.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: it was opened with another kind before.
    pub(crate) fn set_kind(&self, series: &Name, kind: &'static str) -> Result<()> {
        let before = *self.0.kinds.lock().entry(series.clone()).or_insert(kind);
        if before == kind {
            return Ok(());
        }
        Err(invalid(format!(
            "series {series}: it is open as a series of {before}, and a name has one kind, not also {kind}"
        )))
    }

    /// The most bytes that requests and their tokens may take on one host.
    pub(crate) fn once_bytes(&self) -> u64 {
        self.0.once_bytes
    }
}
