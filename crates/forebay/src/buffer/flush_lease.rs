//! Who applies the batches of a partition, while several could.
//!
//! It saves the work of applying a batch twice, and nothing rests on it: the sink's ledger decides. So whoever cannot get an
//! answer goes ahead, and a batch that somebody else has been at for long is taken up all the same.

use std::time::Duration;

use super::handle::BufferHandle;
use crate::{
    engine::step::{BufferPart, Claim, Claimed, Frozen},
    time::{mins, secs},
};

/// How long a partition is left to a flusher that is not heard of again.
const LEASE_TTL: Duration = secs(30);

/// How old a batch may be that is left to another flusher.
const STALE_BATCH_AGE: Duration = mins(1);

/// The right to apply what a partition has frozen.
pub(super) enum FlushLease {
    /// Held under this name.
    Held(String),
    /// Nobody else could be at it, or it has to be done anyhow.
    NotNeeded,
    /// Another flusher is at it.
    HeldByOther,
}

impl FlushLease {
    /// Asks for a partition whose oldest frozen generation is `oldest`.
    pub(super) async fn take(buffer: &BufferHandle, part: &BufferPart, oldest: &Frozen) -> Self {
        let store = &buffer.0.store;
        if store.engine().is_in_process() {
            return Self::NotNeeded;
        }
        let name = format!("forebay:flush:{}.{}", part.schema.name, part.index);
        let claim = Claim { name: &name, owner: buffer.0.owner, ttl: LEASE_TTL, queue: None };
        match store.engine().lock_claim(claim).await {
            Ok(Claimed::Granted { .. }) => Self::Held(name),
            Ok(Claimed::Held { .. }) if store.clock().now().since(oldest.born) < STALE_BATCH_AGE => {
                Self::HeldByOther
            }
            Ok(Claimed::Held { .. }) | Err(_) => Self::NotNeeded,
        }
    }

    /// Lets others have the partition; if that fails they wait for the end of the lease.
    pub(super) async fn release(self, buffer: &BufferHandle) {
        if let Self::Held(name) = self {
            let _ = buffer.0.store.engine().lock_release(&name, buffer.0.owner).await;
        }
    }
}
