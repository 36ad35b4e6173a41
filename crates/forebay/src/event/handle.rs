//! One hit: limited, counted and buffered.

use std::sync::Arc;

use super::{
    definition::{Event, Template},
    incoming::{IncomingHit, Times},
    outcome::{Hit, HitError},
    tally::LimitedTally,
};
use crate::{
    applied::Applied,
    error::{Error, Result, invalid, out_of_range},
    key::{Count, Key, Name},
    limit::{Charge, Decisions, Kind, LimitHandle},
    model::Row,
    once::State,
    series::{Acceptance, MAX_AHEAD, SeriesHandle},
    store::Store,
    time::{Timestamp, When},
};

/// An event of an open store. Clones share it.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::{Event, Limit, time::hours};
/// let (limit, series) = (bay.limit(Limit::per_minute("hits", 20))?, bay.series("hits")?);
/// let event = bay.event(Event::new("hit").limit(&limit).series(&series))?;
/// event.hit("user:42", 5).await?;
/// assert_eq!(series.sum("user:42", hours(1)).await?, 5);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct EventHandle {
    pub(super) inner: Arc<Inner>,
    /// The key of each series that the [labels](Self::labelled) name; `None`: the hit's own. Empty without labels.
    pub(super) series_keys: Arc<[Option<String>]>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub store: Store,
    pub tally: Arc<LimitedTally>,
    pub name: Name,
    pub event: Event,
}

/// For each series when it dates a hit, and the time for which that was decided; `None`: the hit is late for it.
pub(super) type Dates = Vec<Option<(Timestamp, Timestamp)>>;

impl EventHandle {
    pub(crate) fn new(store: Store, tally: Arc<LimitedTally>, event: Event) -> Result<Self> {
        let name = Name::new(&event.name)?;
        if let Some((limit, _)) = event.limits.iter().find(|(limit, _)| limit.kind() == Kind::Concurrency) {
            return Err(invalid(format!(
                "event {name}: limit {} lends leases, and a hit has no end at which to give one back",
                limit.name()
            )));
        }
        for template in &event.buffers {
            template.check().map_err(|error| error.in_context(format_args!("event {name}")))?;
        }
        Ok(Self { inner: Arc::new(Inner { store, tally, name, event }), series_keys: Arc::default() })
    }

    /// Takes `n` hits (1 to 2^31) of `key`: all or none.
    ///
    /// They are charged to every limit in one decision; if admitted, added to the series and buffers together, and
    /// accepted only after both. A denied hit is counted in the `limited` series within about a second: see [`Event`].
    ///
    /// # Errors
    /// [`HitError`] when a series or a buffer cannot take it: its fields say which parts were applied. The charge is
    /// given back if none was, and stays as soon as one was, or may have been.
    ///
    /// # Cancellation
    /// Dropping the future may leave any part applied; none is applied twice.
    ///
    /// # Cost
    /// At most two round trips, shared; none embedded, and none while a limit is known to deny: see
    /// [`known_denial`](crate::Forebay::known_denial).
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{Event, Limit};
    /// let limit = bay.limit(Limit::per_minute("hits", 3))?;
    /// let event = bay.event(Event::new("hit").limit(&limit))?;
    /// assert!(event.hit("user:42", 3).await?.is_accepted());
    /// assert!(!event.hit("user:42", 1).await?.is_accepted());
    /// # Ok(()) }
    /// ```
    pub async fn hit(&self, key: impl AsRef<str>, n: u64) -> Result<Hit, HitError> {
        self.hit_with(key.as_ref(), n, Times::new(&self.inner.store, None)).await
    }

    /// As [`hit`](Self::hit), for a hit that happened at `at`, at most 5 minutes ahead of the clock. That dates the
    /// series' point and the `at` columns only: limits go by the store's clock, or a back-dated event would evade
    /// them. A series that keeps so old a time no more [does not count it](Hit::late).
    ///
    /// # Errors
    /// As [`hit`](Self::hit).
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{Event, time::{hours, mins}};
    /// let hits = bay.series("hits")?;
    /// let event = bay.event(Event::new("hit").series(&hits))?;
    /// let _ = event.hit_at("user:42", 1, bay.clock().now().minus(mins(90))).await?;
    /// assert_eq!(hits.sum("user:42", hours(2)).await?, 1);
    /// # Ok(()) }
    /// ```
    pub async fn hit_at(&self, key: impl AsRef<str>, n: u64, at: Timestamp) -> Result<Hit, HitError> {
        self.hit_with(key.as_ref(), n, Times::new(&self.inner.store, Some(at))).await
    }

