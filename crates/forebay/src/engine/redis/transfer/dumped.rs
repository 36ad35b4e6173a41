//! A key on its way between two hosts.

use std::time::Duration;

use redis::Value;

use super::{super::kv::batches, shift::Times};
use crate::time::millis;

/// The values of one call come to about so many bytes, or it has a single one.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// The most keys of a call.
pub(super) const MAX_KEYS: usize = 500;

/// The longest string of all, and the longest word of a command.
pub(super) const MAX_STRING: usize = 512 << 20;

/// A key and its value, as they were at one moment. The times in the value are those of the next host.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dumped {
    pub key: Box<[u8]>,
    /// The type, in Redis' words.
    pub(super) kind: Box<str>,
    /// How many members or bytes it has.
    pub(super) length: u64,
    /// When it expires, on this process's monotonic clock.
    pub(super) expires: Option<Duration>,
    pub(super) content: Content,
}

/// A value in the form in which it travels.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    /// A string.
    Text(Vec<u8>),
    /// The members of a sorted set, with their scores.
    Members(Vec<(Vec<u8>, f64)>),
    /// What `DUMP` answered.
    Payload(Vec<u8>),
    /// It was not asked for.
    Unknown,
}

impl Dumped {
    /// Reads the answer of the script for a key; `None`: it has another form.
    pub(super) fn read(key: &[u8], answer: Vec<Value>, now: Duration) -> Option<Self> {
        let [kind, length, life, content]: [Value; 4] = answer.try_into().ok()?;
        let (Value::Int(length), Value::Int(life)) = (length, life) else { return None };
        let kind: Box<str> = super::super::reply::text(kind)?.into();
        let content = match content {
            Value::Nil => Content::Unknown,
            Value::BulkString(bytes) if *kind == *"string" => Content::Text(bytes),
            Value::BulkString(bytes) => Content::Payload(bytes),
            members => Content::Members(redis::from_redis_value(members).ok()?),
        };
        let length = u64::try_from(length).ok()?;
        let expires = u64::try_from(life).ok().map(|life| now + millis(life));
        Some(Self { key: key.into(), kind, length, expires, content })
    }

    /// The bytes of the key and its value, as they travel.
    pub(crate) fn bytes(&self) -> usize {
        let content = match &self.content {
            Content::Text(bytes) | Content::Payload(bytes) => bytes.len(),
            Content::Members(members) => members.iter().map(|(member, _)| member.len() + 12).sum(),
            Content::Unknown => 0,
        };
        self.key.len() + content
    }

    /// Whether the key expires.
    pub(crate) fn expires(&self) -> bool {
        self.expires.is_some()
    }

    /// Moves the times in the value to later ones.
    pub(super) fn shift(&mut self, times: Times, ahead: u64) {
        match &mut self.content {
            Content::Text(bytes) => times.shift_text(bytes, ahead),
            Content::Members(members) => times.shift_scores(members, ahead),
            Content::Payload(_) | Content::Unknown => {}
        }
    }

    /// How long the key still lives: never nothing, which would be for ever.
    pub(super) fn left(&self, now: Duration) -> Option<Duration> {
        self.expires.map(|expires| expires.saturating_sub(now).max(millis(1)))
    }
}

/// Items that are sent together.
pub(super) fn calls(items: &[Dumped]) -> impl Iterator<Item = &[Dumped]> {
    // A key counts as its share of a call at least: that bounds their number.
    batches(items, MAX_BYTES, |item| item.bytes().max(MAX_BYTES / MAX_KEYS + 1))
}

/// The text of a key in a message.
pub(super) fn shown(key: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(key))
}
