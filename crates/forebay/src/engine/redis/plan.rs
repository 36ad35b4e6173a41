//! Turns many takes into few script calls, and few replies into many answers.
//!
//! Bytes in, bytes out: no connection, no clock. Takes on one key become runs of (cost, number of calls)
//! in the order in which they came; the script charges run by run, and answers with the state before.
//! The arithmetic is deterministic: replaying it here, call by call, gives the result of each.

use std::{ops::Range, time::Duration};

use hashbrown::HashTable;
use redis::Value;

use super::{
    calls::Call,
    keys::Keys,
    reply::{foreign_key, unexpected},
    script::Script,
    wire::{self, Times, read, write_rule, write_runs, write_short, write_take, write_time},
};
use crate::{
    engine::{
        cluster::{Group, Groups, Layout},
        step::Take,
    },
    error::{Error, Result},
    key::Name,
    model::rate::rule::{Rule, State},
};

/// A script handles a thousand keys in about a millisecond, and blocks the server for that time. Lua's `unpack` is limited to
/// about eight thousand.
const MOST_KEYS: usize = 1_000;

/// Approximate overhead of a key in a command, in bytes.
const ABOUT: usize = 64;

/// A cost against one key of one limit. Limit, key and the rule's scale identify a counter.
#[derive(Clone, Debug)]
pub(super) struct Charge {
    pub limit: usize,
    pub key: Range<usize>,
    pub rule: Rule,
    pub cost: u64,
}

/// One caller's request: all of its charges or none.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// A range of the batch's charges.
    pub charges: Range<usize>,
    /// The caller's time in microseconds; `None`: the server's.
    pub at: Option<u64>,
    /// The caller's deadline, on the monotonic clock.
    pub until: Duration,
    /// Its caller has stopped waiting before it was sent.
    pub cancelled: bool,
}

/// The requests that arrived while the connection was busy.
#[derive(Clone, Debug, Default)]
pub(super) struct Gathered {
    /// Without duplicates.
    pub limits: Vec<Name>,
    pub keys: String,
    pub charges: Vec<Charge>,
    pub requests: Vec<Request>,
}

/// The result of each request, in order.
#[derive(Debug)]
pub(super) struct Answers {
    /// A time before any request was sent, on the monotonic clock.
    pub sent: Duration,
    pub requests: Vec<Result<Verdict>>,
    /// One for each charge: the advanced state after the request.
    pub states: Vec<State>,
}

/// Whether a request was charged, and the time that decided, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub allowed: bool,
    pub now: u64,
}

/// The calls for some requests.
#[derive(Debug, Default)]
pub(super) struct Plan {
    calls: Vec<Planned>,
    entries: Vec<Entry>,
    /// The entry of each charge.
    places: Vec<usize>,
    /// By call class and key.
    index: HashTable<usize>,
    layout: Layout,
}

/// One script call.
#[derive(Debug)]
struct Planned {
    /// Calls of one class differ in their keys only. A key is in one of them.
    class: usize,
    /// The group of all its keys.
    group: Group,
    kind: Kind,
    at: Option<u64>,
    /// In the order of KEYS.
    entries: Vec<usize>,
}

#[derive(Debug)]
enum Kind {
    /// Runs against single keys, all under one rule.
    Runs(Rule),
    /// Whole requests over several keys, of any rules: number of equal ones, (place in KEYS, cost).
    Whole(Vec<(u32, Vec<(usize, u64)>)>),
}

/// One key of one call.
#[derive(Debug)]
struct Entry {
    limit: usize,
    key: Range<usize>,
    rule: Rule,
    call: usize,
    /// In KEYS, from 0.
    place: usize,
    runs: Runs,
}

/// Runs of calls at one cost, in order. Usually there is one.
#[derive(Debug, Default)]
struct Runs {
    first: Option<(u64, u32)>,
    more: Vec<(u64, u32)>,
}

impl Runs {
    fn add(&mut self, cost: u64) {
        match self.more.last_mut().or(self.first.as_mut()) {
            Some((last, calls)) if *last == cost && *calls < u32::MAX => *calls += 1,
            Some(_) => self.more.push((cost, 1)),
            None => self.first = Some((cost, 1)),
        }
    }

