//! Quotas and decisions.

mod gcra;
pub(crate) mod rule;
mod window;
