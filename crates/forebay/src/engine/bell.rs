//! Bells for those who wait in this process: rung by name, heard by one.

use std::{collections::HashMap, sync::Arc};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use uuid::Uuid;

/// The bells that hang, by who listens. The lock protects the table, for one look-up at a time.
#[derive(Debug, Default)]
pub(crate) struct Bells(Mutex<HashMap<Uuid, Arc<Notify>>>);

/// A bell. It is taken down when it is dropped.
#[derive(Debug)]
pub(crate) struct Bell {
    bells: Arc<Bells>,
    owner: Uuid,
    rung: Arc<Notify>,
}

impl Bells {
    /// Hangs a bell for `owner`, who has none yet.
    pub(crate) fn hang(self: &Arc<Self>, owner: Uuid) -> Bell {
        let rung = Arc::new(Notify::new());
        self.table().insert(owner, rung.clone());
        Bell { bells: self.clone(), owner, rung }
    }

    /// Rings for `owner`. Nobody may be there to hear it: it waits elsewhere, or no longer.
    pub(crate) fn ring(&self, owner: Uuid) {
        if let Some(bell) = self.table().get(&owner) {
            bell.notify_one();
        }
    }

    /// Rings for everybody.
    #[cfg(feature = "redis")]
    pub(crate) fn ring_all(&self) {
        self.table().values().for_each(|bell| bell.notify_one());
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<Notify>>> {
        self.0.lock()
    }
}

impl Bell {
    /// Waits until it rings. A ring that came while nobody listened is heard at once; several are heard as one.
    pub(crate) async fn rung(&self) {
        self.rung.notified().await;
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        self.bells.table().remove(&self.owner);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_ring_before_the_listener_is_not_lost_and_is_heard_once() {
        let bells = Arc::new(Bells::default());
        let (mine, other) = (bells.hang(Uuid::from_u128(1)), bells.hang(Uuid::from_u128(2)));
        bells.ring(Uuid::from_u128(1));
        bells.ring(Uuid::from_u128(1));
        assert!(mine.rung().now_or_never().is_some());
        assert!(mine.rung().now_or_never().is_none());
        assert!(other.rung().now_or_never().is_none());
        drop((mine, other));
        assert!(bells.table().is_empty());
    }
}