    fn iter(&self) -> impl Iterator<Item = &(u64, u32)> + Clone {
        self.first.iter().chain(&self.more)
    }
}

impl Plan {
    /// Plans the calls: single charges first, then what spans keys.
    pub(super) fn new(batch: &Gathered, layout: Layout) -> Self {
        let places = vec![usize::MAX; batch.charges.len()];
        let mut plan = Self { places, layout, ..Self::default() };
        let wanted = || batch.requests.iter().filter(|request| !request.cancelled);
        for request in wanted().filter(|request| request.charges.len() == 1) {
            plan.add_single(batch, request);
        }
        for request in wanted().filter(|request| request.charges.len() > 1) {
            plan.add_whole(batch, request);
        }
        plan
    }

    /// Plans one call for each request, also for those with a single charge.
    pub(super) fn whole(batch: &Gathered, layout: Layout) -> Self {
        let places = vec![usize::MAX; batch.charges.len()];
        let mut plan = Self { places, layout, ..Self::default() };
        for request in &batch.requests {
            plan.add_whole(batch, request);
        }
        plan
    }

    /// How many calls there are.
    pub(super) fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Writes a call. `about` is a guess at the server's time.
    pub(super) fn call(
        &self,
        place: usize,
        about: u64,
        (batch, keys): (&Gathered, &Keys),
        start: impl Fn(Script, usize, usize) -> Call,
    ) -> Call {
        let planned = &self.calls[place];
        let script = match &planned.kind {
            Kind::Runs(rule) => Script::take(rule),
            Kind::Whole(_) => Script::TakeAll,
        };
        let bytes = planned.entries.iter().map(|&entry| self.entries[entry].key.len() + ABOUT).sum::<usize>();
        let mut call = start(script, planned.entries.len(), bytes);
        self.write_keys(planned, (batch, keys), &mut call);
        self.write_arguments(planned, Times::new(planned.at, about), &mut call);
        call
    }

    /// The calls as they are sent where keys of several groups may go together: each in place of some of the plan, in their order.
    /// Takes of single keys under one rule go together, but those of the groups in `apart`.
    pub(super) fn across(&self, apart: Groups) -> Vec<Vec<usize>> {
        let mut sent: Vec<(Vec<usize>, usize)> = vec![];
        for (place, call) in self.calls.iter().enumerate() {
            let keys = call.entries.len();
            let fits = |(places, have): &(Vec<usize>, usize)| {
                let first = &self.calls[places[0]];
                let are_alike = match (&first.kind, &call.kind) {
                    (Kind::Runs(one), Kind::Runs(other)) => one == other && first.at == call.at,
                    _ => false,
                };
                are_alike && !apart.has(first.group) && have + keys <= MOST_KEYS
            };
            // From the latest on: most batches have one rule.
            let with = sent.iter_mut().rev().find(|with| !apart.has(call.group) && fits(with));
            match with {
                Some((places, have)) => {
                    places.push(place);
                    *have += keys;
                }
                None => sent.push((vec![place], keys)),
            }
        }
        sent.into_iter().map(|(places, _)| places).collect()
    }

    /// Writes one call in place of several that [`across`](Self::across) has put together.
    pub(super) fn call_across(
        &self,
        places: &[usize],
        about: u64,
        (batch, keys): (&Gathered, &Keys),
        start: impl Fn(Script, usize) -> Call,
    ) -> Call {
        let calls = || places.iter().map(|&place| &self.calls[place]);
        let first = &self.calls[places[0]];
        let Kind::Runs(rule) = &first.kind else { unreachable!("only runs go across") };
        let entries = || calls().flat_map(|call| &call.entries).map(|&entry| &self.entries[entry]);
        let bytes = entries().map(|entry| entry.key.len() + ABOUT).sum::<usize>();
        let mut call = start(Script::take_across(rule), bytes);
        Self::write_key(&self.entries[first.entries[0]], (batch, keys), &mut vec![], &mut call);
        let (mut argument, mut sizes) = (vec![], vec![]);
        for planned in calls() {
            self.write_keys(planned, (batch, keys), &mut call);
            write_short(&mut sizes, planned.entries.len());
        }
        write_charges(&mut argument, rule, Times::new(first.at, about), entries());
        call.command.arg(argument).arg(sizes);
        call
    }

