//! Errors in the form of Prometheus.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::super::Problem;
use crate::{
    api::prometheus::PrometheusError,
    prometheus::{ListError, ReadError},
    promql::Fault,
};

/// An error of a request.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    error_type: &'static str,
    error: String,
}

impl Refusal {
    /// 400: the request is wrong.
    pub(super) fn bad_data(error: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error_type: "bad_data", error: error.into() }
    }

    /// 503: the time is over.
    pub(super) fn timeout(error: impl Into<String>) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, error_type: "timeout", error: error.into() }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::BadData(error) => Self::bad_data(error),
            Fault::Execution(error) => {
                Self { status: StatusCode::UNPROCESSABLE_ENTITY, error_type: "execution", error }
            }
        }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        let (status, error) = (problem.status, problem.detail);
        let error_type = match status {
            StatusCode::SERVICE_UNAVAILABLE => "unavailable",
            StatusCode::UNPROCESSABLE_ENTITY => "execution",
            status if status.is_server_error() => "internal",
            _ => "bad_data",
        };
        Self { status, error_type, error }
    }
}

impl From<forebay::Error> for Refusal {
    fn from(error: forebay::Error) -> Self {
        Problem::from(error).into()
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Fault(fault) => fault.into(),
            ReadError::Store(error) => error.into(),
        }
    }
}

impl From<ListError> for Refusal {
    fn from(error: ListError) -> Self {
        ReadError::from(error).into()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { status, error_type, error } = self;
        (status, axum::Json(PrometheusError { status: "error", error_type, error })).into_response()
    }
}
