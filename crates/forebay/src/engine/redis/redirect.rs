//! Calls that a node of a Redis Cluster refused because another one has their keys: they are sent there.
//!
//! A node that redirects a call has done nothing of it, so it may be sent on. The calls of a pipeline that go to one node keep
//! their order.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::future::join_all;
use redis::{Cmd, Pipeline, ServerError, Value};

use super::{
    connection::{ANSWER_TIMEOUT, Host, Peers},
    pipeline::pipeline,
    refusal::Class,
    reply::{lacks_script, refuses, unavailable},
    script::Script,
    session::Session,
};
use crate::{
    error::{Error, Result, Retry},
    time::millis,
};

/// How often a call is sent on. A slot that moves twice in a row needs three.
pub(super) const MAX_HOPS: usize = 5;

/// Between two attempts at a call whose keys are on two nodes at the moment.
pub(super) const PAUSE: Duration = millis(5);

/// Where a call has to go that a node refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Redirect {
    /// Another node has the slot. No host: the one that says so, on this port.
    Moved(Option<Box<str>>, u16),
    /// Another node has the keys of this call, while the slot moves there.
    Ask(Option<Box<str>>, u16),
    /// Two nodes have keys of this call, while the slot moves.
    TryAgain,
}

impl Redirect {
    /// Reads a reply.
    pub(super) fn of(value: &Value) -> Option<Self> {
        let Value::ServerError(error) = value else { return None };
        match error.code() {
            "MOVED" => address(error).map(|(host, port)| Self::Moved(host, port)),
            "ASK" => address(error).map(|(host, port)| Self::Ask(host, port)),
            "TRYAGAIN" => Some(Self::TryAgain),
            // A script met a key that is on its way. It had written nothing.
            "UNTOUCHED" if error.details().is_some_and(|text| text.contains("access a non local key")) => {
                Some(Self::TryAgain)
            }
            _ => None,
        }
    }

    /// The node to which a call goes from `host`, and whether it is asked for what is only on its way to it; `None`: it stays.
    pub(super) fn node(&self, host: &Host, peers: &dyn Peers) -> Option<(Arc<Host>, bool)> {
        let (Self::Moved(name, port) | Self::Ask(name, port), asking) = (self, matches!(self, Self::Ask(..)))
        else {
            return None;
        };
        if !asking {
            peers.report();
        }
        let here = || host.target().address().map_or("", |(host, _)| host);
        Some((peers.node(name.as_deref().unwrap_or_else(here), *port), asking))
    }
}

/// Reads `3999 127.0.0.1:6381`. A node that does not know its name, or an address of IPv6, has no brackets.
fn address(error: &ServerError) -> Option<(Option<Box<str>>, u16)> {
    let (host, port) = error.details()?.split_once(' ')?.1.trim().rsplit_once(':')?;
    Some(((!matches!(host, "" | "?")).then(|| host.into()), port.parse().ok()?))
}

/// The error of a call that nobody took.
pub(super) fn unsettled(host: &Host, patience: Duration) -> Error {
    let text = format!("its slot is on the move, and no node took the call within {patience:?}");
    unavailable(host.name(), text).with_retry(Retry::Now)
}

/// How long calls are followed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// For keys that are on two nodes.
    pub patience: Duration,
    /// For the answer of each further node.
    pub hop: Duration,
    /// For all of it.
    pub all: Duration,
}

impl Bounds {
    /// The bounds of calls on Forebay's own keys.
    pub(super) fn internal(patience: Duration) -> Self {
        Self { patience, hop: ANSWER_TIMEOUT, all: Duration::MAX }
    }
}

/// A call on its way.
struct Open {
    place: usize,
    /// Where it goes next; `None`: to the first node, again.
    next: Option<Redirect>,
    hops: usize,
}

impl Host {
    /// Reads a reply, and counts it if it is a redirect.
    pub(super) fn redirect(&self, value: &Value) -> Option<Redirect> {
        if !self.is_node() {
            return None;
        }
        let redirect = Redirect::of(value)?;
        let meter = self.meter();
        let count = match redirect {
            Redirect::Moved(..) => &meter.moved,
            Redirect::Ask(..) => &meter.ask,
            Redirect::TryAgain => &meter.try_again,
        };
        count.fetch_add(1, Ordering::Relaxed);
        Some(redirect)
    }

