//! One host of several: its engine and its health.

use std::{
    ops::Deref,
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::{sync::Notify, task::AbortHandle};

use super::{
    Host, Record,
    health::{ALERT_INTERVAL, HealthState, PROBE_TIMEOUT},
    placement::{CurrentPlacement, Relation, check_name},
    traffic::Traffic,
};
use crate::{
    clock::Clock,
    engine::{
        redis::{Fence, Redis},
        standing::Standing,
    },
    error::{Error, ErrorKind, Result},
    model::{Failure, Fate, Health, HostStatus, Reply},
};

/// One host, for those who come to it by one table of slots.
#[derive(Debug)]
pub(in crate::engine) struct Member {
    pub host: Host,
    pub engine: Arc<Redis>,
    vitals: Arc<Vitals>,
    /// Its probes, which hold it until they are stopped.
    prober: OnceLock<AbortHandle>,
}

/// What is known of a host, by whichever table of slots callers come to it.
#[derive(Debug)]
struct Vitals {
    state: Mutex<State>,
    /// The calls of this process.
    traffic: Traffic,
    /// The state's `Down`, for those who only ask whether to ask: no order with anything else is needed.
    is_down: AtomicBool,
    /// How many times it went down. Written before `is_down`, by one at a time.
    downs: AtomicU64,
    /// Notified when a caller had no answer.
    trouble: Notify,
}

#[derive(Debug)]
struct State {
    current: HealthState,
    standing: Standing,
    /// The error of the last failed probe.
    reason: Option<Error>,
}

impl Member {
    pub(super) fn new(host: Host, engine: Arc<Redis>) -> Self {
        let standing = Standing::new(engine.clock());
        let vitals = Arc::new(Vitals {
            state: Mutex::new(State { current: HealthState::default(), standing, reason: None }),
            traffic: Traffic::default(),
            is_down: AtomicBool::new(false),
            downs: AtomicU64::new(0),
            trouble: Notify::new(),
        });
        Self { host, engine, vitals, prober: OnceLock::new() }
    }

    /// The same host for those who come to it by the table of slots of another epoch. It is to be probed instead of this one.
    pub(super) fn of_epoch(&self, epoch: u64) -> Self {
        let engine = self.engine.of_epoch(epoch);
        Self { host: self.host.clone(), engine, vitals: self.vitals.clone(), prober: OnceLock::new() }
    }

    /// The calls of this process.
    pub(super) fn traffic(&self) -> &Traffic {
        &self.vitals.traffic
    }

    /// Begins a call to this host, or fails at once while it is down. Not a function around the call: its future
    /// would lie in this one's, twice.
    pub(in crate::engine) fn begin(&self) -> Result<CallGuard<&Self>> {
        CallGuard::begin(self)
    }

    /// [`begin`](Self::begin) for a call that outlives the list of hosts from which this one was taken.
    pub(super) fn begin_owned(self: Arc<Self>) -> Result<CallGuard<Arc<Self>>> {
        CallGuard::begin(self)
    }

    /// Whether calls to this host are begun at present.
    pub(super) fn is_asked(&self) -> bool {
        !self.vitals.is_down.load(Ordering::Relaxed)
    }

    /// How many times this host went down since the store was opened.
    pub(super) fn downs(&self) -> u64 {
        self.vitals.downs.load(Ordering::Acquire)
    }

    pub(super) fn health(&self) -> (Health, Option<Error>) {
        let state = self.state();
        (state.current.health(), state.reason.clone())
    }

    /// Its status, as far as it does not depend on other hosts.
    pub(super) fn status(&self) -> HostStatus {
        let state = self.state();
        let (standing, reason) = (state.standing, state.reason.clone());
        drop(state);
        let status = HostStatus {
            reason: reason.map(|error| error.to_string().into()),
            calls: Some(self.vitals.traffic.calls()),
            ..self.engine.status(self.host.name())
        };
        standing.show(self.engine.clock(), status)
    }

    /// Before the first probe: what reading its record came to.
    pub(super) fn on_first_contact(&self, met: &Result<Record>) {
        if let Err(error) = met {
            self.enter(|state| {
                (state.current, state.reason) = (HealthState::down(), Some(error.clone()));
            });
        }
    }

    /// Probes the host, which has stored a placement unless it is a node of a Redis Cluster, until [`stop_probing`](Self::stop_probing).
    pub(super) fn start_probing(self: &Arc<Self>, placement: Option<&Arc<CurrentPlacement>>, clock: &Clock) {
        let probes = self.clone().keep_probing(placement.cloned(), clock.clone());
        self.prober.get_or_init(|| tokio::spawn(probes).abort_handle());
    }

    pub(super) fn stop_probing(&self) {
        if let Some(prober) = self.prober.get() {
            prober.abort();
        }
    }

    /// Probes the host until aborted.
    async fn keep_probing(self: Arc<Self>, placement: Option<Arc<CurrentPlacement>>, clock: Clock) {
        let mut identified: Option<Duration> = None;
        loop {
            let before = self.state().current;
            // However many callers run into trouble, probes keep this distance.
            clock.sleep(before.pause().min(ALERT_INTERVAL)).await;
            clock
                .timeout(before.pause().saturating_sub(ALERT_INTERVAL), self.vitals.trouble.notified())
                .await;
            let began = clock.monotonic();
            self.vitals.traffic.recent(began);
            let asked = identified.map(|at| began.saturating_sub(at));
            let asks_identity = self.state().current.asks_identity(asked);
            if asks_identity {
                identified = Some(began);
            }
            let mut probe = pin!(async {
                if asks_identity {
                    self.probe(placement.as_deref()).await
                } else {
                    self.engine.check_alive().await
                }
            });
            // Silence counts again and again, and the probe goes on: dropped, it would never come to the
            // point at which a dead connection is given up.
            let verdict = loop {
                match clock.timeout(PROBE_TIMEOUT, probe.as_mut()).await {
                    Some(verdict) => break verdict,
                    None => self.probed(Some(self.silence())),
                }
            };
            self.probed(verdict.err());
        }
    }

    fn silence(&self) -> Error {
        let text = format!("host {:?}: no answer within {PROBE_TIMEOUT:?}", self.host.name());
        Error::new(ErrorKind::Timeout, text)
    }

    /// Whether the host answers, is who it should be, and holds what all hold. One that has lost everything gets
    /// its record back: an empty host is one that was restarted, and its keys are its own as before. One that missed a change
    /// of the placement is told of it.
    async fn probe(&self, placement: Option<&CurrentPlacement>) -> Result<()> {
        let Some(current) = placement else { return self.engine.check_node().await };
        let placement = current.get();
        let seen = self.engine.check_identity().await?;
        if seen.name.is_none() || seen.head.is_none() {
            tracing::warn!(host = self.host.name(), "the host has lost its data");
            let record = self.engine.complete_record(self.host.name(), placement.text()).await?;
            check_name(&self.host, record.name.as_deref().unwrap_or_default())?;
            self.engine.store_placement(&placement, Some(Fence::at(placement.epoch()))).await?;
            return Ok(());
        }
        check_name(&self.host, seen.name.as_deref().unwrap_or_default())?;
        let fence = Some(Fence::at(placement.epoch()));
        match seen.relation(&placement) {
            Relation::Same => return Ok(()),
            Relation::Later => {
                current.note_later();
                return Ok(());
            }
            Relation::Earlier if self.engine.store_placement(&placement, fence).await? => return Ok(()),
            Relation::Earlier | Relation::Other => {}
        }
        let text = "it holds another placement of keys than the one that was read at the start";
        Err(Error::new(ErrorKind::Configuration, format!("host {:?}: {text}", self.host.name())))
    }

    fn admit(&self) -> Result<()> {
        if self.vitals.is_down.load(Ordering::Relaxed) { Err(self.down()) } else { Ok(()) }
    }

    /// The error of a call that is not sent because the host is down.
    fn down(&self) -> Error {
        let name = self.host.name();
        let text = format!("host {name:?} is down: its keys wait for it, others are not affected");
        let error = Error::new(ErrorKind::Unavailable, text);
        match self.state().reason.clone() {
            Some(reason) => error.with_source(reason),
            None => error,
        }
    }

    /// A caller had no answer.
    fn troubled(&self) {
        self.vitals.traffic.unanswered();
        self.enter(|state| state.current = state.current.troubled());
        self.vitals.trouble.notify_one();
    }

    /// A probe had an answer, or failed with this.
    fn probed(&self, failure: Option<Error>) {
        self.enter(|state| {
            state.current = state.current.probed(failure.is_none());
            state.reason = failure;
        });
    }

    fn enter(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        let after = state.current.health();
        let before = state.standing.enter(after, self.engine.clock());
        let went_down = before != after && after == Health::Down;
        if went_down {
            self.vitals.downs.fetch_add(1, Ordering::Release);
        }
        self.vitals.is_down.store(after == Health::Down, Ordering::Relaxed);
        let reason = state.reason.clone();
        drop(state);
        if before != after && after != Health::Up {
            // Another node may have its slots by now.
            self.engine.report();
        }
        if went_down {
            self.engine.refuse_waiting(&self.down());
        }
        if before == Health::Down && after != Health::Down {
            self.engine.admit_waiting();
        }
        let name = self.host.name();
        match reason {
            _ if before == after => {}
            Some(error) if after == Health::Down => tracing::warn!(host = name, %error, "host is down"),
            _ => tracing::info!(host = name, %before, %after, "host changed its state"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.vitals.state.lock()
    }
}

/// A call under way. A caller that gave up waiting is trouble as much as one that was told so.
#[must_use = "a call that is not ended is trouble"]
#[derive(Debug)]
pub(in crate::engine) struct CallGuard<M: Deref<Target = Member>> {
    member: M,
    answered: bool,
}

impl<M: Deref<Target = Member>> CallGuard<M> {
    fn begin(member: M) -> Result<Self> {
        member.admit()?;
        member.vitals.traffic.begin();
        Ok(Self { member, answered: false })
    }

    pub(super) fn engine(&self) -> &Redis {
        &self.member.engine
    }

    /// The call came to this.
    pub(in crate::engine) fn end<T>(&mut self, answer: Result<T>) -> Result<T> {
        self.answered = !answer.as_ref().is_err_and(is_outage);
        answer
    }

    /// [`end`](Self::end) for plain commands.
    pub(super) fn end_all(&mut self, answers: Vec<Result<Reply, Failure>>) -> Vec<Result<Reply, Failure>> {
        let fails = |(fate, error): &Failure| *fate != Fate::Rejected && is_outage(error);
        self.answered = !answers.iter().any(|answer| answer.as_ref().is_err_and(fails));
        answers
    }
}

impl<M: Deref<Target = Member>> Drop for CallGuard<M> {
    fn drop(&mut self) {
        self.member.vitals.traffic.end();
        if !self.answered {
            self.member.troubled();
        }
    }
}

/// Whether the host may be away, which a probe finds out. A full one is not, nor is a queue of this process.
fn is_outage(error: &Error) -> bool {
    error.is_outage() && error.kind() != ErrorKind::Overloaded
}
