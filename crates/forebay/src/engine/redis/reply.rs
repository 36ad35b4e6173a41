//! From what redis-rs reports to this crate's errors, and from replies to numbers.

use redis::{ErrorKind as Cause, RedisError, ServerError, ServerErrorKind, Value};

use crate::error::{Error, ErrorKind, Retry};

/// A pipeline was sent, or was about to be, and the connection ended: nobody knows what ran.
pub(super) fn lost(host: &str, cause: RedisError) -> Error {
    let text = format!("redis {host}: the connection ended before the answer came");
    Error::new(ErrorKind::Ambiguous, text).with_source(cause)
}

/// The host could not be connected to, or not as what is needed.
pub(super) fn unreachable(host: &str, cause: RedisError) -> Error {
    let kind = match (cause.kind(), cause.code()) {
        (Cause::AuthenticationFailed | Cause::InvalidClientConfig, _)
        | (_, Some("WRONGPASS" | "NOAUTH" | "NOPERM")) => ErrorKind::Configuration,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("redis {host}: cannot connect")).with_source(cause)
}

/// Not a redis-rs error, but as bad.
pub(super) fn unavailable(host: &str, what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Unavailable, format!("redis {host}: {what}"))
}

/// What the server refused, on its own terms.
///
/// All codes named here are answered before a command, or the first write of a script, has any effect.
pub(super) fn refused(host: &str, cause: ServerError) -> Error {
    let (kind, retry) = match cause.code() {
        "READONLY" | "LOADING" | "MASTERDOWN" | "BUSY" | "CLUSTERDOWN" | "TRYAGAIN" | "NOREPLICAS"
        | "MISCONF" => (ErrorKind::Unavailable, Retry::Later),
        "OOM" => (ErrorKind::Overloaded, Retry::Later),
        "NOPERM" | "NOAUTH" => (ErrorKind::Configuration, Retry::Never),
        "WRONGTYPE" => (ErrorKind::Corrupt, Retry::Never),
        // A script that failed in the middle may have written before.
        _ => (ErrorKind::Unavailable, Retry::Unknown),
    };
    let text = format!("redis {host}: the server refused");
    Error::new(kind, text).with_retry(retry).with_source(RedisError::from(cause))
}

/// A reply of another shape than the script's header says.
pub(super) fn unexpected(host: &str, what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("redis {host}: unexpected reply to {what}"))
}

/// Whether the server says that it does not have the script: nothing ran.
pub(super) fn is_noscript(value: &Value) -> bool {
    matches!(value, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript))
}

/// Whether the server has become a replica, also where a script says so of a part: the connection must look for the
/// primary again.
pub(super) fn is_readonly(value: &Value) -> bool {
    match value {
        Value::ServerError(error) => error.kind() == Some(ServerErrorKind::ReadOnly),
        Value::Array(values) => values.iter().any(is_readonly),
        _ => false,
    }
}

/// The value, or the refusal.
pub(super) fn accepted(host: &str, value: Value) -> Result<Value, Error> {
    match value {
        Value::ServerError(error) => Err(refused(host, error)),
        value => Ok(value),
    }
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

/// The answer to `TIME`, in microseconds since 1970.
pub(super) fn server_time(value: Value) -> Option<u64> {
    let parts = strings(value)?;
    let [secs, micros] = &parts[..] else { return None };
    secs.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(micros.parse().ok()?)
}

/// The texts of an array.
pub(super) fn strings(value: Value) -> Option<Vec<String>> {
    let Value::Array(values) = value else { return None };
    values.into_iter().map(text).collect()
}

/// The fields and values of a hash, in RESP2 and RESP3.
pub(super) fn pairs(value: Value) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let bytes = |value| match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    };
    match value {
        Value::Map(pairs) => {
            pairs.into_iter().map(|(field, value)| Some((bytes(field)?, bytes(value)?))).collect()
        }
        Value::Array(values) => {
            let mut values = values.into_iter().map(bytes);
            let mut pairs = vec![];
            while let Some(field) = values.next() {
                pairs.push((field?, values.next()??));
            }
            Some(pairs)
        }
        _ => None,
    }
}
