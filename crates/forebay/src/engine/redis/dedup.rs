//! The redis end of sequenced writes: what identifies a batch in the arguments of such a script, and what its reply means.

use std::time::Duration;

use redis::Value;

use super::{
    calls::{Call, PATIENCE, Part},
    connection::{ANSWER_TIMEOUT, Host, Peers},
    redirect::{MAX_HOPS, PAUSE, Redirect, unsettled},
    reply::{text, unavailable, unexpected},
    session::Session,
};
use crate::{
    engine::{
        cluster::Slot,
        sequence::{Doubt, InFlight, Sent},
    },
    error::{Error, Result, Retry},
};

/// Adds the client's id and the replication id that the server is believed to have, as `lua/guard.lua` wants them.
pub(super) fn add_client<B>(call: &mut Call, in_flight: &InFlight<B>, replid: &str) {
    let mut client = uuid::Uuid::encode_buffer();
    call.command.arg(&*in_flight.stamp.client.simple().encode_lower(&mut client)).arg(replid);
}

/// Adds the sequence of a batch and when it was first sent, as `lua/guard.lua` wants them.
///
/// A batch whose doubt is about a server of another replication id is said to be very old: a server whose guard knows it says
/// so, and none applies it.
pub(super) fn add_stamp<B>(call: &mut Call, InFlight { stamp, doubt, .. }: &InFlight<B>, replid: &str) {
    call.command.arg(stamp.sequence).arg(first_sent(doubt.as_ref(), replid));
}

/// When a batch was first sent, as a server of this replication id is told: 0 if it was not sent before.
fn first_sent(doubt: Option<&Doubt>, replid: &str) -> u64 {
    doubt.map_or(0, |doubt| if *doubt.epoch == *replid { doubt.time } else { 1 })
}

/// The result of a batch of a script that begins with `lua/guard.lua`; or, if the script did nothing for a reason of its own, such
/// as `stale`, that word and what follows it.
pub(super) type Answer = Result<Sent<String>, (String, String)>;

/// How long sequenced writes wait for a node of a Redis Cluster to connect: above what a node that is well takes.
const CONNECT_PATIENCE: Duration = Duration::from_millis(500);

/// Writes batches as calls, of so many batches each, under a replication id.
pub(super) trait Calls<B>: Fn(&[&InFlight<B>], &str) -> Vec<(Call, usize)> {}

impl<B, F: Fn(&[&InFlight<B>], &str) -> Vec<(Call, usize)>> Calls<B> for F {}

/// Sends batches in one pipeline on `session`, each once; none whose doubt is of another epoch. `calls` writes what it is
/// given, in its order; the reply to a call is a text for each of its batches, or one text for all.
///
/// A batch that a node of a Redis Cluster refuses because another one has its keys is sent there. The doubt of one may be about
/// another node: the guard, which comes with the slot, tells whether it was applied.
async fn send<B>(
    host: &Host,
    session: &Session,
    in_flight: &[&InFlight<B>],
    calls: impl Calls<B>,
) -> Vec<Answer> {
    let sent = send_to(host, session, in_flight, &calls, false).await;
    let mut answers = Vec::with_capacity(sent.len());
    for (in_flight, answer) in in_flight.iter().zip(sent) {
        answers.push(match (answer, host.peers()) {
            (Ok(answer), _) => answer,
            // Boxed: it is rare.
            (Err(redirect), Some(peers)) => {
                Box::pin(follow(host, &*peers, redirect, in_flight, &calls)).await
            }
            (Err(_), None) => Ok(Sent::Unsent(unsettled(host, PATIENCE))),
        });
    }
    answers
}

/// The connection for sequenced writes. Behind a node of a Redis Cluster that does not connect there may be another one by now,
/// for which nobody waits longer.
pub(super) async fn session(host: &Host) -> Result<Session> {
    if host.is_node() { host.session_within(CONNECT_PATIENCE).await } else { host.session().await }
}

/// [`send`]s batches over a connection, if there is one.
pub(super) async fn send_or_settle<B>(
    host: &Host,
    session: Result<Session>,
    in_flight: &[&InFlight<B>],
    slot: impl Fn(&InFlight<B>) -> Slot,
    calls: impl Calls<B>,
) -> Vec<Answer> {
    match session {
        Ok(session) => send(host, &session, in_flight, calls).await,
        Err(error) => settle_elsewhere(host, &error, in_flight, slot, calls).await,
    }
}

/// The results of batches whose script has no reasons of its own; `what` they are in an error.
pub(super) fn results(host: &Host, answers: Vec<Answer>, what: &str) -> Vec<Sent<String>> {
    let strange = |_| Sent::Refused(unexpected(host.name(), what).with_retry(Retry::Unknown));
    answers.into_iter().map(|answer| answer.unwrap_or_else(strange)).collect()
}

/// Settles batches in doubt for which there is no connection where other nodes of the Redis Cluster say that their slots are.
/// Those that are in no doubt are not sent: the next write goes there by itself.
async fn settle_elsewhere<B>(
    host: &Host,
    error: &Error,
    in_flight: &[&InFlight<B>],
    slot: impl Fn(&InFlight<B>) -> Slot,
    calls: impl Calls<B>,
) -> Vec<Answer> {
    let mut answers = Vec::with_capacity(in_flight.len());
    for in_flight in in_flight {
        let peers = host.peers().filter(|_| in_flight.doubt.is_some());
        let owner = peers.as_ref().and_then(|peers| peers.owner(slot(in_flight).number()));
        let other = owner.filter(|(name, port)| host.target().address() != Some((name, *port)));
        answers.push(match (peers, other) {
            (Some(peers), Some((name, port))) => {
                let owner = Redirect::Moved(Some(name), port);
                Box::pin(follow(host, &*peers, owner, in_flight, &calls)).await
            }
            _ => Ok(Sent::Unsent(not_sent(host.name(), error))),
        });
    }
    answers
}

