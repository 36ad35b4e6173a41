//! The outcome of the last reload.

use forebay::Timestamp;
use parking_lot::Mutex;

use crate::{
    config::Mistakes,
    metrics::{Metrics, ReloadMetrics},
    rules::Changes,
};

/// The outcome of the reloads so far.
#[derive(Debug)]
pub struct ReloadStatus {
    metrics: ReloadMetrics,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The mistakes for which the last reload was refused.
    mistakes: Option<Mistakes>,
    /// Changes in the file that need a restart.
    restart: Vec<String>,
    /// The changes of the last reload that made some, and when.
    last: Option<(Timestamp, Vec<String>)>,
}

impl ReloadStatus {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let metrics: ReloadMetrics = metrics.group(&[]);
        metrics.current.set(1.0);
        Self { metrics, state: Mutex::default() }
    }

    /// Records a configuration that was taken.
    pub(crate) fn record(&self, changes: &Changes, now: Timestamp) {
        let mut state = self.state.lock();
        if !changes.made.is_empty() {
            self.metrics.applied.increment(1);
            state.last = Some((now, changes.made.clone()));
        }
        (state.mistakes, state.restart) = (None, changes.restart.clone());
        self.metrics.current.set(if changes.restart.is_empty() { 1.0 } else { 0.0 });
    }

    /// Records an invalid configuration; the previous one stays in force.
    pub(super) fn record_refused(&self, mistakes: Mistakes) {
        self.metrics.refused.increment(1);
        self.metrics.current.set(0.0);
        self.state.lock().mistakes = Some(mistakes);
    }

    /// The changes of the last reload that made some, such as `limit hits: removed`, and when.
    pub(crate) fn last(&self) -> Option<(Timestamp, Vec<String>)> {
        self.state.lock().last.clone()
    }

    /// Warnings for operators.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let state = self.state.lock();
        let mistakes = state.mistakes.as_ref().map(|mistakes| {
            let mistakes = mistakes.to_string().replace('\n', "; ");
            format!("invalid configuration; keeping the previous one: {mistakes}")
        });
        let restart = (!state.restart.is_empty()).then(|| needs_restart(&state.restart));
        mistakes.into_iter().chain(restart).collect()
    }
}

/// The warning for changes that need a restart.
pub(super) fn needs_restart(changes: &[String]) -> String {
    format!("the configuration has changes that need a restart: {}", changes.join(", "))
}
