//! Requests that are carried out once, on the embedded engine: their records, and the tokens of their parts.
//!
//! In the file both are facts. A token is in the commit that has the row, the point or the charge.

use std::{
    collections::{HashMap, VecDeque},
    fmt::Write as _,
};

use parking_lot::{Mutex, MutexGuard};
use uuid::Uuid;

use super::{Embedded, journal::Record};
use crate::{
    engine::{
        request::{
            Attempt, Begin, ChargeToken, End, Epoch, Known, Ours, REQUEST_TTL, Seen, TOKEN_TTL, Token,
            read_hosts, write_hosts,
        },
        step::{BufferPart, SeriesPart, TakenAll},
    },
    error::Result,
    model::rate::rule::State,
    time::Timestamp,
};

/// What a request is called in the file, before its key.
const REQUEST_FACT: &str = "request:";

/// What a token is called in the file, before its digits.
const TOKEN_FACT: &str = "token:";

/// The epoch of a file. Its records and its tokens go back in time together.
pub(super) const EPOCH: Epoch = *b"embedded........";

/// All requests. The lock is taken before the journal's, and for a look-up.
#[derive(Debug, Default)]
pub(super) struct Requests(Mutex<Records>);

#[derive(Debug, Default)]
struct Records {
    by_key: HashMap<Box<str>, Request>,
    /// In the order in which they are forgotten: that in which they came. May name some that are not there any more.
    order: VecDeque<(Timestamp, Box<str>)>,
    bytes: u64,
}

/// A request, as the scripts of a Redis host keep it.
#[derive(Clone, Debug)]
struct Request {
    fingerprint: u128,
    owner: Uuid,
    /// As in `once_begin.lua`.
    state: char,
    lease: Timestamp,
    hour: u32,
    hosts: Box<str>,
    /// The bytes that it counts for.
    bytes: u64,
    /// By the time of day, as the file has it.
    until: Timestamp,
    text: Box<str>,
}

impl Request {
    fn fact(&self) -> String {
        let Self { fingerprint, owner, state, lease, hour, hosts, bytes, until, text } = self;
        let (lease, until, owner) = (lease.as_micros(), until.as_micros(), owner.simple());
        format!("{fingerprint:032x} {owner} {state} {lease} {hour} {hosts} {bytes} {until} {text}")
    }

    fn read(fact: &str) -> Option<Self> {
        let mut words = fact.splitn(9, ' ');
        Some(Self {
            fingerprint: u128::from_str_radix(words.next()?, 16).ok()?,
            owner: Uuid::parse_str(words.next()?).ok()?,
            state: words.next()?.chars().next()?,
            lease: Timestamp::from_micros(words.next()?.parse().ok()?),
            hour: words.next()?.parse().ok()?,
            hosts: words.next()?.into(),
            bytes: words.next()?.parse().ok()?,
            until: Timestamp::from_micros(words.next()?.parse().ok()?),
            text: words.next()?.into(),
        })
    }

    fn attempt(&self) -> Option<Attempt> {
        match self.state {
            'f' => Some(Attempt::First),
            'a' => Some(Attempt::Again),
            't' => Some(Attempt::Takeover),
            _ => None,
        }
    }
}

impl Embedded {
    pub(crate) async fn once_begin(&self, begin: Begin<'_>) -> Result<Known> {
        let Begin { key, fingerprint, owner, lease, hosts, weight, most } = begin;
        let now = self.clock.now();
        let (ours, ticket) = {
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
            record.fact(&format!("{REQUEST_FACT}{key}"), Some(&request.fact()));
            records.insert(key, request);
            (ours, record.commit())
        };
        ticket.durable().await?;
        Ok(Known::Ours(ours))
    }

    pub(crate) async fn once_end(&self, key: &str, owner: Uuid, end: End<'_>) -> Result<bool> {
        let ticket = {
            let mut records = self.requests.lock();
            let mut record = self.journal.record()?;
            let Some(request) = records.by_key.get(key).filter(|request| request.owner == owner) else {
                return Ok(false);
            };
            let fact = format!("{REQUEST_FACT}{key}");
            let (state, text, more) = end.words();
            if state == "-" {
                records.remove(key);
                record.fact(&fact, None);
            } else {
                let mut request = request.clone();
                request.state = state.chars().next().unwrap_or('d');
                let grown = (text.len() as u64).saturating_sub(request.text.len() as u64);
                request.bytes += grown + more.unsigned_abs();
                request.text = text.into();
                record.fact(&fact, Some(&request.fact()));
                records.insert(key, request);
            }
            record.commit()
        };
        ticket.durable().await?;
        Ok(true)
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
        while records.order.front().is_some_and(|(until, _)| *until <= now) {
            // A file that takes nothing just now forgets them later.
            let Ok(mut record) = self.journal.record() else { return };
            let Some((_, key)) = records.order.pop_front() else { return };
            if records.by_key.get(&key).is_some_and(|request| request.until <= now) {
                records.remove(&key);
                record.fact(&format!("{REQUEST_FACT}{key}"), None);
            }
        }
        drop(records);
        let mut tokens = self.tokens.lock();
        while tokens.order.front().is_some_and(|(until, _)| *until <= now) {
            let Ok(mut record) = self.journal.record() else { return };
            let Some((_, id)) = tokens.order.pop_front() else { return };
            if tokens.by_id.remove(&id).is_some() {
                record.fact(&fact_of(id), None);
            }
        }
    }
}

