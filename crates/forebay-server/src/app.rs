//! Everything that is open while the server runs.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use forebay::{
    Clock, Event, Forebay, Name,
    buffer::{BufferHandle, Flusher, Flushing, Pressure, Stats},
    event::EventHandle,
    limit::LimitHandle,
    series::SeriesHandle,
    sink::SinkError,
    time::secs,
};
use forebay_sql::Totals;
use tokio::sync::watch;

use crate::{
    config::{BufferConfig, Config, EventConfig, Store, Token},
    dashboard::Live,
    database::Database,
    http::Problem,
    metrics::{BufferMetrics, EventMetrics, LimitMetrics, Metrics, SeriesMetrics},
};

/// How often this moment's totals are kept for those who look on, and samples of durations go into their histograms.
const UPKEEP: Duration = secs(1);

/// The store, the database, and what the configuration declares of them.
#[derive(Debug)]
pub struct App {
    bay: Forebay,
    database: Database,
    clock: Clock,
    tokens: Vec<Token>,
    insecure: bool,
    metrics: Metrics,
    stopping: watch::Sender<bool>,
    live: Live,
    /// Rate limits by name.
    pub limits: Named<LimitEntry>,
    /// Series by name.
    pub series: Named<SeriesEntry>,
    /// Buffers by name.
    pub buffers: Named<BufferEntry>,
    /// Events by name.
    pub events: Named<EventEntry>,
}

/// A limit and its counters.
#[derive(Clone, Debug)]
pub struct LimitEntry {
    /// The limit.
    pub handle: LimitHandle,
    /// Its counters.
    pub metrics: LimitMetrics,
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

/// An event, its counters, and its limits in the order in which it names them.
#[derive(Clone, Debug)]
pub struct EventEntry {
    /// The event.
    pub handle: EventHandle,
    /// Its counters.
    pub metrics: EventMetrics,
    /// Its limits.
    pub limits: Vec<LimitEntry>,
}

/// What the configuration declares under names.
#[derive(Debug)]
pub struct Named<T> {
    what: &'static str,
    entries: BTreeMap<Name, T>,
}

impl<T> Named<T> {
    /// Finds a declared name.
    ///
    /// # Errors
    /// 404 with the nearest name.
    pub fn find(&self, name: &str) -> Result<&T, Problem> {
        let found = Name::new(name).ok().and_then(|name| self.entries.get(&name));
        found.ok_or_else(|| Problem::unknown_name(self.what, name, self.entries.keys().map(Name::as_str)))
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &T)> {
        self.entries.iter()
    }

    fn declared(&self, name: &Name) -> &T {
        self.entries.get(name).expect("the configuration was checked: what it uses is declared")
    }

