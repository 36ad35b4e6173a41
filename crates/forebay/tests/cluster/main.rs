//! Plain commands, and several hosts, against real servers.

mod across;
mod hosts;
mod map;
