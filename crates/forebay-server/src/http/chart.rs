//! `GET /v1/series/{series}/chart.svg`: the answer of a range as a picture.

use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
    response::{IntoResponse, Response},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Path, Problem, Query, Read,
    chosen::{Chosen, ChosenAnd, ChosenQuery, Selection},
    query::{check_query, decoded},
    series::{answer, find, selection},
};
use crate::{
    api::{chart::DrawQuery, series_query::RangeQuery},
    app::Shared,
    chart,
};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(draw))
}

/// The keys of a chart, the other parameters of its range, and how it is drawn.
#[derive(Debug)]
struct ChartOf(Chosen, RangeQuery, DrawQuery);

impl FromRequestParts<Shared> for ChartOf {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        check_query(query)?;
        let is_of_drawing = |pair: &&str| {
            let name = decoded(pair.split_once('=').map_or(*pair, |(name, _)| name));
            DrawQuery::NAMES.contains(&name.as_str())
        };
        let (drawing, range): (Vec<&str>, Vec<&str>) = query.split('&').partition(is_of_drawing);
        let with = |pairs: &[&str]| -> Result<Parts, Problem> {
            let path = format!("{}?{}", parts.uri.path(), pairs.join("&"));
            let mut parts = parts.clone();
            parts.uri = path.parse().map_err(|_| Problem::field("", "query: not a query"))?;
            Ok(parts)
        };
        let Query(drawing) = Query::from_request_parts(&mut with(&drawing)?, app).await?;
        let ChosenAnd(chosen, range) = ChosenAnd::from_request_parts(&mut with(&range)?, app).await?;
        Ok(Self(chosen, range, drawing))
    }
}

/// A chart of the counts of keys over time, or of groups of them. It takes the parameters of a range.
///
/// With `show` it draws that column, with `total` all keys together. The nine rows with the largest sums are drawn on their own
/// and all others together, if there are more than ten.
#[utoipa::path(
    get, path = "/v1/series/{series}/chart.svg", params(ChosenQuery, RangeQuery, DrawQuery),
    security(("token" = ["read"])),
    responses((
        status = 200,
        description = "The chart. It has its numbers, too: the time of each column (`data-at`) and the value of each row \
            (`data-values`)",
        body = String,
        content_type = "image/svg+xml",
    )),
)]
async fn draw(
    Read(app): Read,
    Path(name): Path<String>,
    ChartOf(chosen, query, drawing): ChartOf,
) -> Result<Response, Problem> {
    let series = find(&app, &name)?;
    let selection = selection(chosen, &query)?;
    let now = match &selection {
        Selection::Keys(keys) => series.store_time(&keys[0]).await,
        Selection::Filter(_) => series.store_time("").await,
    };
    let query = drawing.range(&query, now)?;
    let answer = answer(&series, &selection, &query).await?;
    let (graph, options) = drawing.graph(&name, &query, &answer, now)?;
    Ok(([(header::CONTENT_TYPE, "image/svg+xml")], chart::draw(graph, &options)).into_response())
}