    /// As [`hit`](Self::hit), as though it were `at` now, also for the limits: for replays of old traffic.
    ///
    /// # Errors
    /// As [`hit`](Self::hit).
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{Event, Limit, Timestamp};
    /// let limit = bay.limit(Limit::per_minute("hits", 1))?;
    /// let event = bay.event(Event::new("hit").limit(&limit))?;
    /// for (second, accepted) in [(0, true), (1, false), (60, true)] {
    ///     let at = Timestamp::from_secs(1_790_000_040 + second);
    ///     assert_eq!(event.replay("user:42", 1, at).await?.is_accepted(), accepted);
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn replay(&self, key: impl AsRef<str>, n: u64, at: Timestamp) -> Result<Hit, HitError> {
        let times = Times { when: When::At(at), now: at, ..Times::new(&self.inner.store, Some(at)) };
        self.hit_with(key.as_ref(), n, times).await
    }

    /// The event's name.
    pub fn name(&self) -> &Name {
        &self.inner.name
    }

    async fn hit_with(&self, key: &str, n: u64, times: Times) -> Result<Hit, HitError> {
        let hit = self.incoming(key, n, times).map_err(|error| self.refused(error))?;
        if let Some(limits) = self.known_denial(hit) {
            self.count_limited(hit).await;
            return Ok(Hit::Limited { limits });
        }
        let rows = self.rows(hit).map_err(|error| self.refused(error))?;
        let (dates, late) = self.admit(hit).await.map_err(|error| self.refused(error))?;
        let charges = self.charges(hit);
        let limits = self.inner.store.take_all_with(&charges, times.when, None).await;
        let limits = limits.map_err(|error| self.refused(error))?;
        if !limits.allowed {
            self.count_limited(hit).await;
            return Ok(Hit::Limited { limits });
        }
        let (series, buffers) = tokio::join!(self.count(hit, &dates), self.write(rows));
        match (series, buffers) {
            (Ok(()), Ok(())) => Ok(Hit::Accepted { limits, late }),
            (series, buffers) => Err(Box::pin(self.failed(&limits, &charges, &dates, series, buffers)).await),
        }
    }

    /// The charges for the limits.
    pub(super) fn charges(&self, hit: IncomingHit<'_>) -> Vec<Charge> {
        let charge = |(limit, key): (&LimitHandle, &str)| Charge {
            limit: limit.clone(),
            key: key.to_owned(),
            cost: hit.n.get(),
        };
        self.limit_keys(hit).map(charge).collect()
    }

