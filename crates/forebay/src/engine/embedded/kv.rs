//! Plain keys of the embedded engine: in memory, also where the rest is kept in a file.

use std::time::Duration;

use super::{Embedded, kv_table::Entry};
use crate::{
    error::{Error, ErrorKind, Result, Retry},
    key::hash,
    model::{Command, Failure, Fate, HostStatus, Reply, Verb},
    table::Shard,
};

impl Embedded {
    #[expect(clippy::unused_self, reason = "a question every engine answers")]
    pub(crate) fn hosts(&self) -> Vec<HostStatus> {
        vec![HostStatus::only("embedded")]
    }

    /// Answers each command on its own, as Redis would, and at once.
    pub(crate) fn kv(&self, commands: &[&Command]) -> Vec<Result<Reply, Failure>> {
        commands.iter().map(|command| self.kv_one(command)).collect()
    }

    fn kv_one(&self, command: &Command) -> Result<Reply, Failure> {
        let now = self.clock.monotonic();
        let hash = hash(&command.key);
        let mut shard = self.kv.lock(hash);
        let is = |entry: &Entry| entry.key == command.key;
        if let Ok(entry) = shard.find_entry(hash, |entry| is(entry) && entry.is_over(now)) {
            entry.remove();
        }
        match &command.verb {
            Verb::Get => {
                Ok(shard.find(hash, is).map_or(Reply::Nil, |entry| Reply::Bytes(entry.value.clone())))
            }
            Verb::Set(value) => {
                put(&mut shard, hash, command, value.clone(), true);
                Ok(Reply::Bytes((*b"OK").into()))
            }
            Verb::Incr(by) => {
                let value = shard.find(hash, is).map_or(Ok(0), |entry| integer(&entry.value))?;
                let sum = value.checked_add(*by).ok_or_else(|| rejected("the sum would overflow"))?;
                put(&mut shard, hash, command, sum.to_string().into_bytes().into(), false);
                Ok(Reply::Integer(sum))
            }
            Verb::Expire(ms @ 1..) => {
                let entry = shard.find_mut(hash, is);
                let found = entry.map(|entry| entry.deadline = Some(now + Duration::from_millis(*ms)));
                Ok(Reply::Integer(found.is_some().into()))
            }
            Verb::Del | Verb::Expire(0) => {
                let found = shard.find_entry(hash, is).map(hashbrown::hash_table::OccupiedEntry::remove);
                Ok(Reply::Integer(found.is_ok().into()))
            }
            Verb::Raw(_) | Verb::Script(_) => {
                let error = Error::new(
                    ErrorKind::Unsupported,
                    "raw commands and scripts: only a Redis store runs them",
                );
                Err((Fate::NotSent, error))
            }
        }
    }
}

fn put(shard: &mut Shard<'_, Entry>, hash: u64, command: &Command, value: Box<[u8]>, for_ever: bool) {
    if let Some(entry) = shard.find_mut(hash, |entry| entry.key == command.key) {
        entry.value = value;
        entry.deadline = entry.deadline.filter(|_| !for_ever);
    } else {
        let entry = Entry { key: command.key.clone(), value, deadline: None };
        shard.insert_unique(hash, entry, Entry::hash);
    }
}

/// An integer as Redis reads it: no sign but a minus, no leading zero, no blank.
fn integer(text: &[u8]) -> Result<i64, Failure> {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok());
    number
        .filter(|number| number.to_string().as_bytes() == text)
        .ok_or_else(|| rejected("the value is no integer, or out of range"))
}

fn rejected(why: &str) -> Failure {
    (Fate::Rejected, Error::new(ErrorKind::OutOfRange, why).with_retry(Retry::Never))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bay::Forebay,
        clock::{Clock, ManualClock},
        time::{Timestamp, millis, secs},
    };

    #[tokio::test]
    async fn a_key_lives_as_long_as_told() {
        let hand = ManualClock::at(Timestamp::from_secs(1_000));
        let bay = Forebay::options().clock(Clock::from(hand.clone())).open("memory:").await.expect("opens");
        let cluster = bay.cluster();
        let mut map = cluster.map();
        for key in ["read", "counted", "written"] {
            map.incr(key, 5);
            map.expire(key, secs(10));
        }
        map.incr("counted", 1);
        map.set("written", 6);
        assert!(map.run().await.is_complete());

        let values = async || {
            let mut map = cluster.map();
            let gets = ["read", "counted", "written"].map(|key| map.get::<Option<i64>>(key));
            let answers = map.run().await;
            gets.map(|get| answers.get(get).expect("answered"))
        };
        hand.advance(millis(9_999));
        assert_eq!(values().await, [Some(5), Some(6), Some(6)]);
        hand.advance(millis(1));
        assert_eq!(values().await, [None, None, Some(6)]);
    }

    #[tokio::test]
    async fn what_has_expired_is_swept_away() {
        let hand = ManualClock::at(Timestamp::from_secs(1_000));
        let engine = Embedded::in_memory(Clock::from(hand.clone()));
        let command = |verb| Command { key: (*b"a").into(), verb };
        let (set, expire) = (command(Verb::Set((*b"1").into())), command(Verb::Expire(500)));
        assert!(engine.kv(&[&set, &expire]).iter().all(Result::is_ok));
        assert_eq!(engine.kv.len(), 1);
        hand.advance(millis(500));
        engine.sweep();
        assert_eq!(engine.kv.len(), 0);
    }
}
