//! The handle of the hosts: who has which key, and how they answer.

use super::{
    argument::{Argument, bytes},
    map::{Map, Target},
};
use crate::{
    buffer::BufferHandle,
    engine::step::Place,
    error::{Result, invalid},
    model::{HostStatus, Placement, RowKey, Value},
    series::SeriesHandle,
    store::Store,
};

/// The hosts of an open store, one or many. Clones share it.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let cluster = bay.cluster();
/// for host in cluster.hosts() {
///     println!("{} is {}", host.name, host.health);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Cluster {
    store: Store,
}

/// The place of a key: its host, and the slot or partition there.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let route = bay.cluster().route("user:42");
/// assert_eq!((&*route.host, route.slot), ("embedded", None));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Route {
    /// Its slot, 0 to 16383, as in Redis Cluster; `None` where keys are not placed by slots.
    pub slot: Option<u16>,
    /// The host's name.
    pub host: Box<str>,
    /// The partition of a series or a buffer; `None` for other keys. All of a partition is in one slot.
    pub partition: Option<u16>,
}

impl Cluster {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    /// Starts an empty map of commands.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let mut map = bay.cluster().map();
    /// let hits = map.incr("hits:user:42", 1);
    /// assert_eq!(map.run().await.get(hits)?, 1);
    /// # Ok(()) }
    /// ```
    pub fn map(&self) -> Map {
        Map::new(self.store.clone())
    }

    /// All hosts.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let cluster = bay.cluster();
    /// let mut map = cluster.map();
    /// // A ticket for each host. A store in this process answers no other commands than those of `Map`.
    /// let sizes = map.fanout::<i64>(&cluster.all(), ["DBSIZE"]);
    /// assert_eq!(sizes.len(), cluster.hosts().len());
    /// # Ok(()) }
    /// ```
    pub fn all(&self) -> Target {
        Target::of(self.hosts().into_iter().map(|host| host.name.into()).collect())
    }

    /// The hosts with these names, in this order.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for an unknown name; the message lists the hosts.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let cluster = bay.cluster();
    /// assert!(cluster.target(["embedded"]).is_ok());
    /// assert!(cluster.target(["cache-z"]).unwrap_err().to_string().contains("the hosts are embedded"));
    /// # Ok(()) }
    /// ```
    pub fn target(&self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Target> {
        let known = self.hosts();
        let checked = |name: &str| {
            if known.iter().any(|host| *host.name == *name) {
                return Ok(name.into());
            }
            let all: Vec<_> = known.iter().map(|host| &*host.name).collect();
            Err(invalid(format!("host {name:?}: the hosts are {}", all.join(", "))))
        };
        let hosts = names.into_iter().map(|name| checked(name.as_ref())).collect::<Result<_>>()?;
        Ok(Target::of(hosts))
    }

    /// The host of a plain key, for commands beside it: `map.fanout(&cluster.target_key("user:42"), ["DBSIZE"])`.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let cluster = bay.cluster();
    /// assert_eq!(cluster.target_key("user:42"), cluster.target([&*cluster.route("user:42").host])?);
    /// # Ok(()) }
    /// ```
    pub fn target_key(&self, key: impl Argument) -> Target {
        Target::one(self.store.engine().host_name_of(&bytes(&key)))
    }

    /// The hosts in the order of their numbers, with their health.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::cluster::Health;
    /// let hosts = bay.cluster().hosts();
    /// assert_eq!((&*hosts[0].name, hosts[0].health), ("embedded", Health::Up));
    /// # Ok(()) }
    /// ```
    pub fn hosts(&self) -> Vec<HostStatus> {
        self.store.engine().hosts()
    }

    /// How keys are placed on hosts; `None` in a store with one host.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// assert!(bay.cluster().placement().is_none()); // one host
    /// # Ok(()) }
    /// ```
    pub fn placement(&self) -> Option<Placement> {
        self.store.engine().placement()
    }

    /// Finds the host of a plain key of a [`Map`].
    ///
    /// Forebay's own structures are placed in another way: braces in the keys of limits and the names of locks have no
    /// meaning, and series and buffers are placed by partition.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// println!("{} has user:42", bay.cluster().route("user:42").host);
    /// # Ok(()) }
    /// ```
    pub fn route(&self, key: impl Argument) -> Route {
        let key = bytes(&key);
        let engine = self.store.engine();
        self.found((engine.host_of(&key), engine.slot_of(&key)), None)
    }

    /// Finds the host of a key of limits. All limits have a key on the same host.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// println!("{} counts user:42", bay.cluster().route_limit("user:42").host);
    /// # Ok(()) }
    /// ```
    pub fn route_limit(&self, key: &str) -> Route {
        self.found(self.store.engine().place_of(Place::Key(key)), None)
    }

    /// Finds the host of a lock.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// println!("{} has the lock", bay.cluster().route_lock("nightly").host);
    /// # Ok(()) }
    /// ```
    pub fn route_lock(&self, name: &str) -> Route {
        self.found(self.store.engine().place_of(Place::Named(name)), None)
    }

    /// Finds the host and the partition of a key of a series.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let hits = bay.series("hits")?;
    /// println!("{} has user:42", bay.cluster().route_series(&hits, "user:42").host);
    /// # Ok(()) }
    /// ```
    pub fn route_series(&self, series: &SeriesHandle, key: &str) -> Route {
        let part = series.part(key);
        self.found(self.store.engine().place_of(Place::Series(&part)), Some(part.index))
    }

    /// Finds the host and the partition for writes to a row of a buffer.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a key that does not fit the buffer's key columns.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// # let projects = bay.buffer(forebay::Buffer::new("projects").key("id").sum("hits"))?;
    ///
    /// println!("{} gets the writes", bay.cluster().route_row(&projects, ["42".into()])?.host);
    /// # Ok(()) }
    /// ```
    pub fn route_row(&self, buffer: &BufferHandle, key: impl AsRef<[Value]>) -> Result<Route> {
        let part = buffer.part_of(&RowKey::new(buffer.schema(), key.as_ref())?);
        Ok(self.found(self.store.engine().place_of(Place::Buffer(&part)), Some(part.index)))
    }

    fn found(&self, (host, slot): (usize, Option<u16>), partition: Option<u16>) -> Route {
        let mut hosts = self.hosts();
        // Hosts may have left since the number was found.
        let host = host.min(hosts.len() - 1);
        Route { slot, host: hosts.swap_remove(host).name, partition }
    }
}
