//! Keys on their way from one host to another, step by step: listed, read, written, compared, removed.
//!
//! The caller sees to it that nobody writes to these keys meanwhile: a fence refuses it. Whatever happens in between, a step can
//! be repeated. Keys are written only while the target has the caller's mark, and removed only while the source has the fence of
//! the caller's move, so that a process that was stopped for long does no harm when it goes on.
//!
//! All of it goes over the connection for plain commands, so that nobody waits behind a large value. The scripts are sent as
//! texts: no fence is before them, and other connections need not load them.

mod clocks;
mod dumped;
mod list;
mod purge;
mod read;
mod repeat;
mod restore;
mod shift;

pub(crate) use self::{
    clocks::{ClockOffset, clock_offset},
    dumped::Dumped,
};