    /// The group of a call's keys.
    pub(super) fn group_of(&self, place: usize) -> Group {
        self.calls[place].group
    }

    /// How many keys a call has.
    pub(super) fn keys_of(&self, place: usize) -> usize {
        self.calls[place].entries.len()
    }

    fn write_keys(&self, planned: &Planned, whose: (&Gathered, &Keys), call: &mut Call) {
        let mut key = vec![];
        for &entry in &planned.entries {
            Self::write_key(&self.entries[entry], whose, &mut key, call);
        }
    }

    fn write_key(entry: &Entry, (batch, keys): (&Gathered, &Keys), key: &mut Vec<u8>, call: &mut Call) {
        key.clear();
        keys.limit(key, &entry.rule, batch.limits[entry.limit].as_str(), batch.key(entry));
        call.command.arg(&*key);
    }

    /// Replays the requests over the replies to the calls, in the order in which the scripts charged them.
    pub(super) fn answers(
        &self,
        batch: &Gathered,
        sent: Duration,
        replies: Vec<Result<Value>>,
        (host, keys): (&str, &Keys),
    ) -> Answers {
        let mut foreign: Vec<(usize, Error)> = vec![];
        let mut states = vec![State(0, 0); self.entries.len()];
        let mut nows: Vec<Result<u64>> = Vec::with_capacity(self.calls.len());
        for (call, reply) in self.calls.iter().zip(replies) {
            nows.push(reply.and_then(|reply| {
                let (now, before) =
                    read(&reply, call.entries.len()).ok_or_else(|| unexpected(host, "a take"))?;
                for (&entry, state) in call.entries.iter().zip(before) {
                    if let Some(kind) = wire::foreign(state) {
                        foreign.push((entry, self.foreign(batch, entry, kind, host, keys)));
                        continue;
                    }
                    states[entry] = self.entries[entry].rule.advance(Some(state), now);
                }
                Ok(now)
            }));
        }
        let mut answers = Answers {
            sent,
            requests: vec![Ok(Verdict { allowed: false, now: 0 }); batch.requests.len()],
            states: vec![State(0, 0); batch.charges.len()],
        };
        // Single charges were in earlier calls than whole requests; each sort in its own order.
        for single in [true, false] {
            for (i, request) in batch.requests.iter().enumerate() {
                if !request.cancelled && (request.charges.len() == 1) == single {
                    let places = &self.places[request.charges.clone()];
                    // Nothing of a request over a key that holds something else was charged.
                    let error = foreign.iter().find(|(entry, _)| places.contains(entry));
                    answers.requests[i] = match error {
                        Some((_, error)) => Err(error.clone()),
                        None => self.replay(batch, request, places, &nows, &mut states),
                    };
                    for (charge, &entry) in request.charges.clone().zip(places) {
                        answers.states[charge] = states[entry];
                    }
                }
            }
        }
        answers
    }

    #[cold]
    fn foreign(&self, batch: &Gathered, entry: usize, kind: String, host: &str, keys: &Keys) -> Error {
        let Entry { limit, rule, .. } = &self.entries[entry];
        let mut key = vec![];
        keys.limit(&mut key, rule, batch.limits[*limit].as_str(), batch.key(&self.entries[entry]));
        foreign_key(host, keys, &key, kind)
    }

