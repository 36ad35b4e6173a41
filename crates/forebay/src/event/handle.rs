//! One hit: limited, counted and buffered.

use std::{fmt, sync::Arc};

use super::{
    definition::{Event, Template},
    template::Filling,
};
use crate::{
    bay::Forebay,
    buffer::Row,
    error::{Error, Result, Retry, invalid, out_of_range},
    key::{Name, check_key},
    limit::{Charge, Decisions, Kind},
    series::{Admission, MAX_AHEAD, SeriesHandle},
    time::{Timestamp, When},
};

/// An event of an open store. Clones share it.
#[derive(Clone, Debug)]
pub struct EventHandle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bay: Forebay,
    name: Name,
    event: Event,
}

/// What became of a hit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a limited hit should not be served"]
pub enum Hit {
    /// Charged, counted and buffered.
    #[non_exhaustive]
    Accepted {
        /// What each limit said, in the order of the definition.
        limits: Decisions,
    },
    /// Denied: nothing charged, nothing buffered.
    #[non_exhaustive]
    Limited {
        /// What each limit said, in the order of the definition.
        limits: Decisions,
    },
}

impl Hit {
    /// Whether it was let through.
    pub fn is_accepted(&self) -> bool {
        matches!(self, Self::Accepted { .. })
    }

    /// What each limit said.
    pub fn limits(&self) -> &Decisions {
        match self {
            Self::Accepted { limits } | Self::Limited { limits } => limits,
        }
    }
}

/// A hit that got no answer, and how far it came.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HitError {
    /// Why.
    pub error: Error,
    /// The limits: [`Applied::No`] also when their charge was given back.
    pub limit: Applied,
    /// The series.
    pub series: Applied,
    /// The buffers.
    pub buffer: Applied,
}

/// Whether a part of a hit was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Applied {
    /// It was.
    Yes,
    /// It was not.
    No,
    /// Nobody knows.
    Unknown,
}

impl Applied {
    /// The word for this in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "unknown",
        }
    }

    fn of(answer: &Result<()>) -> Self {
        match answer {
            Ok(()) => Self::Yes,
            Err(error) if error.retry() == Retry::Unknown => Self::Unknown,
            Err(_) => Self::No,
        }
    }
}

impl fmt::Display for HitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for HitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.error)
    }
}

impl From<Error> for HitError {
    fn from(error: Error) -> Self {
        Self { error, limit: Applied::No, series: Applied::No, buffer: Applied::No }
    }
}

impl From<HitError> for Error {
    fn from(error: HitError) -> Self {
        error.error
    }
}

/// Which clocks a hit goes by.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// What limits see.
    when: When,
    /// What the series takes for now.
    now: Timestamp,
    /// What dates the point and the `at` columns.
    at: Timestamp,
}

impl EventHandle {
    pub(crate) fn new(bay: Forebay, event: Event) -> Result<Self> {
        let name = Name::new(&event.name)?;
        if let Some((limit, _)) = event.limits.iter().find(|(limit, _)| limit.kind() == Kind::Concurrency) {
            return Err(invalid(format!(
                "event {name}: limit {} lends leases, and a hit has no end at which to give one back",
                limit.name()
            )));
        }
        for template in &event.buffers {
            template.check().map_err(|error| Error::new(error.kind(), format!("event {name}: {error}")))?;
        }
        Ok(Self(Arc::new(Inner { bay, name, event })))
    }

    /// Takes `n` hits (1 to 2^31) of `key`: all or none.
    ///
    /// They are charged to every limit in one decision; if admitted, added to the series and buffers together, and
    /// accepted only after both. A denied hit is counted in the `limited` series.
    ///
    /// # Errors
    /// [`HitError`] when series or buffer cannot take it: its fields say how far it came, and the charge was given back
    /// as far as possible.
    ///
    /// # Cancellation
    /// Dropping the future may leave any part applied; none is applied twice.
    ///
    /// # Cost
    /// At most two round trips, shared; none embedded.
    pub async fn hit(&self, key: impl AsRef<str>, n: u64) -> Result<Hit, HitError> {
        let now = self.0.bay.clock().now();
        self.hit_with(key.as_ref(), n, Times { when: When::EngineClock, now, at: now }).await
    }

    /// As [`hit`](Self::hit), for a hit that happened at `at`, at most 5 minutes ahead of the clock. That dates the
    /// series' point and the `at` columns only: limits go by the store's clock, or a back-dated event would evade
    /// them.
    ///
    /// # Errors
    /// As [`hit`](Self::hit).
    pub async fn hit_at(&self, key: impl AsRef<str>, n: u64, at: Timestamp) -> Result<Hit, HitError> {
        let now = self.0.bay.clock().now();
        self.hit_with(key.as_ref(), n, Times { when: When::EngineClock, now, at }).await
    }

