//! The arithmetic of limits, in integers below 2^53: the Lua scripts compute the same.

pub(crate) mod allotments;
mod bounds;
mod gcra;
pub(crate) mod rule;
mod sliding;
mod state;
mod window;
