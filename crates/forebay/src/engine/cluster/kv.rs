//! Plain commands on the hosts of their keys.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use futures::future::join_all;

use super::{Cluster, moving::Patience, topology::Topology};
use crate::{
    error::{Error, ErrorKind, Result, Retry},
    model::{Command, Failure, Fate, Reply},
};

type Answer = Result<Reply, Failure>;

impl Cluster {
    /// Runs plain commands on the host of this name. Those whose slots have moved, or are on their way, go to the host that has
    /// them. A command without a key goes nowhere else.
    pub(crate) async fn kv(&self, host: &str, commands: &[&Command], within: Duration) -> Vec<Answer> {
        let topology = self.topology();
        let number = number_of(&topology, host);
        if let Some(number) = number.filter(|_| !topology.can_change()) {
            return Self::kv_at(&topology, number, commands, within).await;
        }
        let clock = topology.members()[0].engine.clock().clone();
        let began = clock.monotonic();
        let number = number.filter(|&number| commands.iter().all(|command| topology.takes(command, number)));
        let answers = match number {
            Some(number) => Self::kv_at(&topology, number, commands, within).await,
            None => vec![Err(on_its_way()); commands.len()],
        };
        if !answers.iter().any(has_moved) {
            return answers;
        }
        let left = within.saturating_sub(clock.monotonic().saturating_sub(began));
        // Boxed: it is rare.
        Box::pin(self.kv_again(host, commands, answers, left)).await
    }

    async fn kv_at(topology: &Topology, host: usize, commands: &[&Command], within: Duration) -> Vec<Answer> {
        let member = &topology.members()[host];
        match member.begin() {
            Ok(mut guard) => guard.end_all(member.engine.kv(commands, within).await),
            Err(error) => vec![Err((Fate::NotSent, error)); commands.len()],
        }
    }

    /// Sends the commands again that have moved, until there is none or time is over. Those on one key keep their order.
    async fn kv_again(
        &self,
        host: &str,
        commands: &[&Command],
        mut answers: Vec<Answer>,
        within: Duration,
    ) -> Vec<Answer> {
        let mut patience = Patience::of(within);
        loop {
            let topology = self.topology();
            let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            let mut waiting: HashSet<&[u8]> = HashSet::new();
            let moved: Vec<usize> = (0..commands.len()).filter(|&place| has_moved(&answers[place])).collect();
            for place in moved {
                let command = commands[place];
                let home = if command.key.is_empty() {
                    number_of(&topology, host)
                } else {
                    Some(topology.host_of(&command.key))
                };
                let Some(home) = home else {
                    answers[place] = Err(has_left(host));
                    continue;
                };
                // What comes behind a command on the same key waits with it.
                if topology.takes(command, home) && !waiting.contains(&*command.key) {
                    groups.entry(home).or_default().push(place);
                } else {
                    waiting.insert(&command.key);
                }
            }
            let left = self.left(&patience).unwrap_or(within);
            if left.is_zero() {
                return answers;
            }
            let sent = groups.iter().map(async |(home, places)| {
                let some: Vec<&Command> = places.iter().map(|&place| commands[place]).collect();
                Self::kv_at(&topology, *home, &some, left).await
            });
            let sent = join_all(sent).await;
            for (places, some) in groups.values().zip(sent) {
                for (place, answer) in places.iter().zip(some) {
                    answers[*place] = answer;
                }
            }
            if !answers.iter().any(has_moved) {
                return answers;
            }
            let stale = groups.keys().next().and_then(|home| topology.members().get(*home));
            let changed = self.refresh(stale).await.unwrap_or_default();
            if !changed && self.pause(&mut patience).await.is_none() {
                return answers;
            }
        }
    }
}

fn number_of(topology: &Topology, host: &str) -> Option<usize> {
    topology.members().iter().position(|member| member.host.name() == host)
}

/// Whether a command was not executed because its slot has moved, or is on its way.
fn has_moved(answer: &Answer) -> bool {
    answer.as_ref().is_err_and(|(fate, error)| *fate == Fate::NotSent && error.retry() == Retry::Now)
}

fn on_its_way() -> Failure {
    let error = Error::new(ErrorKind::Unavailable, "the slot is on its way to another host");
    (Fate::NotSent, error.with_retry(Retry::Now))
}

fn has_left(host: &str) -> Failure {
    let text = format!("host {host:?} is none of the hosts of the store any more");
    (Fate::NotSent, Error::new(ErrorKind::Invalid, text).with_retry(Retry::Never))
}
