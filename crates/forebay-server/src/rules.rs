//! The part of the configuration that can change while the server runs: limits, events and tokens.
//!
//! A request reads the rules once and uses them until it ends: it sees either the old configuration or the new one, never
//! a mixture. Series, buffers and addresses stay as they were at the start.

use std::collections::BTreeMap;

use anyhow::Result;
use forebay::{Event, Forebay, Name};

use crate::{
    api::live::EventTotals,
    config::{Config, EventConfig, Token},
    metrics::{EventMetrics, Metrics},
    registry::{BufferEntry, EventEntry, LimitEntry, Registry, SeriesEntry},
};

/// The limits, events and tokens of a configuration.
#[derive(Debug)]
pub struct Rules {
    /// Rate limits by name.
    pub limits: Registry<LimitEntry>,
    /// Events by name.
    pub events: Registry<EventEntry>,
    /// The accepted tokens; empty: every caller is accepted.
    pub tokens: Vec<Token>,
    /// The configuration in force: that of the start, with the changes that a reload could make.
    pub(crate) config: Config,
}

/// The open parts that rules refer to and cannot change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resources<'a> {
    pub bay: &'a Forebay,
    pub metrics: &'a Metrics,
    pub series: &'a Registry<SeriesEntry>,
    pub buffers: &'a Registry<BufferEntry>,
}

/// The differences between the running and a new configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Changes that are in force now, such as `limit hits: changed`.
    pub made: Vec<String>,
    /// Changes that need a restart, such as `listen`.
    pub restart: Vec<String>,
}

impl Rules {
    /// The rules of a configuration.
    pub(crate) fn open(config: &Config, resources: &Resources<'_>) -> Result<Self> {
        let limits = Registry::open("limit", &config.limits, |name, limit| {
            Ok(LimitEntry {
                handle: resources.bay.limit(limit.clone())?,
                metrics: resources.metrics.named("limit", name),
            })
        })?;
        let events = Registry::open("event", &config.events, |name, event| {
            resources.event(name, event, &limits, || resources.metrics.named("event", name))
        })?;
        let tokens = config.tokens.clone();
        Ok(Self { limits, events, tokens, config: config.clone() })
    }

    /// The outcomes of the hits so far, by event.
    pub(crate) fn event_totals(&self) -> BTreeMap<String, EventTotals> {
        self.events.entries.iter().map(|(name, event)| (name.to_string(), event.metrics.totals())).collect()
    }

    /// The rules of a new configuration, and the changes. A limit that does not change keeps its handle, and with it the
    /// state in this process.
    pub(crate) fn next(&self, config: &Config, resources: &Resources<'_>) -> (Self, Changes) {
        let mut changes = Changes { restart: self.fixed(config), ..Changes::default() };
        let mut next = Self {
            limits: self.next_limits(config, resources),
            events: Registry { kind: "event", entries: BTreeMap::new() },
            tokens: self.tokens.clone(),
            config: Config { limits: config.limits.clone(), events: BTreeMap::new(), ..self.config.clone() },
        };
        if config.tokens.is_empty() != self.tokens.is_empty() {
            // The listen address was checked against whether there are tokens.
            changes.restart.push("tokens: the first one, or none any more".into());
        } else if config.tokens != self.tokens {
            next.tokens.clone_from(&config.tokens);
            changes.made.push("tokens: changed".into());
        }
        for (name, event) in &config.events {
            let old = self.events.entries.get(name);
            let metrics =
                || old.map_or_else(|| resources.metrics.named("event", name), |old| old.metrics.clone());
            match resources.event(name, event, &next.limits, metrics) {
                Ok(entry) => {
                    next.events.entries.insert(name.clone(), entry);
                    next.config.events.insert(name.clone(), event.clone());
                }
                Err(error) => {
                    changes.restart.push(format!("event {name}: {error}"));
                    self.keep_event(name, resources, &mut next);
                }
            }
        }
        changes.made.extend(differences("limit", &self.config.limits, &next.config.limits));
        changes.made.extend(differences("event", &self.config.events, &next.config.events));
        next.config.tokens.clone_from(&next.tokens);
        (next, changes)
    }

