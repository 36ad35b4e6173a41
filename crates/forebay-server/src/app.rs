//! Everything that is open while the server runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use anyhow::{Context, Result};
use forebay::{
    Clock, Forebay, Name,
    buffer::{BufferHandle, Flusher, Flushing, Parked, Pressure, Stats},
    series::SeriesHandle,
    sink::SinkError,
    time::secs,
};
use forebay_sql::Totals;
use tokio::sync::watch;

use crate::{
    canary::{self, Canary},
    config::{BufferConfig, Config, Store},
    dashboard::Live,
    database::Database,
    measured::MeasuredSink,
    metrics::{BufferMetrics, Metrics, SeriesMetrics},
    reload::Reloads,
    rules::{Changes, Named, Parts, Rules},
    warning::Warning,
};

/// How often this moment's totals are kept for those who look on, and samples of durations go into their histograms.
const UPKEEP: Duration = secs(1);

/// The store, the database, and what the configuration declares of them.
#[derive(Debug)]
pub struct App {
    bay: Forebay,
    database: Database,
    clock: Clock,
    insecure: bool,
    metrics: Metrics,
    stopping: watch::Sender<bool>,
    live: Live,
    /// What may change while it runs. Held to clone or to replace it.
    rules: RwLock<Arc<Rules>>,
    reloads: Reloads,
    canary: Option<Canary>,
    /// Series by name.
    pub series: Named<SeriesEntry>,
    /// Buffers by name.
    pub buffers: Named<BufferEntry>,
}

/// A series and its counters.
#[derive(Clone, Debug)]
pub struct SeriesEntry {
    /// The series.
    pub handle: SeriesHandle,
    /// Its counters.
    pub metrics: SeriesMetrics,
}

/// A buffer and its gauges.
#[derive(Clone, Debug)]
pub struct BufferEntry {
    /// The buffer.
    pub handle: BufferHandle,
    /// Its gauges.
    pub metrics: BufferMetrics,
}

impl App {
    /// Opens the store and the database of a configuration, and what it declares.
    ///
    /// # Errors
    /// When the store or the database cannot be opened.
    pub async fn open(config: &Config) -> Result<Self> {
        Self::open_on(config, Clock::system()).await
    }

