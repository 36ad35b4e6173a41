//! The redis end of sequenced writes: what comes before the arguments of such a script, and what its reply means.

use redis::Value;

use super::{
    connection::{Call, Host, Session},
    reply::{strings, unexpected},
};
use crate::{
    engine::sequence::{Doubt, Flying, Sent},
    error::{Error, Result, Retry},
};

/// Adds `ARGV[1]` to `ARGV[3]` as in `lua/guard.lua`.
pub(super) fn stamp<B>(call: &mut Call, flying: &Flying<B>) {
    let Flying { stamp, doubt, .. } = flying;
    let mut client = uuid::Uuid::encode_buffer();
    call.command
        .arg(&*stamp.client.simple().encode_lower(&mut client))
        .arg(stamp.sequence)
        .arg(doubt.as_ref().map_or(0, |doubt| doubt.time));
}

/// What a script that begins with `lua/guard.lua` answered.
#[derive(Debug)]
pub(super) enum Answer {
    /// Settled: `'applied'`, `'duplicate'` (with the second string of the reply), or why not.
    Sent(Sent<String>),
    /// Nothing was done; what the script says instead, such as `'stale'`.
    Other(String, String),
}

/// Sends batches in one pipeline on `session`, each once; none whose doubt is of another epoch.
pub(super) async fn send<B>(
    host: &Host,
    session: &Session,
    flying: &[&Flying<B>],
    call: impl Fn(&Flying<B>) -> Call,
) -> Vec<Answer> {
    let time = session.server_time(host.clock());
    let in_time =
        |flying: &Flying<B>| flying.doubt.as_ref().is_none_or(|doubt| *doubt.epoch == *session.replid());
    let calls = flying.iter().filter(|flying| in_time(flying)).map(|flying| call(flying)).collect();
    let mut replies = host.run_on(session, calls).await.map(Vec::into_iter);
    let mut answer = |flying: &Flying<B>| {
        if !in_time(flying) {
            return Answer::Sent(Sent::TooLate);
        }
        match &mut replies {
            Ok(replies) => read(host, replies.next().unwrap_or_else(|| Err(strange(host)))),
            Err(error) => {
                let (epoch, error) = (session.replid().into(), error.clone());
                Answer::Sent(Sent::InDoubt(Doubt { epoch, time, error }))
            }
        }
    };
    flying.iter().map(|flying| answer(flying)).collect()
}

fn read(host: &Host, reply: Result<Value>) -> Answer {
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

fn words(host: &Host, reply: Value) -> Result<(String, String)> {
    let mut words = strings(reply).unwrap_or_default().into_iter();
    let first = words.next().ok_or_else(|| strange(host))?;
    Ok((first, words.next().unwrap_or_default()))
}

fn strange(host: &Host) -> Error {
    unexpected(host.name(), "a sequenced write").with_retry(Retry::Unknown)
}
