//! The redis end of sequenced writes: what identifies a batch in the arguments of such a script, and what its reply means.

use redis::Value;

use super::{
    calls::Call,
    connection::{Host, Session},
    reply::{text, unavailable, unexpected},
};
use crate::{
    engine::sequence::{Doubt, InFlight, Sent},
    error::{Error, Result, Retry},
};

/// Adds the client's id and the replication id that the server is believed to have, as `lua/guard.lua` wants them.
pub(super) fn add_client<B>(call: &mut Call, in_flight: &InFlight<B>, replid: &str) {
    let mut client = uuid::Uuid::encode_buffer();
    call.command.arg(&*in_flight.stamp.client.simple().encode_lower(&mut client)).arg(replid);
}

/// Adds the sequence of a batch and when it was first sent, as `lua/guard.lua` wants them.
pub(super) fn add_stamp<B>(call: &mut Call, InFlight { stamp, doubt, .. }: &InFlight<B>) {
    call.command.arg(stamp.sequence).arg(doubt.as_ref().map_or(0, |doubt| doubt.time));
}

/// The result of a batch of a script that begins with `lua/guard.lua`; or, if the script did nothing for a reason of its own, such
/// as `stale`, that word and what follows it.
pub(super) type Answer = Result<Sent<String>, (String, String)>;

/// Sends batches in one pipeline on `session`, each once; none whose doubt is of another epoch. `calls` writes what it is
/// given, in its order, as calls of so many batches each, under a replication id; their reply is a text for each batch, or
/// one text for all.
pub(super) async fn send<B>(
    host: &Host,
    session: &Session,
    in_flight: &[&InFlight<B>],
    calls: impl FnOnce(&[&InFlight<B>], &str) -> Vec<(Call, usize)>,
) -> Vec<Answer> {
    let (time, replid) = (session.server_time(host.clock()), session.replid());
    let in_time =
        |in_flight: &InFlight<B>| in_flight.doubt.as_ref().is_none_or(|doubt| doubt.epoch == replid);
    let going: Vec<&InFlight<B>> = in_flight.iter().copied().filter(|in_flight| in_time(in_flight)).collect();
    let mut replies = host.run_parts(session, calls(&going, &replid)).await.map(Vec::into_iter);
    let mut answer = |in_flight: &InFlight<B>| {
        if !in_time(in_flight) {
            return Ok(Sent::TooLate);
        }
        match &mut replies {
            Ok(replies) => match read(host, replies.next().unwrap_or_else(|| Err(strange(host)))) {
                Err((word, id)) if word == "changed" => {
                    session.learn_replid(&id);
                    let again = || Sent::Again(unavailable(host.name(), "its replication id keeps changing"));
                    // The fate of this transmission is known; that of the one in doubt never will be.
                    Ok(in_flight.doubt.as_ref().map_or_else(again, |_| Sent::TooLate))
                }
                answer => answer,
            },
            Err(error) => {
                let (epoch, error) = (replid.clone(), error.clone());
                Ok(Sent::InDoubt(Doubt { epoch, time, error }))
            }
        }
    };
    in_flight.iter().map(|in_flight| answer(in_flight)).collect()
}

fn read(host: &Host, reply: Result<Value>) -> Answer {
    let reply = match reply.and_then(|reply| text(reply).ok_or_else(|| strange(host))) {
        Ok(reply) => reply,
        // Refused before it began, or failed in the middle: the error says which, and no resending mends it.
        Err(error) => return Ok(Sent::Refused(error)),
    };
    let (word, rest) = reply.split_once(' ').unwrap_or((&reply, ""));
    match word {
        "applied" => Ok(Sent::Applied(rest.into())),
        // Settled as far as it goes: the channel reads which items were applied before, and sends the others again.
        "met" => Ok(Sent::Applied(reply)),
        "duplicate" => Ok(Sent::Duplicate(rest.into())),
        "overtaken" | "late" => Ok(Sent::TooLate),
        _ => Err((word.into(), rest.into())),
    }
}

fn strange(host: &Host) -> Error {
    unexpected(host.name(), "a sequenced write").with_retry(Retry::Unknown)
}
