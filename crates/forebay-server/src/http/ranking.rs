//! `/v1/series/{series}/top` and `/bottom`: the keys with the largest and the smallest counts.

use forebay::series::{RankQuery, Ranking, SeriesHandle};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Json, JsonResult, Path, Read,
    chosen::{ChosenAnd, LabelsQuery},
    query::{between, day_ago, now, utc},
    series::find,
};
use crate::{
    api::ranking::RankedBody,
    app::{App, Shared},
};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(top)).routes(routes!(bottom))
}

/// The query of a ranking.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RankingQuery {
    /// RFC 3339, seconds since 1970, `now`, a span such as `-1d`, or `today`.
    #[serde(default = "day_ago")]
    #[param(default = "-1d")]
    from: String,
    /// The exclusive end, in the same forms as `from`.
    #[serde(default = "now")]
    #[param(default = "now")]
    to: String,
    /// The time zone of `today`, such as `Europe/Berlin`.
    #[serde(default = "utc")]
    #[param(default = "UTC")]
    tz: String,
    /// At most so many rows; default 10.
    #[param(minimum = 1, maximum = 1_000)]
    limit: Option<usize>,
    /// Only keys that begin with this text, in which no character stands for others.
    #[serde(default)]
    prefix: String,
    /// In place of keys: groups of those with the same values of these labels, with commas between them.
    group_by: Option<String>,
}

/// The keys of a series with the largest counts in a time range.
///
/// A store in this process looks at all keys; a shared one at 10 000, or at any number of a series with `ranked = true`.
#[utoipa::path(
    get, path = "/v1/series/{series}/top", operation_id = "series_top", params(LabelsQuery, RankingQuery),
    security(("token" = ["read"])),
    responses((status = 200, description = "The keys, the largest count first", body = Vec<RankedBody>)),
)]
async fn top(
    Read(app): Read,
    Path(series): Path<String>,
    query: ChosenAnd<RankingQuery>,
) -> JsonResult<Vec<RankedBody>> {
    ranked(&app, &series, query, async |series, question| series.top(&question).await).await
}

/// The keys of a series with the smallest counts in a time range, of at most 10 000.
///
/// Keys without a count in the range come first: those that have one at another time which is kept.
#[utoipa::path(
    get, path = "/v1/series/{series}/bottom", operation_id = "series_bottom", params(LabelsQuery, RankingQuery),
    security(("token" = ["read"])),
    responses((status = 200, description = "The keys, the smallest count first", body = Vec<RankedBody>)),
)]
async fn bottom(
    Read(app): Read,
    Path(series): Path<String>,
    query: ChosenAnd<RankingQuery>,
) -> JsonResult<Vec<RankedBody>> {
    ranked(&app, &series, query, async |series, question| series.bottom(&question).await).await
}

/// Answers a query by one of the two rankings.
async fn ranked(
    app: &App,
    series: &str,
    ChosenAnd(chosen, query): ChosenAnd<RankingQuery>,
    rank: impl AsyncFnOnce(SeriesHandle, RankQuery) -> forebay::Result<Ranking>,
) -> JsonResult<Vec<RankedBody>> {
    let series = find(app, series)?;
    let RankingQuery { from, to, tz, limit, prefix, group_by } = query;
    let now = series.store_time("").await;
    let (from, to) = between(&from, &to, &tz, now)?;
    let labels = group_by.as_deref().map(|labels| labels.split(',').collect::<Vec<_>>());
    let grouped = labels.is_some();
    let question = RankQuery::between(from, to)
        .as_of(now)
        .filter(chosen.filter()?.prefix(prefix))
        .by(labels.unwrap_or_default())
        .limit(limit.unwrap_or(10));
    Ok(Json(RankedBody::rows(rank(series, question).await?, grouped)))
}
