//! `query` and `query_range`.

use std::{collections::BTreeSet, time::Duration};

use forebay::time::secs;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    super::{Json, Read},
    parameters::Parameters,
    refusal::Refusal,
};
use crate::{
    api::prometheus::{MatrixRow, Point, PrometheusAnswer, QueryResult, VectorRow},
    app::App,
    app::Shared,
    prometheus::{Reading, read},
    promql::{Answer, Instants, Labels, Row, evaluate, parse},
};

/// The time for a query, and the most that its `timeout` may be.
const TIMEOUT: Duration = secs(30);

type Result = std::result::Result<Json<PrometheusAnswer<QueryResult>>, Refusal>;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(query, post_query)).routes(routes!(query_range, post_query_range))
}

/// The parameters of a query.
#[derive(IntoParams)]
#[expect(dead_code, reason = "describes the parameters to OpenAPI; `Parameters` reads them")]
#[into_params(parameter_in = Query)]
struct InstantParameters {
    /// An expression in the language of Prometheus.
    query: String,
    /// Seconds since 1970, or RFC 3339. Default now.
    time: Option<String>,
    /// Seconds, or a duration such as `15s`; at most 30 s, which is the default.
    timeout: Option<String>,
}

/// The parameters of a query over a range.
#[derive(IntoParams)]
#[expect(dead_code, reason = "describes the parameters to OpenAPI; `Parameters` reads them")]
#[into_params(parameter_in = Query)]
struct RangeParameters {
    /// An expression in the language of Prometheus.
    query: String,
    /// The first instant: seconds since 1970, or RFC 3339.
    start: String,
    /// The last instant, in the same forms.
    end: String,
    /// From instant to instant: seconds, or a duration such as `15s`. A range has at most 11 000 instants.
    step: String,
    /// Seconds, or a duration such as `15s`; at most 30 s, which is the default.
    timeout: Option<String>,
}

/// Evaluates an expression at an instant.
#[utoipa::path(
    get, path = "/api/v1/query", operation_id = "prometheus_query", params(InstantParameters), security(("token" = ["read"])),
    responses((status = 200, description = "The value", body = PrometheusAnswer<QueryResult>)),
)]
async fn query(Read(app): Read, parameters: Parameters) -> Result {
    at_instant(&app, &parameters).await
}

/// Evaluates an expression at an instant; the parameters are a form.
#[utoipa::path(
    post, path = "/api/v1/query", operation_id = "prometheus_post_query", security(("token" = ["read"])),
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "The value", body = PrometheusAnswer<QueryResult>)),
)]
async fn post_query(Read(app): Read, parameters: Parameters) -> Result {
    at_instant(&app, &parameters).await
}

/// Evaluates an expression at regular instants.
#[utoipa::path(
    get, path = "/api/v1/query_range", operation_id = "prometheus_query_range", params(RangeParameters),
    security(("token" = ["read"])),
    responses((status = 200, description = "The values", body = PrometheusAnswer<QueryResult>)),
)]
async fn query_range(Read(app): Read, parameters: Parameters) -> Result {
    over_range(&app, &parameters).await
}

/// Evaluates an expression at regular instants; the parameters are a form.
#[utoipa::path(
    post, path = "/api/v1/query_range", operation_id = "prometheus_post_query_range", security(("token" = ["read"])),
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "The values", body = PrometheusAnswer<QueryResult>)),
)]
async fn post_query_range(Read(app): Read, parameters: Parameters) -> Result {
    over_range(&app, &parameters).await
}

async fn at_instant(app: &App, parameters: &Parameters) -> Result {
    let now = app.bay.clock().now().as_millis();
    let instant = parameters.time("time")?.unwrap_or(now);
    let (answer, warnings) = compute(app, parameters, Instants::once(instant)).await?;
    let result = match answer {
        Answer::Scalar(values) => {
            QueryResult::Scalar(Point(instant, values.first().copied().unwrap_or(f64::NAN)))
        }
        Answer::Vector(rows) => {
            let row = |Row { labels, values }: Row| {
                let value = Point(instant, values.first().copied().flatten()?);
                Some(VectorRow { metric: map(&labels), value })
            };
            QueryResult::Vector(rows.into_iter().filter_map(row).collect())
        }
        Answer::Samples(found) => {
            let points = |samples: Vec<(i64, f64)>| {
                samples.into_iter().map(|(time, value)| Point(time, value)).collect()
            };
            let row = |(labels, samples)| MatrixRow { metric: map(&labels), values: points(samples) };
            QueryResult::Matrix(found.into_iter().map(row).collect())
        }
    };
    Ok(success(result, warnings))
}

async fn over_range(app: &App, parameters: &Parameters) -> Result {
    let instants = parameters.instants()?;
    let (answer, warnings) = compute(app, parameters, instants).await?;
    let points = |values: Vec<Option<f64>>| {
        let point = |(time, value): (i64, Option<f64>)| Some(Point(time, value?));
        instants.iter().zip(values).filter_map(point).collect()
    };
    let mut rows: Vec<(Labels, Vec<Point>)> = match answer {
        Answer::Scalar(values) => vec![(Labels::default(), points(values.into_iter().map(Some).collect()))],
        Answer::Vector(rows) => {
            rows.into_iter().map(|Row { labels, values }| (labels, points(values))).collect()
        }
        Answer::Samples(_) => {
            return Err(Refusal::bad_data(
                "query: a range such as [5m] outside of a function has no value at an instant",
            ));
        }
    };
    rows.sort_by(|(left, _), (right, _)| left.cmp(right));
    let row = |(labels, values)| MatrixRow { metric: map(&labels), values };
    Ok(success(QueryResult::Matrix(rows.into_iter().map(row).collect()), warnings))
}

/// Reads and computes the query of a request.
async fn compute(
    app: &App,
    parameters: &Parameters,
    instants: Instants,
) -> std::result::Result<(Answer, BTreeSet<String>), Refusal> {
    let query = parse(parameters.required("query")?)?;
    let timeout = parameters.span("timeout")?.map_or(TIMEOUT, |timeout| timeout.min(TIMEOUT));
    let read = app.clock.timeout(timeout, read(app, &query, instants)).await;
    let late = || Refusal::timeout(format!("the store did not answer within {} s", timeout.as_secs_f64()));
    let Reading { data, warnings } = read.ok_or_else(late)??;
    // It may take a second, in which this thread would answer nobody. Its bounds are those of the evaluation.
    let computed = tokio::task::spawn_blocking(move || evaluate(&query, &data, instants)).await;
    let answer = computed.map_err(|_| Refusal::timeout("the server is shutting down"))??;
    Ok((answer, warnings))
}

fn map(labels: &Labels) -> std::collections::BTreeMap<String, String> {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn success(data: QueryResult, warnings: BTreeSet<String>) -> Json<PrometheusAnswer<QueryResult>> {
    Json(PrometheusAnswer { status: "success", data, warnings: warnings.into_iter().collect() })
}
