//! The packed arguments of the limit scripts, and their replies. The scripts' headers say the same in words.

use redis::Value;

use super::script::Script;
use crate::{
    engine::step::Allotted,
    model::rate::{
        allotments::{AllotmentReply, AllotmentRequest, MAX_HOLDERS},
        rule::{Rule, State},
    },
};

/// The times that a call tells, in microseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// The time that decides; `None`: the server's.
    pub at: Option<u64>,
    /// A guess at the server's time.
    pub about: u64,
}

impl Times {
    /// `about` is this machine's time, or the server's.
    pub(super) fn new(at: Option<u64>, about: u64) -> Self {
        Self { at, about: at.unwrap_or(about) }
    }
}

/// The argument of a refund.
pub(super) fn refund(rule: &Rule, times: Times, cost: u64, charged: Option<u64>) -> Vec<u8> {
    let mut text = vec![];
    write_time(&mut text, times.at);
    text.extend_from_slice(&cost.to_le_bytes());
    write_time(&mut text, charged);
    write_rule(&mut text, rule, times.about);
    text
}

/// The argument of a request for an allotment.
pub(super) fn allot(rule: &Rule, times: Times, request: &AllotmentRequest) -> Vec<u8> {
    let mut text = reset(rule, times);
    // Any byte order: the script only compares them.
    text.extend_from_slice(&request.holder.to_le_bytes());
    let AllotmentRequest { holder: _, sequence, kept, back, want, span } = *request;
    for word in [sequence, kept, back, want, span, MAX_HOLDERS as u64] {
        text.extend_from_slice(&word.to_le_bytes());
    }
    text
}

/// The time that decided, the state, and what was allotted.
pub(super) fn read_allotted(reply: &Value) -> Option<Allotted> {
    let Value::BulkString(bytes) = reply else { return None };
    let (words, rest) = bytes.as_chunks::<8>();
    let words = <[[u8; 8]; 6]>::try_from(words).ok().filter(|_| rest.is_empty())?;
    let [now, first, second, granted, kept, rest] = words.map(u64::from_le_bytes);
    Some(Allotted { now, state: State(first, second), reply: AllotmentReply { granted, kept, rest } })
}

/// The argument of a reset.
pub(super) fn reset(rule: &Rule, times: Times) -> Vec<u8> {
    let mut text = Vec::with_capacity(128);
    write_time(&mut text, times.at);
    write_rule(&mut text, rule, times.about);
    text
}

/// The argument of a take of one key.
pub(super) fn lone(rule: &Rule, times: Times, cost: u64) -> Vec<u8> {
    let mut text = Vec::with_capacity(64);
    write_take(&mut text, rule, times);
    if cost != 1 {
        // A cost of zero only reads: no run at all.
        write_runs(&mut text, (cost > 0).then_some(&(cost, 1)).into_iter());
    }
    text
}

/// The argument of a take of one key: as much of `most` as fits.
pub(super) fn up_to(rule: &Rule, times: Times, most: u64) -> Vec<u8> {
    let mut text = lone(rule, times, 1);
    let calls = u32::try_from(most).unwrap_or(u32::MAX);
    write_runs(&mut text, std::iter::once(&(1, calls)));
    text
}

/// The time that decided, and the states of `keys` keys as they were.
pub(super) fn read(reply: &Value, keys: usize) -> Option<(u64, impl Iterator<Item = State>)> {
    let Value::BulkString(bytes) = reply else { return None };
    let (words, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() || words.len() != 1 + 2 * keys {
        return None;
    }
    let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
    let now = words.next()?;
    Some((now, std::iter::from_fn(move || Some(State(words.next()?, words.next()?)))))
}

/// The type of a key that holds something else, which stands in place of its state; `None`: it is a state.
pub(super) fn foreign(state: State) -> Option<String> {
    let name = state.1.to_le_bytes();
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    (state.0 == u64::MAX).then(|| String::from_utf8_lossy(name).into_owned())
}

/// Two's complement of -1 stands for `None`: the scripts read it as negative.
pub(super) fn write_time(text: &mut Vec<u8>, at: Option<u64>) {
    text.extend_from_slice(&at.unwrap_or(u64::MAX).to_le_bytes());
}

/// A rule, after the number of its kind.
pub(super) fn write_rule(text: &mut Vec<u8>, rule: &Rule, about: u64) {
    text.push(rule.scale().kind());
    write_words(text, rule, about);
}

/// The time and the rule for the script that takes single keys. The scripts for one kind are not told its number.
pub(super) fn write_take(text: &mut Vec<u8>, rule: &Rule, times: Times) {
    write_time(text, times.at);
    match Script::take(rule) {
        Script::Take => write_rule(text, rule, times.about),
        _ => write_words(text, rule, times.about),
    }
}

fn write_words(text: &mut Vec<u8>, rule: &Rule, about: u64) {
    rule.write_words(about, |word| text.extend_from_slice(&word.to_le_bytes()));
}

pub(super) fn write_runs<'a>(text: &mut Vec<u8>, runs: impl Iterator<Item = &'a (u64, u32)> + Clone) {
    let number = u32::try_from(runs.clone().count()).expect("a batch has fewer than 2^32 requests");
    text.extend_from_slice(&number.to_le_bytes());
    for (cost, calls) in runs {
        text.extend_from_slice(&cost.to_le_bytes());
        text.extend_from_slice(&calls.to_le_bytes());
    }
}

pub(super) fn write_short(text: &mut Vec<u8>, number: usize) {
    let number = u16::try_from(number).expect("a call has at most a thousand keys");
    text.extend_from_slice(&number.to_le_bytes());
}
