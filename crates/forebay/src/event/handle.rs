//! One hit: limited, counted and buffered.

use std::sync::Arc;

use super::{
    definition::{Event, Template},
    outcome::{Applied, Hit, HitError, Parts},
    template::Filling,
};
use crate::{
    bay::Forebay,
    buffer::Row,
    error::{Error, Result, invalid, out_of_range},
    key::{Name, check_key},
    limit::{Charge, Charged, Decisions, Kind},
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
    /// [`HitError`] when a series or a buffer cannot take it: its fields say which parts were applied. The charge is
    /// given back if none was, and stays as soon as one was, or may have been.
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
        let rows = self.checked(key, n, times).map_err(|error| self.refused(error))?;
        let charge = |(limit, fixed): &(crate::limit::LimitHandle, Option<String>)| Charge {
            limit: limit.clone(),
            key: fixed.as_deref().unwrap_or(key).to_owned(),
            cost: n,
        };
        let charges: Vec<Charge> = event.limits.iter().map(charge).collect();
        let limits = bay.take_all_at(&charges, times.when).await.map_err(|error| self.refused(error))?;
        if !limits.allowed {
            self.count_limited(key, n, times).await;
            return Ok(Hit::Limited { limits });
        }
        let (series, buffers) = tokio::join!(self.count(key, n, times), self.write(rows));
        match (series, buffers) {
            (Ok(()), Ok(())) => Ok(Hit::Accepted { limits }),
            (series, buffers) => Err(Box::pin(self.failed(&limits, &charges, series, buffers)).await),
        }
    }

    /// The error of a hit that not every part took. The charge goes back only if none did.
    async fn failed(&self, limits: &Decisions, charges: &[Charge], series: Each, buffers: Each) -> HitError {
        let Event { series: all_series, buffers: all_buffers, .. } = &self.0.event;
        let applied = |each: &Each, place: usize| match each {
            Ok(()) => Applied::Yes,
            Err(answers) => Applied::of(&answers[place]),
        };
        let names = all_series.iter().map(SeriesHandle::name).enumerate();
        let counted = Parts::new(names.map(|(place, name)| (name, applied(&series, place))));
        let names = all_buffers.iter().map(|template| &template.buffer.schema().name).enumerate();
        let written = Parts::new(names.map(|(place, name)| (name, applied(&buffers, place))));
        let charged = if counted.all(Applied::No) && written.all(Applied::No) {
            limits.give_back(charges).await
        } else {
            limits.charged()
        };
        let limit = match charged {
            Charged::Yes => Applied::Yes,
            Charged::No => Applied::No,
            Charged::Unknown => Applied::Unknown,
        };
        let errors = [series, buffers].into_iter().filter_map(Result::err).flatten().filter_map(Result::err);
        HitError::of_parts(limit, counted, written, errors)
    }

    /// The error of a hit that came to no part.
    fn refused(&self, error: Error) -> HitError {
        let Event { series, buffers, .. } = &self.0.event;
        HitError {
            error,
            limit: Applied::No,
            series: Parts::new(series.iter().map(|series| (series.name(), Applied::No))),
            buffer: Parts::new(buffers.iter().map(|one| (&one.buffer.schema().name, Applied::No))),
        }
    }

    async fn count(&self, key: &str, n: u64, times: Times) -> Each {
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
            return add(series).await.map_err(|error| vec![Err(error)]);
        }
        each(futures::future::join_all(self.0.event.series.iter().map(add)).await)
    }

    /// Only a tally: that it fails changes nothing for the caller.
    async fn count_limited(&self, key: &str, n: u64, times: Times) {
        for series in &self.0.event.series {
            if let Err(error) = series.limited().add_many([(key, n, times.at)], times.when).await {
                tracing::debug!(series = %series.name(), %error, "a limited hit was not counted");
            }
        }
    }

    async fn write(&self, mut rows: Vec<Row>) -> Each {
        if let ([template], 1) = (&*self.0.event.buffers, rows.len()) {
            return template.buffer.add_row(rows.swap_remove(0)).await.map_err(|error| vec![Err(error)]);
        }
        let add = async |(template, row): (&Template, Row)| template.buffer.add_row(row).await;
        each(futures::future::join_all(self.0.event.buffers.iter().zip(rows).map(add)).await)
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

/// What became of each series, or of each buffer: all took the hit, or what each said.
type Each = Result<(), Vec<Result<()>>>;

fn each(answers: Vec<Result<()>>) -> Each {
    if answers.iter().all(Result::is_ok) { Ok(()) } else { Err(answers) }
}