    /// The replies to commands: those that were refused for another node are sent there. One whose
    /// keys are on two nodes is sent again for as long as there is patience.
    pub(super) async fn follow(
        &self,
        commands: &Pipeline,
        values: Vec<Value>,
        Bounds { patience, hop, all }: Bounds,
    ) -> Vec<Result<Value>> {
        let mut answers: Vec<Result<Value>> = values.into_iter().map(Ok).collect();
        let Some(peers) = self.peers() else { return answers };
        let redirect = |answer: &Result<Value>| answer.as_ref().ok().and_then(|value| self.redirect(value));
        let mut open: Vec<Open> = (0..answers.len())
            .filter_map(|place| Some(Open { place, next: Some(redirect(&answers[place])?), hops: 0 }))
            .collect();
        if answers.iter().flatten().any(|value| refuses(value, &[Class::ClusterDown])) {
            peers.report();
        }
        if open.is_empty() {
            return answers;
        }
        let commands: Vec<&Cmd> = commands.cmd_iter().collect();
        let started = self.clock().monotonic();
        let (until, end) = (started.saturating_add(patience), started.saturating_add(all));
        loop {
            self.wait_for_moves(&mut open, &mut answers, (patience, until)).await;
            if open.is_empty() {
                return answers;
            }
            let within = hop.min(end.saturating_sub(self.clock().monotonic()));
            if within.is_zero() {
                for call in open {
                    answers[call.place] = Err(unsettled(self, all));
                }
                return answers;
            }
            let mut groups: BTreeMap<Option<Redirect>, Vec<usize>> = BTreeMap::new();
            for Open { place, next, .. } in &open {
                groups.entry(next.clone()).or_default().push(*place);
            }
            let sent = groups.into_iter().map(async |(next, places)| {
                let calls: Vec<&Cmd> = places.iter().map(|&place| commands[place]).collect();
                let values = self.send_on(next.as_ref(), &*peers, &calls, within).await;
                (places, values)
            });
            for (places, values) in join_all(sent).await {
                for (place, value) in places.into_iter().zip(values) {
                    answers[place] = value;
                }
            }
            open.retain_mut(|call| {
                call.next = redirect(&answers[call.place]);
                call.hops += 1;
                if call.next.is_some() && call.hops >= MAX_HOPS && call.next != Some(Redirect::TryAgain) {
                    let text = format!("the nodes sent the call on {MAX_HOPS} times");
                    answers[call.place] = Err(unavailable(self.name(), text));
                    return false;
                }
                call.next.is_some()
            });
        }
    }

    /// Lets calls whose keys are on two nodes wait a little, and gives up those that have waited long enough.
    async fn wait_for_moves(
        &self,
        open: &mut Vec<Open>,
        answers: &mut [Result<Value>],
        (patience, until): (Duration, Duration),
    ) {
        if open.iter().all(|call| call.next != Some(Redirect::TryAgain)) {
            return;
        }
        let over = self.clock().monotonic() >= until;
        open.retain_mut(|call| {
            let waits = call.next.take_if(|next| *next == Redirect::TryAgain).is_some();
            if waits && over {
                answers[call.place] = Err(unsettled(self, patience));
            } else if waits {
                call.hops = 0;
            }
            !(waits && over)
        });
        if open.iter().any(|call| call.next.is_none()) {
            self.clock().sleep(PAUSE).await;
        }
    }

    /// Sends calls to another node, or again to this one.
    async fn send_on(
        &self,
        next: Option<&Redirect>,
        peers: &dyn Peers,
        calls: &[&Cmd],
        within: Duration,
    ) -> Vec<Result<Value>> {
        let node = next.and_then(|next| next.node(self, peers));
        let (host, asking) = node.as_ref().map_or((self, false), |(host, asking)| (&**host, *asking));
        let mut answers = host.send_calls(calls, asking, within).await;
        if answers.iter().any(lacks_script) {
            // Nothing ran: the node has lost its scripts.
            let places: Vec<usize> =
                (0..calls.len()).filter(|&place| lacks_script(&answers[place])).collect();
            let again: Vec<&Cmd> = places.iter().map(|&place| calls[place]).collect();
            let loads: Vec<Cmd> = Script::ALL.iter().map(|script| self.scripts().load(*script)).collect();
            let _ = host.send_calls(&loads.iter().collect::<Vec<_>>(), false, within).await;
            for (place, answer) in places.into_iter().zip(host.send_calls(&again, asking, within).await) {
                answers[place] = answer;
            }
        }
        answers
    }

