//! The engine of several hosts: which host has which keys.
//!
//! Placement is arithmetic on bytes, without connection, clock or task: a key has a [`Slot`], the same 16384
//! as in Redis Cluster; a [`SlotTable`] says which host owns each slot; a [`Router`](router::Router) is such a
//! table, or one of the placements of older fleets, so that their data is found where it lies.
//!
//! Hosts are numbers there, positions in the configured list. Only what outlives a process, the stored
//! placement and the points of the rings, depends on host *names*.
//!
//! The [`Cluster`] engine routes each step to the host that has its tag. A host that does not answer keeps its
//! keys: they fail at once until it is back, and the keys of the others notice nothing. Giving them to another
//! host would split counters in two, and bring old values back later. The points of a series are an exception:
//! they may be added later, so that another host takes them meanwhile and hands them over.

mod address;
mod batched;
mod claim;
pub(crate) mod convert;
mod engine;
mod health;
mod host;
mod inspect;
mod known_points;
mod kv;
mod layout;
mod member;
mod moves;
mod moving;
mod node_watch;
mod nodes;
mod placement;
pub(crate) mod reshard;
pub(crate) mod router;
mod sealed;
mod slot;
mod stand_in;
mod stored;
mod stored_hosts;
mod table;
mod topology;
mod traffic;

pub(crate) use address::{Address, Listed, host_and_port, is_list, read_list, sort_listed};
pub(crate) use batched::BatchedTake;
pub(crate) use engine::Cluster;
pub(crate) use host::Host;
pub(crate) use inspect::Content;
pub(crate) use layout::{Group, Groups, Layout};
pub(crate) use moves::{SlotMove, moves};
pub(in crate::engine) use moving::{Access, PATIENCE, Patience, ROW_PATIENCE, again};
pub(crate) use nodes::read_nodes;
pub(crate) use placement::{Identity, Placement, Record, check_alone};
pub use router::RouterKind;
pub(crate) use sealed::SEAL;
pub(crate) use slot::{SLOTS, Slot};
pub(crate) use stand_in::tend_stand_ins;
pub(crate) use table::SlotTable;
