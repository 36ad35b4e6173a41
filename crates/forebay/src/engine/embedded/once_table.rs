//! The records of requests that are carried out once, and the tokens of their parts.

use std::{
    collections::{HashMap, VecDeque},
    fmt::Write as _,
};

use uuid::Uuid;

use super::journal::Record;
use crate::{
    engine::{
        request::{Attempt, ChargeToken, TOKEN_TTL},
        step::TakenAll,
    },
    model::rate::rule::State,
    time::Timestamp,
};

/// The prefix of a request's fact in the file, before its key.
pub(super) const REQUEST_FACT: &str = "request:";

/// The prefix of a token's fact in the file, before its digits.
const TOKEN_FACT: &str = "token:";

/// All requests. Their lock is taken before the journal's, and for a look-up.
#[derive(Debug, Default)]
pub(super) struct Requests {
    pub by_key: HashMap<Box<str>, Request>,
    /// In the order in which they are forgotten: that in which they came. May name some that are not there any more.
    pub order: VecDeque<(Timestamp, Box<str>)>,
    pub bytes: u64,
}

/// A request, as the scripts of a Redis host keep it.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub fingerprint: u128,
    pub owner: Uuid,
    /// As in `once_begin.lua`.
    pub state: char,
    pub lease: Timestamp,
    pub hour: u32,
    pub hosts: Box<str>,
    /// The bytes that it counts for.
    pub bytes: u64,
    /// Time of day at which it is forgotten.
    pub until: Timestamp,
    pub text: Box<str>,
}

impl Request {
    pub(super) fn fact(&self) -> String {
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

    pub(super) fn attempt(&self) -> Option<Attempt> {
        match self.state {
            'f' => Some(Attempt::First),
            'a' => Some(Attempt::Again),
            't' => Some(Attempt::Takeover),
            _ => None,
        }
    }
}

impl Requests {
    /// Takes what the file says about a request. The order is sorted after the last fact.
    pub(super) fn restore_fact(&mut self, name: &str, fact: &str) {
        if let Some((key, request)) = name.strip_prefix(REQUEST_FACT).zip(Request::read(fact)) {
            self.order.push_back((request.until, key.into()));
            self.insert(key, request);
        }
    }

    pub(super) fn insert(&mut self, key: &str, request: Request) {
        self.remove(key);
        self.bytes += request.bytes;
        self.by_key.insert(key.into(), request);
    }

    pub(super) fn remove(&mut self, key: &str) {
        if let Some(old) = self.by_key.remove(key) {
            self.bytes = self.bytes.saturating_sub(old.bytes);
        }
    }
}

/// The tokens of all parts. Their lock is taken after that of a partition or of a shard of series, before that of a shard of
/// limits, and before the journal's.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    by_id: HashMap<u128, Option<Charged>>,
    /// In the order in which they are forgotten.
    pub order: VecDeque<(Timestamp, u128)>,
}

/// A charge: whose it is, and what the answer was.
#[derive(Clone, Debug)]
pub(super) struct Charged {
    pub owner: Uuid,
    pub taken: TakenAll,
}

impl Tokens {
    /// Takes what the file says about a token; `None`: it says nothing. The order is sorted after the last fact.
    pub(super) fn restore_fact(&mut self, name: &str, fact: &str) -> Option<()> {
        let id = u128::from_str_radix(name.strip_prefix(TOKEN_FACT)?, 16).ok()?;
        let (until, rest) = fact.split_once(' ').unwrap_or((fact, ""));
        self.order.push_back((Timestamp::from_micros(until.parse().ok()?), id));
        self.by_id.insert(id, Charged::read(rest));
        Some(())
    }

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
        record.note(|batch| batch.fact(&fact_of(id), Some(&format!("{}{charge}", until.as_micros()))));
        if self.by_id.insert(id, charged).is_none() {
            self.order.push_back((until, id));
        }
    }

    /// Forgets a token, if it is there.
    pub(super) fn forget(&mut self, id: u128, record: &mut Record<'_>) {
        if self.by_id.remove(&id).is_some() {
            record.note(|batch| batch.fact(&fact_of(id), None));
        }
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
