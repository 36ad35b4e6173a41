//! Copies all keys of a store to hosts of another layout while nobody uses it: from hosts with any router to hosts with slots, or to
//! a Redis Cluster.
//!
//! The copy where the router of the source looks is the valid one, until the table of slots is stored on the first host of
//! the target; in a Redis Cluster, until the note of the conversion is removed. Before that the source is as it was, and what
//! was copied is removed and copied anew when the conversion is repeated. Afterwards a repetition stores the table on the
//! other hosts, and removes what lies on the wrong one of those that were hosts of the source, too.
//!
//! No store can be opened on hosts that have no placement yet, and none on a Redis Cluster, while there is a note of a conversion.

mod converter;
mod copy;
mod counts;
mod database;
mod registers;
mod source;
mod state;
mod target;

pub(crate) use self::{
    converter::{Converter, Settings},
    target::Destination,
};