    fn replay(
        &self,
        batch: &Gathered,
        request: &Request,
        places: &[usize],
        nows: &[Result<u64>],
        states: &mut [State],
    ) -> Result<Verdict> {
        let Some(&first) = places.first() else { return Ok(Verdict { allowed: true, now: 0 }) };
        let now = nows[self.entries[first].call].clone()?;
        let charges = &batch.charges[request.charges.clone()];
        for (i, (charge, &entry)) in charges.iter().zip(places).enumerate() {
            if charge.cost > charge.rule.room(states[entry]) {
                // Take back what the charges before this one did.
                for (charge, &entry) in charges.iter().zip(places).take(i) {
                    states[entry] = charge.rule.refund(states[entry], charge.cost, None);
                }
                return Ok(Verdict { allowed: false, now });
            }
            states[entry] = charge.rule.charge(states[entry], charge.cost);
        }
        Ok(Verdict { allowed: true, now })
    }

    fn add_single(&mut self, batch: &Gathered, request: &Request) {
        let charge = &batch.charges[request.charges.start];
        let group = self.group(batch, charge);
        let alike = |call: &Planned| {
            call.group == group
                && call.at == request.at
                && matches!(call.kind, Kind::Runs(rule) if rule == charge.rule)
        };
        // From the latest call on: most batches have one rule.
        let call = self
            .calls
            .iter()
            .rposition(alike)
            .unwrap_or_else(|| self.new_call(Kind::Runs(charge.rule), request.at, group));
        let entry = self.entry(batch, charge, call);
        self.places[request.charges.start] = entry;
        if charge.cost > 0 {
            self.entries[entry].runs.add(charge.cost);
        }
    }

    fn add_whole(&mut self, batch: &Gathered, request: &Request) {
        let charges = &batch.charges[request.charges.clone()];
        let group = charges.first().map(|charge| self.group(batch, charge)).unwrap_or_default();
        let fits = |plan: &Self, call: &Planned| {
            call.at == request.at
                && call.entries.len() + charges.len() <= MOST_KEYS
                && matches!(call.kind, Kind::Whole(_))
                // A key whose rule has just changed waits for a call of its own.
                && charges.iter().all(|charge| {
                    plan.find(batch, call.class, charge).is_none_or(|entry| plan.entries[entry].rule == charge.rule)
                })
        };
        // The last one that may have a key of these: an earlier one was charged before it.
        let last = self.calls.iter().rposition(|call| call.group == group);
        let last = last.filter(|&last| fits(self, &self.calls[last]));
        let call = last.unwrap_or_else(|| self.new_call(Kind::Whole(vec![]), request.at, group));
        let mut costs: Vec<(usize, u64)> = Vec::with_capacity(charges.len());
        for (charge, place) in charges.iter().zip(request.charges.clone()) {
            let entry = self.entry(batch, charge, call);
            self.places[place] = entry;
            let place = self.entries[entry].place;
            match costs.iter_mut().find(|(other, _)| *other == place) {
                Some((_, cost)) => *cost = cost.saturating_add(charge.cost),
                None => costs.push((place, charge.cost)),
            }
        }
        costs.retain(|&(_, cost)| cost > 0);
        let Kind::Whole(requests) = &mut self.calls[call].kind else { return };
        match requests.last_mut() {
            Some((count, last)) if *last == costs && *count < u32::MAX => *count += 1,
            _ => requests.push((1, costs)),
        }
    }

    fn new_call(&mut self, kind: Kind, at: Option<u64>, group: Group) -> usize {
        let class = self.calls.len();
        self.calls.push(Planned { class, group, kind, at, entries: vec![] });
        class
    }

    fn group(&self, batch: &Gathered, charge: &Charge) -> Group {
        self.layout.group(&batch.keys[charge.key.clone()])
    }

    /// The entry of a charge's key in `call`, or, if that is full, in a new call like it.
    fn entry(&mut self, batch: &Gathered, charge: &Charge, call: usize) -> usize {
        let class = self.calls[call].class;
        if let Some(entry) = self.find(batch, class, charge) {
            return entry;
        }
        let mut call = call;
        if self.calls[call].entries.len() >= MOST_KEYS
            && let Kind::Runs(rule) = self.calls[call].kind
        {
            let Planned { at, group, .. } = self.calls[call];
            call = self.new_call(Kind::Runs(rule), at, group);
            self.calls[call].class = class;
        }
        let entry = self.entries.len();
        let place = self.calls[call].entries.len();
        self.calls[call].entries.push(entry);
        let runs = Runs::default();
        let Charge { limit, key, rule, .. } = charge.clone();
        self.entries.push(Entry { limit, key, rule, call, place, runs });
        let Self { index, entries, calls, .. } = self;
        let hash = |entry: usize| {
            let entry = &entries[entry];
            hash(calls[entry.call].class, entry.limit, batch.key(entry))
        };
        index.insert_unique(hash(entry), entry, |&entry| hash(entry));
        entry
    }

