//! Requests that are carried out once, on the embedded engine: their records, and the tokens of their parts.
//!
//! In the file both are facts. A token is in the commit that has the row, the point or the charge.

use uuid::Uuid;

use super::{
    Embedded,
    once_table::{REQUEST_FACT, Request},
};
use crate::{
    engine::{
        request::{
            Attempt, Begin, End, Epoch, Known, Ours, REQUEST_TTL, Seen, Token, read_hosts, write_hosts,
        },
        step::{BufferPart, SeriesPart},
    },
    error::Result,
};

/// The epoch of a file. Its records and its tokens go back in time together.
pub(super) const EPOCH: Epoch = *b"embedded........";

impl Embedded {
    pub(crate) async fn once_begin(&self, begin: Begin<'_>) -> Result<Known> {
        let Begin { key, fingerprint, owner, lease, hosts, weight, most } = begin;
        let now = self.clock.now();
        let commit = {
            let mut records = self.requests.lock();
            let known = records.by_key.get(key).filter(|known| known.until > now).cloned();
            let mut request = match known {
                Some(other) if other.fingerprint != fingerprint => return Ok(Known::Other),
                Some(done) if done.state == 'e' => return Ok(Known::Done(done.text)),
                Some(running)
                    if running.attempt().is_some() && running.owner != owner && running.lease > now =>
                {
                    return Ok(Known::Running(running.lease.since(now)));
                }
                Some(mut ours) => {
                    if ours.owner != owner || ours.attempt().is_none() {
                        ours.state = if ours.state == 'o' { 'a' } else { 't' };
                    }
                    ours
                }
                None if records.bytes + weight > most => return Ok(Known::Full),
                None => {
                    let until = now.plus(REQUEST_TTL);
                    let hour = u32::try_from(now.as_secs() / 3_600).unwrap_or(0);
                    records.order.push_back((until, key.into()));
                    let hosts = write_hosts(hosts).into();
                    let (state, lease, text) = ('f', now, "".into());
                    Request { fingerprint, owner, state, lease, hour, hosts, bytes: weight, until, text }
                }
            };
            (request.owner, request.lease) = (owner, now.plus(lease));
            let ours = Ours {
                attempt: request.attempt().unwrap_or(Attempt::Takeover),
                hour: request.hour,
                hosts: read_hosts(&request.hosts).unwrap_or_default(),
                note: request.text.clone(),
            };
            let mut record = self.journal.record()?;
            record.note(|batch| batch.fact(&format!("{REQUEST_FACT}{key}"), Some(&request.fact())));
            records.insert(key, request);
            record.commit(Known::Ours(ours))
        };
        commit.durable().await
    }

    pub(crate) async fn once_end(&self, key: &str, owner: Uuid, end: End<'_>) -> Result<bool> {
        let commit = {
            let mut records = self.requests.lock();
            let mut record = self.journal.record()?;
            let Some(request) = records.by_key.get(key).filter(|request| request.owner == owner) else {
                return Ok(false);
            };
            let fact = format!("{REQUEST_FACT}{key}");
            let (state, text, more) = end.words();
            if state == "-" {
                records.remove(key);
                record.note(|batch| batch.fact(&fact, None));
            } else {
                let mut request = request.clone();
                request.state = state.chars().next().unwrap_or('d');
                let grown = (text.len() as u64).saturating_sub(request.text.len() as u64);
                request.bytes += grown + more.unsigned_abs();
                request.text = text.into();
                record.note(|batch| batch.fact(&fact, Some(&request.fact())));
                records.insert(key, request);
            }
            record.commit(true)
        };
        commit.durable().await
    }

    pub(crate) fn once_bytes(&self) -> Vec<u64> {
        vec![self.requests.lock().bytes]
    }

    pub(crate) fn epochs(&self) -> Vec<(u32, Option<Epoch>)> {
        let _ = self;
        vec![(0, Some(EPOCH))]
    }

    pub(crate) async fn buffer_peek(&self, _: &BufferPart, token: &Token) -> Result<Seen> {
        Ok(self.seen(token))
    }

    pub(crate) async fn series_peek(&self, _: &SeriesPart, token: &Token) -> Result<Seen> {
        Ok(self.seen(token))
    }

    fn seen(&self, token: &Token) -> Seen {
        Seen { there: self.tokens.lock().is_there(token.id), epoch: EPOCH }
    }

    pub(super) fn sweep_requests(&self) {
        let now = self.clock.now();
        let mut records = self.requests.lock();
        // A file that takes nothing just now forgets them later.
        while let Ok(mut record) = self.journal.record()
            && let Some((_, key)) = records.order.pop_front_if(|(until, _)| *until <= now)
        {
            if records.by_key.get(&key).is_some_and(|request| request.until <= now) {
                records.remove(&key);
                record.note(|batch| batch.fact(&format!("{REQUEST_FACT}{key}"), None));
            }
        }
        drop(records);
        let mut tokens = self.tokens.lock();
        while let Ok(mut record) = self.journal.record()
            && let Some((_, id)) = tokens.order.pop_front_if(|(until, _)| *until <= now)
        {
            tokens.forget(id, &mut record);
        }
    }
}
