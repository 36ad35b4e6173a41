//! The parameters of an export of a series.

use std::time::Duration;

use forebay::{Timestamp, series};
use serde::Deserialize;
use utoipa::IntoParams;

use super::series_query::{WrongParameter, choice, time, wrong};
use crate::text::{Step, moment};

/// The format of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Csv,
    Json,
    Openmetrics,
}

/// The formats by name.
pub(crate) const FORMATS: [(&str, Format); 3] =
    [("csv", Format::Csv), ("json", Format::Json), ("openmetrics", Format::Openmetrics)];

/// The keys, the span and the form of an export, as texts.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExportQuery {
    /// Instead of keys: all keys that begin with this text. Without keys and prefix: all keys of the series.
    pub(crate) prefix: Option<String>,
    /// `csv` (with a header `key,at,n,step`), `json` (a line for each bucket, with the same members), or `openmetrics`. A series
    /// with labels has a column `labels.NAME` for each in place of `key`, in JSON the member `labels`.
    #[param(default = "csv")]
    pub(crate) format: Option<String>,
    /// The start: RFC 3339, seconds since 1970, `now`, a span such as `-1d`, or `today`. Default: the oldest bucket.
    pub(crate) from: Option<String>,
    /// The exclusive end, in the same forms as `from`. Default: the newest bucket.
    pub(crate) to: Option<String>,
    /// The time zone of `today`, such as `Europe/Berlin`. Default `UTC`.
    #[param(default = "UTC")]
    pub(crate) tz: Option<String>,
    /// Adds up buckets to points of this length, a multiple of the finest resolution. A bucket that does not fit into a point
    /// is written as it is. Default: the finest buckets that are kept.
    pub(crate) step: Option<String>,
    /// `true`: also the zeros from the first to the last count of a key. OpenMetrics always has them.
    #[param(value_type = Option<bool>)]
    pub(crate) zeros: Option<String>,
}

impl ExportQuery {
    /// The format.
    pub(crate) fn format(&self) -> Result<Format, WrongParameter> {
        self.format.as_deref().map_or(Ok(Format::Csv), |name| choice("format", name, &FORMATS))
    }

    /// Whether zeros are requested.
    pub(crate) fn wants_zeros(&self) -> Result<bool, WrongParameter> {
        let known = [("true", true), ("false", false)];
        self.zeros.as_deref().map_or(Ok(false), |text| choice("zeros", text, &known))
    }

    /// The span at `now`. Without edges, it has every bucket.
    pub(crate) fn span(&self, now: Timestamp) -> Result<(Timestamp, Timestamp), WrongParameter> {
        let zone = moment::zone(self.tz.as_deref().unwrap_or("UTC"));
        let zone = zone.map_err(|error| wrong("tz", error.to_string()))?;
        let edge = |field, text: &Option<String>, otherwise| {
            text.as_deref()
                .map_or(Ok(Timestamp::from_micros(otherwise)), |text| time(field, text, now, &zone))
        };
        let (from, to) = (edge("from", &self.from, i64::MIN)?, edge("to", &self.to, i64::MAX)?);
        if from >= to {
            return Err(wrong("from", format!("from {from} to {to}: a span ends after it begins")));
        }
        Ok((from, to))
    }

    /// The length of a point, a multiple of `finest`; `None`: that of the buckets.
    pub(crate) fn step(&self, finest: Duration) -> Result<Option<Duration>, WrongParameter> {
        let Some(text) = &self.step else { return Ok(None) };
        match text.parse().map_err(|error| wrong("step", format!("step: {error}")))? {
            Step(series::Step::Fixed(step)) if step.as_micros().is_multiple_of(finest.as_micros()) => {
                Ok(Some(step))
            }
            Step(series::Step::Fixed(_)) => {
                let text = format!("step: {text}: a multiple of {finest:?}, the finest resolution");
                Err(wrong("step", text))
            }
            Step(series::Step::Calendar(unit)) => {
                let text =
                    format!("step: {}: points of an export have one length, such as 1d", unit.as_str());
                Err(wrong("step", text))
            }
        }
    }
}
