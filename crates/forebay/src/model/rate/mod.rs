//! The arithmetic of limits, in integers below 2^53: the Lua scripts compute the same.

mod gcra;
pub(crate) mod rule;
pub(crate) mod slices;
mod sliding;
mod window;