    async fn send_calls(&self, calls: &[&Cmd], asking: bool, within: Duration) -> Vec<Result<Value>> {
        let sent = async {
            let session = self.session_within(within).await?;
            self.transmit_within(&session, &asked(calls.iter().map(|&call| call.clone()), asking), within)
                .await
        };
        match sent.await {
            Ok(values) => answered(values, asking).map(Ok).collect(),
            Err(error) => vec![Err(error); calls.len()],
        }
    }

    /// The connection, if it stands within a time.
    pub(super) async fn session_within(&self, within: Duration) -> Result<Session> {
        let session = self.clock().timeout(within, self.session()).await;
        session
            .unwrap_or_else(|| Err(unavailable(self.name(), format_args!("no connection within {within:?}"))))
    }
}

/// Calls as one pipeline, each behind an `ASKING` if it is for a node to which the slot is only on its way.
pub(super) fn asked(calls: impl Iterator<Item = Cmd>, asking: bool) -> Pipeline {
    pipeline(calls.flat_map(|call| asking.then(|| redis::cmd("ASKING")).into_iter().chain([call])))
}

/// The replies to the calls of such a pipeline, without those to `ASKING`.
pub(super) fn answered(
    replies: impl IntoIterator<Item = Value>,
    asking: bool,
) -> impl Iterator<Item = Value> {
    let before = usize::from(asking);
    replies.into_iter().skip(before).step_by(1 + before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<Redirect> {
        let mut bytes = format!("-{line}\r\n").into_bytes();
        let value = redis::parse_redis_value(&std::mem::take(&mut bytes)).expect("a reply");
        Redirect::of(&value)
    }

    #[test]
    fn each_call_is_asked_for_and_has_its_own_reply() {
        let calls = || ["GET", "SET", "DEL"].into_iter().map(redis::cmd);
        for (asking, sent) in [(false, 3), (true, 6)] {
            let pipeline = asked(calls(), asking);
            assert_eq!(pipeline.cmd_iter().count(), sent);
            let replies = (0..sent).map(|place| Value::Int(i64::try_from(place).expect("small")));
            let width = 1 + i64::from(asking);
            let expected: Vec<Value> = (1..=3).map(|call| Value::Int(call * width - 1)).collect();
            assert_eq!(answered(replies, asking).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn redirects_are_read_in_every_wording() {
        let here = |host: &str| Some(Box::<str>::from(host));
        for (line, expected) in [
            ("MOVED 3999 127.0.0.1:6381", Redirect::Moved(here("127.0.0.1"), 6381)),
            ("MOVED 3999 ::1:6381", Redirect::Moved(here("::1"), 6381)),
            ("MOVED 3999 :6381", Redirect::Moved(None, 6381)),
            ("MOVED 3999 ?:6381", Redirect::Moved(None, 6381)),
            ("ASK 3999 redis-1.internal:6381", Redirect::Ask(here("redis-1.internal"), 6381)),
            ("TRYAGAIN Multiple keys request during rehashing of slot", Redirect::TryAgain),
            (
                "UNTOUCHED ERR Script attempted to access a non local key in a cluster node",
                Redirect::TryAgain,
            ),
        ] {
            assert_eq!(read(line), Some(expected), "{line}");
        }
        for line in [
            "CLUSTERDOWN Hash slot not served",
            "ERR syntax error",
            "PARTLY ERR Script attempted to access a non local key in a cluster node",
            "MOVED 3999",
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }

    #[test]
    fn each_call_that_is_asked_for_has_its_own_asking() {
        let calls = || [redis::cmd("PING"), redis::cmd("TIME")].into_iter();
        assert_eq!(asked(calls(), true).len(), 4);
        assert_eq!(asked(calls(), false).len(), 2);
    }
}
