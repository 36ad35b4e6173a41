//! One partition of a buffer on a Redis host: how its generations rotate.

use redis::{Cmd, Value};
use uuid::Uuid;

use super::{
    connection::Host,
    keys::Keys,
    reply::{strings, text, unexpected},
    rows,
    script::Script,
};
use crate::{engine::step::BufferPart, error::Result};

/// One partition of a buffer, and where it is kept.
pub(super) struct Partition<'a> {
    pub host: &'a Host,
    pub keys: &'a Keys,
    pub part: &'a BufferPart,
}

/// The result of a rotation.
pub(super) enum Rotated {
    Frozen,
    Idle,
    Other(Uuid),
}

impl Partition<'_> {
    /// The id of the live generation.
    pub(super) async fn live(&self) -> Result<Option<Uuid>> {
        let live = self.keys.buffer(self.part, "live");
        match self.host.query(redis::cmd("HGET").arg(live).arg("#gen")).await? {
            Value::Nil => Ok(None),
            reply => self.id(text(reply)).map(Some),
        }
    }

    /// The command that lists the frozen generations.
    pub(super) fn list(&self) -> Cmd {
        redis::cmd("LRANGE").arg(self.keys.buffer(self.part, "frozen")).arg(0).arg(-1).to_owned()
    }

    /// Freezes the generation `id`; safe to repeat.
    pub(super) async fn rotate(&self, id: Uuid, age: i64, rows: i64, most: i64) -> Result<Rotated> {
        let Self { host, keys, part, .. } = self;
        let mut call = host.call(Script::BufferRotate, 3, 384);
        call.command.arg(keys.buffer(part, "live")).arg(keys.buffer_frozen(part, id));
        call.command.arg(keys.buffer(part, "frozen")).arg(rows::id_text(id)).arg(age).arg(rows).arg(most);
        let mut words = strings(host.run_one(call).await?).unwrap_or_default().into_iter();
        match words.next().as_deref() {
            Some("frozen") => Ok(Rotated::Frozen),
            Some("idle") => Ok(Rotated::Idle),
            Some("other") => self.id(words.next()).map(Rotated::Other),
            _ => Err(unexpected(host.name(), "a rotation")),
        }
    }

    /// Freezes the live generation, which is stale, however many are frozen. Another process may have done so first.
    pub(super) async fn make_way(&self, id: &str) {
        if let Ok(id) = Uuid::parse_str(id) {
            let _ = self.rotate(id, -1, -1, -1).await;
        }
    }

    fn id(&self, text: Option<String>) -> Result<Uuid> {
        let id = text.and_then(|text| Uuid::parse_str(&text).ok());
        id.ok_or_else(|| unexpected(self.host.name(), "a question for a generation's id"))
    }
}
