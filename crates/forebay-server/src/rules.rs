//! What of a configuration may change while the server runs: limits, events and tokens.
//!
//! A request asks for the rules once, and is under them from beginning to end: it sees an old configuration or a new
//! one, and never some of each. Series, buffers and places stay as they were at the start.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow};
use forebay::{Event, Forebay, Limit, Name, event::EventHandle, limit::LimitHandle};

use crate::{
    app::{BufferEntry, SeriesEntry},
    config::{Config, EventConfig, Token},
    dashboard::Declared,
    http::Problem,
    metrics::{EventMetrics, LimitMetrics, Metrics},
};

/// The limits, events and tokens of a configuration.
#[derive(Debug)]
pub struct Rules {
    /// Rate limits by name.
    pub limits: Named<LimitEntry>,
    /// Events by name.
    pub events: Named<EventEntry>,
    /// Who may call; empty: whoever reaches it.
    pub tokens: Vec<Token>,
    /// For those who look on.
    pub(crate) declared: Declared,
    /// What is in force: of the file, what could be changed.
    config: Config,
}

/// What rules refer to and cannot change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    pub bay: &'a Forebay,
    pub metrics: &'a Metrics,
    pub series: &'a Named<SeriesEntry>,
    pub buffers: &'a Named<BufferEntry>,
}

/// What another configuration changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What is otherwise from now on, such as `limit hits: changed`.
    pub made: Vec<String>,
    /// What takes a restart, such as `listen`.
    pub restart: Vec<String>,
}

/// A limit and its counters.
#[derive(Clone, Debug)]
pub struct LimitEntry {
    /// The limit.
    pub handle: LimitHandle,
    /// Its counters.
    pub metrics: LimitMetrics,
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

    /// Whether it is declared.
    pub fn contains(&self, name: &Name) -> bool {
        self.entries.contains_key(name)
    }

    fn opened(&self, name: &Name) -> Result<&T> {
        self.entries
            .get(name)
            .ok_or_else(|| anyhow!("{} {name} is new, and opened at the next start", self.what))
    }

    pub(crate) fn declared(&self, name: &Name) -> &T {
        self.entries.get(name).expect("the configuration was checked: what it uses is declared")
    }

