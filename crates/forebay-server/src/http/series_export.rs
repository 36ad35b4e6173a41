//! `/v1/series/{series}/export`: the buckets of many keys as a file.

use axum::{
    body::Body,
    http::header,
    response::{IntoResponse, Response},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Path, Problem, Read,
    chosen::{Chosen, ChosenAnd, ChosenQuery, Selection},
    series::find,
};
use crate::{
    api::series_export::{ExportQuery, Format},
    app::Shared,
    export::{Export, Keys, openmetrics},
};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(export))
}

/// The counts of keys in the finest buckets that are kept, as a file.
#[utoipa::path(
    get, path = "/v1/series/{series}/export", params(ChosenQuery, ExportQuery), security(("token" = ["read"])),
    responses((
        status = 200,
        description = "The counts, key by key in order of time, without zeros: CSV, lines of JSON, or OpenMetrics \
            (`application/openmetrics-text`), which has the cumulative sum and the count at the end of each bucket. After \
            an error the connection breaks without the end of the response",
        body = String, content_type = "text/csv",
    )),
)]
async fn export(
    Read(app): Read,
    Path(series): Path<String>,
    ChosenAnd(chosen, query): ChosenAnd<ExportQuery>,
) -> Result<Response, Problem> {
    let series = find(&app, &series)?;
    let keys = named_or_filter(chosen, query.prefix.as_deref())?;
    let of = match &keys {
        Keys::Named(keys) => &keys[0],
        Keys::Filter(_) => "",
    };
    let (from, to) = query.span(series.store_time(of).await)?;
    let step = query.step(series.resolutions()[0].step)?;
    let (format, zeros) = (query.format()?, query.wants_zeros()?);
    let parts = Export { series, keys, from, to, step, zeros, format }.start().await?;
    let content_type = match format {
        Format::Csv => "text/csv; charset=utf-8; header=present",
        Format::Json => "application/x-ndjson",
        Format::Openmetrics => openmetrics::CONTENT_TYPE,
    };
    Ok(([(header::CONTENT_TYPE, content_type)], Body::from_stream(parts)).into_response())
}

/// The keys of a query: at most 1 000 different ones, or those of a filter, or all.
fn named_or_filter(chosen: Chosen, prefix: Option<&str>) -> Result<Keys, Problem> {
    let most = forebay::series::MAX_KEYS;
    let wrong = |text: String| Err(Problem::field("key", text));
    let keys = match chosen.selection(true)? {
        Selection::Filter(filter) => return Ok(Keys::Filter(filter.prefix(prefix.unwrap_or_default()))),
        Selection::Keys(keys) => keys,
    };
    if prefix.is_some() {
        return wrong("key: keys and a prefix: one of them".to_owned());
    }
    if keys.len() > most {
        return wrong(format!("key: more keys: at most {most}, or a prefix, or no key for all"));
    }
    let mut sorted: Vec<&String> = keys.iter().collect();
    sorted.sort_unstable();
    if let Some([key, ..]) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return wrong(format!("key: {key:?} is there twice"));
    }
    Ok(Keys::Named(keys))
}
