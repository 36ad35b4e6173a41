//! `/v1/locks`: acquire, renew, release, state, forced release.
//!
//! The caller with the token is the holder. The server neither renews locks nor releases them when it stops.

use std::time::Duration;

use axum::http::StatusCode;
use forebay::{
    lock::{Attempt, MAX_TTL, MIN_TTL, Release, Renewal, Token},
    time::secs,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Admin, Json, JsonResult, Path, Problem, Read, Write};
use crate::{
    api::lock::{
        AcquireRequest, Forced, HeldBody, LeaseBody, RenewRequest, RenewalBody, StateBody, TokenRequest,
    },
    app::Shared,
    text::{Span, quoted, seconds},
};

/// The longest wait of one request.
const MAX_WAIT: Duration = secs(60);

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(acquire, state))
        .routes(routes!(renew))
        .routes(routes!(release))
        .routes(routes!(force_release))
}

fn checked_ttl(ttl: Span) -> Result<(), Problem> {
    if (MIN_TTL..=MAX_TTL).contains(&ttl.0) {
        return Ok(());
    }
    Err(Problem::field("ttl", format!("ttl: {ttl}: a ttl is 100ms to 24h")))
}

fn checked(request: &AcquireRequest) -> Result<(), Problem> {
    checked_ttl(request.ttl)?;
    if request.wait.0 > MAX_WAIT {
        return Err(Problem::field("wait", format!("wait: {}: one request waits 60s at most", request.wait)));
    }
    Ok(())
}

fn token(text: &str) -> Result<Token, Problem> {
    text.parse().map_err(|error: forebay::Error| Problem::field("token", error.to_string()))
}

fn not_holder(name: &str) -> Problem {
    let detail = format!("the token does not hold the lock {}", quoted(name));
    Problem::new(StatusCode::CONFLICT, "not-holder", detail)
}

/// Acquires a lock.
#[utoipa::path(
    post, path = "/v1/locks/{name}", security(("token" = ["write"])),
    responses(
        (status = 201, description = "Acquired", body = LeaseBody),
        (status = "4XX", description = "409: held by another; the members have `holder`, `remaining` (seconds) and `ahead` (callers ahead in the queue)"),
        (status = 503, description = "The store does not answer, or too many callers wait"),
    ),
)]
async fn acquire(
    Write(app): Write,
    Path(name): Path<String>,
    Json(request): Json<AcquireRequest>,
) -> Result<(StatusCode, Json<LeaseBody>), Problem> {
    checked(&request)?;
    // If the caller disconnects, this future is dropped, and a lock that it gets is released.
    let lock = app.bay.lock(&name).ttl(request.ttl.0);
    let attempt = tokio::select! {
        biased;
        attempt = lock.lease_within(request.wait.0) => attempt?,
        () = app.stopping() => return Err(Problem::unavailable("shutting-down", "the server is stopping", "later")),
    };
    match attempt {
        Attempt::Acquired(lease) => Ok((StatusCode::CREATED, Json(lease.into()))),
        Attempt::Held { holder, remaining, ahead } => {
            let name = quoted(&name);
            let detail = if request.wait.0.is_zero() {
                format!("the lock {name} is held by {holder}")
            } else {
                format!("the lock {name} is still held by {holder} after {}", request.wait)
            };
            let held = HeldBody { holder: holder.to_string(), remaining: seconds(remaining), ahead };
            Err(Problem::new(StatusCode::CONFLICT, "held", detail).with_all(held))
        }
    }
}

/// Extends a lock to its full ttl from now, or to another one.
#[utoipa::path(
    post, path = "/v1/locks/{name}/renew", security(("token" = ["write"])),
    responses(
        (status = 200, description = "Renewed", body = RenewalBody),
        (status = "4XX", description = "409: the token does not hold the lock any more"),
        (status = 503, description = "The store does not answer; repeating is safe"),
    ),
)]
async fn renew(
    Write(app): Write,
    Path(name): Path<String>,
    Json(RenewRequest { token: text, ttl }): Json<RenewRequest>,
) -> JsonResult<RenewalBody> {
    let (lock, token) = (app.bay.lock(&name), token(&text)?);
    let renewal = match ttl {
        Some(ttl) => {
            checked_ttl(ttl)?;
            lock.renew_for(token, ttl.0).await?
        }
        None => lock.renew(token).await?,
    };
    match renewal {
        Renewal::Renewed { expires_in } => Ok(Json(RenewalBody { expires_in: seconds(expires_in) })),
        Renewal::NotHolder => Err(not_holder(&name)),
    }
}

/// Releases a lock.
#[utoipa::path(
    post, path = "/v1/locks/{name}/release", security(("token" = ["write"])),
    responses(
        (status = 204, description = "Released"),
        (status = "4XX", description = "409: the token does not hold the lock any more"),
        (status = 503, description = "The store does not answer; repeating is safe"),
    ),
)]
async fn release(
    Write(app): Write,
    Path(name): Path<String>,
    Json(request): Json<TokenRequest>,
) -> Result<StatusCode, Problem> {
    match app.bay.lock(&name).release(token(&request.token)?).await? {
        Release::Released => Ok(StatusCode::NO_CONTENT),
        Release::AlreadyLost => Err(not_holder(&name)),
    }
}

/// The state of a lock.
#[utoipa::path(
    get, path = "/v1/locks/{name}", operation_id = "lock_state", security(("token" = ["read"])),
    responses((status = 200, description = "The holder, and the number of waiting callers", body = StateBody)),
)]
async fn state(Read(app): Read, Path(name): Path<String>) -> JsonResult<StateBody> {
    Ok(Json(app.bay.lock(&name).state().await?.into()))
}

/// Releases a lock without its token. The holder learns of it when it renews.
#[utoipa::path(
    post, path = "/v1/locks/{name}/force-release", security(("token" = ["admin"])),
    responses((status = 200, description = "The lock is free", body = Forced)),
)]
async fn force_release(Admin(app): Admin, Path(name): Path<String>) -> JsonResult<Forced> {
    Ok(Json(Forced { released: app.bay.lock(&name).force_release().await? }))
}
