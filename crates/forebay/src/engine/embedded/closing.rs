//! Files that this process is closing.
//!
//! A store that is dropped without [`close`](crate::Forebay::close) leaves its last commit to its thread. Opening the file
//! again at once waits for that, instead of failing because this very process has it.

use std::{collections::HashSet, time::Duration};

use parking_lot::{Condvar, Mutex, MutexGuard};

/// A commit that takes longer indicates a disk that hangs.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The files, by what errors call them. The lock protects the set, for as long as a look-up takes.
static CLOSING: Mutex<Option<HashSet<Box<str>>>> = Mutex::new(None);

/// Notified when one is closed.
static GIVEN_BACK: Condvar = Condvar::new();

/// Notes that the file is being closed.
pub(super) fn begins(place: &str) {
    files().get_or_insert_default().insert(place.into());
}

/// Notes that the file is closed.
pub(super) fn ends(place: &str) {
    files().get_or_insert_default().remove(place);
    GIVEN_BACK.notify_all();
}

/// Whether the file is being closed.
pub(super) fn is_under_way(place: &str) -> bool {
    files().as_ref().is_some_and(|files| files.contains(place))
}

/// Waits until the file is closed; blocks the thread.
pub(super) fn wait(place: &str) {
    let pending =
        |files: &mut Option<HashSet<Box<str>>>| files.as_ref().is_some_and(|files| files.contains(place));
    // Opening the file tells next whether it is closed.
    GIVEN_BACK.wait_while_for(&mut files(), pending, CLOSE_TIMEOUT);
}

fn files() -> MutexGuard<'static, Option<HashSet<Box<str>>>> {
    CLOSING.lock()
}
