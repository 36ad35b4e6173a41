//! Unique names for tests.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

/// Returns a new key prefix, so that tests can share a server and run in parallel.
///
/// Lower-case letters and digits, so that it serves as a table name, too.
pub fn unique_prefix() -> String {
    format!("t{:016x}", random())
}

/// A random number: std's hash keys are drawn from the operating system once per thread, the counter tells
/// calls apart.
pub(crate) fn random() -> u64 {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    RandomState::new().hash_one((CALLS.fetch_add(1, Ordering::Relaxed), std::process::id()))
}
