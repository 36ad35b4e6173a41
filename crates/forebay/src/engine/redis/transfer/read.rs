//! Keys with their values, read to be copied or to be compared.

use std::time::Duration;

use redis::{Value, cmd};

use super::{
    super::{Redis, reply::unexpected, script::TRANSFER_READ},
    dumped::{Content, Dumped, MAX_BYTES, MAX_KEYS, MAX_STRING, shown},
    shift::Times,
};
use crate::{error::Result, time::secs};

/// Longer strings are compared by their length.
const MAX_COMPARED: usize = 64 << 10;

/// By how much the times to live of a key may differ on two hosts.
const MAX_APART: Duration = secs(2);

impl Redis {
    /// Reads keys; `None` for those that are not there any more. `ahead`: by how many µs the times in their values are moved to
    /// later ones, see [`ClockOffset::ahead`](super::clocks::ClockOffset::ahead).
    ///
    /// A value may have 512 MB. It is then in memory a few times.
    pub(crate) async fn dump(&self, keys: &[Box<[u8]>], ahead: u64) -> Result<Vec<Option<Dumped>>> {
        let times: Vec<Times> = keys.iter().map(|key| Times::of(&self.keys, key)).collect();
        let letter = |times: &Times| if *times == Times::Scores { b'm' } else { b'd' };
        let letters: Vec<u8> = times.iter().map(letter).collect();
        let keys: Vec<&[u8]> = keys.iter().map(|key| &**key).collect();
        let mut found = self.read_keys(&keys, &letters, MAX_STRING).await?;
        for (found, times) in found.iter_mut().zip(times) {
            if let Some(found) = found {
                found.shift(times, ahead);
            }
        }
        Ok(found)
    }

    /// Compares keys with what was read on their former host, and returns those that differ: in the type, the length, the time to
    /// live by more than 2 s, or as a string of at most 64 KiB.
    pub(crate) async fn verify(&self, items: &[Dumped]) -> Result<Vec<Box<[u8]>>> {
        let keys: Vec<&[u8]> = items.iter().map(|item| &*item.key).collect();
        let found = self.read_keys(&keys, &vec![b'l'; keys.len()], MAX_COMPARED).await?;
        let now = self.host.clock().monotonic();
        let differing = items.iter().zip(found).filter(|(item, found)| !item.matches(found.as_ref(), now));
        Ok(differing.map(|(item, _)| item.key.clone()).collect())
    }

    async fn read_keys(&self, keys: &[&[u8]], letters: &[u8], longest: usize) -> Result<Vec<Option<Dumped>>> {
        let mut found = Vec::with_capacity(keys.len());
        while found.len() < keys.len() {
            let places = found.len()..keys.len().min(found.len() + MAX_KEYS);
            let (keys, letters) = (&keys[places.clone()], &letters[places]);
            let call = || {
                let mut call = cmd("EVAL");
                call.arg(TRANSFER_READ).arg(keys.len()).arg(keys);
                call.arg(letters).arg(MAX_BYTES).arg(longest).to_owned()
            };
            let context = |error: crate::Error| {
                error.in_context(format_args!("reading {} keys from {} on", keys.len(), shown(keys[0])))
            };
            let Value::Array(answers) = self.repeat_one(call).await.map_err(context)? else {
                return Err(context(unexpected(self.host.name(), "a read")));
            };
            // Not earlier than the server looked: nothing expires too early.
            let now = self.host.clock().monotonic();
            let before = found.len();
            for (key, answer) in keys.iter().zip(answers) {
                found.push(match answer {
                    Value::Array(answer) if answer.is_empty() => None,
                    Value::Array(answer) => match Dumped::read(key, answer, now) {
                        Some(dumped) => Some(dumped),
                        None => return Err(context(unexpected(self.host.name(), "a read"))),
                    },
                    _ => return Err(context(unexpected(self.host.name(), "a read"))),
                });
            }
            if found.len() == before {
                return Err(context(unexpected(self.host.name(), "a read")));
            }
        }
        Ok(found)
    }
}

impl Dumped {
    /// Whether a key, as it was found on its next host, is this one.
    fn matches(&self, found: Option<&Self>, now: Duration) -> bool {
        let left = self.left(now);
        let Some(found) = found else { return left.is_some_and(|left| left < MAX_APART) };
        let lives_alike = match (left, found.left(now)) {
            (Some(left), Some(there)) => left.abs_diff(there) <= MAX_APART,
            (left, there) => left == there,
        };
        let is_same_text = match (&self.content, &found.content) {
            (Content::Text(text), Content::Text(there)) => text == there,
            _ => true,
        };
        lives_alike && is_same_text && (&self.kind, self.length) == (&found.kind, found.length)
    }
}
