//! Plain commands, and several hosts, against real servers.

mod hosts;
mod map;
