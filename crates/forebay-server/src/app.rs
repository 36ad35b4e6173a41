//! Everything that is open while the server runs.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use forebay::{
    Clock, Forebay, Name,
    buffer::{Flusher, Flushing},
    time::secs,
};
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::{
    api::{
        host::Host,
        live::{BufferState, LiveLine, LivePast},
    },
    canary::Canary,
    config::{BufferConfig, CANARY, Config, Store},
    database::Database,
    live::Live,
    measured_sink::MeasuredSink,
    metrics::{IdempotencyMetrics, Metrics},
    registry::{BufferEntry, Registry, SeriesEntry},
    reload::ReloadStatus,
    rules::{Changes, Resources, Rules},
    summary::{SummaryEntry, SummarySeries},
};

/// The interval of the upkeep: samples for the dashboard's history, and durations that move into their histograms.
const UPKEEP: Duration = secs(1);

/// The time in which a buffer must report its state to the dashboard.
const SAMPLE_TIMEOUT: Duration = secs(1);

/// The state that a handler gets.
pub(crate) type Shared = Arc<App>;

/// The store, the database, and the open parts of the configuration.
#[derive(Debug)]
pub struct App {
    /// The store.
    pub bay: Forebay,
    /// The prefix of Forebay's own keys in the store.
    pub(crate) prefix: String,
    pub(crate) database: Database,
    /// The clock of deadlines.
    pub clock: Clock,
    insecure: bool,
    /// The metrics of this server.
    pub metrics: Metrics,
    stopping: watch::Sender<bool>,
    /// The state of the dashboard's live stream.
    pub(crate) live: Live,
    /// The part that a reload can change. Locked to clone or to replace it.
    rules: RwLock<Arc<Rules>>,
    /// The outcome of the reloads so far.
    pub reload_status: ReloadStatus,
    /// The canary, if it is configured.
    pub(crate) canary: Option<Canary>,
    /// Series of hits by name.
    pub series: Registry<SeriesEntry>,
    /// Series of other kinds by name.
    pub summaries: Registry<SummaryEntry>,
    /// Buffers by name.
    pub buffers: Registry<BufferEntry>,
}

impl App {
    /// Opens the store, the database, and everything that a configuration declares.
    ///
    /// # Errors
    /// If the store or the database cannot be opened.
    pub async fn open(config: &Config) -> Result<Self> {
        Self::open_on(config, Clock::system()).await
    }

    /// Like [`open`](Self::open), with another clock for the store: in a replay, one that follows the log. Deadlines and
    /// the database's ledger use the machine's clock.
    ///
    /// # Errors
    /// Like [`open`](Self::open).
    pub async fn open_on(config: &Config, store_clock: Clock) -> Result<Self> {
        let clock = Clock::system();
        let bay = open_store(config, store_clock).await?;
        let database = Database::open(&config.database).await?;
        let metrics = Metrics::default();
        let series = Registry::open("series", &config.series, |name, series| {
            Ok(SeriesEntry { handle: bay.series(series.clone())?, metrics: metrics.named("series", name) })
        })?;
        let summaries = Registry::open("series", &config.summaries, |name, series| {
            Ok(SummaryEntry {
                handle: SummarySeries::open(&bay, series)?,
                metrics: metrics.named("series", name),
            })
        })?;
        let buffers = Registry::open("buffer", &config.buffers, |name, buffer| {
            Ok(BufferEntry {
                handle: bay.buffer(buffer.definition.clone())?,
                metrics: metrics.named("buffer", name),
            })
        })?;
        let resources = Resources { bay: &bay, metrics: &metrics, series: &series, buffers: &buffers };
        let rules = RwLock::new(Arc::new(Rules::open(config, &resources)?));
        let canary = config.canary.zip(config.buffers.iter().find(|(name, _)| name.as_str() == CANARY));
        let canary = canary.map(|(interval, (name, buffer))| {
            let (handle, sink) = (buffers.declared(name).handle.clone(), database.sink(buffer, &clock));
            Canary::new(config, interval, handle, sink, &clock, metrics.group(&[]))
        });
        Ok(Self {
            bay,
            database,
            live: Live::new(&clock),
            clock,
            prefix: config.prefix.clone(),
            insecure: config.insecure,
            reload_status: ReloadStatus::new(&metrics),
            metrics,
            stopping: watch::Sender::new(false),
            rules,
            canary,
            series,
            summaries,
            buffers,
        })
    }

    /// Checks the table of every buffer, and starts its flusher.
    ///
    /// # Errors
    /// If a table does not fit its buffer. The message says how to change it.
    pub async fn start_flushing(&self, config: &BTreeMap<Name, BufferConfig>) -> Result<Vec<Flushing>> {
        Ok(self.prepare(config).await?.into_iter().map(Flusher::spawn).collect())
    }