    /// As [`open`](Self::open), with another clock for the store: in a replay, one that follows the log. Deadlines and
    /// the database's ledger stay with the machine's.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_on(config: &Config, store_clock: Clock) -> Result<Self> {
        let clock = Clock::system();
        let bay = open_store(config, store_clock).await?;
        let database = Database::open(&config.database).await?;
        let metrics = Metrics::default();
        let series = Named::open("series", &config.series, |name, series| {
            Ok(SeriesEntry { handle: bay.series(series.clone())?, metrics: metrics.series(name) })
        })?;
        let buffers = Named::open("buffer", &config.buffers, |name, buffer| {
            Ok(BufferEntry { handle: bay.buffer(buffer.definition.clone())?, metrics: metrics.buffer(name) })
        })?;
        let parts = Parts { bay: &bay, metrics: &metrics, series: &series, buffers: &buffers };
        let rules = RwLock::new(Arc::new(Rules::open(config, &parts)?));
        let canary = open_canary(config, &buffers, &database, &clock, &metrics);
        let (live, reloads) = (Live::new(&clock), Reloads::new(&metrics));
        let stopping = watch::Sender::new(false);
        Ok(Self {
            bay,
            database,
            clock,
            insecure: config.insecure,
            metrics,
            stopping,
            live,
            rules,
            reloads,
            canary,
            series,
            buffers,
        })
    }

    /// Starts flushing every buffer, after checking its table.
    ///
    /// # Errors
    /// When a table is not as its buffer needs it; the message says how to mend it.
    pub async fn start_flushing(&self, config: &BTreeMap<Name, BufferConfig>) -> Result<Vec<Flushing>> {
        Ok(self.prepare(config).await?.into_iter().map(Flusher::spawn).collect())
    }

    /// Checks the table of every buffer and names the database to it. Whoever does not spawn what this returns flushes
    /// by hand.
    ///
    /// # Errors
    /// As [`start_flushing`](Self::start_flushing).
    pub async fn prepare(&self, config: &BTreeMap<Name, BufferConfig>) -> Result<Vec<Flusher>> {
        let mut flushers = vec![];
        for (name, buffer) in config {
            let handle = &self.buffers.declared(name).handle;
            let sink = self.database.sink(buffer, &self.clock);
            let sink = MeasuredSink::new(sink, &self.clock, self.metrics.flush(name));
            let flusher = handle.flush_to(sink).every(buffer.flush_every).prepare().await;
            flushers.push(flusher.with_context(|| format!("preparing buffer {name}"))?);
        }
        Ok(flushers)
    }

    /// Adds up the table of a buffer.
    ///
    /// # Errors
    /// When the database does not answer, or the table does not fit.
    pub async fn totals(&self, buffer: &BufferConfig) -> Result<Totals, SinkError> {
        self.database.totals(buffer, &self.clock).await
    }

    /// What an operator should know of the store: settings that break a promise, and rows of buffers that
    /// nobody declares any more. What the store does not say within `deadline` is left out.
    pub async fn warnings(&self, deadline: Duration) -> Vec<Warning> {
        let mut warnings: Vec<Warning> = Warning::each(Warning::STORE, self.bay.warnings()).collect();
        warnings.extend(Warning::each(Warning::CONFIGURATION, self.reloads.warnings()));
        warnings.extend(Warning::each(Warning::CANARY, self.canary.as_ref().and_then(Canary::warning)));
        let sinks: BTreeSet<String> =
            self.buffers.iter().flat_map(|(_, buffer)| buffer.handle.sink_warnings()).collect();
        warnings.extend(Warning::each(Warning::DATABASE, sinks));
        let stored = self.clock.timeout(deadline, self.bay.stored_buffers()).await;
        let stored = stored.and_then(Result::ok).unwrap_or_default();
        let orphans = stored.iter().filter(|one| one.pending_rows > 0 && !self.buffers.contains(&one.name));
        for (name, buffer) in self.buffers.iter() {
            if let Some(Ok(stats)) = self.clock.timeout(deadline, buffer.handle.stats()).await {
                warnings.extend(troubles(name, &stats));
            }
        }
        warnings.extend(orphans.map(|one| {
            let (name, rows, age) = (&one.name, one.pending_rows, one.oldest_age.as_secs());
            let text = format!(
                "buffer {name} is not in the configuration, and the store holds {rows} of its rows, the oldest for {age} s: \
                 nobody flushes them until it is declared again, with its table, key and columns"
            );
            Warning::new(Warning::ORPHANED, text)
        }));
        warnings
    }

    /// Closes store and database.
    ///
    /// # Errors
    /// When the store cannot keep what it was told to.
    pub async fn close(&self) -> Result<()> {
        let closed = self.bay.close().await;
        self.database.close().await;
        Ok(closed?)
    }

    /// The store.
    pub fn bay(&self) -> &Forebay {
        &self.bay
    }

    /// Ends the requests that wait for something, and those to come.
    pub fn stop_waiting(&self) {
        self.stopping.send_replace(true);
    }

    /// Waits until [`stop_waiting`](Self::stop_waiting); then there is no point in waiting any longer.
    pub async fn stopping(&self) {
        // The sender is in `self`.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn ping_database(&self) -> Result<(), SinkError> {
        self.database.ping().await
    }

    /// The clock of deadlines, and of `now` in questions.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What may change while it runs, as of now. Who asks once is under one configuration from beginning to end.
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes to another configuration, as far as that is possible while it runs: limits, events and tokens. Who has asked for
    /// the [`rules`](Self::rules) before goes on under those.
    pub fn reload(&self, config: &Config) -> Changes {
        let Self { bay, metrics, series, buffers, .. } = self;
        let (rules, changes) = self.rules().next(config, &Parts { bay, metrics, series, buffers });
        if !changes.made.is_empty() {
            *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
        }
        self.reloads.done(&changes, self.clock.now());
        changes
    }

    /// Whether neither the configuration of the start nor a later one declares a limit, series, buffer or event.
    pub fn declares_nothing(&self) -> bool {
        self.rules().declares_nothing()
    }

    /// How reading the configuration again went.
    pub fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    /// Whether there is nothing but the network between callers and data, so that only this machine is trusted.
    pub fn trusts_loopback_only(&self) -> bool {
        !self.insecure && self.rules().tokens.is_empty()
    }

    /// The server's own counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Keeps a moment a second for those who look on later, and moves samples along, which would gather until somebody
    /// asks for metrics; sends the canary. Does not end.
    pub async fn keep_up(self: Arc<Self>) {
        let canary = async {
            if let Some(canary) = &self.canary {
                canary.run().await;
            }
        };
        let keep = async {
            loop {
                self.live.remember(&self);
                self.metrics.upkeep();
                self.clock.sleep(UPKEEP).await;
            }
        };
        tokio::join!(canary, keep);
    }

    /// What those see who look on.
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// Sets the gauges of limits, and of every buffer that answers within `deadline`.
    pub async fn show_gauges(&self, deadline: Duration) {
        let show = async |buffer: &BufferEntry| {
            let (stats, dead) = tokio::join!(
                self.clock.timeout(deadline, buffer.handle.stats()),
                self.clock.timeout(deadline, buffer.handle.dead_count()),
            );
            if let Some(Ok(stats)) = stats {
                buffer.metrics.show(&stats);
            }
            if let Some(Ok(letters)) = dead {
                buffer.metrics.show_dead(letters);
            }
        };
        futures::future::join_all(self.buffers.iter().map(|(_, buffer)| show(buffer))).await;
        for (_, series) in self.series.iter() {
            series.metrics.late.absolute(series.handle.late());
            series.metrics.refused_keys.absolute(series.handle.refused_keys());
            if let Some(keys) = series.handle.key_count() {
                series.metrics.keys.set(keys as f64);
            }
        }
        for (host, bytes) in self.bay.once_usage() {
            self.metrics.once_bytes(&host, bytes);
        }
        for (_, limit) in self.rules().limits.iter() {
            limit.metrics.near.set(limit.handle.near(usize::MAX).len() as f64);
        }
    }
}

