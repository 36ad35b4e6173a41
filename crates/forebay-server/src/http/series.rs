//! `/v1/series`: points, sums, ranges and charts.

use axum::{
    Extension,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use forebay::{
    Timestamp,
    series::{self, SeriesHandle},
    time::days,
};
use futures::{StreamExt, stream};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Admin, Json, JsonResult, OneOrMany, Path, Problem, Query, Read, Write,
    batch::{LineResult, MAX_IN_FLIGHT, respond_added, respond_added_batch},
    once::Keyed,
    query::{
        ChartQuery, DeleteQuery, KeysAnd, KeysQuery, ListQuery, SumQuery, between, checked_key,
        regular_length, regular_step, zone,
    },
};
use crate::{
    api::{
        batch::Added,
        fields::{At, Count, Key},
        series::{DeletedBody, KeysBody, MoveRequest, MovedBody, PointRequest, RangeAnswer, Sum},
        series_query::RangeQuery,
    },
    app::{App, Shared},
    chart,
    registry::{SeriesEntry, UnknownName},
};

/// The suffix of the series of the hits that limits denied.
const LIMITED: &str = ".limited";

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(add, range, delete))
        .routes(routes!(sum))
        .routes(routes!(keys))
        .routes(routes!(merge))
        .routes(routes!(rename))
        .routes(routes!(chart))
}

/// One point, or a batch of at most 10 000.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body to OpenAPI; `OneOrMany` reads it")]
#[serde(untagged)]
enum Points {
    One(PointRequest),
    Many(Vec<PointRequest>),
}

/// The series to read: a declared one, or its `.limited`.
pub(super) fn find(app: &App, name: &str) -> Result<SeriesHandle, UnknownName> {
    match name.strip_suffix(LIMITED) {
        Some(declared) => app.series.find(declared).map(|series| series.handle.limited()),
        None => app.series.find(name).map(|series| series.handle.clone()),
    }
}

/// Counts points.
#[utoipa::path(
    post, path = "/v1/series/{series}", security(("token" = ["write"])),
    request_body(content((Points = "application/json"), (String = "application/x-ndjson"))),
    responses(
        (status = 202, description = "Counted; for a batch, with the outcome of each line", body = Added),
        (status = 207, description = "A batch with an `Idempotency-Key` and a failed line; a repeat completes it", body = Added),
        (status = 503, description = "The store could not take it"),
    ),
)]
async fn add(
    Write(app): Write,
    Path(series): Path<String>,
    keyed: Option<Extension<Keyed>>,
    body: OneOrMany<PointRequest>,
) -> Result<Response, Problem> {
    let series = app.series.find(&series)?;
    let keyed = keyed.as_deref();
    Ok(match body {
        OneOrMany::One(request) => {
            respond_added(add_point(series, request, keyed.map(|keyed| keyed.line(0))).await)?
        }
        OneOrMany::Many(requests) => {
            let add_line = async |(number, request): (usize, Result<PointRequest, Problem>)| {
                if let Some(answer) = keyed.and_then(|keyed| keyed.answer(number)) {
                    return LineResult::known(answer);
                }
                match request {
                    Ok(request) => {
                        let line = keyed.map(|keyed| keyed.line(number));
                        LineResult::from(add_point(series, request, line).await)
                    }
                    Err(problem) => problem.into(),
                }
            };
            let lines = stream::iter(requests).enumerate().map(add_line).buffered(MAX_IN_FLIGHT).collect();
            respond_added_batch(lines.await, keyed.is_some())
        }
    })
}

async fn add_point(
    series: &SeriesEntry,
    request: PointRequest,
    line: Option<forebay::once::RequestItem>,
) -> Result<(), forebay::Error> {
    let PointRequest { key: Key(key), n: Count(n), at } = request;
    match (line, at) {
        (Some(line), at) => series.handle.add_once(&line, key, n, at.map(|At(at)| at)).await?,
        (None, Some(At(at))) => series.handle.add_at(key, n, at).await?,
        (None, None) => series.handle.add(key, n).await?,
    }
    series.metrics.points.increment(1);
    Ok(())
}

/// The counts of one or more keys over time, with zeros where nothing was counted, and what is computed from them.
#[utoipa::path(
    get, path = "/v1/series/{series}", params(KeysQuery, RangeQuery), security(("token" = ["read"])),
    responses((
        status = 200,
        description = "The points of the key; for several keys, or with `total`, a list. At most 100 000 points and a \
            million buckets for all keys together, with the points before the range and of the previous period",
        body = RangeAnswer,
    )),
)]
async fn range(
    Read(app): Read,
    Path(series): Path<String>,
    KeysAnd(keys, query): KeysAnd<RangeQuery>,
) -> JsonResult<RangeAnswer> {
    let series = find(&app, &series)?;
    for key in &keys {
        checked_key(key)?;
    }
    let total = query.wants_total()?;
    let query = query.query(series.store_time(&keys[0]).await)?;
    if let ([key], false) = (keys.as_slice(), total) {
        return Ok(Json(RangeAnswer::one(key, series.query(key, &query).await?)));
    }
    Ok(Json(RangeAnswer::many(&keys, series.query_many(&keys, &query).await?, total)))
}

