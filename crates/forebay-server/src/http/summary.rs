//! `/v1/series` of other kinds than hits: the bodies of each kind. `series.rs` has the routes.

use axum::{
    extract::{FromRequest, Request},
    http::StatusCode,
    response::Response,
};
use forebay::{
    Error, Timestamp,
    once::RequestItem,
    series::{DistinctHandle, Distribution, GaugeStats, KindHandle, Query, Values},
};

use super::{
    OneOrMany, Problem,
    batch::{Failure, add_all, failure},
    chosen::Selection,
    once::Keyed,
};
use crate::{
    api::{
        fields::{At, Key},
        series_query::{RangeQuery, WrongParameter},
        summary::{ElementRequest, PercentilesBody, SummaryBody, SummaryValue, ValueRequest},
    },
    app::{App, Shared},
    registry::Registry,
    summary::{SummaryEntry, SummarySeries},
};

/// The declared series of another kind than hits with this name.
pub(super) fn find<'a>(app: &'a App, name: &str) -> Option<&'a SummaryEntry> {
    let Registry { entries, .. } = &app.summaries;
    entries.iter().find(|(declared, _)| declared.as_str() == name).map(|(_, series)| series)
}

/// The refusal of a request that only a series of hits can answer.
pub(super) fn unfit(name: &str, series: &SummaryEntry) -> Problem {
    let kind = series.handle.kind();
    let detail = format!(
        "series {name}: it is of the kind {kind}, which has points (GET and POST /v1/series/{name}), keys, and the deletion of a \
         key; sums, charts, exports, merges and renames are of series of hits"
    );
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "other-kind", detail)
}

/// Adds points, each of which its kind reads from the body.
pub(super) async fn add(
    series: &SummaryEntry,
    keyed: Option<&Keyed>,
    (request, app): (Request, &Shared),
) -> Result<Response, Problem> {
    match &series.handle {
        SummarySeries::Distinct(handle) => {
            let body = OneOrMany::<ElementRequest>::from_request(request, app).await?;
            add_all(body, keyed, |request, line| add_element(series, handle, request, line)).await
        }
        SummarySeries::Gauge(handle) => {
            let body = OneOrMany::<ValueRequest>::from_request(request, app).await?;
            add_all(body, keyed, |request, line| add_value(series, handle, request, line)).await
        }
        SummarySeries::Percentiles(handle) => {
            let body = OneOrMany::<ValueRequest>::from_request(request, app).await?;
            add_all(body, keyed, |request, line| add_value(series, handle, request, line)).await
        }
    }
}

async fn add_element(
    series: &SummaryEntry,
    handle: &DistinctHandle,
    request: ElementRequest,
    line: Option<RequestItem>,
) -> Result<(), Failure> {
    let ElementRequest { key: Key(key), element: Key(element), at } = request;
    let added = match (line, at) {
        (Some(line), at) => handle.add_once(&line, key, element, at.map(|At(at)| at)).await,
        (None, Some(At(at))) => handle.add_at(key, element, at).await,
        (None, None) => handle.add(key, element).await,
    };
    added.map_err(failure)?;
    series.metrics.points.increment(1);
    Ok(())
}

async fn add_value<K: Values>(
    series: &SummaryEntry,
    handle: &KindHandle<K>,
    request: ValueRequest,
    line: Option<RequestItem>,
) -> Result<(), Failure> {
    let ValueRequest { key: Key(key), value, at } = request;
    let recorded = match (line, at) {
        (Some(line), at) => handle.record_once(&line, key, value, at.map(|At(at)| at)).await,
        (None, Some(At(at))) => handle.record_at(key, value, at).await,
        (None, None) => handle.record(key, value).await,
    };
    recorded.map_err(failure)?;
    series.metrics.points.increment(1);
    Ok(())
}

/// The points of all keys together.
pub(super) async fn range(
    series: &SummaryEntry,
    selection: &Selection,
    query: &RangeQuery,
) -> Result<SummaryBody, Problem> {
    let Selection::Keys(keys) = selection else {
        let kind = series.handle.kind();
        let detail =
            format!("label: series of the kind {kind} have no labels; name the keys, as in key=a&key=b");
        return Err(Problem::field("label", detail));
    };
    let now = series.handle.store_time(&keys[0]).await;
    let question = Question::new(&series.handle, query, now)?;
    Ok(answer(&series.handle, keys, &question).await?)
}

/// A query of a series of another kind than hits.
struct Question {
    query: Query,
    /// Of percentiles, each with its text.
    quantiles: Vec<(String, f64)>,
}

impl Question {
    /// Reads the parameters.
    fn new(series: &SummarySeries, query: &RangeQuery, now: Timestamp) -> Result<Self, WrongParameter> {
        if query.group_by.is_some() {
            let detail = "group_by: only series of hits have labels".to_owned();
            return Err(WrongParameter { field: "group_by", detail });
        }
        if query.total.is_some() {
            let detail =
                "total: the answer has the value of all keys together, and of the whole span".to_owned();
            return Err(WrongParameter { field: "total", detail });
        }
        let quantiles = match series {
            SummarySeries::Percentiles(_) => query.quantiles()?,
            _ => query.without_quantiles().map(|()| vec![])?,
        };
        Ok(Self { query: query.query(now)?, quantiles })
    }
}

/// Queries a series of any kind.
async fn answer(
    series: &SummarySeries,
    keys: &[String],
    Question { query, quantiles }: &Question,
) -> Result<SummaryBody, Error> {
    let kind = series.kind();
    Ok(match series {
        SummarySeries::Distinct(handle) => {
            let points = handle.query(keys, query).await?;
            SummaryBody::new(kind, keys, &points, |count| Some(SummaryValue::Distinct(*count)))
        }
        SummarySeries::Gauge(handle) => {
            let points = handle.query(keys, query).await?;
            let value = |stats: &Option<GaugeStats>| Some(SummaryValue::Gauge(stats.as_ref()?.into()));
            SummaryBody::new(kind, keys, &points, value)
        }
        SummarySeries::Percentiles(handle) => {
            let points = handle.query(keys, query).await?;
            let value = |distribution: &Distribution| {
                PercentilesBody::new(distribution, quantiles).map(SummaryValue::Percentiles)
            };
            SummaryBody::new(kind, keys, &points, value)
        }
    })
}
