//! Limits, series and buffers in one call: the talk's "how Sentry scales".

mod definition;
mod handle;
mod incoming;
mod keyed;
mod labelled;
mod outcome;
mod tally;
mod template;

pub use definition::{Cell, Event};
pub use handle::EventHandle;
pub use outcome::{Hit, HitError, Part, Parts};
pub(crate) use tally::LimitedTally;

pub use crate::applied::Applied;
