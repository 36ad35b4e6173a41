//! What a sink keeps between batches.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use forebay::{Timestamp, buffer::Schema, sink::SinkError, time::hours};

use super::plan::Plan;
use crate::Options;

/// How often the ledger is pruned, besides when a buffer is prepared.
const PRUNE_EVERY: Duration = hours(1);

/// By the buffer's fingerprint.
type Plans<F> = HashMap<Box<str>, Arc<Plan<F>>>;

/// A sink's options, and what it has found out. Clones share it.
pub(crate) struct State<F> {
    pub(crate) options: Arc<Options>,
    /// What is known of the tables; the lock is held for a look-up.
    plans: Arc<Mutex<Plans<F>>>,
    /// When the ledger was last pruned, on the monotonic clock; the lock is held for a comparison.
    pruned: Arc<Mutex<Option<Duration>>>,
    /// Why the last batch could not be applied for now; the lock is held to read or to set it.
    failing: Arc<Mutex<Option<String>>>,
}

impl<F> State<F> {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            options: Arc::new(options),
            plans: Arc::default(),
            pruned: Arc::default(),
            failing: Arc::default(),
        }
    }

    /// What is known of a buffer's table.
    pub(crate) fn plan(&self, schema: &Schema) -> Option<Arc<Plan<F>>> {
        self.plans().get(&schema.fingerprint).cloned()
    }

    /// Remembers how a buffer fits its table.
    pub(crate) fn know(&self, schema: &Schema, plan: Plan<F>) -> Arc<Plan<F>> {
        let plan = Arc::new(plan);
        self.plans().insert(schema.fingerprint.clone(), plan.clone());
        plan
    }

    /// Notes how applying a batch went. A table that does not fit is forgotten, so that the next batch looks again:
    /// somebody may have mended it.
    pub(crate) fn note<T>(&self, schema: &Schema, result: &Result<T, SinkError>) {
        if let Err(SinkError::Permanent(_)) = result {
            self.plans().remove(&schema.fingerprint);
        }
        let failing = result.as_ref().err().filter(|error| matches!(error, SinkError::Transient(_)));
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = failing.map(ToString::to_string);
    }

    /// What an operator should know of the database and the tables, and why batches are not applied at the moment.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> =
            self.plans().values().flat_map(|plan| plan.warnings.iter().cloned()).collect();
        let failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        warnings.extend(failing.map(|why| format!("a batch could not be applied, and is kept: {why}")));
        warnings
    }

    /// The places of Forebay's own tables, as far as they are known, each once.
    pub(crate) fn places(&self) -> Vec<String> {
        let mut places: Vec<String> = self.plans().values().map(|plan| plan.place.clone()).collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    /// Which entries of the ledger are too old to keep.
    pub(crate) fn prune_before(&self) -> Timestamp {
        self.options.clock.now().minus(self.options.ledger_retention)
    }

    /// Whether it is time to prune; if so, the next time is counted from now.
    pub(crate) fn prune_is_due(&self) -> bool {
        let now = self.options.clock.monotonic();
        let mut last = self.pruned.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| now >= last + PRUNE_EVERY);
        if due {
            *last = Some(now);
        }
        due
    }

    fn plans(&self) -> MutexGuard<'_, Plans<F>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F> Clone for State<F> {
    fn clone(&self) -> Self {
        let Self { options, plans, pruned, failing } = self;
        let (options, plans, pruned, failing) =
            (options.clone(), plans.clone(), pruned.clone(), failing.clone());
        Self { options, plans, pruned, failing }
    }
}
