//! Hosts that are looked at without opening a store on them: nothing is written.

use super::{Cluster, Host, SlotMove, moves, router::Router};
use crate::{
    engine::redis::Home,
    error::{Error, ErrorKind, Result},
};

impl Cluster {
    /// The fewest moves of slots after which each of `hosts` has its share, and the present hosts' epoch.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for a router without slots.
    pub(crate) fn moves_to(&self, hosts: &[Host]) -> Result<Vec<SlotMove>> {
        let topology = self.topology();
        let placement = topology.stored_placement().map(|placement| (placement.kind(), placement.router()));
        match placement {
            Some((_, Router::Slots(table))) => moves(table, hosts),
            Some((kind, _)) => Err(Error::new(
                ErrorKind::Configuration,
                format!(
                    "router {kind}: it finds keys by the list of hosts, so that no key can be moved; \
                         only the router slots has a table"
                ),
            )),
            None => Err(Error::new(
                ErrorKind::Configuration,
                "a Redis Cluster moves its slots itself: redis-cli --cluster reshard",
            )),
        }
    }

    /// The number of the host where a key that was found on any should be, and whether it belongs to a buffer. `None`: each
    /// host has one of its own.
    pub(crate) fn home(&self, key: &[u8]) -> Option<(usize, Content)> {
        let topology = self.topology();
        let placement = topology.stored_placement()?;
        let router = placement.router();
        match topology.members()[0].engine.home(key) {
            Home::EveryHost => None,
            Home::Tag(tag) => Some((router.host_for_tag(tag), Content::Copied)),
            Home::Buffer(tag) => Some((router.host_for_tag(tag), Content::Drained)),
            Home::Key(key) => Some((router.host_for_key(key), Content::Copied)),
        }
    }
}

/// The fate of a key whose slot moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The next owner gets it.
    Copied,
    /// It stays until its rows are in the database.
    Drained,
}