/// The error of a batch that was not sent, because what comes before it failed: that may be in doubt, and the batch is not.
fn not_sent(host: &str, error: &Error) -> Error {
    if error.retry() == Retry::Unknown {
        return unavailable(host, "not sent, for the host does not answer").with_source(error.clone());
    }
    error.clone()
}

/// Sends a batch on, until a node takes it or patience ends.
async fn follow<B>(
    first: &Host,
    peers: &dyn Peers,
    mut next: Redirect,
    in_flight: &InFlight<B>,
    calls: &impl Calls<B>,
) -> Answer {
    let until = first.clock().monotonic().saturating_add(PATIENCE);
    let mut hops = 0;
    loop {
        let node = next.node(first, peers);
        if node.is_none() {
            if first.clock().monotonic() >= until {
                return Ok(Sent::Unsent(unsettled(first, PATIENCE)));
            }
            first.clock().sleep(PAUSE).await;
            hops = 0;
        }
        let (host, asking) = node.as_ref().map_or((first, false), |(host, asking)| (&**host, *asking));
        let session = match host.session_within(ANSWER_TIMEOUT).await {
            Ok(session) => session,
            Err(error) => return Ok(Sent::Unsent(error)),
        };
        hops += 1;
        match send_to(host, &session, &[in_flight], calls, asking).await.pop() {
            // Another try at the same node: it has told its replication id.
            Some(Ok(Ok(Sent::Again(_)))) if hops <= MAX_HOPS => {}
            Some(Ok(answer)) => return answer,
            Some(Err(redirect)) if hops <= MAX_HOPS => next = redirect,
            _ => {
                let text = format!("the nodes sent a write on {MAX_HOPS} times");
                return Ok(Sent::Unsent(unavailable(first.name(), text)));
            }
        }
    }
}

/// Sends batches to one server, each once. Answers each, or where it has to go: then nothing was done.
async fn send_to<B>(
    host: &Host,
    session: &Session,
    in_flight: &[&InFlight<B>],
    calls: &impl Calls<B>,
    asking: bool,
) -> Vec<Result<Answer, Redirect>> {
    let (time, replid) = (session.server_time(host.clock()), session.replid());
    let in_time = |in_flight: &InFlight<B>| {
        host.is_node() || in_flight.doubt.as_ref().is_none_or(|doubt| doubt.epoch == replid)
    };
    let going: Vec<&InFlight<B>> = in_flight.iter().copied().filter(|in_flight| in_time(in_flight)).collect();
    let mut replies = host.run_parts(session, calls(&going, &replid), asking).await.map(Vec::into_iter);
    let mut answer = |in_flight: &InFlight<B>| {
        if !in_time(in_flight) {
            return Ok(Ok(Sent::TooLate));
        }
        let reply = match &mut replies {
            Ok(replies) => match replies.next() {
                Some(Part::Redirected(redirect)) => return Err(redirect),
                Some(Part::Answer(reply)) => reply,
                None => Err(strange(host)),
            },
            Err(error) => {
                let (epoch, error) = (replid.clone(), error.clone());
                return Ok(Ok(Sent::InDoubt(Doubt { epoch, time, error })));
            }
        };
        Ok(match read(host, reply) {
            Err((word, id)) if word == "changed" => {
                session.learn_replid(&id);
                let again = || Sent::Again(unavailable(host.name(), "its replication id keeps changing"));
                // The fate of this transmission is known; that of the one in doubt never will be, but where a guard tells.
                let doubt = in_flight.doubt.as_ref().filter(|_| !host.is_node());
                Ok(doubt.map_or_else(again, |_| Sent::TooLate))
            }
            answer => answer,
        })
    };
    in_flight.iter().map(|in_flight| answer(in_flight)).collect()
}

fn read(host: &Host, reply: Result<Value>) -> Answer {
    let reply = match reply.and_then(|reply| text(reply).ok_or_else(|| strange(host))) {
        Ok(reply) => reply,
        Err(error) if error.retry() == Retry::Now => return Ok(Sent::Moved(error)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    /// Told another time, the guard of a server that does not know the batch would apply it, although another server may have.
    #[test]
    fn a_batch_in_doubt_is_very_old_to_servers_of_another_epoch() {
        let error = Error::new(ErrorKind::Ambiguous, "no answer");
        let doubt = Doubt { epoch: "here".into(), time: 1_790_000_000_000_000, error };
        assert_eq!(first_sent(None, "here"), 0);
        assert_eq!(first_sent(Some(&doubt), "here"), doubt.time);
        assert_eq!(first_sent(Some(&doubt), "there"), 1);
    }

    #[test]
    fn a_batch_behind_a_question_without_an_answer_was_not_sent() {
        let told = |kind| not_sent("a", &Error::new(kind, "no answer"));
        let error = told(ErrorKind::Ambiguous);
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Later));
        assert_eq!(told(ErrorKind::Closed).kind(), ErrorKind::Closed, "a certain error stays");
    }
}
