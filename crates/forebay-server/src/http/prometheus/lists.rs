//! Lists of labels, their values, series, and descriptions.

use std::collections::{BTreeMap, BTreeSet};

use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    super::{Json, Path, Read},
    parameters::Parameters,
    refusal::Refusal,
};
use crate::{
    api::prometheus::{BuildInformation, MetricDescription, PrometheusAnswer},
    app::{App, Shared},
    prometheus::{Catalogue, Form, Lister, Metric, label_names},
    promql::{Labels, Matcher, NAME, parse_selector},
};

type Result<T> = std::result::Result<Json<PrometheusAnswer<T>>, Refusal>;

/// The labels of a series.
type LabelSet = BTreeMap<String, String>;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(labels, post_labels))
        .routes(routes!(values))
        .routes(routes!(series, post_series))
        .routes(routes!(metadata))
        .routes(routes!(build_information))
}

/// The parameters of lists.
#[derive(IntoParams)]
#[expect(dead_code, reason = "describes the parameters to OpenAPI; `Parameters` reads them")]
#[into_params(parameter_in = Query)]
struct ListParameters {
    /// A selector. Given more than once, the list is of all that fit one of them.
    #[param(rename = "match[]")]
    matches: Option<Vec<String>>,
    /// Accepted and not used: a list is of all keys with counts that are kept.
    start: Option<String>,
    /// Accepted and not used, as `start`.
    end: Option<String>,
    /// The most items; 0 is no limit.
    limit: Option<usize>,
}

/// The names of all labels.
#[utoipa::path(
    get, path = "/api/v1/labels", operation_id = "prometheus_labels", params(ListParameters), security(("token" = ["read"])),
    responses((status = 200, description = "The names", body = PrometheusAnswer<Vec<String>>)),
)]
async fn labels(Read(app): Read, parameters: Parameters) -> Result<Vec<String>> {
    list_labels(&app, &parameters).await
}

/// The names of all labels; the parameters are a form.
#[utoipa::path(
    post, path = "/api/v1/labels", operation_id = "prometheus_post_labels", security(("token" = ["read"])),
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "The names", body = PrometheusAnswer<Vec<String>>)),
)]
async fn post_labels(Read(app): Read, parameters: Parameters) -> Result<Vec<String>> {
    list_labels(&app, &parameters).await
}

/// The values of a label: of one of a series, keys, or with `__name__` the names of metrics.
#[utoipa::path(
    get, path = "/api/v1/label/{label}/values", operation_id = "prometheus_label_values", params(ListParameters),
    security(("token" = ["read"])),
    responses((status = 200, description = "The values", body = PrometheusAnswer<Vec<String>>)),
)]
async fn values(Read(app): Read, Path(label): Path<String>, parameters: Parameters) -> Result<Vec<String>> {
    let catalogue = Catalogue::new(app.series.entries.keys());
    let selectors = selectors(&parameters)?;
    let has_keys = selectors.iter().flatten().any(|matcher| matcher.name != NAME);
    if label == NAME && !has_keys {
        // The names of the metrics need no keys.
        let mut names = BTreeSet::new();
        for matchers in some(selectors) {
            names.extend(select(&catalogue, &matchers)?.into_iter().map(|metric| metric.name.clone()));
        }
        return success(names.into_iter().collect(), &parameters, catalogue.warnings().collect());
    }
    let (sets, warnings) = label_sets(&app, &catalogue, some(selectors)).await?;
    let values: BTreeSet<&str> =
        sets.iter().map(|labels| labels.get(&label)).filter(|value| !value.is_empty()).collect();
    success(values.into_iter().map(str::to_owned).collect(), &parameters, warnings)
}

/// The labels of all series that fit a selector.
#[utoipa::path(
    get, path = "/api/v1/series", operation_id = "prometheus_series", params(ListParameters), security(("token" = ["read"])),
    responses((status = 200, description = "The labels of each", body = PrometheusAnswer<Vec<BTreeMap<String, String>>>)),
)]
async fn series(Read(app): Read, parameters: Parameters) -> Result<Vec<LabelSet>> {
    list_series(&app, &parameters).await
}

/// The labels of all series that fit a selector; the parameters are a form.
#[utoipa::path(
    post, path = "/api/v1/series", operation_id = "prometheus_post_series", security(("token" = ["read"])),
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "The labels of each", body = PrometheusAnswer<Vec<BTreeMap<String, String>>>)),
)]
async fn post_series(Read(app): Read, parameters: Parameters) -> Result<Vec<LabelSet>> {
    list_series(&app, &parameters).await
}

/// The parameters of descriptions.
#[derive(IntoParams)]
#[expect(dead_code, reason = "describes the parameters to OpenAPI; `Parameters` reads them")]
#[into_params(parameter_in = Query)]
struct MetadataParameters {
    /// Only this metric.
    metric: Option<String>,
    /// The most metrics; 0 is no limit.
    limit: Option<usize>,
}

