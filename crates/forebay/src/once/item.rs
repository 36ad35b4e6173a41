//! An item of a request: which of its parts are applied, and the tokens that tell.

use std::{
    fmt::Display,
    sync::{Arc, atomic::Ordering},
};

use xxhash_rust::xxh3::xxh3_128;

use super::request::Request;
use crate::{
    engine::{
        request::{Attempt, ChargeToken, Epoch, Token, lost, was_down},
        step::{self, BufferPart, Point, SeriesPart, SummaryPart},
    },
    error::{Error, ErrorKind, Result, Retry},
    model::{Row, summary::Observation},
    time::Timestamp,
};

/// An item of a request that is carried out once. Each of its parts is applied at most once, by any of the attempts.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::{once::Once, time::hours};
/// let hits = bay.series("hits")?;
/// let Once::First(request) = bay.once("order 42", 7).await? else { unreachable!("the first attempt") };
/// hits.add_once(&request.item(0), "user:42", 1, None).await?;
/// hits.add_once(&request.item(1), "user:42", 1, None).await?;
/// request.end("accepted").await?;
/// assert_eq!(hits.sum("user:42", hours(1)).await?, 2);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "an item does nothing by itself"]
pub struct RequestItem {
    request: Arc<Request>,
    number: u32,
    /// As the last attempt that ended noted it; empty: nothing was noted.
    noted: Box<[State]>,
}

/// Whether a part of an item is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Yes,
    No,
    /// It may have been applied; its token tells.
    Open,
    /// It may have been applied, and that cannot be known any more.
    Lost,
}

impl State {
    /// The state after a write.
    pub(crate) fn of(answer: &Result<()>) -> Self {
        match answer {
            Ok(()) => Self::Yes,
            Err(error) => match (error.kind(), error.retry()) {
                (ErrorKind::Ambiguous, Retry::Never) => Self::Lost,
                (_, Retry::Unknown) => Self::Open,
                _ => Self::No,
            },
        }
    }

    pub(crate) fn letter(self) -> char {
        match self {
            Self::Yes => 'y',
            Self::No => 'n',
            Self::Open => 'o',
            Self::Lost => 'x',
        }
    }

    pub(crate) fn read(letter: char) -> Self {
        match letter {
            'y' => Self::Yes,
            'n' => Self::No,
            'x' => Self::Lost,
            _ => Self::Open,
        }
    }
}

/// The partition of a part of an item.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Series(SeriesPart),
    Buffer(BufferPart),
}

impl RequestItem {
    pub(super) fn new(request: Arc<Request>, number: u32, state: &str) -> Self {
        Self { request, number, noted: state.chars().map(State::read).collect() }
    }

    /// Reads whether a part is applied, before this attempt writes it.
    ///
    /// # Errors
    /// When its store has to be asked, and does not answer.
    pub(crate) async fn peek(&self, nth: usize, place: &Place) -> Result<State> {
        let attempt = self.request.ours.attempt;
        match self.noted.get(nth) {
            Some(known @ (State::Yes | State::Lost)) => return Ok(*known),
            Some(State::No) if attempt == Attempt::Again => return Ok(State::No),
            _ if attempt == Attempt::First => return Ok(State::No),
            _ => {}
        }
        let engine = self.request.store.engine();
        // A part is sent only to hosts that the record names.
        let on_host = match place {
            Place::Series(part) => step::Place::Series(part),
            Place::Buffer(part) => step::Place::Buffer(part),
        };
        let Some(since) = self.epoch(on_host) else { return Ok(State::No) };
        let token = Token { id: self.hash(nth), hour: self.request.ours.hour, since: Some(since) };
        let seen = match place {
            Place::Series(part) => engine.series_peek(part, &token).await?,
            Place::Buffer(part) => engine.buffer_peek(part, &token).await?,
        };
        Ok(match seen.there {
            true => State::Yes,
            false if seen.proves_absence(since) => State::No,
            false => State::Lost,
        })
    }

