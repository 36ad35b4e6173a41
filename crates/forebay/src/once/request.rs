//! A request that is carried out once, as all of its items share it.

use std::{fmt, sync::atomic::AtomicU64};

use uuid::Uuid;

use crate::{engine::request::Ours, store::Store};

/// The state that all items of a request share.
pub(crate) struct Request {
    pub store: Store,
    pub key: Box<str>,
    pub fingerprint: u128,
    pub owner: Uuid,
    pub ours: Ours,
    /// The bytes that it was counted with.
    pub weight: u64,
    /// The number of tokens that were used. It only grows, so any memory order suffices.
    pub tokens: AtomicU64,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("key", &self.key).finish_non_exhaustive()
    }
}
