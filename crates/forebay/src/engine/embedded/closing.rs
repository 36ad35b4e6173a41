//! Files that this process is closing.
//!
//! A store that is dropped without [`close`](crate::Forebay::close) leaves its last commit to its thread. Opening the file
//! again at once waits for that, instead of failing because this very process has it.

use std::{collections::BTreeSet, time::Duration};

use parking_lot::{Condvar, Mutex};

/// A commit that takes longer indicates a disk that hangs.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The files, by what errors call them. The lock protects the set, for as long as a look-up takes.
static CLOSING: Mutex<BTreeSet<Box<str>>> = Mutex::new(BTreeSet::new());

/// Notified when one is closed.
static GIVEN_BACK: Condvar = Condvar::new();

/// Notes that the file is being closed.
pub(super) fn begins(place: &str) {
    CLOSING.lock().insert(place.into());
}

/// Notes that the file is closed.
pub(super) fn ends(place: &str) {
    CLOSING.lock().remove(place);
    GIVEN_BACK.notify_all();
}

/// Whether the file is being closed.
pub(super) fn is_under_way(place: &str) -> bool {
    CLOSING.lock().contains(place)
}

/// Waits until the file is closed; blocks the thread.
pub(super) fn wait(place: &str) {
    // Opening the file tells next whether it is closed.
    GIVEN_BACK.wait_while_for(&mut CLOSING.lock(), |files| files.contains(place), CLOSE_TIMEOUT);
}