    /// Checks the table of every buffer and connects the buffer to the database. A caller that does not spawn the returned
    /// flushers flushes by hand.
    ///
    /// # Errors
    /// Like [`start_flushing`](Self::start_flushing).
    pub async fn prepare(&self, config: &BTreeMap<Name, BufferConfig>) -> Result<Vec<Flusher>> {
        let mut flushers = vec![];
        for (name, buffer) in config {
            let handle = &self.buffers.declared(name).handle;
            let sink = self.database.sink(buffer, &self.clock);
            let sink = MeasuredSink::new(sink, &self.clock, self.metrics.named("buffer", name));
            let flusher = handle.flush_to(sink).every(buffer.flush_every).prepare().await;
            flushers.push(flusher.with_context(|| format!("preparing buffer {name}"))?);
        }
        Ok(flushers)
    }

    /// Closes the store and the database.
    ///
    /// # Errors
    /// If the store cannot save what it acknowledged.
    pub async fn close(&self) -> Result<()> {
        let closed = self.bay.close().await;
        self.database.close().await;
        Ok(closed?)
    }

    /// Ends the requests that wait, and those that would wait later.
    pub fn stop_waiting(&self) {
        self.stopping.send_replace(true);
    }

    /// Returns once [`stop_waiting`](Self::stop_waiting) was called.
    pub async fn stopping(&self) {
        // The sender is in `self`.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    /// The rules in force. A request reads them once, so that it sees one configuration from its beginning to its end.
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.read().clone()
    }

    /// Applies a new configuration as far as that is possible without a restart: limits, events and tokens. A request that
    /// has read the [`rules`](Self::rules) before continues with those.
    pub fn reload(&self, config: &Config) -> Changes {
        let Self { bay, metrics, series, buffers, .. } = self;
        let (rules, changes) = self.rules().next(config, &Resources { bay, metrics, series, buffers });
        if !changes.made.is_empty() {
            *self.rules.write() = Arc::new(rules);
        }
        self.reload_status.record(&changes, self.clock.now());
        changes
    }

    /// Returns whether only callers on this machine are trusted, because there are no tokens.
    pub fn trusts_loopback_only(&self) -> bool {
        !self.insecure && self.rules().tokens.is_empty()
    }

    /// Runs the upkeep every second, and the canary. Does not end.
    pub async fn keep_up(self: Arc<Self>) {
        let canary = async {
            if let Some(canary) = &self.canary {
                canary.run().await;
            }
        };
        let keep = async {
            loop {
                let elapsed = self.live.elapsed(&self.clock);
                self.live.remember(LivePast { elapsed, events: self.rules().event_totals() });
                self.metrics.upkeep();
                self.clock.sleep(UPKEEP).await;
            }
        };
        tokio::join!(canary, keep);
    }

    /// The state of the server now, or up to a second ago.
    pub(crate) async fn sample(&self) -> LiveLine {
        let read = async |elapsed| LiveLine {
            started: self.live.started.clone(),
            elapsed,
            buffers: self.buffer_states().await,
            events: self.rules().event_totals(),
            hosts: self.hosts(),
            declared: None,
            history: None,
        };
        self.live.sample(&self.clock, read).await
    }

    async fn buffer_states(&self) -> BTreeMap<String, BufferState> {
        let state = async |buffer: &BufferEntry| {
            let stats = self.clock.timeout(SAMPLE_TIMEOUT, buffer.handle.stats()).await;
            stats.and_then(Result::ok).map(BufferState::from)
        };
        let states = futures::future::join_all(self.buffers.entries.values().map(state)).await;
        let named = self.buffers.entries.iter().zip(states);
        named.filter_map(|((name, _), state)| Some((name.to_string(), state?))).collect()
    }

    /// The hosts, if there are several.
    fn hosts(&self) -> Vec<Host> {
        let hosts = self.bay.cluster().hosts();
        if hosts.len() > 1 { hosts.into_iter().map(Host::from).collect() } else { vec![] }
    }

    /// Updates the gauges of limits, and of every buffer that answers within `deadline`.
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
                buffer.metrics.dead.set(letters as f64);
            }
        };
        futures::future::join_all(self.buffers.entries.values().map(show)).await;
        for series in self.series.entries.values() {
            let handle = &series.handle;
            series.metrics.show(handle.late(), handle.refused_keys(), handle.key_count());
        }
        for series in self.summaries.entries.values() {
            series.handle.show(&series.metrics);
        }
        for (host, bytes) in self.bay.once_usage() {
            self.metrics.named::<IdempotencyMetrics>("host", &host).bytes.set(bytes as f64);
        }
        for limit in self.rules().limits.entries.values() {
            limit.metrics.near.set(limit.handle.near(usize::MAX).len() as f64);
        }
    }
}

/// Opens the store of a configuration, without the database and the declared parts.
///
/// # Errors
/// If it cannot be opened.
pub async fn open_store(config: &Config, clock: Clock) -> Result<Forebay> {
    let options = Forebay::options().prefix(&config.prefix).once_bytes(config.idempotency_bytes).clock(clock);
    let bay = match &config.store {
        Store::Url(url) => options.open(url.reveal()).await,
        Store::Hosts(hosts, _) => options.open_hosts(hosts.clone()).await,
    };
    bay.with_context(|| format!("opening the store {}", config.store))
}
