//! Reading `canary`.

use std::time::Duration;

use forebay::{
    Buffer, Name,
    time::{hours, millis, secs},
};
use forebay_sql::{Migrate, Missing};

use super::{
    fields::Fields,
    model::{BufferConfig, CANARY},
    section::{Declared, span_within},
};

/// Key column: the server that sends.
const ID: &str = "id";
/// The number of counts that were sent.
pub(crate) const BEATS: &str = "beats";
/// The time at which the last one was sent.
pub(crate) const LAST: &str = "last_beat";

/// The interval of the canary, if it is configured. Adds its buffer to `buffers`.
pub(super) fn read_canary(top: &mut Fields<'_>, buffers: &mut Declared<BufferConfig>) -> Option<Duration> {
    let name = Name::new(CANARY).expect("a valid name");
    if buffers.contains_key(&name) {
        top.node.mistake(format!(
            "buffers.{CANARY}: the name is taken by the canary; use another, or canary = \"10s\""
        ));
    }
    let every = top.read("canary", |node| span_within(node, secs(1)..=hours(1)))?;
    let creates = |buffer: &BufferConfig| buffer.migrate == Some(Migrate::Yes);
    let migrate = buffers.values().flatten().any(creates).then_some(Migrate::Yes);
    let definition = Buffer::new(CANARY).key(ID).sum(BEATS).max(LAST).partitions(1);
    let schema = definition.clone().build().expect("a valid buffer");
    let canary = BufferConfig {
        definition,
        schema,
        // A count normally arrives before the next one is sent.
        flush_every: (every / 2).max(millis(500)),
        migrate,
        missing: Some(Missing::Insert),
        ledger_retention: None,
    };
    buffers.insert(name, Some(canary));
    Some(every)
}