    pub(crate) fn open<C>(
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

impl Rules {
    /// The rules of a configuration.
    pub(crate) fn open(config: &Config, parts: &Parts<'_>) -> Result<Self> {
        let limits = Named::open("limit", &config.limits, |name, limit| {
            Ok(LimitEntry { handle: parts.bay.limit(limit.clone())?, metrics: parts.metrics.limit(name) })
        })?;
        let events = Named::open("event", &config.events, |name, event| {
            parts.event(name, event, &limits, || parts.metrics.event(name))
        })?;
        let tokens = config.tokens.clone();
        Ok(Self { limits, events, tokens, declared: Declared::from(config), config: config.clone() })
    }

    /// Whether what is in force has no limit, series, buffer or event.
    pub(crate) fn declares_nothing(&self) -> bool {
        self.config.declares_nothing()
    }

    /// The definitions of the limits that are in force, by name.
    pub(crate) fn declared_limits(&self) -> impl Iterator<Item = (&Name, &Limit)> {
        self.config.limits.iter()
    }

    /// The rules of another configuration, and what differs. Limits that do not change keep their handles, and with them
    /// what this process remembers.
    pub(crate) fn next(&self, config: &Config, parts: &Parts<'_>) -> (Self, Changes) {
        let mut changes = Changes { restart: self.fixed(config), ..Changes::default() };
        let mut next = Self {
            limits: self.next_limits(config, parts),
            events: Named { what: "event", entries: BTreeMap::new() },
            tokens: self.tokens.clone(),
            declared: self.declared.clone(),
            config: Config { limits: config.limits.clone(), events: BTreeMap::new(), ..self.config.clone() },
        };
        if config.tokens.is_empty() != self.tokens.is_empty() {
            // Who may call at all was decided by where it listens.
            changes.restart.push("tokens: the first one, or none any more".into());
        } else if config.tokens != self.tokens {
            next.tokens.clone_from(&config.tokens);
            changes.made.push("tokens: changed".into());
        }
        for (name, event) in &config.events {
            let old = self.events.entries.get(name);
            let metrics = || old.map_or_else(|| parts.metrics.event(name), |old| old.metrics.clone());
            match parts.event(name, event, &next.limits, metrics) {
                Ok(entry) => {
                    next.events.entries.insert(name.clone(), entry);
                    next.config.events.insert(name.clone(), event.clone());
                }
                Err(error) => {
                    changes.restart.push(format!("event {name}: {error}"));
                    self.keep_event(name, parts, &mut next);
                }
            }
        }
        changes.made.extend(differences("limit", &self.config.limits, &next.config.limits));
        changes.made.extend(differences("event", &self.config.events, &next.config.events));
        next.config.tokens.clone_from(&next.tokens);
        next.declared = Declared::from(&next.config);
        (next, changes)
    }

    fn next_limits(&self, config: &Config, parts: &Parts<'_>) -> Named<LimitEntry> {
        let mut limits = Named { what: "limit", entries: BTreeMap::new() };
        for (name, limit) in &config.limits {
            let old = self.limits.entries.get(name);
            let entry = match old {
                Some(old) if self.config.limits.get(name) == Some(limit) => old.clone(),
                _ => LimitEntry {
                    handle: parts.bay.limit(limit.clone()).expect("a checked definition"),
                    metrics: old.map_or_else(|| parts.metrics.limit(name), |old| old.metrics.clone()),
                },
            };
            limits.entries.insert(name.clone(), entry);
        }
        limits
    }

    /// What differs and cannot change while the server runs.
    fn fixed(&self, config: &Config) -> Vec<String> {
        let now = &self.config;
        let places = [
            ("listen", now.listen != config.listen),
            ("prefix", now.prefix != config.prefix),
            ("idempotency_bytes", now.idempotency_bytes != config.idempotency_bytes),
            ("store", now.store != config.store),
            ("database", now.database != config.database),
        ];
        let places = places.into_iter().filter(|(_, differs)| *differs).map(|(place, _)| place.to_owned());
        let series = differences("series", &now.series, &config.series);
        places.chain(series).chain(differences("buffer", &now.buffers, &config.buffers)).collect()
    }

    /// An event that cannot change stays as it is, by its limits as they are now; one of them that is gone stays with it.
    fn keep_event(&self, name: &Name, parts: &Parts<'_>, rules: &mut Self) {
        let Some((entry, config)) = self.events.entries.get(name).zip(self.config.events.get(name)) else {
            return;
        };
        for limit in &config.limits {
            if let Some(definition) =
                self.config.limits.get(&limit.name).filter(|_| !rules.limits.contains(&limit.name))
            {
                rules.limits.entries.insert(limit.name.clone(), self.limits.declared(&limit.name).clone());
                rules.config.limits.insert(limit.name.clone(), definition.clone());
            }
        }
        let same = parts.event(name, config, &rules.limits, || entry.metrics.clone());
        // A limit that lends leases now is not one that an event can name.
        rules.events.entries.insert(name.clone(), same.unwrap_or_else(|_| entry.clone()));
        rules.config.events.insert(name.clone(), config.clone());
    }
}

impl Parts<'_> {
    fn event(
        &self,
        name: &Name,
        config: &EventConfig,
        limits: &Named<LimitEntry>,
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

/// What is new, changed, or gone.
fn differences<T: PartialEq>(what: &str, old: &BTreeMap<Name, T>, new: &BTreeMap<Name, T>) -> Vec<String> {
    let fate = |name: &Name| match (old.get(name), new.get(name)) {
        (None, Some(_)) => Some("new"),
        (Some(_), None) => Some("removed"),
        (old, new) if old != new => Some("changed"),
        _ => None,
    };
    let mut names: Vec<&Name> = old.keys().chain(new.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().filter_map(|name| Some(format!("{what} {name}: {}", fate(name)?))).collect()
}