    fn open<C>(
        what: &'static str,
        configs: &BTreeMap<Name, C>,
        open: impl Fn(&Name, &C) -> Result<T>,
    ) -> Result<Self> {
        let open = |(name, config): (&Name, &C)| {
            let entry = open(name, config).with_context(|| format!("opening {what} {name}"))?;
            Ok((name.clone(), entry))
        };
        Ok(Self { what, entries: configs.iter().map(open).collect::<Result<_>>()? })
    }
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
        let limits = Named::open("limit", &config.limits, |name, limit| {
            Ok(LimitEntry { handle: bay.limit(limit.clone())?, metrics: metrics.limit(name) })
        })?;
        let series = Named::open("series", &config.series, |name, series| {
            Ok(SeriesEntry { handle: bay.series(series.clone())?, metrics: metrics.series(name) })
        })?;
        let buffers = Named::open("buffer", &config.buffers, |name, buffer| {
            Ok(BufferEntry { handle: bay.buffer(buffer.definition.clone())?, metrics: metrics.buffer(name) })
        })?;
        let events = Named::open("event", &config.events, |name, event| {
            let handle = bay.event(event_definition(name, event, &limits, &series, &buffers))?;
            let limits = event.limits.iter().map(|limit| limits.declared(&limit.name).clone()).collect();
            Ok(EventEntry { handle, metrics: metrics.event(name), limits })
        })?;
        let (tokens, insecure) = (config.tokens.clone(), config.insecure);
        let live = Live::new(config, &clock);
        let stopping = watch::Sender::new(false);
        Ok(Self {
            bay,
            database,
            clock,
            tokens,
            insecure,
            metrics,
            stopping,
            live,
            limits,
            series,
            buffers,
            events,
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
            let sink = self.metrics.sink(self.database.sink(buffer, &self.clock), name, &self.clock);
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

    /// What an operator should know of the store, as sentences: settings that break a promise, and rows of buffers that
    /// nobody declares any more. What the store does not say within `deadline` is left out.
    pub async fn warnings(&self, deadline: Duration) -> Vec<String> {
        let mut warnings = self.bay.warnings();
        let stored = self.clock.timeout(deadline, self.bay.stored_buffers()).await;
        let stored = stored.and_then(Result::ok).unwrap_or_default();
        let orphans =
            stored.iter().filter(|one| one.pending_rows > 0 && !self.buffers.entries.contains_key(&one.name));
        for (name, buffer) in self.buffers.iter() {
            if let Some(Ok(stats)) = self.clock.timeout(deadline, buffer.handle.stats()).await {
                warnings.extend(troubles(name, &stats));
            }
        }
        warnings.extend(orphans.map(|one| {
            let (name, rows, age) = (&one.name, one.pending_rows, one.oldest_age.as_secs());
            format!(
                "buffer {name} is not in the configuration, and the store holds {rows} of its rows, the oldest for {age} s: \
                 nobody flushes them until it is declared again, with its table, key and columns"
            )
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

    /// Who may call; empty: whoever reaches it.
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// Whether there is nothing but the network between callers and data, so that only this machine is trusted.
    pub fn trusts_loopback_only(&self) -> bool {
        self.tokens.is_empty() && !self.insecure
    }

    /// The server's own counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Keeps a moment a second for those who look on later, and moves samples along, which would gather until somebody
    /// asks for metrics. Does not end.
    pub async fn keep_up(self: Arc<Self>) {
        loop {
            self.live.remember(&self);
            self.metrics.upkeep();
            self.clock.sleep(UPKEEP).await;
        }
    }

    /// What those see who look on.
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// Sets the gauges of every buffer that answers within `deadline`.
    pub async fn show_buffers(&self, deadline: Duration) {
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
        }
    }
}

/// What is wrong with a buffer, as sentences.
fn troubles(name: &Name, stats: &Stats) -> Vec<String> {
    let mut troubles = vec![];
    if stats.paused {
        troubles
            .push(format!("buffer {name} is paused: nothing of it reaches the database until it is resumed"));
    }
    if stats.pressure > Pressure::None {
        let refused = if stats.pressure == Pressure::Hard { ", and writes are refused" } else { "" };
        let (rows, age) = (stats.pending_rows, stats.oldest_age.as_secs());
        troubles
            .push(format!("buffer {name} is filling up: {rows} rows wait, the oldest for {age} s{refused}"));
    }
    if let Some(parked) = stats.parked.first() {
        troubles.push(format!("buffer {name}: {} parked: {}", stats.parked.len(), parked.reason));
    }
    troubles
}

/// Opens the store of a configuration, and nothing else of it.
///
/// # Errors
/// When it cannot be opened.
pub async fn open_store(config: &Config, clock: Clock) -> Result<Forebay> {
    let options = Forebay::options().prefix(&config.prefix).clock(clock);
    let bay = match &config.store {
        Store::Url(url) => options.open(url.reveal()).await,
        Store::Hosts(hosts, _) => options.open_hosts(hosts.clone()).await,
    };
    bay.with_context(|| format!("opening the store {}", config.store))
}

fn event_definition(
    name: &Name,
    config: &EventConfig,
    limits: &Named<LimitEntry>,
    series: &Named<SeriesEntry>,
    buffers: &Named<BufferEntry>,
) -> Event {
    let mut event = Event::new(name.as_str());
    for limit in &config.limits {
        let handle = &limits.declared(&limit.name).handle;
        event = match &limit.key {
            Some(key) => event.limit_key(handle, key),
            None => event.limit(handle),
        };
    }
    for name in &config.series {
        event = event.series(&series.declared(name).handle);
    }
    for buffer in &config.buffers {
        let columns = buffer.columns.iter().map(|(column, cell)| (column.as_str(), cell.clone()));
        event = event.buffer(&buffers.declared(&buffer.name).handle, buffer.row.clone(), columns);
    }
    event
}
