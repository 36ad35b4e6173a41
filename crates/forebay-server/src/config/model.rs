//! What a configuration comes to once it has been read.

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use forebay::{Buffer, Limit, Name, Series, buffer::Schema, cluster::Hosts, event::Cell};
use forebay_sql::{Migrate, Missing};

use super::secret::{Secret, Url};

/// The name of the canary's buffer, and of its table.
pub const CANARY: &str = "forebay_canary";

/// Everything the server is told. What each field means, its unit, default and range, and what one sees when it
/// is wrong, stands in the commented file that `forebay init` writes ([`EXAMPLE`](super::EXAMPLE)).
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the fields came from that no flag and no variable gave.
    pub origin: Origin,
    /// Where the HTTP interface listens.
    pub listen: SocketAddr,
    /// The first part of every key in a shared store.
    pub prefix: String,
    /// Where counters live.
    pub store: Store,
    /// How many bytes each host of the store keeps for requests with an `Idempotency-Key`.
    pub idempotency_bytes: u64,
    /// Where buffers flush to.
    pub database: Url,
    /// Rate limits.
    pub limits: BTreeMap<Name, Limit>,
    /// Time series.
    pub series: BTreeMap<Name, Series>,
    /// Write buffers.
    pub buffers: BTreeMap<Name, BufferConfig>,
    /// Events: limits, series and buffers in one call.
    pub events: BTreeMap<Name, EventConfig>,
    /// How often the canary is sent, if it is; then its buffer is one of the [`buffers`](Self::buffers).
    pub canary: Option<Duration>,
    /// Who may call. Empty: everybody who can reach the loopback interface.
    pub tokens: Vec<Token>,
    /// Serve other machines although there is no token.
    pub insecure: bool,
}

impl Config {
    /// Whether it declares no limit, series, buffer or event.
    pub fn declares_nothing(&self) -> bool {
        let own = self.buffers.keys().filter(|name| name.as_str() != CANARY);
        own.count() == 0 && self.limits.is_empty() && self.series.is_empty() && self.events.is_empty()
    }
}

/// Where a configuration was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The talk's example, which is built in.
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

/// Where counters live.
#[derive(Clone, Debug, PartialEq)]
pub enum Store {
    /// What a URL names: this process, a file, or hosts.
    Url(Url),
    /// Hosts by name, with their names in order.
    Hosts(Hosts, Vec<String>),
}

impl Store {
    /// Whether it is not in this process.
    pub fn is_shared(&self) -> bool {
        !matches!(self, Self::Url(url) if ["memory", "embedded"].contains(&url.scheme()))
    }

    /// Whether it is gone with the process.
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

/// A write buffer and how it flushes.
#[derive(Clone, Debug, PartialEq)]
pub struct BufferConfig {
    /// Table, key, columns and partitions.
    pub definition: Buffer,
    /// The same, checked.
    pub schema: Arc<Schema>,
    /// How long a row waits before it is flushed.
    pub flush_every: Duration,
    /// Whether to create what is missing in the database; `None`: as the database's sink does by default.
    pub migrate: Option<Migrate>,
    /// What becomes of a row that the table does not have; `None`: as the sink does by default.
    pub missing: Option<Missing>,
    /// How long the database remembers a batch; `None`: as the sink does by default.
    pub ledger_retention: Option<Duration>,
}

/// What an event does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventConfig {
    /// It is accepted if all of these admit it.
    pub limits: Vec<LimitUse>,
    /// Accepted, it is counted in these.
    pub series: Vec<Name>,
    /// And written to these.
    pub buffers: Vec<BufferUse>,
}

/// A limit of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitUse {
    /// Which.
    pub name: Name,
    /// A fixed key instead of the event's own: one quota for all of them.
    pub key: Option<String>,
}

/// A buffer of an event, and what is written to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferUse {
    /// Which.
    pub name: Name,
    /// The row: one for each key column, in their order.
    pub row: Vec<Cell>,
    /// What to merge into it, by column; the others are left alone.
    pub columns: Vec<(String, Cell)>,
}

/// Somebody who may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// How logs call it.
    pub name: String,
    /// What it sends.
    pub secret: Secret,
    /// What it may do.
    pub scopes: Scopes,
}

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Looks, changes nothing.
    Read,
    /// Counts, takes, buffers.
    Write,
    /// Resets, deletes, flushes, pauses.
    Admin,
}

impl Scope {
    /// The word for it in configuration and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// Some scopes. None implies another: a token that may administer may not write unless it says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// All of them.
    pub const ALL: Self = Self(0b111);

    /// Adds a scope.
    #[must_use]
    pub fn with(self, scope: Scope) -> Self {
        Self(self.0 | 1 << scope as u8)
    }

    /// Whether `scope` is among them.
    pub fn contain(self, scope: Scope) -> bool {
        self.0 & 1 << scope as u8 != 0
    }
}
