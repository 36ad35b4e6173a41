//! `/v1/series`: points, sums, ranges and charts.

use axum::{
    Extension,
    extract::{FromRequest, Request},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use forebay::{
    Timestamp,
    once::RequestItem,
    series::{self, SeriesHandle},
    time::days,
};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Admin, Json, JsonResult, OneOrMany, Path, Problem, Query, Read, Write,
    batch::{Failure, add_all, failure},
    chosen::{Chosen, ChosenAnd, ChosenQuery, LabelsQuery, Selection},
    once::Keyed,
    query::{DeleteQuery, ListQuery, SumQuery, between, checked_key},
    summary,
};
use crate::{
    api::{
        batch::Added,
        fields::{At, Count, Key},
        labels::Labels,
        series::{DeletedBody, KeysBody, MoveRequest, MovedBody, PointRequest, RangeAnswer, Sum},
        series_query::RangeQuery,
        summary::{ElementRequest, SummaryBody, ValueRequest},
    },
    app::{App, Shared},
    registry::SeriesEntry,
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
}

/// One point, or a batch of at most 10 000.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body to OpenAPI; `OneOrMany` reads it")]
#[serde(untagged)]
enum Points {
    One(PointBody),
    Many(Vec<PointBody>),
}

/// A point, by the kind of the series.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body to OpenAPI")]
#[serde(untagged)]
enum PointBody {
    Hits(PointRequest),
    Element(ElementRequest),
    Value(ValueRequest),
}

/// The points of a series, by its kind.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body to OpenAPI")]
#[serde(untagged)]
enum SeriesAnswer {
    Hits(RangeAnswer),
    Other(Box<SummaryBody>),
}

/// The series of hits to read: a declared one, or its `.limited`.
pub(super) fn find(app: &App, name: &str) -> Result<SeriesHandle, Problem> {
    if let Some(series) = summary::find(app, name) {
        return Err(summary::unfit(name, series));
    }
    Ok(match name.strip_suffix(LIMITED) {
        Some(declared) => app.series.find(declared)?.handle.limited(),
        None => app.series.find(name)?.handle.clone(),
    })
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
    Path(name): Path<String>,
    keyed: Option<Extension<Keyed>>,
    request: Request,
) -> Result<Response, Problem> {
    let keyed = keyed.as_deref();
    if let Some(series) = summary::find(&app, &name) {
        return summary::add(series, keyed, (request, &app)).await;
    }
    let series = app.series.find(&name)?;
    let body = OneOrMany::<PointRequest>::from_request(request, &app).await?;
    add_all(body, keyed, |request, line| add_point(series, request, line)).await
}

async fn add_point(
    series: &SeriesEntry,
    request: PointRequest,
    line: Option<RequestItem>,
) -> Result<(), Failure> {
    let PointRequest { key, labels, n: Count(n), at } = request;
    let key = point_key(&series.handle, key, labels).map_err(|problem| (problem, None))?;
    let added = match (line, at) {
        (Some(line), at) => series.handle.add_once(&line, key, n, at.map(|At(at)| at)).await,
        (None, Some(At(at))) => series.handle.add_at(key, n, at).await,
        (None, None) => series.handle.add(key, n).await,
    };
    added.map_err(failure)?;
    series.metrics.points.increment(1);
    Ok(())
}

/// The key of a point, which has one or labels.
fn point_key(series: &SeriesHandle, key: Option<Key>, labels: Option<Labels>) -> Result<String, Problem> {
    match (key, labels) {
        (Some(Key(key)), None) => Ok(key),
        (None, Some(labels)) => {
            series.key_of(labels.iter()).map_err(|error| Problem::from(error).with("field", "labels"))
        }
        (None, None) => Err(Problem::field("key", "missing field `key`, or `labels` in its place")),
        (Some(_), Some(_)) => Err(Problem::field("labels", "labels: a key and labels: one of them")),
    }
}

/// The counts of one or more keys over time, with zeros where nothing was counted, and what is computed from them.
#[utoipa::path(
    get, path = "/v1/series/{series}", params(ChosenQuery, RangeQuery), security(("token" = ["read"])),
    responses((
        status = 200,
        description = "The points of the key; for several keys, or with `total`, a list; with `label` or `group_by`, groups. At \
            most 100 000 points and a million buckets for all keys together, with the points before the range and of the \
            previous period; for groups, 10 000 keys, 1 000 groups and 20 million buckets. Of a series of \
            another kind than hits: the points of all keys together; of the parameters it has `key`, the span, `step`, `tz` and \
            `quantiles`",
        body = SeriesAnswer,
    )),
)]
async fn range(
    Read(app): Read,
    Path(name): Path<String>,
    ChosenAnd(chosen, query): ChosenAnd<RangeQuery>,
) -> Result<Response, Problem> {
    if let Some(other) = summary::find(&app, &name) {
        let selection = selection(chosen, &query)?;
        return Ok(Json(summary::range(other, &selection, &query).await?).into_response());
    }
    let series = find(&app, &name)?;
    let selection = selection(chosen, &query)?;
    Ok(Json(answer(&series, &selection, &query).await?).into_response())
}

