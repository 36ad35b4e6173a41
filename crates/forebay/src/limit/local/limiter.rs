//! Limits that a process decides by itself, within slices of the quota that the store lends it.
//!
//! What is held is spent at once; what is not is asked of the store like of any other limit, which is always right, since
//! slices are charged. Beside that, one request at a time and key fetches the next slice before the last one is spent.

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

use super::budget::{Ask, Purses, SPAN};
use crate::{
    clock::Clock,
    engine::{
        Engine,
        step::{Allotted, Take},
    },
    error::Result,
    key::Name,
    limit::{Decision, LimitHandle, Source},
    model::rate::allotments::AllotmentRequest,
    time::{When, micros, millis, secs},
};

/// How often what is idle is given back.
const SWEEP: Duration = millis(500);

/// How long a request for a slice waits for its answer, and a shutdown for all of them.
const ANSWER: Duration = secs(1);

/// So many requests at once give back what is idle.
const ABREAST: usize = 64;

/// What this process holds of one limit.
#[derive(Debug)]
pub(crate) struct Leased {
    line: Arc<Line>,
    clock: Clock,
    purses: Purses,
    /// Somebody sweeps.
    tended: AtomicBool,
    /// Nothing more is asked for.
    closed: AtomicBool,
    landed: Notify,
}

/// The way to the store.
#[derive(Debug)]
struct Line {
    name: Name,
    engine: Engine,
    holder: u128,
    sequence: AtomicU64,
}

/// The leased limits of an open store, which are given back when it is closed.
#[derive(Debug, Default)]
pub(crate) struct AllLeased(Mutex<Vec<Weak<Leased>>>);

impl AllLeased {
    fn add(&self, leased: &Arc<Leased>) {
        let mut all = self.0.lock();
        all.retain(|leased| leased.strong_count() > 0);
        all.push(Arc::downgrade(leased));
    }

    /// Gives everything back, within a second, and asks for nothing any more.
    pub(crate) async fn close(&self) {
        let all: Vec<_> = self.0.lock().drain(..).collect();
        join_all(all.iter().filter_map(Weak::upgrade).map(async |leased| {
            leased.closed.store(true, Ordering::Release);
            leased.give_back().await;
        }))
        .await;
    }
}

impl LimitHandle {
    /// Gives back what this process holds of a [leased](super::Mode::Leased) limit and has not spent, as far as the
    /// store answers within a second. [`Forebay::close`](crate::Forebay::close) and dropping the last handle do it, too; what is not given back
    /// is lost until its window ends, of a bucket until it has refilled.
    ///
    /// # Cost
    /// One round trip for each key that is held, 64 at a time.
    pub async fn give_back(&self) {
        if let Some(leased) = self.leased() {
            leased.give_back().await;
        }
    }

    /// What the store says when this process does not hold enough.
    pub(crate) async fn decide_leased(&self, leased: &Arc<Leased>, take: Take<'_>) -> Result<Decision> {
        let mut decision = self.decide_exactly(take, When::EngineClock).await?;
        // What is held is too little by itself; together with what is left in the store it may be enough.
        if !decision.is_allowed() && Box::pin(leased.give_back_of(&take)).await {
            decision = self.decide_exactly(take, When::EngineClock).await?;
        }
        if decision.is_allowed() && decision.source() == Source::Engine && !decision.is_shadowed() {
            leased.missed(&take);
        }
        Ok(decision)
    }
}

impl Leased {
    pub(crate) fn new(name: Name, engine: Engine, clock: Clock, all: &AllLeased) -> Arc<Self> {
        let (holder, sequence) = (Uuid::new_v4().as_u128(), AtomicU64::new(1));
        let leased = Arc::new(Self {
            line: Arc::new(Line { name, engine, holder, sequence }),
            clock,
            purses: Purses::default(),
            tended: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            landed: Notify::new(),
        });
        all.add(&leased);
        leased
    }

    /// Spends what is held; `None`: the store has to be asked.
    #[inline]
    pub(crate) fn spend(self: &Arc<Self>, take: &Take<'_>) -> Option<Decision> {
        let (spent, ask) = self.purses.spend(take, &self.clock)?;
        if let Some(ask) = ask {
            self.send(ask);
        }
        Some(Decision::from_lease(take.rule.quota(), spent.remaining, spent.reset_after))
    }

    /// Notes that the store admitted what was not held.
    pub(crate) fn missed(self: &Arc<Self>, take: &Take<'_>) {
        if let Some(ask) = self.purses.missed(take, self.clock.coarse()) {
            self.send(ask);
        }
        self.tend();
    }

    /// How much is held of a key.
    pub(crate) fn left(&self, take: &Take<'_>) -> u64 {
        self.purses.left(take, self.clock.coarse())
    }

    /// Gives back what is held of a key; false: nothing is.
    pub(crate) async fn give_back_of(&self, take: &Take<'_>) -> bool {
        let Some(ask) = self.purses.empty(take) else { return false };
        self.fly(ask).await;
        true
    }

