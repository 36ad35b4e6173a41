//! There is at most one holder at any time, for any behaviour of the callers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use forebay::{
    Forebay,
    lock::Release,
    time::{millis, secs},
};

#[derive(Debug, Default)]
pub(crate) struct Section {
    inside: AtomicU32,
    entered: AtomicU32,
    last_fence: AtomicU64,
}

impl Section {
    /// Asserts that the holder is alone, and that its fence is larger than that of the holder before.
    pub(crate) async fn visit(&self, fence: u64) {
        assert_eq!(self.inside.fetch_add(1, Ordering::SeqCst), 0, "two holders at once");
        let before = self.last_fence.swap(fence, Ordering::SeqCst);
        assert!(before < fence, "fence {fence} after {before}");
        tokio::task::yield_now().await;
        self.entered.fetch_add(1, Ordering::SeqCst);
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }

    /// The number of visits.
    pub(crate) fn entered(&self) -> u32 {
        self.entered.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_never_hold_a_lock_twice() {
    let bay = Forebay::open("memory:").await.expect("opens");
    let section = Arc::new(Section::default());
    let tasks: Vec<_> = (0..32_u64)
        .map(|task| {
            let (lock, section) = (bay.lock("section").ttl(secs(30)), section.clone());
            tokio::spawn(async move {
                for round in 0..50_u64 {
                    match (task + round) % 4 {
                        // Drops the guard: it is released in the background.
                        0 => {
                            let guard = lock.acquire().await.expect("answers");
                            section.visit(guard.fence()).await;
                        }
                        // Gives up soon, perhaps while the claim is granted.
                        1 => {
                            let wait = Duration::from_micros(round * 20);
                            if let Ok(guard) = tokio::time::timeout(wait, lock.acquire()).await {
                                section.visit(guard.expect("answers").fence()).await;
                            }
                        }
                        2 => {
                            let attempt = lock.lease_within(millis(1)).await.expect("answers");
                            if let Some(lease) = attempt.acquired() {
                                section.visit(lease.fence).await;
                                let release = lock.release(lease.token).await.expect("answers");
                                assert_eq!(release, Release::Released);
                            }
                        }
                        _ => {
                            let guard = lock.acquire().await.expect("answers");
                            section.visit(guard.fence()).await;
                            assert_eq!(guard.release().await.expect("answers"), Release::Released);
                        }
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    assert!(section.entered() >= 800);
    let state = bay.lock("section").state().await.expect("answers");
    assert_eq!(state.waiters, 0, "{state:?}");
}
