//! Asking about the hosts.

use super::Map;
use crate::{
    buffer::BufferHandle,
    engine::step::Place,
    error::{Result, invalid},
    model::{HostStatus, Placement, RowKey, Value},
    series::SeriesHandle,
    store::Store,
};

/// The hosts of an open store, one or many. Clones share it.
#[derive(Clone, Debug)]
pub struct Cluster {
    store: Store,
}

/// Where a key, or what is kept of it, is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Route {
    /// Its slot, 0 to 16383: the same as in Redis Cluster. `None` where keys are not placed by slots.
    pub slot: Option<u16>,
    /// The host's name.
    pub host: Box<str>,
    /// Of a series or a buffer the partition, all of which is in one place; `None` for anything else.
    pub partition: Option<u16>,
}

/// Some of the hosts, for commands that have no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Their numbers.
    pub(super) hosts: Vec<usize>,
}

impl Cluster {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    /// An empty map, to gather commands in.
    pub fn map(&self) -> Map {
        Map::new(self.store.clone())
    }

    /// Every host.
    pub fn all(&self) -> Target {
        Target { hosts: (0..self.hosts().len()).collect() }
    }

    /// The hosts with these names, in this order.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a name that none has, with those that there are.
    pub fn target(&self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Target> {
        let known = self.hosts();
        let number = |name: &str| {
            known.iter().position(|host| *host.name == *name).ok_or_else(|| {
                let all: Vec<_> = known.iter().map(|host| &*host.name).collect();
                invalid(format!("host {name:?}: the hosts are {}", all.join(", ")))
            })
        };
        let hosts = names.into_iter().map(|name| number(name.as_ref())).collect::<Result<_>>()?;
        Ok(Target { hosts })
    }

    /// The hosts, in the order of their numbers, and how they have been answering.
    pub fn hosts(&self) -> Vec<HostStatus> {
        self.store.engine().hosts()
    }

    /// How keys find their host; `None` in a store that has only one.
    pub fn placement(&self) -> Option<Placement> {
        self.store.engine().placement()
    }

    /// Which host has a plain key, one of a [`Map`].
    ///
    /// Forebay's own structures are elsewhere: keys of limits and names of locks may have braces, which mean nothing
    /// there, and series and buffers place their partitions.
    pub fn route(&self, key: impl super::Argument) -> Route {
        let key = key.to_bytes();
        let engine = self.store.engine();
        self.found((engine.host_of(&key), engine.slot_of(&key)), None)
    }

    /// Which host has a key of limits; it has that key of all of them.
    pub fn route_limit(&self, key: &str) -> Route {
        self.found(self.store.engine().place_of(Place::Key(key)), None)
    }

    /// Which host has a lock.
    pub fn route_lock(&self, name: &str) -> Route {
        self.found(self.store.engine().place_of(Place::Key(name)), None)
    }

    /// Which host has a key of a series.
    pub fn route_series(&self, series: &SeriesHandle, key: &str) -> Route {
        let part = series.part(key);
        self.found(self.store.engine().place_of(Place::Series(&part)), Some(part.index))
    }

    /// Which host gets the writes to a row of a buffer.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a key that does not fit the buffer's key columns.
    pub fn route_row(&self, buffer: &BufferHandle, key: impl AsRef<[Value]>) -> Result<Route> {
        let part = buffer.part_of(&RowKey::new(buffer.schema(), key.as_ref())?);
        Ok(self.found(self.store.engine().place_of(Place::Buffer(&part)), Some(part.index)))
    }

    fn found(&self, (host, slot): (usize, Option<u16>), partition: Option<u16>) -> Route {
        Route { slot, host: self.hosts().swap_remove(host).name, partition }
    }
}
