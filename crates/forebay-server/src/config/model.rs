//! A configuration that was read and checked.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use forebay::{Buffer, Limit, Name, Series, buffer::Schema, cluster::Hosts, event::Cell};
use forebay_sql::{Migrate, Missing};

use super::{
    secret::{Secret, Url},
    series::SummaryConfig,
    statsd::StatsdConfig,
};

/// The name of the canary's buffer, and of its table.
pub const CANARY: &str = "forebay_canary";

/// The configuration of the server. The commented file that `forebay init` writes ([`EXAMPLE`](super::EXAMPLE)) describes
/// each field: its meaning, unit, default and range, and the symptom of a wrong value.
#[derive(Clone, Debug)]
pub struct Config {
    /// The source of the fields that neither a flag nor a variable sets.
    pub origin: Origin,
    /// The address of the HTTP interface.
    pub listen: SocketAddr,
    /// The first part of every key in a shared store.
    pub prefix: String,
    /// The store.
    pub store: Store,
    /// The bytes that each host of the store keeps for requests with an `Idempotency-Key`.
    pub idempotency_bytes: u64,
    /// The database to which buffers flush.
    pub database: Url,
    /// Rate limits.
    pub limits: BTreeMap<Name, Limit>,
    /// Time series of hits.
    pub series: BTreeMap<Name, Series>,
    /// Time series of other kinds.
    pub summaries: BTreeMap<Name, SummaryConfig>,
    /// Write buffers.
    pub buffers: BTreeMap<Name, BufferConfig>,
    /// Events: limits, series and buffers in one call.
    pub events: BTreeMap<Name, EventConfig>,
    /// The interval of the canary, if it is configured. Its buffer is then one of the [`buffers`](Self::buffers).
    pub canary: Option<Duration>,
    /// The listener for statsd, if it is configured.
    pub statsd: Option<StatsdConfig>,
    /// The accepted tokens. Empty: every caller on this machine is accepted.
    pub tokens: Vec<Token>,
    /// True: it serves other machines without tokens.
    pub insecure: bool,
}

impl Config {
    /// Returns whether it declares no limit, series, buffer or event.
    pub fn declares_nothing(&self) -> bool {
        let own = self.buffers.keys().filter(|name| name.as_str() != CANARY);
        let series = self.series.len() + self.summaries.len();
        own.count() == 0 && self.limits.is_empty() && series == 0 && self.events.is_empty()
    }
}

/// The source of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The built-in example.
    BuiltIn,
    /// This file.
    File(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("the built-in example"),
            Self::File(path) => f.write_str(&crate::text::shown(&path.to_string_lossy())),
        }
    }
}

/// The store of a configuration.
#[derive(Clone, Debug, PartialEq)]
pub enum Store {
    /// A URL: memory, a file, or hosts.
    Url(Url),
    /// Hosts by name, with their names in order.
    Hosts(Hosts, Vec<String>),
}

impl Store {
    /// Returns whether it is outside this process.
    pub fn is_shared(&self) -> bool {
        !matches!(self, Self::Url(url) if ["memory", "embedded"].contains(&url.scheme()))
    }

    /// Returns whether it is lost with the process.
    pub fn is_volatile(&self) -> bool {
        matches!(self, Self::Url(url) if url.scheme() == "memory")
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => url.fmt(f),
            Self::Hosts(_, names) => {
                write!(f, "{}: {}", crate::text::count(names.len() as u64, "host"), names.join(", "))
            }
        }
    }
}

/// A write buffer, and how it flushes.
#[derive(Clone, Debug, PartialEq)]
pub struct BufferConfig {
    /// Table, key, columns and partitions.
    pub definition: Buffer,
    /// The same, checked.
    pub schema: Arc<Schema>,
    /// The time for which a row waits before it is flushed.
    pub flush_every: Duration,
    /// The creation of missing tables; `None`: the default of the database.
    pub migrate: Option<Migrate>,
    /// The treatment of a row that the table does not have; `None`: the default of the table.
    pub missing: Option<Missing>,
    /// The retention of the ledger; `None`: the default of the database.
    pub ledger_retention: Option<Duration>,
}

/// The limits, series and buffers of an event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventConfig {
    /// A hit is accepted if all of these admit it.
    pub limits: Vec<LimitUse>,
    /// An accepted hit is counted in these.
    pub series: Vec<Name>,
    /// An accepted hit is written to these.
    pub buffers: Vec<BufferUse>,
}

/// A limit of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitUse {
    /// The limit.
    pub name: Name,
    /// A fixed key instead of the hit's: one quota for all hits.
    pub key: Option<String>,
}

/// A buffer of an event, and what is written to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferUse {
    /// The buffer.
    pub name: Name,
    /// The key of the row: a cell for each key column, in their order.
    pub row: Vec<Cell>,
    /// The values to merge, by column. Other columns stay as they are.
    pub columns: Vec<(String, Cell)>,
}

/// A token of a caller.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// Its name in logs.
    pub name: String,
    /// The secret that the caller sends.
    pub secret: Secret,
    /// The permitted scopes. No scope implies another: a token with `admin` alone may not write.
    pub scopes: BTreeSet<Scope>,
}

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Reads.
    Read,
    /// Counts, takes, buffers.
    Write,
    /// Resets, deletes, flushes, pauses.
    Admin,
    /// Reads and writes plain keys of the store, which Forebay does not use itself.
    Map,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Admin, Self::Map];

    /// The word for it in configuration and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
            Self::Map => "map",
        }
    }
}
