//! Plain commands, and several hosts, against real servers.

#![expect(clippy::print_stdout, reason = "long runs of the fail-over tests print what they measured")]

mod across;
mod buffer;
mod convert;
mod failover;
mod health;
mod hostdown;
mod hosts;
mod inspection;
mod join;
mod map;
mod map_faults;
mod moves;
mod moving;
mod nodes;
mod points;
mod probe;
mod reshard;
mod route;
mod shared;
mod slow;
mod summaries;
mod waited;
