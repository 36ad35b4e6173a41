//! The health of hosts.

use std::fmt;

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
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostStatus {
    /// Its name, which stays when its address changes.
    pub name: Box<str>,
    /// Its health.
    pub health: Health,
    /// The number of the 16384 slots that it owns; `None` where keys are not placed by slots.
    pub slots: Option<u16>,
    /// The last error; `None` while it is up.
    pub reason: Option<Box<str>>,
}

impl HostStatus {
    /// The only host of a store with one host.
    pub(crate) fn only(name: &str) -> Self {
        Self { name: name.into(), health: Health::Up, slots: None, reason: None }
    }
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