    /// Gives back what is held of a key, and has the store forget what has been spent of it, so that a reset leaves nothing
    /// of this process charged.
    pub(crate) async fn void(self: &Arc<Self>, take: &Take<'_>) {
        let voided = async {
            loop {
                // Registered before the look, so that no landing is missed.
                let landed = self.landed.notified();
                if let Some(ask) = self.purses.void(take, self.clock.coarse()) {
                    return self.fly(ask).await;
                }
                landed.await;
            }
        };
        self.clock.timeout(ANSWER, voided).await;
        // What was not held before is not held now.
        self.tend();
    }

    /// Gives everything back, within a second.
    pub(crate) async fn give_back(&self) {
        let all = async {
            loop {
                // Registered before the look, so that no landing is missed.
                let landed = self.landed.notified();
                let (asks, more) = self.purses.empty_all();
                self.fly_all(asks).await;
                if !more {
                    return;
                }
                landed.await;
            }
        };
        self.clock.timeout(ANSWER, all).await;
    }

    /// Sends a request beside whatever the caller does.
    fn send(self: &Arc<Self>, ask: Ask) {
        if self.closed.load(Ordering::Acquire) {
            return self.dropped(&ask);
        }
        if self.line.engine.is_in_process() {
            // It waits for nothing.
            let _ = self.fly(ask).now_or_never();
        } else if let Ok(runtime) = Handle::try_current() {
            let leased = self.clone();
            drop(runtime.spawn(async move { leased.fly(ask).await }));
        } else {
            self.dropped(&ask);
        }
    }

    /// Notes that a request is not sent.
    fn dropped(&self, ask: &Ask) {
        let now = self.clock.coarse();
        self.purses.landed(ask, now, now, None);
    }

    async fn fly_all(&self, asks: Vec<Ask>) {
        stream::iter(asks).for_each_concurrent(ABREAST, |ask| self.fly(ask)).await;
    }

    async fn fly(&self, ask: Ask) {
        let mut flight = Flight { leased: self, ask, over: false };
        let sent = self.clock.coarse();
        let answer = self.clock.timeout(ANSWER, self.line.request(&flight.ask)).await;
        flight.over = true;
        let sliced = answer.and_then(|answer| match answer {
            Ok(sliced) => Some(sliced),
            Err(error) => {
                tracing::debug!(limit = %self.line.name, %error, "no slice: takes ask the store");
                None
            }
        });
        self.purses.landed(&flight.ask, sent, self.clock.coarse(), sliced);
        self.landed.notify_waiters();
    }

    /// Lets somebody sweep while anything is held.
    fn tend(self: &Arc<Self>) {
        if self.tended.load(Ordering::Relaxed) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        if !self.tended.swap(true, Ordering::AcqRel) {
            drop(runtime.spawn(tend_regularly(Tender(Arc::downgrade(self)), self.clock.clone())));
        }
    }
}

impl Drop for Leased {
    /// Gives everything back, beside whatever follows, as far as there is a runtime to do it.
    fn drop(&mut self) {
        let (asks, _) = self.purses.empty_all();
        if asks.is_empty() {
            return;
        }
        let line = self.line.clone();
        let all = async move {
            stream::iter(asks).for_each_concurrent(ABREAST, async |ask| drop(line.request(&ask).await)).await;
        };
        if self.line.engine.is_in_process() {
            let _ = all.now_or_never();
        } else if let Ok(runtime) = Handle::try_current() {
            let clock = self.clock.clone();
            drop(runtime.spawn(async move { clock.timeout(ANSWER, all).await }));
        }
    }
}

impl Line {
    async fn request(&self, ask: &Ask) -> Result<Allotted> {
        let take = Take { limit: &self.name, key: &ask.key, rule: ask.rule, cost: 0, within: ANSWER };
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let Ask { kept, back, want, .. } = *ask;
        let request = AllotmentRequest {
            holder: self.holder,
            sequence,
            kept,
            back,
            want,
            span: micros(SPAN).unsigned_abs(),
        };
        self.engine.allot(take, request, When::EngineClock).await
    }
}

/// A request on its way. Dropped before its end, its key may send others.
struct Flight<'a> {
    leased: &'a Leased,
    ask: Ask,
    over: bool,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.leased.dropped(&self.ask);
            self.leased.landed.notify_waiters();
        }
    }
}

/// Who sweeps; when it ends, for whatever reason, somebody else may.
struct Tender(Weak<Leased>);

impl Drop for Tender {
    fn drop(&mut self) {
        if let Some(leased) = self.0.upgrade() {
            leased.tended.store(false, Ordering::Release);
        }
    }
}

async fn tend_regularly(tender: Tender, clock: Clock) {
    loop {
        clock.sleep(SWEEP).await;
        let Some(leased) = tender.0.upgrade() else { return };
        let asks = leased.purses.sweep(leased.clock.coarse());
        leased.fly_all(asks).await;
        if leased.purses.is_empty() {
            return;
        }
    }
}