impl Requests {
    fn lock(&self) -> MutexGuard<'_, Records> {
        self.0.lock()
    }

    /// Takes what the file says about a request.
    pub(super) fn restore_fact(&self, name: &str, fact: &str) {
        if let Some((key, request)) = name.strip_prefix(REQUEST_FACT).zip(Request::read(fact)) {
            let mut records = self.lock();
            records.order.push_back((request.until, key.into()));
            records.insert(key, request);
        }
    }

    /// To be called once all facts have been taken.
    pub(super) fn restored(&self) {
        self.lock().order.make_contiguous().sort_unstable();
    }
}

impl Records {
    fn insert(&mut self, key: &str, request: Request) {
        self.remove(key);
        self.bytes += request.bytes;
        self.by_key.insert(key.into(), request);
    }

    fn remove(&mut self, key: &str) {
        if let Some(old) = self.by_key.remove(key) {
            self.bytes = self.bytes.saturating_sub(old.bytes);
        }
    }
}

/// The tokens of all parts. The lock is taken after that of a partition or of a shard of series, before that of a shard of
/// limits, and before the journal's.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<Ids>);

#[derive(Debug, Default)]
pub(super) struct Ids {
    by_id: HashMap<u128, Option<Charged>>,
    /// In the order in which they are forgotten.
    order: VecDeque<(Timestamp, u128)>,
}

/// A charge: whose it is, and what the answer was.
#[derive(Clone, Debug)]
pub(super) struct Charged {
    pub owner: Uuid,
    pub taken: TakenAll,
}

impl Tokens {
    pub(super) fn lock(&self) -> MutexGuard<'_, Ids> {
        self.0.lock()
    }

    /// Takes what the file says about a token.
    pub(super) fn restore_fact(&self, name: &str, fact: &str) {
        let restore = || {
            let id = u128::from_str_radix(name.strip_prefix(TOKEN_FACT)?, 16).ok()?;
            let (until, rest) = fact.split_once(' ').unwrap_or((fact, ""));
            let until = Timestamp::from_micros(until.parse().ok()?);
            let mut ids = self.lock();
            ids.order.push_back((until, id));
            ids.by_id.insert(id, Charged::read(rest));
            Some(())
        };
        let _ = restore();
    }

    /// To be called once all facts have been taken.
    pub(super) fn restored(&self) {
        self.lock().order.make_contiguous().sort_unstable();
    }
}

impl Ids {
    pub(super) fn is_there(&self, id: u128) -> bool {
        self.by_id.contains_key(&id)
    }

    /// The charge with this token, if it was made.
    pub(super) fn charge(&mut self, token: &ChargeToken) -> Option<&mut Charged> {
        self.by_id.get_mut(&token.id)?.as_mut()
    }

    /// Notes a token, in memory and in the change that `record` is about.
    pub(super) fn note(
        &mut self,
        id: u128,
        charged: Option<Charged>,
        now: Timestamp,
        record: &mut Record<'_>,
    ) {
        let until = now.plus(TOKEN_TTL);
        let charge = charged.as_ref().map(Charged::text).unwrap_or_default();
        record.fact(&fact_of(id), Some(&format!("{}{charge}", until.as_micros())));
        if self.by_id.insert(id, charged).is_none() {
            self.order.push_back((until, id));
        }
    }

    /// Forgets the token of a charge that is given back.
    pub(super) fn forget(&mut self, id: u128, record: &mut Record<'_>) {
        self.by_id.remove(&id);
        record.fact(&fact_of(id), None);
    }
}

impl Charged {
    /// A blank and what the file has of it.
    fn text(&self) -> String {
        let mut text = format!(" {} {}", self.owner.simple(), self.taken.now);
        for State(first, second) in &self.taken.states {
            write!(text, " {first} {second}").expect("a string takes what is written");
        }
        text
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let owner = Uuid::parse_str(words.next()?).ok()?;
        let now = words.next()?.parse().ok()?;
        let mut states = vec![];
        while let (Some(first), Some(second)) = (words.next(), words.next()) {
            states.push(State(first.parse().ok()?, second.parse().ok()?));
        }
        Some(Self { owner, taken: TakenAll { allowed: true, now, states } })
    }
}

fn fact_of(id: u128) -> String {
    format!("{TOKEN_FACT}{id:032x}")
}
