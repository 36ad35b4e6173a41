//! Queries through a database's own client.

use std::process::Command;

use crate::programs::library_path;

/// Runs `client`; returns its output without the last line break.
#[track_caller]
pub(crate) fn ask(client: &mut Command) -> String {
    let answer = client
        .env("LD_LIBRARY_PATH", library_path())
        .output()
        .unwrap_or_else(|error| panic!("cannot start {client:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\n').to_owned();
    assert!(answer.status.success(), "{client:?} failed: {}", text(&answer.stderr));
    text(&answer.stdout)
}
