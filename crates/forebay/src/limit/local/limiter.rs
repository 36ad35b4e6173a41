//! Takes that this process decides by itself, within allotments of the quota that it gets from the store.
//!
//! A take that the local budget covers is spent at once. Any other take goes to the store as under an exact limit, which is
//! always right because allotments are charged there. One request at a time for each key fetches the next allotment before
//! the last one is spent.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _, future::join_all, stream};
use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::Notify};
use uuid::Uuid;

use super::budget::{BUCKET_SPAN, LocalBudgets, RefillRequest, Spent};
use crate::{
    clock::Clock,
    engine::{
        Engine,
        step::{Allotted, Take},
    },
    error::Result,
    key::Name,
    limit::Decision,
    model::rate::allotments::AllotmentRequest,
    time::{When, micros, millis, secs},
};

/// The interval at which idle budget is returned.
const SWEEP_INTERVAL: Duration = millis(500);

/// The longest wait of a request for its answer, and of a shutdown for all answers.
const REQUEST_TIMEOUT: Duration = secs(1);

/// At most this many requests that return idle budget are in flight at once.
const MAX_CONCURRENT: usize = 64;

/// The local budgets of one limit, and the requests that fill them.
#[derive(Debug)]
pub(crate) struct LocalLimiter {
    store: Arc<StoreClient>,
    clock: Clock,
    budgets: LocalBudgets,
    /// A sweep task runs.
    sweeping: AtomicBool,
    /// No more requests are sent.
    closed: AtomicBool,
    completed: Notify,
}

/// Sends requests to the store.
#[derive(Debug)]
struct StoreClient {
    name: Name,
    engine: Engine,
    holder: u128,
    sequence: AtomicU64,
}

/// The local limiters of an open store. Their budgets are returned when the store is closed.
#[derive(Debug, Default)]
pub(crate) struct LocalLimiters(Mutex<Vec<Weak<LocalLimiter>>>);

impl LocalLimiters {
    fn add(&self, limiter: &Arc<LocalLimiter>) {
        let mut all = self.0.lock();
        all.retain(|limiter| limiter.strong_count() > 0);
        all.push(Arc::downgrade(limiter));
    }

    /// Returns all budgets within a second, and stops requesting more.
    pub(crate) async fn close(&self) {
        let all: Vec<_> = self.0.lock().drain(..).collect();
        join_all(all.iter().filter_map(Weak::upgrade).map(async |limiter| {
            limiter.closed.store(true, Ordering::Release);
            limiter.give_back().await;
        }))
        .await;
    }
}

impl LocalLimiter {
    pub(crate) fn new(name: Name, engine: Engine, clock: Clock, all: &LocalLimiters) -> Arc<Self> {
        let (holder, sequence) = (Uuid::new_v4().as_u128(), AtomicU64::new(1));
        let limiter = Arc::new(Self {
            store: Arc::new(StoreClient { name, engine, holder, sequence }),
            clock,
            budgets: LocalBudgets::default(),
            sweeping: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            completed: Notify::new(),
        });
        all.add(&limiter);
        limiter
    }

    /// Spends from the local budget. `None`: the store has to decide.
    #[inline]
    pub(crate) fn spend(self: &Arc<Self>, take: &Take<'_>) -> Option<Decision> {
        self.spend_in_window(take).map(|(decision, _)| decision)
    }

    /// As [`spend`](Self::spend), and the window that the budget was charged in.
    #[inline]
    pub(crate) fn spend_in_window(self: &Arc<Self>, take: &Take<'_>) -> Option<(Decision, u64)> {
        let (Spent { remaining, reset_after, window }, request) = self.budgets.spend(take, &self.clock)?;
        if let Some(request) = request {
            self.send(request);
        }
        Some((Decision::from_lease(take.rule.quota(), remaining, reset_after), window))
    }

    /// Records that the store admitted what the local budget did not cover.
    pub(crate) fn missed(self: &Arc<Self>, take: &Take<'_>) {
        if let Some(request) = self.budgets.missed(take, self.clock.coarse()) {
            self.send(request);
        }
        self.ensure_sweep();
    }

    /// The balance of a key.
    pub(crate) fn left(&self, take: &Take<'_>) -> u64 {
        self.budgets.left(take, self.clock.coarse())
    }

    /// Returns the balance of a key to the store. False: there is none.
    pub(crate) async fn give_back_of(&self, take: &Take<'_>) -> bool {
        let Some(request) = self.budgets.empty(take) else { return false };
        self.send_request(request).await;
        true
    }

    /// Returns the balance of a key, and has the store forget what was spent of it. A reset then leaves nothing of this
    /// process charged.
    pub(crate) async fn void(self: &Arc<Self>, take: &Take<'_>) {
        let voided = async {
            loop {
                // Registered first, so that no completion is missed.
                let completed = self.completed.notified();
                if let Some(request) = self.budgets.void(take, self.clock.coarse()) {
                    return self.send_request(request).await;
                }
                completed.await;
            }
        };
        self.clock.timeout(REQUEST_TIMEOUT, voided).await;
        // The key may have a budget only since then.
        self.ensure_sweep();
    }

