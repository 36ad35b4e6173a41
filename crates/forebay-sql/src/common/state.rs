//! The state of a sink between batches.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use forebay::{buffer::Schema, sink::SinkError, time::hours};
use parking_lot::Mutex;

use super::{dialect::Dialect, plan::Plan};
use crate::Options;

/// How often the ledger is pruned, besides when a buffer is prepared.
const PRUNE_INTERVAL: Duration = hours(1);

/// A sink's options, and what it knows about the tables.
pub(crate) struct State<D: Dialect> {
    pub(crate) options: Options,
    /// Plans by the buffer's fingerprint. The lock is held for a look-up.
    plans: Mutex<HashMap<Box<str>, Arc<Plan<D>>>>,
    /// When the ledger was last pruned, on the monotonic clock.
    pruned: Mutex<Option<Duration>>,
    /// Why the last batch failed for now.
    failing: Mutex<Option<String>>,
}

impl<D: Dialect> State<D> {
    pub(crate) fn new(options: Options) -> Self {
        Self { options, plans: Mutex::default(), pruned: Mutex::default(), failing: Mutex::default() }
    }

    pub(crate) fn plan(&self, schema: &Schema) -> Option<Arc<Plan<D>>> {
        self.plans.lock().get(&schema.fingerprint).cloned()
    }

    pub(crate) fn remember(&self, schema: &Schema, plan: Plan<D>) -> Arc<Plan<D>> {
        let plan = Arc::new(plan);
        self.plans.lock().insert(schema.fingerprint.clone(), plan.clone());
        plan
    }

    /// Records the result of a batch. The plan of a table that does not fit is forgotten, so that the next batch inspects
    /// the table again: an operator may have altered it.
    pub(crate) fn record<T>(&self, schema: &Schema, result: &Result<T, SinkError>) {
        if let Err(SinkError::Permanent(_)) = result {
            self.plans.lock().remove(&schema.fingerprint);
        }
        let failing = result.as_ref().err().filter(|error| matches!(error, SinkError::Transient(_)));
        *self.failing.lock() = failing.map(ToString::to_string);
    }

    /// Warnings for an operator: about the database and the tables, and why batches fail at the moment.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let known = self.plans.lock().values().flat_map(|plan| plan.warnings.clone()).collect::<Vec<_>>();
        let failing = self.failing.lock().clone();
        let failing = failing.map(|why| format!("a batch could not be applied, and is kept: {why}"));
        known.into_iter().chain(failing).collect()
    }

    /// The known qualifiers of Forebay's own tables, each once.
    pub(crate) fn places(&self) -> BTreeSet<String> {
        self.plans.lock().values().map(|plan| plan.place.clone()).collect()
    }

    /// Whether it is time to prune. If so, the next interval begins now.
    pub(crate) fn prune_is_due(&self) -> bool {
        let now = self.options.clock.monotonic();
        let mut last = self.pruned.lock();
        let due = last.is_none_or(|last| now >= last + PRUNE_INTERVAL);
        if due {
            *last = Some(now);
        }
        due
    }
}
