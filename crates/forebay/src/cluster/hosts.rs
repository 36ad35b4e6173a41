//! The hosts of a store of several hosts.

use std::fmt;

use crate::{
    engine::{
        Location,
        cluster::{Address, Cluster, Listed, Placement, RouterKind, read_list, sort_listed},
    },
    error::Result,
};

/// A list of independent Redis hosts, each with a name that stays when its address changes.
///
/// If all names are whole numbers, they are ids as in Nydus and rb: they order the hosts, and a ketama router makes the names
/// on the ring from the addresses, as those libraries do.
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
    /// An empty list, whose keys are placed by slots.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how keys are placed on hosts; default by slots.
    ///
    /// # Examples
    /// ```
    /// use forebay::cluster::{Hosts, RouterKind};
    /// let hosts = Hosts::new().router(RouterKind::NydusKetama).host("a", "redis://10.0.0.1").host("b", "redis://10.0.0.2");
    /// hosts.check()?;
    /// # Ok::<(), forebay::Error>(())
    /// ```
    pub fn router(mut self, router: RouterKind) -> Self {
        self.router = router;
        self
    }

    /// Adds a host: a name of 1 to 255 bytes, and a URL `redis://[user][:password@]host[:port][/db]`.
    ///
    /// # Examples
    /// ```
    /// use forebay::cluster::Hosts;
    /// let hosts = Hosts::new().host("a", "redis://10.0.0.1").host("b", "redis://user:password@10.0.0.2:6380/1");
    /// hosts.check()?;
    /// # Ok::<(), forebay::Error>(())
    /// ```
    pub fn host(self, name: impl Into<String>, url: impl Into<String>) -> Self {
        self.weighted(name, url, 1)
    }

    /// Adds a host that gets `weight` (1 to 1000) times the keys of one with weight 1.
    ///
    /// # Examples
    /// ```
    /// use forebay::cluster::Hosts;
    /// let hosts = Hosts::new().host("small", "redis://10.0.0.1").weighted("large", "redis://10.0.0.2", 3);
    /// hosts.check()?; // three keys of four go to the large one
    /// # Ok::<(), forebay::Error>(())
    /// ```
    pub fn weighted(mut self, name: impl Into<String>, url: impl Into<String>, weight: u32) -> Self {
        self.listed.push(Listed { name: name.into(), url: url.into(), weight });
        self
    }

    /// Adds the hosts of a URL, as [`Forebay::open`](crate::Forebay::open) names them: `redis://a,b,c`. Its router counts.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for another URL; the message has no login.
    ///
    /// # Examples
    /// ```
    /// use forebay::cluster::Hosts;
    /// let hosts = Hosts::new().url("redis://10.0.0.1,10.0.0.2")?.host("cache-c", "redis://10.0.0.3");
    /// hosts.check()?;
    /// # Ok::<(), forebay::Error>(())
    /// ```
    pub fn url(self, url: &str) -> Result<Self> {
        let (router, addresses) = read_list(url)?;
        let add = |hosts: Self, Address { host, url }: Address| hosts.host(host.name(), url);
        Ok(addresses.into_iter().fold(self.router(router), add))
    }

    /// Sets the weight of each host that `other` has by the same name to its weight there.
    ///
    /// # Examples
    /// ```
    /// use forebay::cluster::Hosts;
    /// let before = Hosts::new().weighted("a", "redis://10.0.0.1", 2);
    /// let after = Hosts::new().host("a", "redis://10.0.0.9").weighted_as(&before);
    /// assert!(format!("{after:?}").contains("(\"a\", 2)"));
    /// ```
    pub fn weighted_as(mut self, other: &Self) -> Self {
        for listed in &mut self.listed {
            let known = other.listed.iter().find(|known| known.name == listed.name);
            listed.weight = known.map_or(listed.weight, |known| known.weight);
        }
        self
    }

    /// Where keys go at the first start of a store with these hosts, without connecting. Once it was started, the hosts hold
    /// their placement, which [`Cluster::route`](super::Cluster::route) reads.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    ///
    /// # Examples
    /// ```
    /// use forebay::cluster::Hosts;
    /// let hosts = Hosts::new().host("a", "redis://10.0.0.1").host("b", "redis://10.0.0.2");
    /// let placement = hosts.first_placement()?;
    /// assert!(["a", "b"].contains(&placement.host_of("user:42")));
    /// # Ok::<(), forebay::Error>(())
    /// ```
    pub fn first_placement(&self) -> Result<FirstPlacement> {
        let addresses = sort_listed(self.router, self.listed.clone())?;
        let names = addresses.iter().map(|address| address.host.name().into()).collect();
        Ok(FirstPlacement { placement: Cluster::check(self.router, &addresses)?, names })
    }

    /// Checks names, weights and URLs without connecting. A program can check its configuration with it; opening checks the
    /// same first.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) or
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) for an empty list, for malformed names, weights or URLs,
    /// and for those that the router does not support.
    ///
    /// # Examples
    /// ```
    /// use forebay::cluster::Hosts;
    /// let twice = Hosts::new().host("a", "redis://10.0.0.1").host("a", "redis://10.0.0.2");
    /// println!("{}", twice.check().unwrap_err());
    /// ```
    pub fn check(&self) -> Result<()> {
        Location::of_hosts(self.router, &self.listed).map(|_| ())
    }
}

/// Where keys go at the first start of a store of several hosts: see [`Hosts::first_placement`].
///
/// # Examples
/// ```
/// use forebay::cluster::Hosts;
/// let placement = Hosts::new().host("a", "redis://10.0.0.1").first_placement()?;
/// assert_eq!(placement.host_of("{hits.3}"), "a");
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct FirstPlacement {
    placement: Placement,
    /// In the order of their numbers.
    names: Vec<Box<str>>,
}

impl FirstPlacement {
    /// The name of the host that gets a plain key. The slots of Forebay's own structures are those of their tags: partition 3
    /// of the series `hits` goes where the key `{hits.3}` goes.
    pub fn host_of(&self, key: impl AsRef<[u8]>) -> &str {
        &self.names[self.placement.router().host_for_key(key.as_ref())]
    }
}

impl fmt::Debug for Hosts {
    /// Without the URLs: they may contain passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.listed.iter().map(|listed| (&listed.name, listed.weight)).collect();
        f.debug_struct("Hosts").field("router", &self.router).field("hosts", &names).finish()
    }
}