/// The keys of a range.
pub(super) fn selection(chosen: Chosen, query: &RangeQuery) -> Result<Selection, Problem> {
    if query.group_by.is_some() && chosen.has_keys() {
        return Err(Problem::field(
            "group_by",
            "group_by: of the keys that label chooses, or of all; leave out key",
        ));
    }
    chosen.selection(query.group_by.is_some())
}

/// The answer for keys, of which there is at least one, or for groups of those of a filter.
pub(super) async fn answer(
    series: &SeriesHandle,
    selection: &Selection,
    texts: &RangeQuery,
) -> Result<RangeAnswer, Problem> {
    texts.without_quantiles()?;
    let total = texts.wants_total()?;
    let query = async |of: &str| Ok::<_, Problem>(texts.query(series.store_time(of).await)?);
    Ok(match selection {
        Selection::Keys(keys) => match (keys.as_slice(), total) {
            ([key], false) => RangeAnswer::one(key, series.query(key, &query(key).await?).await?),
            (keys, _) => {
                RangeAnswer::many(keys, series.query_many(keys, &query(&keys[0]).await?).await?, total)
            }
        },
        Selection::Filter(filter) => {
            let groups = series.query_by(filter, texts.groups(), &query("").await?).await?;
            RangeAnswer::groups(groups, texts.group_by.is_some(), total)
        }
    })
}

/// The sum of the counts of a key in a time range, or of all keys with some labels.
#[utoipa::path(
    get, path = "/v1/series/{series}/sum", params(ChosenQuery, SumQuery), security(("token" = ["read"])),
    responses(
        (status = 200, description = "The sum; the range is widened to the finest buckets that are still kept, see `from` and `to`", body = Sum),
    ),
)]
async fn sum(
    Read(app): Read,
    Path(series): Path<String>,
    ChosenAnd(chosen, query): ChosenAnd<SumQuery>,
) -> JsonResult<Sum> {
    let (series, selection) = (find(&app, &series)?, chosen.selection(false)?);
    let span = async |of: &str| between(&query.from, &query.to, &query.tz, series.store_time(of).await);
    let total = match &selection {
        Selection::Keys(keys) if keys.len() > 1 => {
            return Err(Problem::field(
                "key",
                "query: duplicate field `key`: a sum is of one key, or of labels",
            ));
        }
        Selection::Keys(keys) => {
            let (from, to) = span(&keys[0]).await?;
            series.total(&keys[0], from, to).await?
        }
        Selection::Filter(filter) => {
            let (from, to) = span("").await?;
            series.total_by(filter, from, to).await?
        }
    };
    Ok(Json(Sum::from(total)))
}

/// The keys of a series that have a count which is kept, in the order of their bytes.
#[utoipa::path(
    get, path = "/v1/series/{series}/keys", params(LabelsQuery, ListQuery), security(("token" = ["read"])),
    responses((status = 200, description = "A page of keys", body = KeysBody)),
)]
async fn keys(
    Read(app): Read,
    Path(series): Path<String>,
    ChosenAnd(chosen, query): ChosenAnd<ListQuery>,
) -> JsonResult<KeysBody> {
    let ListQuery { prefix, after, limit } = query;
    let filter = chosen.filter()?.prefix(prefix);
    let mut list = series::KeyQuery::new().filter(filter).limit(limit.unwrap_or(100));
    if let Some(after) = after {
        list = list.after(after);
    }
    if let Some(series) = summary::find(&app, &series) {
        return Ok(Json(KeysBody::plain(series.handle.keys(&list).await?)));
    }
    let series = find(&app, &series)?;
    let page = series.keys(&list).await?;
    Ok(Json(KeysBody::new(&series, page)))
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
    let key = checked_key(&query.key)?;
    let DeleteQuery { from, to, tz, .. } = &query;
    if let Some(other) = summary::find(&app, &series).filter(|_| from.is_none() && to.is_none()) {
        other.handle.delete(key).await?;
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let series = find(&app, &series)?;
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