/// The canary, if there is to be one.
fn open_canary(
    config: &Config,
    buffers: &Named<BufferEntry>,
    database: &Database,
    clock: &Clock,
    metrics: &Metrics,
) -> Option<Canary> {
    let (name, buffer) = config.buffers.iter().find(|(name, _)| name.as_str() == canary::NAME)?;
    let (handle, sink) = (buffers.declared(name).handle.clone(), database.sink(buffer, clock));
    Some(Canary::new(config, config.canary?, handle, sink, clock, metrics.canary()))
}

/// What is wrong with a buffer, as sentences.
fn troubles(name: &Name, stats: &Stats) -> Vec<Warning> {
    let mut troubles = vec![];
    if stats.paused {
        let text = format!("buffer {name} is paused: nothing of it reaches the database until it is resumed");
        troubles.push(Warning::new(Warning::PAUSED, text));
    }
    if stats.pressure > Pressure::None {
        let refused = if stats.pressure == Pressure::Hard { ", and writes are refused" } else { "" };
        let (rows, age) = (crate::text::count(stats.pending_rows, "row"), stats.oldest_age.as_secs());
        let text = format!("buffer {name} is filling up: {rows} waiting, the oldest for {age} s{refused}");
        troubles.push(Warning::new(Warning::FILLING, text));
    }
    let (diverged, parked): (Vec<&Parked>, Vec<&Parked>) =
        stats.parked.iter().partition(|parked| parked.diverged);
    for (kind, parked) in
        [("parked with writes that the database does not have", diverged), ("parked", parked)]
    {
        if let Some(first) = parked.first() {
            let text = format!("buffer {name}: {} {kind}: {}", parked.len(), first.reason);
            troubles.push(Warning::new(Warning::PARKED, text));
        }
    }
    troubles
}

/// Opens the store of a configuration, and nothing else of it.
///
/// # Errors
/// When it cannot be opened.
pub async fn open_store(config: &Config, clock: Clock) -> Result<Forebay> {
    let options = Forebay::options().prefix(&config.prefix).once_bytes(config.idempotency_bytes).clock(clock);
    let bay = match &config.store {
        Store::Url(url) => options.open(url.reveal()).await,
        Store::Hosts(hosts, _) => options.open_hosts(hosts.clone()).await,
    };
    bay.with_context(|| format!("opening the store {}", config.store))
}