    /// As [`hit`](Self::hit), as though it were `at` now, also for the limits: for replays of old traffic.
    ///
    /// # Errors
    /// As [`hit`](Self::hit).
    pub async fn replay(&self, key: impl AsRef<str>, n: u64, at: Timestamp) -> Result<Hit, HitError> {
        self.hit_with(key.as_ref(), n, Times { when: When::At(at), now: at, at }).await
    }

    /// The event's name.
    pub fn name(&self) -> &Name {
        &self.0.name
    }

    async fn hit_with(&self, key: &str, n: u64, times: Times) -> Result<Hit, HitError> {
        let Inner { bay, event, .. } = &*self.0;
        let rows = self.checked(key, n, times)?;
        let charge = |(limit, fixed): &(crate::limit::LimitHandle, Option<String>)| Charge {
            limit: limit.clone(),
            key: fixed.as_deref().unwrap_or(key).to_owned(),
            cost: n,
        };
        let charges: Vec<Charge> = event.limits.iter().map(charge).collect();
        let limits = bay.take_all_at(&charges, times.when).await?;
        if !limits.allowed {
            self.count_limited(key, n, times).await;
            return Ok(Hit::Limited { limits });
        }
        let (series, buffer) = tokio::join!(self.count(key, n, times), self.write(rows));
        match (&series, &buffer) {
            (Ok(()), Ok(())) => Ok(Hit::Accepted { limits }),
            (Err(error), _) | (_, Err(error)) => {
                let limit = given_back(&limits.give_back(&charges).await);
                let (counted, written) = (Applied::of(&series), Applied::of(&buffer));
                Err(HitError { error: error.clone(), limit, series: counted, buffer: written })
            }
        }
    }

    async fn count(&self, key: &str, n: u64, times: Times) -> Result<()> {
        // What is late is counted nowhere, and the hit is accepted.
        let add = async |series: &SeriesHandle| match series.admit(key, n, Some(times.at), times.when).await?
        {
            Admission::Accepted { at, now } => series.add_many([(key, n, at)], When::At(now)).await,
            Admission::Late(error) => {
                tracing::debug!(%error, "a late hit was not counted");
                Ok(())
            }
        };
        // One series is the usual case; to wait for many at once costs allocations.
        if let [series] = &*self.0.event.series {
            return add(series).await;
        }
        futures::future::join_all(self.0.event.series.iter().map(add)).await.into_iter().collect()
    }

    /// Only a tally: that it fails changes nothing for the caller.
    async fn count_limited(&self, key: &str, n: u64, times: Times) {
        for series in &self.0.event.series {
            if let Err(error) = series.limited().add_many([(key, n, times.at)], times.when).await {
                tracing::debug!(series = %series.name(), %error, "a limited hit was not counted");
            }
        }
    }

    async fn write(&self, mut rows: Vec<Row>) -> Result<()> {
        if let ([template], 1) = (&*self.0.event.buffers, rows.len()) {
            return template.buffer.add_row(rows.swap_remove(0)).await;
        }
        let add = async |(template, row): (&Template, Row)| template.buffer.add_row(row).await;
        let adds = self.0.event.buffers.iter().zip(rows).map(add);
        futures::future::join_all(adds).await.into_iter().collect()
    }

    /// Everything that can be refused, before anything is charged; returns the rows to buffer.
    fn checked(&self, key: &str, n: u64, times: Times) -> Result<Vec<Row>> {
        let Inner { name, event, .. } = &*self.0;
        let describe = |error: Error| Error::new(error.kind(), format!("event {name}: {error}"));
        check_key(key).map_err(describe)?;
        if !(1..=1 << 31).contains(&n) {
            return Err(out_of_range(format!("event {name}: n {n}: 1 to 2147483648")));
        }
        if times.at > times.now.plus(MAX_AHEAD) {
            let (ahead, most) = (times.at.since(times.now).as_secs(), MAX_AHEAD.as_secs());
            return Err(out_of_range(format!(
                "event {name}: at {} is {ahead} s ahead of the clock: at most {most}",
                times.at
            )));
        }
        let filling = Filling { key, n, at: times.at };
        event.buffers.iter().map(|template| template.fill(filling)).collect::<Result<_>>().map_err(describe)
    }
}

/// Whether a charge still stands after an attempt to give it back.
fn given_back(answer: &Result<()>) -> Applied {
    match answer {
        Ok(()) => Applied::No,
        Err(error) if error.retry() == Retry::Unknown => Applied::Unknown,
        Err(_) => Applied::Yes,
    }
}
