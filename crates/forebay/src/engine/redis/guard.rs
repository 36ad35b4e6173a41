//! The redis end of sequenced writes: what comes before the arguments of such a script, and what its reply means.

use redis::Value;

use super::{
    connection::{Call, Host, Session},
    reply::{strings, unexpected},
};
use crate::{
    engine::sequence::{Doubt, Sent, Stamp},
    error::{Error, Retry},
};

/// A connection on which a batch may be sent.
///
/// # Errors
/// What became of the transmission without one: [`Sent::Unsent`], or [`Sent::TooLate`] in another epoch.
pub(super) async fn session<O>(host: &Host, doubt: Option<&Doubt>) -> Result<Session, Sent<O>> {
    let session = host.session().await.map_err(Sent::Unsent)?;
    if doubt.is_some_and(|doubt| *doubt.epoch != *session.replid()) {
        return Err(Sent::TooLate);
    }
    Ok(session)
}

/// Adds `ARGV[1]` to `ARGV[3]` as in `lua/guard.lua`.
pub(super) fn stamp(call: &mut Call, stamp: Stamp, doubt: Option<&Doubt>) {
    let mut client = uuid::Uuid::encode_buffer();
    call.command
        .arg(&*stamp.client.simple().encode_lower(&mut client))
        .arg(stamp.sequence)
        .arg(doubt.map_or(0, |doubt| doubt.time));
}

/// What a script that begins with `lua/guard.lua` answered.
#[derive(Debug)]
pub(super) enum Answer {
    /// Settled: `'applied'`, `'duplicate'` (with the second string of the reply), or why not.
    Sent(Sent<String>),
    /// Nothing was done; what the script says instead, such as `'stale'`.
    Other(String, String),
}

/// Sends one sequenced call on `session`, once.
pub(super) async fn send(host: &Host, session: &Session, call: Call) -> Answer {
    let time = session.server_time(host.clock());
    let reply = match host.run_on(session, vec![call]).await {
        Ok(mut replies) => replies.swap_remove(0),
        Err(error) => {
            return Answer::Sent(Sent::InDoubt(Doubt { epoch: session.replid().into(), time, error }));
        }
    };
    let words = reply.and_then(|reply| words(host, reply));
    let (first, second) = match words {
        Ok(words) => words,
        // Refused before it began, or failed in the middle: the error says which, and no resending mends it.
        Err(error) => return Answer::Sent(Sent::Refused(error)),
    };
    match first.as_str() {
        "applied" => Answer::Sent(Sent::Applied(second)),
        "duplicate" => Answer::Sent(Sent::Duplicate(second)),
        "overtaken" | "late" => Answer::Sent(Sent::TooLate),
        _ => Answer::Other(first, second),
    }
}

fn words(host: &Host, reply: Value) -> Result<(String, String), Error> {
    let mut words = strings(reply).unwrap_or_default().into_iter();
    let first = words.next();
    first
        .map(|first| (first, words.next().unwrap_or_default()))
        .ok_or_else(|| unexpected(host.name(), "a sequenced write").with_retry(Retry::Unknown))
}
