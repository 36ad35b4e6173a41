//! What people write for spans, rates and moments, and what they meant when they misspelt a name.
//!
//! One notation for the configuration file, HTTP and the command line. No function here panics on any
//! input, and every error says what would have been accepted.

pub mod allowance;
pub mod duration;
pub mod moment;
pub mod rate;
pub mod suggest;

pub use allowance::Allowance;
pub use duration::Span;
pub use moment::moment;
pub use rate::Rate;
pub use suggest::{nearest, unknown};

use std::time::Duration;

use forebay::{Error, ErrorKind};

/// The most characters of somebody's text that an error message repeats.
const SHOWN: usize = 48;

/// An [`ErrorKind::Invalid`] error.
fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, message)
}

/// Seconds with their microseconds, which limits count in: six places lose nothing. Rounded down below that: a deadline
/// must not come too late.
pub fn seconds(span: Duration) -> f64 {
    span.as_micros() as f64 / 1e6
}

/// `text` quoted for an error message: control characters escaped, and cut when it is long.
pub fn quoted(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}
