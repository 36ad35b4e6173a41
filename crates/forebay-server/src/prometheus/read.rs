//! Reads the samples that a query needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use forebay::{
    Timestamp,
    series::{Resolution, SeriesHandle, UniformQuery},
};

use super::{
    list::{ListError, Lister, partial},
    names::{Catalogue, Metric},
    samples::{Counts, samples},
};
use crate::{
    app::App,
    promql::{Fault, Instants, LOOKBACK, Query, Selector, Stream, Window},
    text::Span,
};

/// The most samples that the selectors of a query have together. They are in memory at the same time.
const MAX_SAMPLES: usize = 5_000_000;

/// The samples of a query.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// The samples of each selector.
    pub(crate) data: Vec<Vec<Stream>>,
    /// Limits of the answer that its reader should know.
    pub(crate) warnings: BTreeSet<String>,
}

/// The reason why samples cannot be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    Fault(Fault),
    Store(forebay::Error),
}

impl From<ListError> for ReadError {
    fn from(error: ListError) -> Self {
        match error {
            ListError::TooMany(text) => Self::Fault(Fault::Execution(text)),
            ListError::Store(error) => Self::Store(error),
        }
    }
}

impl From<forebay::Error> for ReadError {
    fn from(error: forebay::Error) -> Self {
        Self::Store(error)
    }
}

/// The time from which a series is read, and the store's time. Both hold for all of a query.
#[derive(Clone, Copy, Debug)]
struct Reach {
    oldest: i64,
    now: Timestamp,
}

/// Reads the samples of all selectors of a query.
///
/// All selectors of a series have the same resolution: the finest that keeps the oldest instant that one of them reads.
pub(crate) async fn read(app: &App, query: &Query, instants: Instants) -> Result<Reading, ReadError> {
    let catalogue = Catalogue::new(app.series.entries.keys());
    let mut lister = Lister::new(app);
    let mut parts = vec![];
    for (place, selector) in query.selectors.iter().enumerate() {
        let metrics =
            catalogue.select(&selector.matchers).map_err(|text| ReadError::Fault(Fault::BadData(text)))?;
        parts.extend(metrics.into_iter().map(|metric| (place, selector, metric, lister.handle(metric))));
    }
    let mut reaches: BTreeMap<String, Reach> = BTreeMap::new();
    for (_, selector, _, handle) in &parts {
        let oldest = selector.span(instants.start).0;
        let name = handle.name().as_str();
        if let Some(reach) = reaches.get_mut(name) {
            reach.oldest = reach.oldest.min(oldest);
        } else {
            reaches.insert(name.to_owned(), Reach { oldest, now: handle.store_time("").await });
        }
    }
    let mut reading = Reading { data: vec![vec![]; query.selectors.len()], ..Reading::default() };
    let mut samples = 0;
    for (place, selector, metric, handle) in parts {
        let reach = reaches[handle.name().as_str()];
        let part = Part { selector, metric, handle, reach, instants };
        let streams = part.read(&mut lister, &mut reading.warnings).await?;
        samples += streams.iter().map(|stream| stream.samples.values.len()).sum::<usize>();
        if samples > MAX_SAMPLES {
            let text = format!(
                "the query reads more than {MAX_SAMPLES} samples: ask for fewer keys or a shorter range"
            );
            return Err(ReadError::Fault(Fault::Execution(text)));
        }
        reading.data[place].extend(streams);
    }
    reading.warnings.extend(lister.warnings());
    Ok(reading)
}

/// A metric of a selector.
struct Part<'a> {
    selector: &'a Selector,
    metric: &'a Metric,
    handle: SeriesHandle,
    reach: Reach,
    instants: Instants,
}

impl Part<'_> {
    async fn read(
        &self,
        lister: &mut Lister<'_>,
        warnings: &mut BTreeSet<String>,
    ) -> Result<Vec<Stream>, ReadError> {
        let Self { selector, metric, handle, reach, instants } = self;
        let oldest = Timestamp::from_millis(reach.oldest);
        let resolution = handle.resolution_at(oldest, reach.now);
        if let Some(warning) = self.too_short(resolution) {
            warnings.insert(warning);
            if selector.window != Window::Lookback {
                return Ok(vec![]);
            }
        }
        let (names, labels): (Vec<_>, Vec<_>) =
            lister.keys(metric, &selector.matchers).await?.into_iter().unzip();
        let (from, to) = (selector.span(instants.start).0, selector.span(instants.end()).1);
        let query = UniformQuery::ending_between(Timestamp::from_millis(from), Timestamp::from_millis(to));
        let found = handle.uniform_buckets(&names, &query.reach(oldest).as_of(reach.now)).await?;
        if found.partial {
            warnings.insert(partial(handle.name().as_str()));
        }
        let step = millis(found.resolution);
        let streams = labels.into_iter().zip(&found.keys).map(|(labels, key)| {
            let start = found.start.as_millis();
            let counts = Counts { start, step, before: key.before, inside: &key.counts, after: key.after };
            Stream { labels, samples: samples(counts, metric.form) }
        });
        Ok(streams.filter(|stream| !stream.samples.values.is_empty()).collect())
    }

    /// The warning about a window that has fewer than two samples.
    fn too_short(&self, resolution: Resolution) -> Option<String> {
        let (name, step) = (&self.metric.name, millis(resolution));
        let span = |millis: i64| Span(Duration::from_millis(millis.unsigned_abs())).to_string();
        match self.selector.window {
            Window::Range(range) if range < step.saturating_mul(2) => Some(format!(
                "{name}: the window [{}] is empty, because buckets of {} are the finest that are kept for this query: the least \
                 window is [{}]",
                span(range),
                span(step),
                span(step.saturating_mul(2))
            )),
            Window::Lookback if step > LOOKBACK => Some(format!(
                "{name}: buckets of {} are the finest that are kept for this query, and an instant has the newest sample of only \
                 {}: use a window of at least [{}]",
                span(step),
                span(LOOKBACK),
                span(step.saturating_mul(2))
            )),
            _ => None,
        }
    }
}

fn millis(resolution: Resolution) -> i64 {
    i64::try_from(resolution.step.as_millis()).unwrap_or(i64::MAX)
}
