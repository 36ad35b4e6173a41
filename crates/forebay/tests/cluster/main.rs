//! Plain commands, and several hosts, against real servers.

mod across;
mod buffer;
mod failover;
mod hosts;
mod map;
mod nodes;
mod route;
