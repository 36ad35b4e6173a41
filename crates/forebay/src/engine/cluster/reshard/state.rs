//! What a resharder knows.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use crate::{
    clock::Clock,
    engine::{
        cluster::{Address, Host, SlotTable, claim::Claim, table::Transit},
        redis::Redis,
    },
    model::Progress,
};

/// How a reshard goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// The most bytes a second that are copied, on average.
    pub rate: Option<u64>,
    /// How long the rows of a partition are waited for.
    pub drain: Duration,
    /// Whether a resharder that seems to be at work is displaced.
    pub take_over: bool,
}

/// Moves slots.
pub(crate) struct Resharder<'a> {
    pub(super) clock: Clock,
    pub(super) claim: Claim,
    pub(super) peers: Vec<Peer>,
    pub(super) target: Vec<Host>,
    pub(super) table: SlotTable,
    /// The slots whose keys are still on their former owner.
    pub(super) left: Vec<Transit>,
    pub(super) settings: Settings,
    pub(super) progress: Progress,
    pub(super) told: &'a mut (dyn FnMut(&Progress) + Send),
    /// The epochs to which fences were raised, by host.
    pub(super) fences: BTreeMap<Box<str>, u64>,
    /// Batches whose keys are still on their former owner.
    pub(super) purges: VecDeque<Purge>,
    /// When it began, on the monotonic clock.
    pub(super) began: Duration,
}

/// A host, as a resharder knows it.
#[derive(Debug)]
pub(crate) struct Peer {
    pub address: Address,
    pub engine: Arc<Redis>,
}

/// Keys that are on their next host, and are to be removed on the former one.
pub(super) struct Purge {
    pub from: Box<str>,
    pub to: Box<str>,
    pub keys: Vec<Box<[u8]>>,
    pub slots: BTreeSet<u16>,
    /// Of the server to which they were copied.
    pub run: String,
    /// Not before, on the monotonic clock.
    pub at: Duration,
}