/// The types and descriptions of metrics.
#[utoipa::path(
    get, path = "/api/v1/metadata", operation_id = "prometheus_metadata", params(MetadataParameters),
    security(("token" = ["read"])),
    responses((status = 200, description = "By metric", body = PrometheusAnswer<BTreeMap<String, Vec<MetricDescription>>>)),
)]
async fn metadata(
    Read(app): Read,
    parameters: Parameters,
) -> Result<BTreeMap<String, Vec<MetricDescription>>> {
    let catalogue = Catalogue::new(app.series.entries.keys());
    let wanted = |metric: &&Metric| parameters.one("metric").is_none_or(|name| name == metric.name);
    let limit = parameters.limit()?.unwrap_or(usize::MAX);
    let description = |metric: &Metric| {
        let kind = if metric.form == Form::Total { "counter" } else { "gauge" };
        (metric.name.clone(), vec![MetricDescription { kind, help: metric.help(), unit: "" }])
    };
    let data = catalogue.iter().filter(wanted).take(limit).map(description).collect();
    Ok(Json(PrometheusAnswer { status: "success", data, warnings: catalogue.warnings().collect() }))
}

/// The version of Prometheus whose rules hold, and that of this server.
#[utoipa::path(
    get, path = "/api/v1/status/buildinfo", operation_id = "prometheus_buildinfo", security(("token" = ["read"])),
    responses((status = 200, description = "The versions", body = PrometheusAnswer<BuildInformation>)),
)]
async fn build_information(Read(_app): Read) -> Result<BuildInformation> {
    let data = BuildInformation {
        version: "3.0.0",
        revision: concat!("forebay ", env!("CARGO_PKG_VERSION")),
        branch: "",
        build_user: "",
        build_date: "",
        go_version: "",
    };
    Ok(Json(PrometheusAnswer { status: "success", data, warnings: vec![] }))
}

async fn list_labels(app: &App, parameters: &Parameters) -> Result<Vec<String>> {
    let selectors = selectors(parameters)?;
    if selectors.is_empty() {
        let mut names = BTreeSet::from([NAME]);
        names.extend(app.series.entries.values().flat_map(|series| label_names(&series.handle)));
        return success(names.into_iter().map(str::to_owned).collect(), parameters, vec![]);
    }
    let catalogue = Catalogue::new(app.series.entries.keys());
    let (sets, warnings) = label_sets(app, &catalogue, selectors).await?;
    let names: BTreeSet<&str> = sets.iter().flat_map(Labels::iter).map(|(name, _)| name).collect();
    success(names.into_iter().map(str::to_owned).collect(), parameters, warnings)
}

async fn list_series(app: &App, parameters: &Parameters) -> Result<Vec<LabelSet>> {
    let selectors = selectors(parameters)?;
    if selectors.is_empty() {
        return Err(Refusal::bad_data("match[]: missing: a selector such as hits_total{key=\"a\"}"));
    }
    let catalogue = Catalogue::new(app.series.entries.keys());
    let (sets, warnings) = label_sets(app, &catalogue, selectors).await?;
    let set =
        |labels: &Labels| labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    success(sets.iter().map(set).collect(), parameters, warnings)
}

/// The selectors of a request.
fn selectors(parameters: &Parameters) -> std::result::Result<Vec<Vec<Matcher>>, Refusal> {
    let selectors = parameters.all("match[]").map(parse_selector);
    Ok(selectors.collect::<std::result::Result<_, _>>()?)
}

/// The selectors, or one that fits everything.
fn some(selectors: Vec<Vec<Matcher>>) -> Vec<Vec<Matcher>> {
    if selectors.is_empty() { vec![vec![]] } else { selectors }
}

fn select<'a>(
    catalogue: &'a Catalogue,
    matchers: &[Matcher],
) -> std::result::Result<Vec<&'a Metric>, Refusal> {
    catalogue.select(matchers).map_err(Refusal::bad_data)
}

/// The labels of all keys that fit a selector, each once, with warnings.
async fn label_sets(
    app: &App,
    catalogue: &Catalogue,
    selectors: Vec<Vec<Matcher>>,
) -> std::result::Result<(BTreeSet<Labels>, Vec<String>), Refusal> {
    let (mut lister, mut sets) = (Lister::new(app), BTreeSet::new());
    for matchers in selectors {
        for metric in select(catalogue, &matchers)? {
            sets.extend(lister.existing(metric, &matchers).await?);
        }
    }
    let warnings = catalogue.warnings().chain(lister.warnings());
    Ok((sets, warnings.collect()))
}

/// A list, cut to the limit of the request.
fn success<T>(mut data: Vec<T>, parameters: &Parameters, mut warnings: Vec<String>) -> Result<Vec<T>> {
    if let Some(limit) = parameters.limit()?.filter(|limit| *limit < data.len()) {
        data.truncate(limit);
        warnings.push("results truncated due to limit".to_owned());
    }
    Ok(Json(PrometheusAnswer { status: "success", data, warnings }))
}
