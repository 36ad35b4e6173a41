//! A hit that is carried out once, however often it is sent: each of its parts by a token of its own.

use futures::future::join_all;
use xxhash_rust::xxh3::xxh3_128;

use super::{
    definition::Template,
    handle::{Dates, EventHandle, Inner},
    incoming::{IncomingHit, Times},
    outcome::{Hit, HitError},
};
use crate::{
    applied::Applied,
    engine::request::lost,
    error::{Error, ErrorKind, Result, Retry, invalid},
    limit::Decisions,
    model::Row,
    once::{self, InProgress, Once, Place, RequestItem, State},
    series::SeriesHandle,
    time::Timestamp,
};

/// The note of the store about an accepted hit.
const ACCEPTED: &str = "accepted";

/// The known state of a part, and the reason why it is not applied.
type Known = (State, Option<Error>);

impl EventHandle {
    /// As [`hit`](Self::hit), or [`hit_at`](Self::hit_at), under an idempotency key: repeated with the same key and the same
    /// hit within 24 hours it is taken once. A repeat completes what an earlier attempt did not apply.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use forebay::{Event, Forebay, time::hours};
    /// let bay = Forebay::open("memory:").await?;
    /// let series = bay.series("hits")?;
    /// let hit = bay.event(Event::new("hit").series(&series))?;
    /// for _ in 0..3 {
    ///     assert!(hit.hit_keyed("request 7", "42", 1, None).await?.is_accepted());
    /// }
    /// assert_eq!(series.sum("42", hours(1)).await?, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`hit`](Self::hit). [`ErrorKind::Invalid`] if another hit was sent under this key; [`ErrorKind::Unavailable`]
    /// while another attempt is under way; [`ErrorKind::Overloaded`] if the store has no room for a new key.
    ///
    /// # Cancellation
    /// Dropping the future leaves the hit to the next one with this key, which is refused for 30 seconds.
    ///
    /// # Cost
    /// Two round trips more than a hit without a key.
    pub async fn hit_keyed(
        &self,
        request: &str,
        key: impl AsRef<str>,
        n: u64,
        at: Option<Timestamp>,
    ) -> Result<Hit, HitError> {
        let Inner { store, name, .. } = &*self.inner;
        let key = key.as_ref();
        let mut print = format!("{n} {} {key}", at.map_or(0, Timestamp::as_micros));
        if !self.series_keys.is_empty() {
            print = format!("{:?} {print}", self.series_keys);
        }
        let print = xxh3_128(print.as_bytes());
        let once = once::begin(store, &format!("event {name} {request}"), print).await;
        let error = match once.map_err(|error| self.refused(error))? {
            Once::First(begun) => {
                let item = begun.item_after(0, begun.note());
                let answer = self.hit_once(&item, key, n, at).await;
                note(begun, &answer).await;
                return answer;
            }
            Once::Done(answer) if &*answer == ACCEPTED => {
                return Ok(Hit::Accepted { limits: Decisions::none(0), late: vec![] });
            }
            Once::Done(states) => {
                let states: Vec<State> = states.chars().map(State::read).collect();
                let mut hit = HitError::of_parts(&self.inner.event, Applied::Yes, &states, [lost()]);
                hit.error = lost();
                return Err(hit);
            }
            Once::Other => invalid(format!("event {name}: another hit was sent under the key {request:?}")),
            Once::Full => {
                let text = format!("event {name}: the store has no room for another idempotency key");
                Error::new(ErrorKind::Overloaded, text)
            }
            Once::Running { .. } => {
                let text = format!("event {name}: another attempt at the request {request:?} is under way");
                Error::new(ErrorKind::Unavailable, text)
            }
        };
        Err(self.refused(error))
    }

    /// As [`hit`](Self::hit), or [`hit_at`](Self::hit_at), as an item of a request that is [carried out
    /// once](crate::Forebay::once): what an earlier attempt has applied is not applied again.
    ///
    /// The limits are asked only if no series and no buffer has taken the hit, and may not have, either.
    ///
    /// # Errors
    /// As [`hit`](Self::hit). It advises [`Retry::Never`] once no attempt can complete the hit any more.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{Event, once::Once, time::hours};
    /// let hits = bay.series("hits")?;
    /// let event = bay.event(Event::new("hit").series(&hits))?;
    /// let Once::First(request) = bay.once("order 42", 7).await? else { unreachable!("the first attempt") };
    /// let _ = event.hit_once(&request.item(0), "user:42", 1, None).await?;
    /// request.end("accepted").await?;
    /// # Ok(()) }
    /// ```
    pub async fn hit_once(
        &self,
        item: &RequestItem,
        key: impl AsRef<str>,
        n: u64,
        at: Option<Timestamp>,
    ) -> Result<Hit, HitError> {
        Box::pin(self.complete(item, key.as_ref(), n, Times::new(&self.inner.store, at))).await
    }

