//! A list of hosts to open.

use std::fmt;

use crate::{
    engine::{
        Location,
        cluster::{Listed, RouterKind},
    },
    error::Result,
};

/// Several independent Redis hosts, by names that stay when their addresses change.
///
/// Names that are all whole numbers are ids, as Nydus and rb have them: they give the order of the hosts, and
/// under a ketama router the names on the ring are made from the addresses, as those libraries do.
///
/// ```no_run
/// # #[tokio::main] async fn main() -> forebay::Result<()> {
/// use forebay::{Forebay, cluster::Hosts};
///
/// let hosts = Hosts::new()
///     .host("cache-a", "redis://10.0.0.1:6379/0")
///     .weighted("cache-b", "redis://10.0.0.2:6379/0", 2);
/// let bay = Forebay::options().open_hosts(hosts).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Default, PartialEq)]
#[must_use = "hosts are opened by `Options::open_hosts`"]
pub struct Hosts {
    pub(crate) router: RouterKind,
    pub(crate) listed: Vec<Listed>,
}

impl Hosts {
    /// No hosts yet, found by slots.
    pub fn new() -> Self {
        Self::default()
    }

    /// How keys find their host; default by slots.
    pub fn router(mut self, router: RouterKind) -> Self {
        self.router = router;
        self
    }

    /// Adds a host: a name of 1 to 255 bytes, and `redis://[user][:password@]host[:port][/db]`.
    pub fn host(self, name: impl Into<String>, url: impl Into<String>) -> Self {
        self.weighted(name, url, 1)
    }

    /// Adds a host that gets `weight` (1 to 1000) times the keys of one with weight 1.
    pub fn weighted(mut self, name: impl Into<String>, url: impl Into<String>, weight: u32) -> Self {
        self.listed.push(Listed { name: name.into(), url: url.into(), weight });
        self
    }

    /// Checks names, weights and URLs without connecting: what a configuration is checked by, and what opening checks
    /// first.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) or
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration): an empty list, names, weights or URLs that are
    /// none, or that the router cannot work with.
    pub fn check(&self) -> Result<()> {
        Location::of_hosts(self.router, &self.listed).map(|_| ())
    }
}

impl fmt::Debug for Hosts {
    /// Without the URLs: they may hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.listed.iter().map(|listed| (&listed.name, listed.weight)).collect();
        f.debug_struct("Hosts").field("router", &self.router).field("hosts", &names).finish()
    }
}
