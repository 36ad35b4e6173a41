//! How hosts are.

use std::fmt;

/// How a host has been answering.
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
    /// It failed to answer lately. It is still asked.
    Suspect,
    /// It does not answer. Calls for it fail at once, and its keys wait for it: no other host gets them.
    Down,
    /// It answers again, and has still to show that it keeps to it.
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
    /// How it has been answering.
    pub health: Health,
    /// How many of the 16384 slots it owns; `None` where keys are not placed by slots.
    pub slots: Option<u16>,
    /// The last error, unless it is up.
    pub reason: Option<Box<str>>,
}

impl HostStatus {
    /// The one host of a store that has no others.
    pub(crate) fn only(name: &str) -> Self {
        Self { name: name.into(), health: Health::Up, slots: None, reason: None }
    }
}

/// How keys find their host.
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
    /// Which version of the table of slots it is; always 1 under the other routers.
    pub epoch: u64,
}
