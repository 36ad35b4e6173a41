//! `/v1/limits/{limit}/reservations`: for costs that are known only afterwards.

use axum::http::StatusCode;
use forebay::{
    Decision, Error,
    limit::{LimitHandle, Reservation, Reserve},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Json, JsonResult, Path, Problem, Write, limit::denied};
use crate::{
    api::limit::{CommitRequest, DecisionBody, ReservationBody, ReserveRequest},
    app::Shared,
};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(reserve)).routes(routes!(commit)).routes(routes!(release))
}

fn reservation(limit: &LimitHandle, id: &str) -> Result<Reservation, Problem> {
    let unknown =
        |error: Error| Problem::new(StatusCode::NOT_FOUND, "unknown-reservation", error.to_string());
    limit.reservation(id).map_err(unknown)
}

fn answer(limit: &LimitHandle, decision: Option<Decision>) -> JsonResult<DecisionBody> {
    decision.as_ref().map(|decision| Json(decision.into())).ok_or_else(|| {
        let name = limit.name();
        let detail =
            format!("limit {name}: the reservation was committed or released before, or has expired");
        Problem::new(StatusCode::CONFLICT, "settled", detail)
    })
}

/// Charges an estimate.
#[utoipa::path(
    post, path = "/v1/limits/{limit}/reservations", security(("token" = ["write"])),
    responses(
        (status = 201, description = "Charged", body = ReservationBody),
        (status = "4XX", description = "429: denied; the members have the decision"),
        (status = 503, description = "The store does not answer, or too many reservations of the key are open"),
    ),
)]
async fn reserve(
    Write(app): Write,
    Path(limit): Path<String>,
    Json(request): Json<ReserveRequest>,
) -> Result<(StatusCode, Json<ReservationBody>), Problem> {
    let rules = app.rules();
    let limit = rules.limits.find(&limit)?;
    match limit.handle.reserve(&request.key.0, request.cost.0, request.ttl.0).await? {
        Reserve::Granted(reservation) => {
            let decision = reservation.decision().expect("a new reservation has its decision");
            limit.metrics.count(&decision);
            let (reservation, decision) = (reservation.id(), (&decision).into());
            Ok((StatusCode::CREATED, Json(ReservationBody { reservation, decision })))
        }
        Reserve::Denied(decision) => {
            limit.metrics.count(&decision);
            Err(denied(limit.handle.name(), &decision).with_all(DecisionBody::from(&decision)))
        }
    }
}

/// Commits a reservation with its real cost.
#[utoipa::path(
    post, path = "/v1/limits/{limit}/reservations/{reservation}/commit", security(("token" = ["write"])),
    responses(
        (status = 200, description = "The decision after it", body = DecisionBody),
        (status = "4XX", description = "409: it was committed or released before, or has expired"),
        (status = 503, description = "The store does not answer; repeating is safe"),
    ),
)]
async fn commit(
    Write(app): Write,
    Path((limit, id)): Path<(String, String)>,
    Json(request): Json<CommitRequest>,
) -> JsonResult<DecisionBody> {
    let rules = app.rules();
    let limit = &rules.limits.find(&limit)?.handle;
    let decision = reservation(limit, &id)?.commit(request.cost.0).await?;
    answer(limit, decision)
}

/// Releases a reservation: nothing is charged.
#[utoipa::path(
    post, path = "/v1/limits/{limit}/reservations/{reservation}/release", security(("token" = ["write"])),
    operation_id = "release_reservation",
    responses(
        (status = 200, description = "The decision after it", body = DecisionBody),
        (status = "4XX", description = "409: it was committed or released before, or has expired"),
        (status = 503, description = "The store does not answer; repeating is safe"),
    ),
)]
async fn release(Write(app): Write, Path((limit, id)): Path<(String, String)>) -> JsonResult<DecisionBody> {
    let rules = app.rules();
    let limit = &rules.limits.find(&limit)?.handle;
    let decision = reservation(limit, &id)?.release().await?;
    answer(limit, decision)
}
