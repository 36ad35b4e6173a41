//! Points at which a test lets the process die.

/// Dies here if `FOREBAY_FAILPOINT` names this point; nothing without the feature `test-util`.
macro_rules! failpoint {
    ($name:literal) => {};
}
