//! Which of several hosts holds what: the placement behind the cluster engine.
//!
//! Everything here is arithmetic on bytes: no connection, no clock, no task. A key has a [`Slot`], the
//! same 16384 as in Redis Cluster; a [`SlotTable`] says which host owns each slot; a
//! [`Router`](router::Router) is such a table, or one of the placements of older fleets, so that their
//! data is found where it lies.
//!
//! Hosts are numbers here, positions in the configured list. Only what outlives a process, the stored
//! table and the points of the rings, depends on host *names*.

mod address;
mod health;
mod host;
mod placement;
pub(crate) mod router;
mod sealed;
mod slot;
mod table;

pub(crate) use host::Host;
pub(crate) use placement::Record;
pub(crate) use sealed::SEAL;
pub(crate) use slot::{SLOTS, Slot};
pub(crate) use table::SlotTable;
