//! Converts errors and replies of redis-rs.

use redis::{ErrorKind as Cause, RedisError, Value};

use super::{
    keys::{Kept, Keys},
    refusal::{Class, Refusal},
};
use crate::error::{Error, ErrorKind};

/// A pipeline was sent, or was about to be, and the connection ended: it is unknown what ran.
pub(super) fn lost(host: &str, cause: RedisError) -> Error {
    let text = format!("redis {host}: the connection ended before the answer came");
    Error::new(ErrorKind::Ambiguous, text).with_source(cause)
}

/// The host could not be connected to, or not as what is needed.
pub(super) fn unreachable(host: &str, cause: &RedisError) -> Error {
    let kind = match (cause.kind(), cause.code()) {
        (Cause::AuthenticationFailed | Cause::InvalidClientConfig, _)
        | (_, Some("WRONGPASS" | "NOAUTH" | "NOPERM")) => ErrorKind::Configuration,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("redis {host}: cannot connect: {cause}"))
}

/// Not a redis-rs error, but as bad.
pub(super) fn unavailable(host: &str, what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Unavailable, format!("redis {host}: {what}"))
}

/// A reply of another shape than the script's header says.
pub(super) fn unexpected(host: &str, what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("redis {host}: unexpected reply to {what}"))
}

/// Whether a reply is, or has in it, a refusal of one of these classes: a script may say so of a part.
pub(super) fn refuses(value: &Value, classes: &[Class]) -> bool {
    match value {
        Value::ServerError(error) => classes.contains(&Refusal::of(error).class()),
        Value::Array(values) => values.iter().any(|value| refuses(value, classes)),
        _ => false,
    }
}

/// True if the server has no script of the hash that it was called by: nothing ran. An error within an answer says nothing of
/// the kind, since that script ran.
pub(super) fn lacks_script(answer: &crate::Result<Value>) -> bool {
    matches!(answer, Ok(Value::ServerError(error)) if Refusal::of(error).class() == Class::NoScript)
}

/// Describes the first of some keys that holds a foreign value, given the types that `TYPE` answered.
pub(super) fn foreign<'a>(
    host: &str,
    known: &Keys,
    found: impl IntoIterator<Item = (&'a [u8], String)>,
) -> Option<String> {
    let mut right_type = None;
    for (key, kind) in found {
        let Some(Kept(kept, cure)) = known.kept(key) else { continue };
        let key = String::from_utf8_lossy(key);
        let text = |what: &str| {
            format!(
                "redis {host}: the key {key:?} holds a {what}, and a {kept} of forebay is kept there; {cure}"
            )
        };
        if kind != kept && kind != "none" {
            return Some(text(&kind));
        }
        if kind != "none" {
            right_type.get_or_insert_with(|| text(&format!("{kind} of something else")));
        }
    }
    right_type
}

/// A key that was found to hold something else, while nothing failed.
pub(super) fn foreign_key(host: &str, known: &Keys, key: &[u8], kind: String) -> Error {
    let text = foreign(host, known, [(key, kind)]);
    Error::new(ErrorKind::Corrupt, text.unwrap_or_else(|| format!("redis {host}: a key of another type")))
}

/// The text of a reply, in whichever of its RESP forms.
pub(super) fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text),
        Value::Okay => Some("OK".into()),
        _ => None,
    }
}

/// A field of an answer to `INFO`.
pub(super) fn info_field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

/// The answer to `TIME`, in microseconds since 1970.
pub(super) fn server_time(value: Value) -> Option<u64> {
    let parts = strings(value)?;
    let [secs, micros] = &parts[..] else { return None };
    secs.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(micros.parse().ok()?)
}

/// The texts of an array.
pub(super) fn strings(value: Value) -> Option<Vec<String>> {
    let (Value::Array(values) | Value::Set(values)) = value else { return None };
    values.into_iter().map(text).collect()
}

/// The fields and values of a hash, in RESP2 and RESP3.
pub(super) fn pairs(value: Value) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    redis::from_redis_value(value).ok()
}