    /// Returns all budgets to the store, within a second.
    pub(crate) async fn give_back(&self) {
        let all = async {
            loop {
                // Registered first, so that no completion is missed.
                let completed = self.completed.notified();
                let (requests, more) = self.budgets.empty_all();
                self.send_all(requests).await;
                if !more {
                    return;
                }
                completed.await;
            }
        };
        self.clock.timeout(REQUEST_TIMEOUT, all).await;
    }

    /// Sends a request in the background, or drops it if that is no longer possible.
    fn send(self: &Arc<Self>, request: RefillRequest) {
        if self.closed.load(Ordering::Acquire) {
            drop(self.pending(request));
        } else if self.store.engine.is_in_process() {
            // It never waits.
            let _ = self.send_request(request).now_or_never();
        } else if let Ok(runtime) = Handle::try_current() {
            let limiter = self.clone();
            drop(runtime.spawn(async move { limiter.send_request(request).await }));
        } else {
            drop(self.pending(request));
        }
    }

    async fn send_all(&self, requests: Vec<RefillRequest>) {
        stream::iter(requests)
            .for_each_concurrent(MAX_CONCURRENT, |request| self.send_request(request))
            .await;
    }

    async fn send_request(&self, request: RefillRequest) {
        let mut pending = self.pending(request);
        let answer = self.clock.timeout(REQUEST_TIMEOUT, self.store.request(&pending.request)).await;
        let answer = answer.map(|answer| {
            answer.inspect_err(|error| {
                tracing::debug!(limit = %self.store.name, %error, "no allotment: takes go to the store");
            })
        });
        pending.allotted = answer.and_then(Result::ok);
    }

    fn pending(&self, request: RefillRequest) -> PendingRequest<'_> {
        PendingRequest { limiter: self, request, sent: self.clock.coarse(), allotted: None }
    }

    /// Starts the sweep task unless it runs.
    fn ensure_sweep(self: &Arc<Self>) {
        if self.sweeping.load(Ordering::Relaxed) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        if !self.sweeping.swap(true, Ordering::AcqRel) {
            drop(runtime.spawn(sweep_loop(SweepTask(Arc::downgrade(self)), self.clock.clone())));
        }
    }
}

impl Drop for LocalLimiter {
    /// Returns all budgets in the background, if there is a runtime.
    fn drop(&mut self) {
        let (requests, _) = self.budgets.empty_all();
        if requests.is_empty() {
            return;
        }
        let store = self.store.clone();
        let all = async move {
            stream::iter(requests)
                .for_each_concurrent(MAX_CONCURRENT, async |request| drop(store.request(&request).await))
                .await;
        };
        if self.store.engine.is_in_process() {
            let _ = all.now_or_never();
        } else if let Ok(runtime) = Handle::try_current() {
            let clock = self.clock.clone();
            drop(runtime.spawn(async move { clock.timeout(REQUEST_TIMEOUT, all).await }));
        }
    }
}

impl StoreClient {
    async fn request(&self, request: &RefillRequest) -> Result<Allotted> {
        let take = Take {
            limit: &self.name,
            key: &request.key,
            rule: request.rule,
            cost: 0,
            within: REQUEST_TIMEOUT,
        };
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let RefillRequest { kept, back, want, .. } = *request;
        let request = AllotmentRequest {
            holder: self.holder,
            sequence,
            kept,
            back,
            want,
            span: micros(BUCKET_SPAN).unsigned_abs(),
        };
        self.engine.allot(take, request, When::EngineClock).await
    }
}

/// A request without an answer. Dropped, it is completed, so that its key may send others.
struct PendingRequest<'a> {
    limiter: &'a LocalLimiter,
    request: RefillRequest,
    sent: Duration,
    allotted: Option<Allotted>,
}

impl Drop for PendingRequest<'_> {
    fn drop(&mut self) {
        let Self { limiter, request, sent, allotted } = self;
        limiter.budgets.completed(request, *sent, limiter.clock.coarse(), allotted.take());
        limiter.completed.notify_waiters();
    }
}

/// The sweep task. When it ends for any reason, another may start.
struct SweepTask(Weak<LocalLimiter>);

impl Drop for SweepTask {
    fn drop(&mut self) {
        if let Some(limiter) = self.0.upgrade() {
            limiter.sweeping.store(false, Ordering::Release);
        }
    }
}

async fn sweep_loop(task: SweepTask, clock: Clock) {
    loop {
        clock.sleep(SWEEP_INTERVAL).await;
        let Some(limiter) = task.0.upgrade() else { return };
        let requests = limiter.budgets.sweep(limiter.clock.coarse());
        limiter.send_all(requests).await;
        if limiter.budgets.is_empty() {
            return;
        }
    }
}
