//! The arithmetic of limits, in integers below 2^53: the Lua scripts compute the same.

pub(crate) mod allotments;
mod bounds;
pub(crate) mod calendar;
mod calendar_table;
mod gcra;
pub(crate) mod kind;
pub(crate) mod rule;
mod sliding;
mod state;
mod window;
