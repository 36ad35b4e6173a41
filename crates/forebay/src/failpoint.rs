//! Failpoints: named points at which a test can abort the process.
//!
//! `FOREBAY_FAILPOINT=name` aborts the process the first time it passes the point of that name,
//! `name:n` the n-th time. Without the feature `test-util` there are no failpoints.

/// Passes a failpoint, at which a crash test may abort the process.
#[doc(hidden)]
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "test-util")]
        $crate::failpoint::pass($name);
    };
}

/// Aborts the process if `FOREBAY_FAILPOINT` names this pass of the failpoint.
#[cfg(feature = "test-util")]
pub fn pass(name: &str) {
    use std::sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    };

    /// The armed failpoint, and how many passes of it are left.
    static ARMED: LazyLock<Option<(String, AtomicU64)>> = LazyLock::new(|| {
        let (name, passes) = parse(&std::env::var("FOREBAY_FAILPOINT").ok()?);
        Some((name, AtomicU64::new(passes)))
    });

    if let Some((armed, left)) = &*ARMED
        && armed == name
        // Only the pass that counts from 1 to 0 aborts. It is a counter, so no order is needed.
        && left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        // Unlike `exit`, no destructor runs and nothing is flushed, as after SIGKILL.
        std::process::abort();
    }
}

/// Reads `name` or `name:n`. Anything else is a name that no failpoint has.
#[cfg(feature = "test-util")]
fn parse(text: &str) -> (String, u64) {
    match text.rsplit_once(':').map(|(name, n)| (name, n.parse())) {
        Some((name, Ok(n))) => (name.to_owned(), n),
        _ => (text.to_owned(), 1),
    }
}

#[cfg(all(test, feature = "test-util"))]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_a_name_and_the_pass_at_which_it_strikes() {
        assert_eq!(parse("rotate_before_commit"), ("rotate_before_commit".to_owned(), 1));
        assert_eq!(parse("after_ack:3"), ("after_ack".to_owned(), 3));
    }
}
