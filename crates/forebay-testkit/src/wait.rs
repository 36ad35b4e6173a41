//! Waits for a condition. This is the one place that polls, so that no test sleeps.

use std::time::{Duration, Instant};

/// The time in which a condition must become true.
///
/// It is far above the need of any condition. Two cores that also compile are slow, and only a failing test waits so long.
const PATIENCE: Duration = Duration::from_mins(1);

/// The time between two checks: short against a server's start, and long against a check.
const PAUSE: Duration = Duration::from_millis(2);

/// Blocks until `condition` is true. For tests without a runtime; others use [`eventually`].
///
/// `what` completes the sentence "waited 60 s for ...".
///
/// # Panics
/// If it is not true within 60 s.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let patience = Patience::start();
    while !condition() {
        patience.check(what);
        pause();
    }
}

/// Waits until `condition` is true, letting other tasks run meanwhile.
///
/// `what` completes the sentence "waited 60 s for ...".
///
/// # Panics
/// If it is not true within 60 s.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let patience = Patience::start();
    while !condition().await {
        patience.check(what);
        async_pause(PAUSE).await;
    }
}

struct Patience(Instant);

impl Patience {
    #[expect(clippy::disallowed_methods, reason = "real servers live in real time")]
    fn start() -> Self {
        Self(Instant::now())
    }

    #[track_caller]
    fn check(&self, what: &str) {
        assert!(self.0.elapsed() < PATIENCE, "waited {} s for {what}", PATIENCE.as_secs());
    }
}

#[expect(clippy::disallowed_methods, reason = "the pause between two looks at a condition")]
fn pause() {
    std::thread::sleep(PAUSE);
}

/// Waits for `span` in real time, regardless of the time of the test's runtime.
#[expect(
    clippy::disallowed_methods,
    reason = "the pause between two looks at a condition, and the proxy's delay"
)]
pub(crate) async fn async_pause(span: Duration) {
    tokio::time::sleep(span).await;
}
