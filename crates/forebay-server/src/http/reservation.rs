//! `/v1/limits/{limit}/reservations`: costs that are known only afterwards.

use axum::{Json as Answer, extract::State, http::StatusCode};
use forebay::{
    Decision, Error,
    limit::{LimitHandle, Reservation, Reserve},
    time::mins,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Json, Path, Problem, ProblemBody, Shared, Write,
    fields::{Cost, Count, Key},
    limit::{DecisionBody, denied},
};
use crate::text::Span;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(reserve)).routes(routes!(commit)).routes(routes!(release))
}

/// What is about to be done, and about how much it will cost.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with key, and perhaps cost and ttl")]
pub(super) struct ReserveRequest {
    key: Key,
    /// The estimate; default 1, at most the limit.
    #[serde(default)]
    cost: Count,
    /// How long it can be settled: 1 s to 24 h, default `1m`. What is not keeps its charge.
    #[serde(default = "default_ttl")]
    #[schema(value_type = String, default = "1m", example = "5m")]
    ttl: Span,
}

fn default_ttl() -> Span {
    Span(mins(1))
}

/// What it came to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with cost")]
pub(super) struct CommitRequest {
    /// 0 to 2^31; beyond the estimate it is charged also where it does not fit.
    cost: Cost,
}

/// A reservation, and what the limit said.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Reservation)]
pub(super) struct ReservationBody {
    /// Settles it.
    reservation: String,
    #[serde(flatten)]
    decision: DecisionBody,
}

fn reservation(limit: &LimitHandle, ticket: &str) -> Result<Reservation, Problem> {
    let unknown =
        |error: Error| Problem::new(StatusCode::NOT_FOUND, "unknown-reservation", error.to_string());
    limit.reservation(ticket).map_err(unknown)
}

fn settled(limit: &LimitHandle, answer: Option<Decision>) -> Result<Answer<DecisionBody>, Problem> {
    answer.as_ref().map(|decision| Answer(decision.into())).ok_or_else(|| {
        let detail =
            format!("limit {}: the reservation was settled before, or its time is over", limit.name());
        Problem::new(StatusCode::CONFLICT, "settled", detail)
    })
}

/// Charges an estimate.
#[utoipa::path(
    post,
    path = "/v1/limits/{limit}/reservations",
    tag = "limits",
    params(("limit" = String, Path, description = "A declared limit")),
    request_body = ReserveRequest,
    responses(
        (status = 201, description = "Charged", body = ReservationBody),
        (status = "4XX", description = "429: denied; the decision is among the members. Others: it was not understood", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The store does not answer, or too many reservations of the key are open", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["write"])),
)]
async fn reserve(
    _: Write,
    State(app): State<Shared>,
    Path(limit): Path<String>,
    Json(request): Json<ReserveRequest>,
) -> Result<(StatusCode, Answer<ReservationBody>), Problem> {
    let rules = app.rules();
    let limit = rules.limits.find(&limit)?;
    match limit.handle.reserve(&request.key.0, request.cost.0, request.ttl.0).await? {
        Reserve::Granted(reservation) => {
            let decision = reservation.decision().expect("whoever reserves is told the decision");
            limit.metrics.count(&decision);
            let body = ReservationBody {
                reservation: reservation.ticket(),
                decision: DecisionBody::from(&decision),
            };
            Ok((StatusCode::CREATED, Answer(body)))
        }
        Reserve::Denied(decision) => {
            limit.metrics.count(&decision);
            Err(denied(limit.handle.name(), &decision).with_all(DecisionBody::from(&decision)))
        }
    }
}

/// Settles a reservation for what it came to.
#[utoipa::path(
    post,
    path = "/v1/limits/{limit}/reservations/{reservation}/commit",
    tag = "limits",
    params(
        ("limit" = String, Path, description = "A declared limit"),
        ("reservation" = String, Path, description = "What was granted"),
    ),
    request_body = CommitRequest,
    responses(
        (status = 200, description = "Settled; the state after it", body = DecisionBody),
        (status = "4XX", description = "409: it was settled before, or its time is over. Others: it was not understood", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The store does not answer; repeating is safe", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["write"])),
)]
async fn commit(
    _: Write,
    State(app): State<Shared>,
    Path((limit, ticket)): Path<(String, String)>,
    Json(request): Json<CommitRequest>,
) -> Result<Answer<DecisionBody>, Problem> {
    let rules = app.rules();
    let limit = &rules.limits.find(&limit)?.handle;
    let answer = reservation(limit, &ticket)?.commit(request.cost.0).await?;
    settled(limit, answer)
}

/// Settles a reservation for nothing.
#[utoipa::path(
    post,
    path = "/v1/limits/{limit}/reservations/{reservation}/release",
    tag = "limits",
    operation_id = "release_reservation",
    params(
        ("limit" = String, Path, description = "A declared limit"),
        ("reservation" = String, Path, description = "What was granted"),
    ),
    responses(
        (status = 200, description = "Settled; the state after it", body = DecisionBody),
        (status = "4XX", description = "409: it was settled before, or its time is over. Others: it was not understood", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The store does not answer; repeating is safe", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["write"])),
)]
async fn release(
    _: Write,
    State(app): State<Shared>,
    Path((limit, ticket)): Path<(String, String)>,
) -> Result<Answer<DecisionBody>, Problem> {
    let rules = app.rules();
    let limit = &rules.limits.find(&limit)?.handle;
    let answer = reservation(limit, &ticket)?.release().await?;
    settled(limit, answer)
}
