//! Reading `canary`.

use std::time::Duration;

use forebay::{
    Buffer, Name,
    time::{hours, millis, secs},
};
use forebay_sql::{Migrate, Missing};

use super::{
    fields::Fields,
    model::BufferConfig,
    primitives::{Declared, span_within},
};
use crate::canary::{BEATS, ID, LAST, NAME};

/// How often the counter goes its way, if it does; its buffer is then among `buffers`.
pub(super) fn read_canary(top: &mut Fields<'_>, buffers: &mut Declared<BufferConfig>) -> Option<Duration> {
    let name = Name::new(NAME).expect("a valid name");
    if buffers.contains_key(&name) {
        top.mistake(format!(
            "buffers.{NAME}: the name is taken by the canary; use another, or canary = \"10s\""
        ));
    }
    let every = top.optional("canary").and_then(|node| span_within(&node, secs(1)..=hours(1)))?;
    let creates = |buffer: &BufferConfig| buffer.migrate == Some(Migrate::Yes);
    let migrate = buffers.values().flatten().any(creates).then_some(Migrate::Yes);
    let definition = Buffer::new(NAME).key(ID).sum(BEATS).max(LAST).partitions(1);
    let schema = definition.clone().build().expect("a valid buffer");
    let canary = BufferConfig {
        definition,
        schema,
        // So that what was sent at one look has arrived by the next, if all is well.
        flush_every: (every / 2).max(millis(500)),
        migrate,
        missing: Some(Missing::Insert),
        ledger_retention: None,
    };
    buffers.insert(name, Some(canary));
    Some(every)
}