    async fn complete(&self, item: &RequestItem, key: &str, n: u64, times: Times) -> Result<Hit, HitError> {
        let Inner { store, event, .. } = &*self.inner;
        let hit = self.incoming(key, n, times).map_err(|error| self.refused(error))?;
        let rows = self.rows(hit).map_err(|error| self.refused(error))?;
        let (dates, late) = self.admit(hit).await.map_err(|error| self.refused(error))?;
        let mut parts = self.look(item, hit, &dates, &rows).await;
        let any = |parts: &[Known], wanted: &[State]| parts.iter().any(|(state, _)| wanted.contains(state));
        let happened = any(&parts, &[State::Yes, State::Lost]);
        let charges = self.charges(hit);
        let charged = |limits: Option<&Decisions>| match limits {
            Some(limits) => limits.charged(),
            None if charges.is_empty() => Applied::No,
            None if happened => Applied::Yes,
            None => Applied::Unknown,
        };
        if !happened && any(&parts, &[State::Open]) {
            // To ask the limits now could deny what has happened.
            return Err(self.incomplete(charged(None), parts, &dates));
        }
        failpoint!("hit_before_charge");
        let token = item.charge_token();
        let limits = if happened {
            None
        } else {
            let limits = store.take_all_with(&charges, times.when, Some(token)).await;
            Some(limits.map_err(|error| self.refused(error))?)
        };
        failpoint!("hit_after_charge");
        if limits.as_ref().is_some_and(|limits| !limits.allowed) {
            self.count_limited(hit).await;
            return Ok(Hit::Limited { limits: limits.unwrap_or_else(|| Decisions::none(0)) });
        }
        self.apply(item, hit, &dates, rows, &mut parts).await;
        let is_done = |(nth, (state, _)): (usize, &Known)| {
            *state == State::Yes || dates.get(nth).is_some_and(Option::is_none)
        };
        if parts.iter().enumerate().all(is_done) {
            return Ok(Hit::Accepted { limits: limits.unwrap_or_else(|| Decisions::none(0)), late });
        }
        let nothing = parts.iter().all(|(state, _)| *state == State::No);
        let limit = match &limits {
            Some(limits) if nothing => limits.give_back(store, &charges, Some(token)).await,
            limits => charged(limits.as_ref()),
        };
        debug_assert_eq!(event.series.len(), dates.len(), "a date for each series");
        Err(self.incomplete(limit, parts, &dates))
    }

    /// Looks up the known state of each part before this attempt, except of late ones.
    async fn look(
        &self,
        item: &RequestItem,
        hit: IncomingHit<'_>,
        dates: &Dates,
        rows: &[Row],
    ) -> Vec<Known> {
        let event = &self.inner.event;
        let series = event.series.iter().zip(dates).enumerate().map(|(nth, (series, date))| {
            Ok(date.map(|_| Place::Series(series.part(hit.series_key(nth).as_str()))))
        });
        let buffers = event.buffers.iter().zip(rows);
        let buffers = buffers
            .map(|(template, row)| Ok(Some(Place::Buffer(template.buffer.part_once(item, &row.key)?))));
        let places: Vec<Result<Option<Place>>> = series.chain(buffers).collect();
        let look = async |(nth, place): (usize, &Result<Option<Place>>)| match place {
            Err(error) => (State::Open, Some(error.clone())),
            Ok(None) => (State::No, None),
            Ok(Some(place)) => match item.peek(nth, place).await {
                Ok(State::Lost) => (State::Lost, Some(lost())),
                Ok(state) => (state, None),
                Err(error) => (State::Open, Some(error)),
            },
        };
        join_all(places.iter().enumerate().map(look)).await
    }

    /// Applies the parts that are not applied, all together.
    async fn apply(
        &self,
        item: &RequestItem,
        hit: IncomingHit<'_>,
        dates: &Dates,
        rows: Vec<Row>,
        parts: &mut [Known],
    ) {
        let event = &self.inner.event;
        let (counted, written) = parts.split_at_mut(event.series.len());
        let count = async |(nth, ((series, date), known)): (usize, ((&SeriesHandle, &_), &mut Known))| {
            let date: &Option<(Timestamp, Timestamp)> = date;
            if let (Some((at, now)), (State::No, _)) = (*date, &*known) {
                let key = hit.series_key(nth);
                settle(known, series.add_admitted_once((item, nth), key, hit.n, at, now).await);
            }
        };
        let write = async |(nth, ((template, row), known)): (usize, ((&Template, Row), &mut Known))| {
            if known.0 == State::No {
                settle(known, template.buffer.add_part(item, nth, row).await);
            }
        };
        let series = event.series.iter().zip(dates).zip(counted).enumerate();
        let buffers = event.buffers.iter().zip(rows).zip(written);
        let buffers = (event.series.len()..).zip(buffers);
        tokio::join!(join_all(series.map(count)), join_all(buffers.map(write)));
    }

    /// The error of a hit that is not complete. A part that came too late is not what it lacks.
    fn incomplete(&self, limit: Applied, parts: Vec<Known>, dates: &Dates) -> HitError {
        let (states, errors): (Vec<State>, Vec<Option<Error>>) = parts.into_iter().unzip();
        let mut hit = HitError::of_parts(&self.inner.event, limit, &states, errors.into_iter().flatten());
        let is_late = |nth: usize| dates.get(nth).is_some_and(Option::is_none);
        let letter = |(nth, state): (usize, &State)| {
            if is_late(nth) { State::Yes.letter() } else { state.letter() }
        };
        hit.states = states.iter().enumerate().map(letter).collect();
        if !hit.is_nothing() && hit.is_final() {
            hit.error = hit.error.with_retry(Retry::Never);
        }
        hit
    }
}

fn settle(known: &mut Known, answer: Result<()>) {
    *known = (State::of(&answer), answer.err());
}

/// Notes what became of a hit that is a request of its own.
async fn note(begun: InProgress, answer: &Result<Hit, HitError>) {
    let noted = match answer {
        Ok(hit) if hit.is_accepted() => begun.end(ACCEPTED).await,
        Ok(_) => begun.forget().await,
        Err(error) if error.is_nothing() => begun.forget().await,
        Err(error) if error.is_final() => begun.end(error.state()).await,
        Err(error) => begun.leave(error.state(), error.is_certain()).await,
    };
    if let Err(error) = noted {
        // The answer is right all the same. A repeat looks at the tokens.
        tracing::debug!(%error, "what became of a hit with a key was not noted");
    }
}
