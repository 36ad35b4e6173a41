//! The lease of a partition: one flusher applies its batches while there are several.
//!
//! The lease only saves work: the sink's ledger decides what counts. So a flusher goes ahead when the store does not answer,
//! or when the oldest batch has waited for long.

use std::time::Duration;

use super::handle::BufferHandle;
use crate::{
    engine::step::{BufferPart, Claim, Claimed, Frozen},
    time::{mins, secs},
};

/// A lease outlives a flusher that died by at most this long.
const LEASE_TTL: Duration = secs(30);

/// A partition with an older batch is flushed although another flusher holds its lease.
const STALE_BATCH_AGE: Duration = mins(1);

/// The right to apply the frozen generations of a partition.
pub(super) enum FlushLease {
    /// This flusher holds the lease with this name.
    Held(String),
    /// There is no other flusher, or it is too late to wait for it.
    NotNeeded,
    /// Another flusher works on the partition.
    HeldByOther,
}

impl FlushLease {
    /// Asks for the lease of a partition whose oldest frozen generation is `oldest`.
    pub(super) async fn acquire(buffer: &BufferHandle, part: &BufferPart, oldest: &Frozen) -> Self {
        let store = &buffer.0.store;
        if store.engine().is_in_process() {
            return Self::NotNeeded;
        }
        let name = format!("forebay:flush:{}.{}", part.schema.name, part.index);
        let claim = Claim { name: &name, owner: buffer.0.owner, ttl: LEASE_TTL, queue: None };
        let age = store.clock().now().since(oldest.born);
        match store.engine().lock_claim(claim).await {
            Ok(Claimed::Granted { .. }) => Self::Held(name),
            Ok(Claimed::Held { .. }) if age < STALE_BATCH_AGE => Self::HeldByOther,
            Ok(Claimed::Held { .. }) | Err(_) => Self::NotNeeded,
        }
    }

    /// Releases the lease. If that fails, other flushers wait for its end.
    pub(super) async fn release(self, buffer: &BufferHandle) {
        if let Self::Held(name) = self {
            let _ = buffer.0.store.engine().lock_release(&name, buffer.0.owner).await;
        }
    }
}
