//! The health of hosts.

use std::{fmt, time::Duration};

use super::latency::Latency;
use crate::time::Timestamp;

/// The health of a host, by its recent answers.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::cluster::Health;
/// assert!(bay.cluster().hosts().iter().all(|host| host.health == Health::Up));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Health {
    /// It answers.
    #[default]
    Up,
    /// It has recently failed to answer. It still gets calls.
    Suspect,
    /// It does not answer. Calls to it fail at once, and its keys wait for it: no other host gets them.
    Down,
    /// It answers again, and has still to prove that it is stable.
    HalfOpen,
}

impl Health {
    /// The word for it: `up`, `suspect`, `down` or `half-open`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Down => "down",
            Self::HalfOpen => "half-open",
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A host, as this process sees it.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let hosts = bay.cluster().hosts();
/// assert_eq!((&*hosts[0].name, hosts[0].reason.as_deref()), ("embedded", None));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HostStatus {
    /// Its name, which stays when its address changes.
    pub name: Box<str>,
    /// Its health.
    pub health: Health,
    /// Since when it has that health; `None` for a store in this process.
    pub since: Option<Since>,
    /// How often its health changed since this process met it.
    pub changes: u64,
    /// The number of the 16384 slots that it owns; `None` where keys are not placed by slots.
    pub slots: Option<u16>,
    /// The last error; `None` while it is up.
    pub reason: Option<Box<str>>,
    /// The calls of this process to it; `None` in a store with one host, which counts none.
    pub calls: Option<Calls>,
    /// The round trips since the start. One carries the calls of many callers.
    pub latency: Latency,
    /// The round trips of the last 30 to 60 seconds.
    pub recent: Latency,
    /// The calls that it, as a node of a Redis Cluster, sent elsewhere.
    pub redirects: Redirects,
    /// Its memory, as of at most some seconds ago; `None` before the first connection, and for a store in this process.
    pub memory: Option<Memory>,
    /// Its load compared with the other hosts; `None` in a store with one host.
    pub skew: Option<Skew>,
    /// Whether takes are refused at once, because the last ones had no answer before their deadlines.
    pub breaker_open: bool,
}

impl HostStatus {
    /// The only host of a store with one host.
    pub(crate) fn only(name: &str) -> Self {
        Self {
            name: name.into(),
            health: Health::Up,
            since: None,
            changes: 0,
            slots: None,
            reason: None,
            calls: None,
            latency: Latency::default(),
            recent: Latency::default(),
            redirects: Redirects::default(),
            memory: None,
            skew: None,
            breaker_open: false,
        }
    }
}

/// When a state began.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// for host in bay.cluster().hosts() {
///     println!("{} for {:?}", host.health, host.since.map(|since| since.lasted));
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Since {
    /// The time of day at which it began, by this machine's clock.
    pub at: Timestamp,
    /// How long it has lasted. A change of the time of day does not affect it.
    pub lasted: Duration,
}

/// Calls of this process to a host: steps on limits, rows, points and locks, and batches of a map.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let calls = bay.cluster().hosts()[0].calls;
/// assert_eq!(calls.unwrap_or_default().in_flight, 0);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Calls {
    /// Calls that were begun. Those that are refused because the host is down are not among them.
    pub begun: u64,
    /// Calls that had no answer, or were given up by their caller.
    pub unanswered: u64,
    /// Calls that wait for an answer now.
    pub in_flight: u64,
}

/// Calls that a node of a Redis Cluster did not carry out, and that were sent on.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let redirects = bay.cluster().hosts()[0].redirects;
/// assert_eq!(redirects.moved, 0);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Redirects {
    /// Another node has the slot (`MOVED`).
    pub moved: u64,
    /// Another node has the keys, while the slot moves (`ASK`).
    pub ask: u64,
    /// Two nodes have the keys of one call, while the slot moves (`TRYAGAIN`). The call was sent again a little later.
    pub try_again: u64,
}

/// The memory of a host, in bytes.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// assert!(bay.cluster().hosts()[0].memory.is_none()); // nobody knows that of this process
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// The bytes that it uses (`used_memory`).
    pub used: u64,
    /// The bytes that it may use (`maxmemory`); `None`: it has no bound.
    pub max: Option<u64>,
}

/// How many times the mean of all hosts one host has. 1 is the same as the others.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// println!("{:?}", bay.cluster().hosts()[0].skew);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Skew {
    /// Of the calls of this process in about the last minute, compared with the hosts that are not down; `None`: there were too
    /// few to tell.
    pub calls: Option<f64>,
    /// Of the slots; `None` where keys are not placed by slots.
    pub slots: Option<f64>,
}

/// The way in which keys find their host.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// if let Some(placement) = bay.cluster().placement() {
///     println!("{} by table {}", placement.router, placement.epoch);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Placement {
    /// The router's name: `slots`, `nydus-partition`, …
    pub router: &'static str,
    /// The version of the slot table; always 1 under the other routers.
    pub epoch: u64,
}
