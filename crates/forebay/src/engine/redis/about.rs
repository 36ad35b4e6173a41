//! Calls that are told about when it is, for limits that count by the calendar.
//!
//! A server has no time zones. It is told the windows round this machine's time, and picks the one of its own time. If that is in none
//! of them, it does nothing and answers its time.

use std::time::Duration;

use redis::Value;

use super::{
    calls::{Call, PATIENCE},
    connection::Host,
    reply::unavailable,
};
use crate::error::Result;

/// Runs calls, each of which `call` writes for a time. One whose server's time was in no window runs once more, for that time.
/// `patience` is that of [`Host::run`].
pub(super) async fn run_about(
    host: &Host,
    calls: usize,
    call: impl Fn(usize, u64) -> Call,
    patience: Duration,
) -> Result<Vec<Result<Value>>> {
    let now = about(host);
    let mut replies = host.run((0..calls).map(|place| call(place, now)).collect(), patience).await?;
    run_other_tables(host, &mut replies, call).await;
    Ok(replies)
}

/// This machine's time, in microseconds since 1970.
pub(super) fn about(host: &Host) -> u64 {
    host.clock().now().as_micros().unsigned_abs()
}

/// Runs those calls once more whose server's time was in no window.
pub(super) async fn run_other_tables(
    host: &Host,
    replies: &mut [Result<Value>],
    call: impl Fn(usize, u64) -> Call,
) {
    for (place, reply) in replies.iter_mut().enumerate() {
        let Some(time) = reply.as_ref().ok().and_then(other_table) else { continue };
        *reply = host.run_one(call(place, time)).await.and_then(|reply| match other_table(&reply) {
            None => Ok(reply),
            Some(_) => Err(unavailable(host.name(), "its clock is not the same in two calls")),
        });
    }
}

/// [`run_about`] for a single call.
pub(super) async fn run_one_about(host: &Host, call: impl Fn(u64) -> Call) -> Result<Value> {
    run_about(host, 1, |_, about| call(about), PATIENCE).await?.swap_remove(0)
}

/// The time of a server that was told other windows; `None`: it has decided.
fn other_table(reply: &Value) -> Option<u64> {
    let Value::BulkString(bytes) = reply else { return None };
    bytes.as_slice().try_into().ok().map(u64::from_le_bytes)
}