/// The sum of a key's counts in a time range.
#[utoipa::path(
    get, path = "/v1/series/{series}/sum", params(SumQuery), security(("token" = ["read"])),
    responses(
        (status = 200, description = "The sum; the range is widened to the finest buckets that are still kept, see `from` and `to`", body = Sum),
    ),
)]
async fn sum(Read(app): Read, Path(series): Path<String>, Query(query): Query<SumQuery>) -> JsonResult<Sum> {
    let (series, key) = (find(&app, &series)?, checked_key(&query.key)?);
    let (from, to) = between(&query.from, &query.to, &query.tz, series.store_time(key).await)?;
    Ok(Json(Sum::from(series.total(key, from, to).await?)))
}

/// A chart of the counts of a key over time.
#[utoipa::path(
    get, path = "/v1/series/{series}/chart.svg", params(ChartQuery), security(("token" = ["read"])),
    responses((status = 200, description = "The chart", body = String, content_type = "image/svg+xml")),
)]
async fn chart(
    Read(app): Read,
    Path(name): Path<String>,
    Query(query): Query<ChartQuery>,
) -> Result<Response, Problem> {
    let (series, key) = (find(&app, &name)?, checked_key(&query.key)?);
    let (from, to) = between(&query.from, &query.to, &query.tz, series.store_time(key).await)?;
    let length = regular_step(query.step.as_deref())?;
    let range = series.range(key, from, to, length).await?;
    let mut options =
        chart::Options { zone: zone(&query.tz)?, theme: query.theme, ..chart::Options::default() };
    options.width = query.width.unwrap_or(options.width);
    options.height = query.height.unwrap_or(options.height);
    let points =
        chart::Points { start: range.start(), step: regular_length(range.step)?, values: &range.values };
    let picture = chart::series(&format!("{name} of {key}"), points, &options);
    Ok(([(header::CONTENT_TYPE, "image/svg+xml")], picture).into_response())
}

/// The keys of a series that have a count which is kept, in the order of their bytes.
#[utoipa::path(
    get, path = "/v1/series/{series}/keys", params(ListQuery), security(("token" = ["read"])),
    responses((status = 200, description = "A page of keys", body = KeysBody)),
)]
async fn keys(
    Read(app): Read,
    Path(series): Path<String>,
    Query(query): Query<ListQuery>,
) -> JsonResult<KeysBody> {
    let ListQuery { prefix, after, limit } = query;
    let mut list = series::KeyQuery::new().prefix(prefix).limit(limit.unwrap_or(100));
    if let Some(after) = after {
        list = list.after(after);
    }
    Ok(Json(KeysBody::from(find(&app, &series)?.keys(&list).await?)))
}

/// Adds all counts of a key to those of another one. The first key has none after that.
///
/// If the keys are on different hosts, it lasts three seconds. After an error that says `unknown` it is completed in the
/// background.
#[utoipa::path(
    post, path = "/v1/series/{series}/merge", security(("token" = ["admin"])), request_body = MoveRequest,
    responses((status = 200, description = "Moved, each count once", body = MovedBody)),
)]
async fn merge(
    Admin(app): Admin,
    Path(series): Path<String>,
    Json(request): Json<MoveRequest>,
) -> JsonResult<MovedBody> {
    let MoveRequest { from: Key(from), to: Key(to) } = request;
    Ok(Json(MovedBody { moved: find(&app, &series)?.merge(from, to).await? }))
}

/// Gives a key of a series another name, which must have no counts.
#[utoipa::path(
    post, path = "/v1/series/{series}/rename", security(("token" = ["admin"])), request_body = MoveRequest,
    responses(
        (status = 200, description = "Renamed, each count once", body = MovedBody),
        (status = 422, description = "The other key has counts"),
    ),
)]
async fn rename(
    Admin(app): Admin,
    Path(series): Path<String>,
    Json(request): Json<MoveRequest>,
) -> JsonResult<MovedBody> {
    let MoveRequest { from: Key(from), to: Key(to) } = request;
    Ok(Json(MovedBody { moved: find(&app, &series)?.rename(from, to).await? }))
}

/// Deletes a key of a series, or a span of one.
///
/// Nothing outside the span is deleted. An end that is not where a bucket begins is refused, with the nearest one.
#[utoipa::path(
    delete, path = "/v1/series/{series}", params(DeleteQuery), security(("token" = ["admin"])),
    responses(
        (status = 204, description = "All counts of the key are deleted"),
        (status = 200, description = "The counts of the span are deleted", body = DeletedBody),
    ),
)]
async fn delete(
    Admin(app): Admin,
    Path(series): Path<String>,
    Query(query): Query<DeleteQuery>,
) -> Result<Response, Problem> {
    let (series, key) = (find(&app, &series)?, checked_key(&query.key)?);
    let DeleteQuery { from, to, tz, .. } = &query;
    if from.is_none() && to.is_none() {
        series.delete(key).await?;
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let now = series.store_time(key).await;
    // Earlier, and later, than anything that is kept.
    let (first, last) = (Timestamp::UNIX_EPOCH.to_string(), now.plus(days(1)).to_string());
    let (from, to) = (from.as_deref().unwrap_or(&first), to.as_deref().unwrap_or(&last));
    let (from, to) = between(from, to, tz, now)?;
    Ok(Json(DeletedBody { deleted: series.delete_between(key, from, to).await? }).into_response())
}