    /// Whether the only part of an item is applied already.
    ///
    /// # Errors
    /// As [`peek`](Self::peek), and if it cannot be known any more.
    pub(crate) async fn is_applied(&self, place: &Place) -> Result<bool> {
        match self.peek(0, place).await? {
            State::Yes => Ok(true),
            State::Lost => Err(lost()),
            State::No | State::Open => Ok(false),
        }
    }

    /// Counts a point that is not known to be counted.
    ///
    /// # Errors
    /// As without a key; [`lost`] if it cannot be known any more whether it was counted before.
    pub(crate) async fn count(
        &self,
        nth: usize,
        part: SeriesPart,
        point: Point,
        now: Timestamp,
    ) -> Result<()> {
        let token = self.token(nth, step::Place::Series(&part))?;
        failpoint!("part_before");
        let answer = self.request.store.engine().series_add_once(&part, point, now, &token).await;
        failpoint!("part_after");
        answer
    }

    /// Adds an observation that is not known to be added.
    ///
    /// # Errors
    /// As [`count`](Self::count).
    pub(crate) async fn observe(
        &self,
        nth: usize,
        series: SummaryPart<'_>,
        point: Observation,
        now: Timestamp,
    ) -> Result<()> {
        let token = self.token(nth, step::Place::Series(series.part))?;
        failpoint!("part_before");
        let answer = self.request.store.engine().summary_add_once(series, point, now, &token).await;
        failpoint!("part_after");
        answer
    }

    /// Merges a row that is not known to be merged.
    ///
    /// # Errors
    /// As [`count`](Self::count).
    pub(crate) async fn merge(&self, nth: usize, part: BufferPart, row: Row) -> Result<()> {
        let token = self.token(nth, step::Place::Buffer(&part))?;
        failpoint!("part_before");
        let answer = self.request.store.engine().buffer_add_once(&part, row, &token).await;
        failpoint!("part_after");
        answer
    }

    /// Whether the host of a partition was down when the request began: its rows go elsewhere, in every attempt.
    ///
    /// # Errors
    /// As [`was_down`].
    pub(crate) fn was_down(&self, part: &BufferPart) -> Result<bool> {
        let host = self.request.store.engine().host_of_request(step::Place::Buffer(part));
        host.map_or(Ok(false), |(host, placement)| was_down(&self.request.ours.hosts, host, placement))
    }

    /// The token of this item's charge.
    pub(crate) fn charge_token(&self) -> ChargeToken {
        // A charge is some more than the other tokens.
        self.request.tokens.fetch_add(4, Ordering::Relaxed);
        let is_first = self.request.ours.attempt == Attempt::First;
        ChargeToken { id: self.hash("charge"), owner: self.request.owner, is_first }
    }

    /// The token of a part that is about to be written.
    fn token(&self, nth: usize, place: step::Place<'_>) -> Result<Token> {
        let Some(since) = self.epoch(place) else {
            let text = "write: its host did not answer when the request began";
            return Err(Error::new(ErrorKind::Unavailable, text));
        };
        let never_sent = match self.request.ours.attempt {
            Attempt::First => true,
            Attempt::Again => self.noted.get(nth) == Some(&State::No),
            Attempt::Takeover => false,
        };
        self.request.tokens.fetch_add(1, Ordering::Relaxed);
        let since = (!never_sent).then_some(since);
        Ok(Token { id: self.hash(nth), hour: self.request.ours.hour, since })
    }

    /// The epoch of the host of a part in which the part may have been applied.
    fn epoch(&self, place: step::Place<'_>) -> Option<Epoch> {
        let engine = self.request.store.engine();
        let (epochs, (host, _)) = (engine.epochs(), engine.place_of(place));
        let (name, _) = epochs.get(host)?;
        self.request.ours.hosts.iter().find(|(other, _)| other == name).map(|(_, epoch)| *epoch)
    }

    fn hash(&self, part: impl Display) -> u128 {
        let Request { key, fingerprint, .. } = &*self.request;
        xxh3_128(format!("{fingerprint:032x} {} {part} {key}", self.number).as_bytes())
    }
}
