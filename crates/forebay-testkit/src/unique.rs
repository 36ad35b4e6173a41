//! Unique names for tests.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

/// Returns a new key prefix, so that tests can share a server and run in parallel.
///
/// It consists of lower-case letters and digits, so that it can also be a table name.
pub fn unique_prefix() -> String {
    format!("t{:016x}", random())
}

/// A random number. The standard library draws its hash keys from the operating system once per thread, and the counter
/// makes each call different.
pub(crate) fn random() -> u64 {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    RandomState::new().hash_one((CALLS.fetch_add(1, Ordering::Relaxed), std::process::id()))
}
