//! The engine on one Redis host.
//!
//! Every step is a script, so that it is atomic there; the steps that many callers make at once (takes)
//! are combined into few. What is stored under which key stands in `docs/keyspace.md`.

mod about;
mod access;
mod across;
mod announced;
mod breaker;
mod buffer;
mod calls;
mod chunk;
mod combine;
mod connection;
mod convert;
mod dedup;
mod dial;
mod engine;
mod fence;
mod handshake;
mod inbox;
mod keys;
mod kv;
mod lease;
mod limit;
mod lock;
mod login;
mod map_run;
mod meter;
mod mget;
mod needs;
mod nodes;
mod once;
mod open_buckets;
mod open_list;
mod overrides;
mod partition;
mod partition_writer;
mod pipeline;
mod plan;
mod probe;
mod query;
mod record;
mod redirect;
mod refusal;
mod renamed;
mod reply;
mod reshard;
mod rows;
mod script;
mod seal;
mod sentinel;
mod series;
mod series_erase;
mod series_keys;
mod series_members;
mod series_move;
mod series_rank;
mod series_read;
mod series_writer;
mod server_clock;
mod session;
mod slot_claims;
mod stand_in;
mod stand_in_writer;
mod summary;
mod target;
mod tls;
mod tokens;
mod transfer;
mod wire;

#[cfg(test)]
mod tests;

pub(crate) use self::{
    combine::QueuedTake,
    convert::{Activity, Registers},
    engine::Redis,
    fence::Fence,
    keys::Home,
    limit::BatchedTake,
    needs::{probe_hosts, probe_nodes},
    nodes::{Found, Nodes},
    slot_claims::SlotOwners,
    stand_in::{Holding, Next},
    transfer::{ClockOffset, Dumped, clock_offset},
};
