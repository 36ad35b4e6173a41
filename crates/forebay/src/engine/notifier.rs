//! Wakes waiters of this process by their owner id.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::Notify;
use uuid::Uuid;

/// The subscriptions of this process, by owner. The lock protects the table for one look-up at a time.
#[derive(Debug, Default)]
pub(crate) struct Notifier(Mutex<HashMap<Uuid, Arc<Notify>>>);

/// Receives the notifications of one owner. Dropping it unsubscribes.
#[derive(Debug)]
pub(crate) struct Subscription {
    notifier: Arc<Notifier>,
    owner: Uuid,
    notify: Arc<Notify>,
}

impl Notifier {
    /// Subscribes `owner`, which has no subscription yet.
    pub(crate) fn subscribe(self: &Arc<Self>, owner: Uuid) -> Subscription {
        let notify = Arc::new(Notify::new());
        self.0.lock().insert(owner, notify.clone());
        Subscription { notifier: self.clone(), owner, notify }
    }

    /// Notifies `owner`, if it has a subscription in this process.
    pub(crate) fn notify(&self, owner: Uuid) {
        if let Some(subscriber) = self.0.lock().get(&owner) {
            subscriber.notify_one();
        }
    }

    /// Notifies all subscribers.
    #[cfg(feature = "redis")]
    pub(crate) fn notify_all(&self) {
        self.0.lock().values().for_each(|subscriber| subscriber.notify_one());
    }
}

impl Subscription {
    /// Waits for a notification. One that came earlier is received at once; several are received as one.
    pub(crate) async fn notified(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.notifier.0.lock().remove(&self.owner);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_notification_before_the_wait_is_not_lost_and_is_received_once() {
        let notifier = Arc::new(Notifier::default());
        let (mine, other) = (notifier.subscribe(Uuid::from_u128(1)), notifier.subscribe(Uuid::from_u128(2)));
        notifier.notify(Uuid::from_u128(1));
        notifier.notify(Uuid::from_u128(1));
        assert!(mine.notified().now_or_never().is_some());
        assert!(mine.notified().now_or_never().is_none());
        assert!(other.notified().now_or_never().is_none());
        drop((mine, other));
        assert!(notifier.0.lock().is_empty());
    }
}
