//! Allowances of single keys, in place of the limit's own.

mod manage;
mod registry;
mod value;

pub use manage::{Overridden, SetBy};
pub(super) use registry::Shared;
pub(crate) use registry::{Limits, follow_overrides};
pub use value::Override;
