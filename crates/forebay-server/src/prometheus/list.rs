//! Lists of keys.

use forebay::{
    Error, Name, Timestamp,
    series::{Filter, KeyQuery, SeriesHandle, UniformQuery},
};

use super::{
    labels::{self, Keys},
    names::Metric,
};
use crate::{app::App, promql::Labels, promql::Matcher};

/// The most keys of a selector.
pub(crate) const MAX_KEYS: usize = 10_000;

/// The reason why the keys of a selector cannot be listed.
#[derive(Debug)]
pub(crate) enum ListError {
    /// There are too many.
    TooMany(String),
    Store(Error),
}

impl From<Error> for ListError {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// Lists keys, each list of the store at most once.
#[derive(Debug)]
pub(crate) struct Lister<'a> {
    app: &'a App,
    known: Vec<(Name, Filter, Vec<String>)>,
    /// Series of which keys may be missing.
    partial: Vec<String>,
}

impl<'a> Lister<'a> {
    pub(crate) fn new(app: &'a App) -> Self {
        Self { app, known: vec![], partial: vec![] }
    }

    /// The lists that may be incomplete.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = String> {
        self.partial.iter().map(|series| partial(series))
    }

    /// The series of a metric.
    pub(super) fn handle(&self, metric: &Metric) -> SeriesHandle {
        let series = &self.app.series.declared(&metric.series).handle;
        if metric.is_limited { series.limited() } else { series.clone() }
    }

    /// The keys of a metric that fit the conditions, with their labels. Keys that the conditions name may have no counts.
    pub(super) async fn keys(
        &mut self,
        metric: &Metric,
        matchers: &[Matcher],
    ) -> Result<Vec<(String, Labels)>, ListError> {
        let handle = self.handle(metric);
        let keys = match labels::keys(matchers, &handle) {
            Keys::Named(keys) => keys,
            Keys::Filter(filter) => self.listed(&handle, filter).await?,
        };
        let named = keys.into_iter().map(|key| (labels::labels(&metric.name, &handle, &key), key));
        Ok(named
            .filter(|(labels, _)| labels::fits(matchers, labels))
            .map(|(labels, key)| (key, labels))
            .collect())
    }

    /// The labels of all keys of a metric that fit the conditions and have counts.
    pub(crate) async fn existing(
        &mut self,
        metric: &Metric,
        matchers: &[Matcher],
    ) -> Result<Vec<Labels>, ListError> {
        let handle = self.handle(metric);
        let keys = self.keys(metric, matchers).await?;
        if matches!(labels::keys(matchers, &handle), Keys::Filter(_)) {
            return Ok(keys.into_iter().map(|(_, labels)| labels).collect());
        }
        let (names, labels): (Vec<String>, Vec<Labels>) = keys.into_iter().unzip();
        // No bucket: only the sum of all that the coarsest resolution keeps.
        let now = handle.store_time("").await;
        let query = UniformQuery::ending_between(now, now).reach(Timestamp::UNIX_EPOCH).as_of(now);
        let found = handle.uniform_buckets(&names, &query).await?;
        let counted = labels.into_iter().zip(found.keys).filter(|(_, key)| key.before > 0 || key.after > 0);
        Ok(counted.map(|(labels, _)| labels).collect())
    }

    async fn listed(&mut self, handle: &SeriesHandle, filter: Filter) -> Result<Vec<String>, ListError> {
        let name = handle.name();
        let is_known = |(known, of, _): &&(Name, Filter, Vec<String>)| known == name && *of == filter;
        if let Some((.., keys)) = self.known.iter().find(is_known) {
            return Ok(keys.clone());
        }
        let page = handle.keys(&KeyQuery::new().filter(filter.clone()).limit(MAX_KEYS)).await?;
        if page.more {
            let label = labels::names(handle)[0];
            return Err(ListError::TooMany(format!(
                "series {name}: more than {MAX_KEYS} keys: name them, as in {label}=\"a\" or {label}=~\"a|b\", or their \
                 beginning, as in {label}=~\"user:.*\""
            )));
        }
        if page.partial {
            self.partial.push(name.to_string());
        }
        self.known.push((name.clone(), filter, page.keys.clone()));
        Ok(page.keys)
    }
}

/// The warning about a series of which a host was down.
pub(super) fn partial(series: &str) -> String {
    format!("series {series}: counts may be missing that other hosts accepted while one was down")
}
