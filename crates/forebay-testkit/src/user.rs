//! The user that runs the servers.

use std::fs;

/// Returns whether the test runs as root.
pub(crate) fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    // The line contains the real and the effective id.
    status.lines().any(|line| line.split_whitespace().take(3).eq(["Uid:", "0", "0"]))
}

/// The user for a server that refuses root: `postgres`, which Debian's package creates, or else `nobody`.
pub(crate) fn ordinary_user() -> &'static str {
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let exists = |name| accounts.lines().any(|line| line.split(':').next() == Some(name));
    if exists("postgres") { "postgres" } else { "nobody" }
}
