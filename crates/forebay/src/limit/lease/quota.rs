//! The bounds of a concurrency limit.

use std::time::Duration;

use crate::{
    error::{Result, out_of_range},
    lease_margin::{FINE_CLOCK, usable},
};

/// The largest number of leases of one key. The store reads them one by one.
pub const MAX_LEASES: u64 = 16_384;

/// The largest number of leases of a key, and their ttl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaseQuota {
    pub most: u64,
    pub ttl: Duration,
}

impl LeaseQuota {
    /// The same, if it is within the ranges.
    pub(crate) fn checked(self) -> Result<Self> {
        let most = self.most;
        if (1..=MAX_LEASES).contains(&most) {
            return Ok(self);
        }
        Err(out_of_range(format!("{most} leases: 1 to {MAX_LEASES} at a time")))
    }

    /// The time for which the holder of a lease relies on it.
    pub(crate) fn counted(self) -> Duration {
        usable(self.ttl, FINE_CLOCK)
    }
}
