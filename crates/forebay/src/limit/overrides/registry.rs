//! The state that all handles of a limit in one process share, and the task that learns overrides from the store.
//!
//! Overrides that are set at run time live in the store: one table for each limit, all of them on one host, and beside
//! them a mark for each table, drawn afresh with every change. A process reads the marks every second, and the
//! tables whose mark it does not know. Marks are compared for being the same and for nothing else, so that a store
//! which went back in time is noticed, too.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use tokio::sync;
use uuid::Uuid;

use super::Override;
use crate::{
    error::{Error, ErrorKind, Result},
    key::Name,
    limit::{decide::DenyCache, local::LocalLimiters, report::NearKeys},
    store::Store,
    time::secs,
};

/// The interval at which a process looks for overrides that other processes have set.
pub(crate) const LOOK: Duration = secs(1);

/// The longest wait for a look or a change.
const ANSWER: Duration = secs(1);

/// The limits of an open store that anybody asked about.
#[derive(Debug)]
pub(crate) struct Limits {
    pub store: Store,
    /// The leased limits, which are given back when the store is closed.
    pub(crate) leased: LocalLimiters,
    by_name: Mutex<HashMap<Name, Arc<Shared>>>,
    /// One look or change at a time, so that a look which began before a change does not undo it here.
    turn: sync::Mutex<()>,
    /// Why the last look came to nothing.
    trouble: Mutex<Option<Error>>,
}

/// The state that all handles of one limit share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub overrides: Overrides,
    /// Denials of takes from any handle, each under its rule, and how often each key was denied.
    pub denied: DenyCache,
    /// Keys close to their limit. A take that finds the lock held skips it: another take will come.
    pub near: Mutex<NearKeys>,
}

/// The overrides of one limit that were set at run time, as far as this process knows.
#[derive(Debug, Default)]
pub(crate) struct Overrides {
    table: RwLock<HashMap<Box<str>, Override>>,
    /// How many the table holds, so that a limit without any takes no lock. Relaxed: an override counts from some
    /// moment during the call that sets it.
    held: AtomicUsize,
    /// Which state of the store's table this is; `None`: of none.
    mark: Mutex<Option<Uuid>>,
}

impl Overrides {
    /// Whether there are none.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.held.load(Ordering::Relaxed) == 0
    }

    /// The override of a key, if it has one.
    pub(crate) fn of(&self, key: &str) -> Option<Override> {
        if self.is_empty() {
            return None;
        }
        self.table.read().get(key).copied()
    }

    /// All of them.
    pub(crate) fn all(&self) -> HashMap<Box<str>, Override> {
        self.table.read().clone()
    }

    /// Takes over a change that was made in the store.
    fn change(&self, key: &str, instead: Option<Override>) {
        // The next look finds the changes of other processes.
        *self.mark.lock() = None;
        let mut table = self.table.write();
        match instead {
            Some(instead) => drop(table.insert(key.into(), instead)),
            None => drop(table.remove(key)),
        }
        self.held.store(table.len(), Ordering::Relaxed);
    }

    fn replace(&self, table: HashMap<Box<str>, Override>, mark: Option<Uuid>) {
        let held = table.len();
        *self.table.write() = table;
        self.held.store(held, Ordering::Relaxed);
        *self.mark.lock() = mark;
    }
}

impl Limits {
    pub(crate) fn new(store: Store) -> Arc<Self> {
        Arc::new(Self {
            store,
            leased: LocalLimiters::default(),
            by_name: Mutex::default(),
            turn: sync::Mutex::default(),
            trouble: Mutex::default(),
        })
    }

    /// The shared state of the handles of `name`.
    pub(crate) fn of(&self, name: &Name) -> Arc<Shared> {
        self.by_name.lock().entry(name.clone()).or_default().clone()
    }

    /// Warnings for an operator.
    pub(crate) fn warning(&self) -> Option<String> {
        let trouble = self.trouble.lock();
        trouble.as_ref().map(|error| {
            format!("overrides that were set at run time are those of the last look, the store does not tell them: {error}")
        })
    }
}

impl Limits {
    /// Reads what other processes let single keys be allowed: see
    /// [`Forebay::refresh_overrides`](crate::Forebay::refresh_overrides).
    pub(crate) async fn refresh_overrides(&self) -> Result<()> {
        let looked = self.look_for_overrides().await;
        let trouble = looked.as_ref().err().cloned();
        *self.trouble.lock() = trouble;
        looked
    }

    async fn look_for_overrides(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        let marks: HashMap<Name, Uuid> =
            self.waiting(self.store.engine().override_marks()).await?.into_iter().collect();
        let known: Vec<_> =
            self.by_name.lock().iter().map(|(name, one)| (name.clone(), one.clone())).collect();
        for (name, shared) in known {
            if !marks.contains_key(&name) && shared.overrides.mark.lock().is_some() {
                // The store has lost them all.
                shared.overrides.replace(HashMap::new(), None);
            }
        }
        for (name, mark) in marks {
            let shared = self.of(&name);
            if *shared.overrides.mark.lock() == Some(mark) {
                continue;
            }
            // A table may be newer than its mark here, which then is not the one that the next look finds.
            let table = self.waiting(self.store.engine().overrides(&name)).await?;
            let read = |(key, text): (Box<str>, Box<str>)| {
                let instead = Override::from_store(&text);
                if instead.is_none() {
                    tracing::warn!(limit = %name, %key, "an override in the store is of no known form, and ignored");
                }
                Some((key, instead?))
            };
            shared.overrides.replace(table.into_iter().filter_map(read).collect(), Some(mark));
        }
        Ok(())
    }

    /// Lets a key be allowed something else in the store, and then here. Whether that changed anything.
    pub(crate) async fn keep_override(
        &self,
        limit: &Name,
        key: &str,
        instead: Option<Override>,
    ) -> Result<bool> {
        let _turn = self.turn.lock().await;
        let (text, mark) = (instead.map(|instead| instead.to_string()), Uuid::new_v4());
        let step = self.store.engine().override_set(limit, key, text.as_deref(), mark);
        let changed = self.store.in_time(ANSWER, || format!("limit {limit}"), step).await?;
        self.of(limit).overrides.change(key, instead);
        Ok(changed)
    }

    async fn waiting<T>(&self, step: impl Future<Output = Result<T>>) -> Result<T> {
        self.store.in_time(ANSWER, || "reading overrides".into(), step).await
    }
}

/// Looks for overrides for as long as the store is open.
pub(crate) async fn follow_overrides(limits: Weak<Limits>) {
    while let Some(limits) = limits.upgrade() {
        match limits.refresh_overrides().await {
            Err(error) if error.kind() == ErrorKind::Closed => return,
            Err(error) => tracing::debug!(%error, "looking for overrides failed"),
            Ok(()) => {}
        }
        let clock = limits.store.clock().clone();
        drop(limits);
        clock.sleep(LOOK).await;
    }
}