    fn next_limits(&self, config: &Config, resources: &Resources<'_>) -> Registry<LimitEntry> {
        let mut limits = Registry { kind: "limit", entries: BTreeMap::new() };
        for (name, limit) in &config.limits {
            let old = self.limits.entries.get(name);
            let entry = match old {
                Some(old) if self.config.limits.get(name) == Some(limit) => old.clone(),
                _ => LimitEntry {
                    handle: resources.bay.limit(limit.clone()).expect("a checked definition"),
                    metrics: old
                        .map_or_else(|| resources.metrics.named("limit", name), |old| old.metrics.clone()),
                },
            };
            limits.entries.insert(name.clone(), entry);
        }
        limits
    }

    /// The changes that need a restart.
    fn fixed(&self, config: &Config) -> Vec<String> {
        let now = &self.config;
        let places = [
            ("listen", now.listen != config.listen),
            ("prefix", now.prefix != config.prefix),
            ("idempotency_bytes", now.idempotency_bytes != config.idempotency_bytes),
            ("store", now.store != config.store),
            ("database", now.database != config.database),
            ("statsd", now.statsd != config.statsd),
        ];
        let places = places.into_iter().filter(|(_, differs)| *differs).map(|(place, _)| place.to_owned());
        let series = differences("series", &now.series, &config.series);
        let series = series.into_iter().chain(differences("series", &now.summaries, &config.summaries));
        places.chain(series).chain(differences("buffer", &now.buffers, &config.buffers)).collect()
    }

    /// Keeps an event that cannot change, with its limits as they are now. A limit that was removed stays for it.
    fn keep_event(&self, name: &Name, resources: &Resources<'_>, rules: &mut Self) {
        let Some((entry, config)) = self.events.entries.get(name).zip(self.config.events.get(name)) else {
            return;
        };
        for limit in &config.limits {
            if let Some(definition) = self
                .config
                .limits
                .get(&limit.name)
                .filter(|_| !rules.limits.entries.contains_key(&limit.name))
            {
                rules.limits.entries.insert(limit.name.clone(), self.limits.declared(&limit.name).clone());
                rules.config.limits.insert(limit.name.clone(), definition.clone());
            }
        }
        let same = resources.event(name, config, &rules.limits, || entry.metrics.clone());
        // It fails if a limit became a concurrency limit, which an event cannot use.
        rules.events.entries.insert(name.clone(), same.unwrap_or_else(|_| entry.clone()));
        rules.config.events.insert(name.clone(), config.clone());
    }
}

impl Resources<'_> {
    fn event(
        &self,
        name: &Name,
        config: &EventConfig,
        limits: &Registry<LimitEntry>,
        metrics: impl FnOnce() -> EventMetrics,
    ) -> Result<EventEntry> {
        let mut event = Event::new(name.as_str());
        for limit in &config.limits {
            let handle = &limits.declared(&limit.name).handle;
            event = match &limit.key {
                Some(key) => event.limit_key(handle, key),
                None => event.limit(handle),
            };
        }
        for name in &config.series {
            event = event.series(&self.series.opened(name)?.handle);
        }
        for buffer in &config.buffers {
            let columns = buffer.columns.iter().map(|(column, cell)| (column.as_str(), cell.clone()));
            event = event.buffer(&self.buffers.opened(&buffer.name)?.handle, buffer.row.clone(), columns);
        }
        let limits = config.limits.iter().map(|limit| limits.declared(&limit.name).clone()).collect();
        Ok(EventEntry { handle: self.bay.event(event)?, metrics: metrics(), limits })
    }
}

/// The names that are new, changed or removed.
fn differences<T: PartialEq>(what: &str, old: &BTreeMap<Name, T>, new: &BTreeMap<Name, T>) -> Vec<String> {
    let change = |name: &Name| match (old.get(name), new.get(name)) {
        (None, Some(_)) => Some("new"),
        (Some(_), None) => Some("removed"),
        (old, new) if old != new => Some("changed"),
        _ => None,
    };
    let mut names: Vec<&Name> = old.keys().chain(new.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().filter_map(|name| Some(format!("{what} {name}: {}", change(name)?))).collect()
}