    /// The limits, each with its key for a hit.
    fn limit_keys<'a>(
        &'a self,
        hit: IncomingHit<'a>,
    ) -> impl ExactSizeIterator<Item = (&'a LimitHandle, &'a str)> + Clone {
        let limits = self.inner.event.limits.iter();
        limits.map(move |(limit, fixed)| (limit, fixed.as_deref().unwrap_or(hit.key.as_str())))
    }

    /// Finds the date of the hit for each series, and the series that it is late for.
    ///
    /// # Errors
    /// When the hit is late for all series, and nothing else takes it; and as [`SeriesHandle::add_at`].
    pub(super) async fn admit(&self, hit: IncomingHit<'_>) -> Result<(Dates, Vec<Name>)> {
        let Event { series, buffers, .. } = &self.inner.event;
        let IncomingHit { n, times, .. } = hit;
        let (mut dates, mut late) = (Vec::with_capacity(series.len()), vec![]);
        for (nth, series) in series.iter().enumerate() {
            match series.admit(hit.series_key(nth), n, times.is_dated.then_some(times.at), times.when).await?
            {
                Acceptance::Accepted { at, now } => dates.push(Some((at, now))),
                Acceptance::Late(error)
                    if buffers.is_empty() && late.len() + 1 == self.inner.event.series.len() =>
                {
                    return Err(error);
                }
                Acceptance::Late(_) => {
                    dates.push(None);
                    late.push(series.name().clone());
                }
            }
        }
        Ok((dates, late))
    }

    /// The error of a hit that not every part took. The charge goes back only if none did.
    async fn failed(
        &self,
        limits: &Decisions,
        charges: &[Charge],
        dates: &Dates,
        series: Each,
        buffers: Each,
    ) -> HitError {
        let state = |each: &Each, nth: usize| match each {
            Ok(()) => State::Yes,
            // Without a token nobody can tell later, either.
            Err(answers) => match State::of(&answers[nth]) {
                State::Open => State::Lost,
                state => state,
            },
        };
        let counted = dates.iter().enumerate().map(|(nth, date)| match date {
            Some(_) => state(&series, nth),
            None => State::No,
        });
        let written = (0..self.inner.event.buffers.len()).map(|nth| state(&buffers, nth));
        let states: Vec<State> = counted.chain(written).collect();
        let charged = if states.iter().all(|state| *state == State::No) {
            limits.give_back(&self.inner.store, charges, None).await
        } else {
            limits.charged()
        };
        let errors = [series, buffers].into_iter().filter_map(Result::err).flatten().filter_map(Result::err);
        HitError::of_parts(&self.inner.event, charged, &states, errors)
    }

    /// The error of a hit that came to no part.
    pub(super) fn refused(&self, error: Error) -> HitError {
        let event = &self.inner.event;
        let states = vec![State::No; event.series.len() + event.buffers.len()];
        HitError::of_parts(event, Applied::No, &states, [error])
    }

    async fn count(&self, hit: IncomingHit<'_>, dates: &Dates) -> Each {
        type Part<'a> = (usize, (&'a SeriesHandle, &'a Option<(Timestamp, Timestamp)>));
        let add = async |(nth, (series, date)): Part<'_>| match *date {
            Some((at, now)) => series.add_admitted(hit.series_key(nth), hit.n, at, now).await,
            None => Ok(()),
        };
        // One series is the usual case; to wait for many at once costs allocations.
        if let ([series], [date]) = (&*self.inner.event.series, &**dates) {
            return add((0, (series, date))).await.map_err(|error| vec![Err(error)]);
        }
        each(futures::future::join_all(self.inner.event.series.iter().zip(dates).enumerate().map(add)).await)
    }

    /// Counts a denied hit in the `limited` series: at once in this process, else with others within a second. A failure
    /// changes nothing for the caller.
    pub(super) async fn count_limited(&self, hit: IncomingHit<'_>) {
        let Inner { store, tally, event, .. } = &*self.inner;
        let (n, times) = (hit.n.get(), hit.times);
        let coalesces = times.when == When::EngineClock && !store.engine().is_in_process();
        for (nth, series) in event.series.iter().enumerate() {
            let key = hit.series_key(nth).as_str();
            if coalesces && tally.add(series, key, n, times.at) {
                continue;
            }
            if let Err(error) = series.limited().add_many([(key, n, times.at)], times.when).await {
                tracing::debug!(series = %series.name(), %error, "a limited hit was not counted");
            }
        }
    }

    async fn write(&self, mut rows: Vec<Row>) -> Each {
        if let ([template], 1) = (&*self.inner.event.buffers, rows.len()) {
            return template.buffer.add_row(rows.swap_remove(0)).await.map_err(|error| vec![Err(error)]);
        }
        let add = async |(template, row): (&Template, Row)| template.buffer.add_row(row).await;
        each(futures::future::join_all(self.inner.event.buffers.iter().zip(rows).map(add)).await)
    }

    /// Checks the key, the count and the time.
    pub(super) fn incoming<'a>(&'a self, key: &'a str, n: u64, times: Times) -> Result<IncomingHit<'a>> {
        let key = Key::new(key).map_err(|error| self.described(error))?;
        let n = Count::new(n).map_err(|error| self.described(error))?;
        if times.at > times.now.plus(MAX_AHEAD) {
            let (at, ahead, most) = (times.at, times.at.since(times.now).as_secs(), MAX_AHEAD.as_secs());
            let text = format!("at {at} is {ahead} s ahead of the clock: at most {most}");
            return Err(self.described(out_of_range(text)));
        }
        Ok(IncomingHit { key, n, times, series_keys: &self.series_keys })
    }

    /// The rows to buffer. A value that does not fit is refused before anything is charged.
    pub(super) fn rows(&self, hit: IncomingHit<'_>) -> Result<Vec<Row>> {
        let rows = self.inner.event.buffers.iter().map(|template| template.fill(hit)).collect::<Result<_>>();
        rows.map_err(|error| self.described(error))
    }

    pub(super) fn described(&self, error: Error) -> Error {
        error.in_context(format_args!("event {}", self.inner.name))
    }

    /// The denial of a hit, if this process knows it. For floods it allocates nothing but the answer. A hit with a date may be
    /// late, and a row may be refused: these take the long way.
    fn known_denial(&self, hit: IncomingHit<'_>) -> Option<Decisions> {
        let event = &self.inner.event;
        let is_remembered = event.limits.iter().any(|(limit, _)| limit.remembers_denials());
        let fits = |template: &Template| template.fits(hit) || template.fill(hit).is_ok();
        if !is_remembered || hit.times.is_dated || !event.buffers.iter().all(fits) {
            return None;
        }
        Store::remembered_denial(&self.limit_keys(hit), hit.n, hit.times.monotonic)
    }
}

/// The outcomes of all series, or of all buffers: all took the hit, or the answer of each.
type Each = Result<(), Vec<Result<()>>>;

fn each(answers: Vec<Result<()>>) -> Each {
    if answers.iter().all(Result::is_ok) { Ok(()) } else { Err(answers) }
}
