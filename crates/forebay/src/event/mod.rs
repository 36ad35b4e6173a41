//! Limits, series and buffers in one call: the talk's "how Sentry scales".

mod definition;
mod handle;
mod template;

pub use definition::{Cell, Event};
pub use handle::{Applied, EventHandle, Hit, HitError};