    fn find(&self, batch: &Gathered, class: usize, charge: &Charge) -> Option<usize> {
        let key = &batch.keys[charge.key.clone()];
        let is = |&entry: &usize| {
            let entry = &self.entries[entry];
            self.calls[entry.call].class == class
                && entry.limit == charge.limit
                && entry.rule.scale() == charge.rule.scale()
                && batch.key(entry) == key
        };
        self.index.find(hash(class, charge.limit, key), is).copied()
    }

    fn write_arguments(&self, planned: &Planned, times: Times, call: &mut Call) {
        let mut text = vec![];
        let entries = planned.entries.iter().map(|&entry| &self.entries[entry]);
        match &planned.kind {
            Kind::Runs(rule) => {
                write_charges(&mut text, rule, times, entries);
                call.command.arg(text);
            }
            Kind::Whole(requests) => {
                let mut rules: Vec<Rule> = vec![];
                let places: Vec<usize> = entries
                    .map(|entry| {
                        rules.iter().rposition(|rule| *rule == entry.rule).unwrap_or_else(|| {
                            rules.push(entry.rule);
                            rules.len() - 1
                        })
                    })
                    .collect();
                write_time(&mut text, times.at);
                write_short(&mut text, rules.len());
                for rule in &rules {
                    write_rule(&mut text, rule, times.about);
                }
                for place in places {
                    write_short(&mut text, place + 1);
                }
                call.command.arg(text);
                let mut text = vec![];
                for (count, costs) in requests {
                    text.extend_from_slice(&count.to_le_bytes());
                    write_short(&mut text, costs.len());
                    for &(place, cost) in costs {
                        write_short(&mut text, place + 1);
                        text.extend_from_slice(&cost.to_le_bytes());
                    }
                }
                call.command.arg(text);
            }
        }
    }
}

impl Gathered {
    /// The index of a limit.
    fn limit(&mut self, name: &Name) -> usize {
        self.limits.iter().position(|known| known.is(name)).unwrap_or_else(|| {
            self.limits.push(name.clone());
            self.limits.len() - 1
        })
    }

    /// Adds a request over all of `takes`, and answers the range of its charges.
    pub(super) fn add(&mut self, takes: &[Take<'_>], at: Option<u64>, until: Duration) -> Range<usize> {
        let before = self.charges.len();
        for take in takes {
            let limit = self.limit(take.limit);
            let key = self.keys.len()..self.keys.len() + take.key.len();
            self.keys.push_str(take.key);
            self.charges.push(Charge { limit, key, rule: take.rule, cost: take.cost });
        }
        let charges = before..self.charges.len();
        self.requests.push(Request { charges: charges.clone(), at, until, cancelled: false });
        charges
    }

    fn key(&self, entry: &Entry) -> &str {
        &self.keys[entry.key.clone()]
    }
}

/// Writes the time, the rule and, unless each key is taken once at cost 1, the runs of each key.
fn write_charges<'a>(
    text: &mut Vec<u8>,
    rule: &Rule,
    times: Times,
    entries: impl Iterator<Item = &'a Entry> + Clone,
) {
    write_take(text, rule, times);
    let once = |entry: &Entry| entry.runs.more.is_empty() && entry.runs.first == Some((1, 1));
    if !entries.clone().all(once) {
        entries.for_each(|entry| write_runs(text, entry.runs.iter()));
    }
}

fn hash(class: usize, limit: usize, key: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(key.as_bytes(), (limit as u64) << 32 | class as u64)
}
