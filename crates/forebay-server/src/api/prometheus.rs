//! Bodies of `/api/v1`, the HTTP interface of Prometheus.
//!
//! # Source
//! <https://prometheus.io/docs/prometheus/latest/querying/api/>

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

/// A successful answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PrometheusAnswer)]
pub(crate) struct PrometheusAnswer<T> {
    /// Always `success`.
    pub(crate) status: &'static str,
    pub(crate) data: T,
    /// Limits of the data that its reader should know. Left out if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(crate) warnings: Vec<String>,
}

/// An error.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PrometheusError {
    /// Always `error`.
    pub(crate) status: &'static str,
    /// `bad_data` (400), `execution` (422), `unavailable` or `timeout` (503), `internal` (500).
    #[serde(rename = "errorType")]
    pub(crate) error_type: &'static str,
    pub(crate) error: String,
}

/// The result of a query.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", tag = "resultType", content = "result")]
pub(crate) enum QueryResult {
    Scalar(Point),
    Vector(Vec<VectorRow>),
    Matrix(Vec<MatrixRow>),
}

/// A value at an instant.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VectorRow {
    /// The labels.
    pub(crate) metric: BTreeMap<String, String>,
    /// The time in seconds, and the value as a text.
    pub(crate) value: Point,
}

/// Values at several instants.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MatrixRow {
    /// The labels.
    pub(crate) metric: BTreeMap<String, String>,
    /// The times in seconds, each with its value as a text.
    pub(crate) values: Vec<Point>,
}

/// A time in milliseconds and a value, written as seconds and a text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point(pub(crate) i64, pub(crate) f64);

impl PartialSchema for Point {
    fn schema() -> RefOr<Schema> {
        utoipa::schema!(Vec<serde_json::Value>).into()
    }
}

impl ToSchema for Point {}

impl Serialize for Point {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(millis, value) = *self;
        let value = match value {
            f64::INFINITY => "+Inf".to_owned(),
            f64::NEG_INFINITY => "-Inf".to_owned(),
            value => value.to_string(),
        };
        if millis % 1_000 == 0 {
            (millis / 1_000, value).serialize(serializer)
        } else {
            (millis as f64 / 1_000.0, value).serialize(serializer)
        }
    }
}

/// A description of a metric.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MetricDescription {
    /// `counter` or `gauge`.
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) help: String,
    /// Always empty.
    pub(crate) unit: &'static str,
}

/// The server, in the form of Prometheus.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BuildInformation {
    /// The version of Prometheus whose rules hold.
    pub(crate) version: &'static str,
    /// The name and the version of this program.
    pub(crate) revision: &'static str,
    /// Always empty, as the other fields.
    pub(crate) branch: &'static str,
    pub(crate) build_user: &'static str,
    pub(crate) build_date: &'static str,
    pub(crate) go_version: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_written_as_prometheus_writes_them() {
        for (point, text) in [
            (Point(1_000, 1.0), r#"[1,"1"]"#),
            (Point(1_435_781_430_781, 0.25), r#"[1435781430.781,"0.25"]"#),
            (Point(-500, f64::NAN), r#"[-0.5,"NaN"]"#),
            (Point(0, f64::INFINITY), r#"[0,"+Inf"]"#),
            (Point(0, f64::NEG_INFINITY), r#"[0,"-Inf"]"#),
            (Point(0, 1e21), r#"[0,"1000000000000000000000"]"#),
        ] {
            assert_eq!(serde_json::to_string(&point).expect("JSON"), text);
        }
    }
}
