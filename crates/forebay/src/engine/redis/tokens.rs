//! The tokens of a batch of a sequenced write: those of its items that belong to requests which are carried out once.
//!
//! Bytes in, bytes out: no connection, no clock. `lua/guard.lua` says in words what the bytes are.

use std::collections::{HashSet, VecDeque};

use crate::engine::{
    request::{Token, lost},
    sequence::{Refusals, Waiting},
};

/// The prefix of the answer if the script finds tokens: nothing of the batch was applied.
const FOUND_TOKENS: &str = "met ";

/// Tokens in one script call: few enough to be unpacked onto Lua's stack.
const MAX_TOKENS_PER_CALL: usize = 2_000;

/// The tokens of a batch, all of one hour, each once.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    hour: Option<u32>,
    ids: HashSet<u128>,
    /// The places of the items with tokens, in the order of the tokens.
    places: Vec<usize>,
    text: Vec<u8>,
}

impl Tokens {
    /// Whether the batch can have this one, too. The same one twice cannot be told apart, were it not there yet.
    pub(super) fn takes(&self, token: &Token) -> bool {
        self.hour.is_none_or(|hour| hour == token.hour)
            && self.places.len() < MAX_TOKENS_PER_CALL
            && !self.ids.contains(&token.id)
    }

    /// Adds the token of the item at `place`, which is in row `row` of the batch.
    pub(super) fn add(&mut self, token: &Token, place: usize, row: usize) {
        self.hour = Some(token.hour);
        self.ids.insert(token.id);
        self.places.push(place);
        let row = u16::try_from(row).expect("a batch has few rows");
        self.text.extend_from_slice(&row.to_be_bytes());
        self.text.extend_from_slice(&token.id.to_be_bytes());
        self.text.extend_from_slice(&token.since.unwrap_or_default());
    }

    /// Takes the first places that wait for a batch: at most so many, which fit and whose tokens go together. All others wait on, in
    /// their order. `token`: that of the item at a place.
    pub(super) fn choose<'a>(
        waiting: &mut Waiting,
        most: usize,
        fits: impl Fn(usize) -> bool,
        token: impl Fn(usize) -> Option<&'a Token>,
    ) -> (Vec<usize>, Self) {
        let (mut places, mut left, mut tokens) = (vec![], VecDeque::new(), Self::default());
        while places.len() < most
            && let Some(place) = waiting.places.pop_front()
        {
            let token = token(place);
            if !fits(place) || token.is_some_and(|token| !tokens.takes(token)) {
                left.push_back(place);
                continue;
            }
            if let Some(token) = token {
                tokens.add(token, place, 0);
            }
            places.push(place);
        }
        left.append(&mut waiting.places);
        waiting.places = left;
        (places, tokens)
    }

    /// The hour, unless there are no tokens.
    pub(super) fn hour(&self) -> Option<u32> {
        self.hour
    }

    /// The argument of the script.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Settles the batch whose items are at `places`, if the script found tokens; else answers false. Items whose token is
    /// there are applied, and those that are lost are refused. Nothing was done for the others: they wait again, before later
    /// ones.
    pub(super) fn settle(
        &self,
        outcome: &str,
        places: impl DoubleEndedIterator<Item = usize>,
        waiting: &mut Waiting,
        refusals: &mut Refusals,
    ) -> bool {
        let Some((there, gone)) = outcome.strip_prefix(FOUND_TOKENS).and_then(|found| found.split_once(';'))
        else {
            return false;
        };
        let read = |list: &str| -> Vec<usize> {
            let nths = list.split(',').filter_map(|nth| nth.parse::<usize>().ok());
            nths.filter_map(|nth| self.places.get(nth).copied()).collect()
        };
        let mut settled: HashSet<usize> = read(there).into_iter().collect();
        for place in read(gone) {
            refusals.push((place, lost()));
            settled.insert(place);
        }
        places
            .rev()
            .filter(|place| !settled.contains(place))
            .for_each(|place| waiting.places.push_front(place));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_one_hour_go_together_each_once() {
        let token = |id, hour| Token { id, hour, since: None };
        let mut tokens = Tokens::default();
        assert!(tokens.takes(&token(1, 7)));
        tokens.add(&token(1, 7), 10, 0);
        assert!(!tokens.takes(&token(1, 7)) && !tokens.takes(&token(2, 8)));
        assert!(tokens.takes(&token(2, 7)));
        tokens.add(&Token { since: Some(*b"0123456789abcdef"), ..token(2, 7) }, 12, 258);
        tokens.add(&token(3, 7), 15, 2);
        assert_eq!(tokens.text().len(), 3 * 34);
        assert_eq!(&tokens.text()[34..36], [1, 2]);
        assert_eq!(&tokens.text()[52..68], b"0123456789abcdef");

        let (mut waiting, mut refusals) = (Waiting::default(), vec![]);
        let mut settle = |outcome| {
            let met = tokens.settle(outcome, [10, 11, 12, 15].into_iter(), &mut waiting, &mut refusals);
            (
                met,
                std::mem::take(&mut waiting.places),
                refusals.iter().map(|(place, _)| *place).collect::<Vec<_>>(),
            )
        };
        assert_eq!(settle("3A"), (false, [].into(), vec![]));
        assert_eq!(settle("met 0;1"), (true, [11, 15].into(), vec![12]));
        assert_eq!(settle("met 2;"), (true, [10, 11, 12].into(), vec![12]));
    }
}
