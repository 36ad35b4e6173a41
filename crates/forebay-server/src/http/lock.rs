//! `/v1/locks`: acquire, renew, release, look, release by force.
//!
//! The holder is whoever has the token: nothing here renews a lock, and nothing releases it when the server stops.

use std::time::Duration;

use axum::{Json as Answer, extract::State, http::StatusCode};
use forebay::{
    lock::{Attempt, DEFAULT_TTL, Lease, LockState, MAX_TTL, MIN_TTL, Release, Renewal, Token},
    time::secs,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Admin, Json, Path, Problem, ProblemBody, Read, Shared, Write};
use crate::text::{Span, seconds};

/// The longest wait of one request.
pub const MAX_WAIT: Duration = secs(60);

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(acquire, state))
        .routes(routes!(renew))
        .routes(routes!(release))
        .routes(routes!(force_release))
}

/// For how long, and how long to wait for it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object, perhaps with ttl and wait")]
pub(super) struct AcquireRequest {
    /// How long the lock is held without being renewed: 100 ms to 24 h, default `10s`.
    #[serde(default = "default_ttl")]
    #[schema(value_type = String, default = "10s", example = "10s")]
    ttl: Span,
    /// How long to wait in the queue: at most 60 s, default `0s`. Who hangs up leaves the queue.
    #[serde(default)]
    #[schema(value_type = String, default = "0s", example = "30s")]
    wait: Span,
}

fn default_ttl() -> Span {
    Span(DEFAULT_TTL)
}

/// What proves a hold.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with token")]
pub(super) struct TokenRequest {
    /// What the acquisition answered.
    token: String,
}

/// A lock that is held now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Lease)]
pub(super) struct LeaseBody {
    /// Renews and releases the lock. Keep it secret.
    token: String,
    /// Larger than that of every hold before. Let the resource refuse smaller ones than it has seen.
    fence: u64,
    /// Seconds from when it was granted until it is lost, less an allowance for clocks. Before the request was sent
    /// plus `waited` plus this is a deadline that is never too late.
    expires_in: f64,
    /// Seconds from the request to the claim that was granted.
    waited: f64,
}

/// A lock that is held for longer now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Renewal)]
pub(super) struct RenewalBody {
    /// Seconds from before the request was sent until it is lost, less an allowance for clocks.
    expires_in: f64,
}

/// A lock, seen from outside.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LockState)]
pub(super) struct StateBody {
    /// The acquisition that holds it, not its token; null: nobody does.
    holder: Option<String>,
    /// Seconds since it was acquired.
    age: Option<f64>,
    /// Its fence.
    fence: Option<u64>,
    /// Seconds until it is lost unless it is renewed.
    remaining: Option<f64>,
    /// How many wait for it.
    waiters: u64,
}

/// Whether there was something to release.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Forced {
    /// False: nobody held it.
    released: bool,
}

impl From<Lease> for LeaseBody {
    fn from(lease: Lease) -> Self {
        Self {
            token: lease.token.to_string(),
            fence: lease.fence,
            expires_in: seconds(lease.expires_in),
            waited: seconds(lease.waited),
        }
    }
}

impl From<LockState> for StateBody {
    fn from(state: LockState) -> Self {
        let LockState { holding, waiters, .. } = state;
        Self {
            holder: holding.map(|holding| holding.holder.to_string()),
            age: holding.map(|holding| seconds(holding.held_for)),
            fence: holding.map(|holding| holding.fence),
            remaining: holding.map(|holding| seconds(holding.remaining)),
            waiters,
        }
    }
}

fn checked(request: &AcquireRequest) -> Result<(), Problem> {
    if !(MIN_TTL..=MAX_TTL).contains(&request.ttl.0) {
        return Err(Problem::field("ttl", format!("ttl: {}: a ttl is 100ms to 24h", request.ttl)));
    }
    if request.wait.0 > MAX_WAIT {
        return Err(Problem::field("wait", format!("wait: {}: one request waits 60s at most", request.wait)));
    }
    Ok(())
}

fn token(request: &TokenRequest) -> Result<Token, Problem> {
    request.token.parse().map_err(|error: forebay::Error| Problem::field("token", error.to_string()))
}

fn stopping() -> Problem {
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "shutting-down", "the server is stopping");
    problem.with("retry", "later").retry_after(None)
}

fn not_holder(name: &str) -> Problem {
    let detail = format!("the token does not hold the lock {}", crate::text::quoted(name));
    Problem::new(StatusCode::CONFLICT, "not-holder", detail)
}

/// Acquires a lock.
#[utoipa::path(
    post,
    path = "/v1/locks/{name}",
    tag = "locks",
    params(("name" = String, Path, description = "1 to 512 bytes of UTF-8")),
    request_body = AcquireRequest,
    responses(
        (status = 201, description = "Acquired", body = LeaseBody),
        (status = "4XX", description = "409: held by another; `holder`, `remaining` (seconds) and `ahead` (who waited before) are among the members. Others: it was not understood", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The store does not answer, or too many wait", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["write"])),
)]
async fn acquire(
    _: Write,
    State(app): State<Shared>,
    Path(name): Path<String>,
    Json(request): Json<AcquireRequest>,
) -> Result<(StatusCode, Answer<LeaseBody>), Problem> {
    checked(&request)?;
    // If the caller hangs up, this future is dropped, and what it waits for given back.
    let lock = app.bay().lock(&name).ttl(request.ttl.0);
    let attempt = tokio::select! {
        biased;
        attempt = lock.lease_within(request.wait.0) => attempt?,
        () = app.stopping() => return Err(stopping()),
    };
    match attempt {
        Attempt::Acquired(lease) => Ok((StatusCode::CREATED, Answer(lease.into()))),
        Attempt::Held { holder, remaining, ahead } => {
            let name = crate::text::quoted(&name);
            let detail = if request.wait.0.is_zero() {
                format!("the lock {name} is held by {holder}")
            } else {
                format!("the lock {name} is still held by {holder} after {}", request.wait)
            };
            let problem = Problem::new(StatusCode::CONFLICT, "held", detail);
            let problem = problem.with("holder", holder.to_string()).with("ahead", ahead);
            Err(problem.with("remaining", seconds(remaining)))
        }
    }
}

/// Extends a lock to its full ttl from now.
#[utoipa::path(
    post,
    path = "/v1/locks/{name}/renew",
    tag = "locks",
    params(("name" = String, Path, description = "1 to 512 bytes of UTF-8")),
    request_body = TokenRequest,
    responses(
        (status = 200, description = "Held", body = RenewalBody),
        (status = "4XX", description = "409: the token does not hold it any more. Others: it was not understood", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The store does not answer; repeating is safe", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["write"])),
)]
async fn renew(
    _: Write,
    State(app): State<Shared>,
    Path(name): Path<String>,
    Json(request): Json<TokenRequest>,
) -> Result<Answer<RenewalBody>, Problem> {
    match app.bay().lock(&name).renew(token(&request)?).await? {
        Renewal::Renewed { expires_in } => Ok(Answer(RenewalBody { expires_in: seconds(expires_in) })),
        Renewal::NotHolder => Err(not_holder(&name)),
    }
}

/// Gives a lock back.
#[utoipa::path(
    post,
    path = "/v1/locks/{name}/release",
    tag = "locks",
    params(("name" = String, Path, description = "1 to 512 bytes of UTF-8")),
    request_body = TokenRequest,
    responses(
        (status = 204, description = "Released"),
        (status = "4XX", description = "409: the token does not hold it any more. Others: it was not understood", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The store does not answer; repeating is safe", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["write"])),
)]
async fn release(
    _: Write,
    State(app): State<Shared>,
    Path(name): Path<String>,
    Json(request): Json<TokenRequest>,
) -> Result<StatusCode, Problem> {
    match app.bay().lock(&name).release(token(&request)?).await? {
        Release::Released => Ok(StatusCode::NO_CONTENT),
        Release::AlreadyLost => Err(not_holder(&name)),
    }
}

/// Looks at a lock.
#[utoipa::path(
    get,
    path = "/v1/locks/{name}",
    tag = "locks",
    operation_id = "lock_state",
    params(("name" = String, Path, description = "1 to 512 bytes of UTF-8")),
    responses(
        (status = 200, description = "Who holds it, and how many wait", body = StateBody),
        (status = "4XX", description = "It was not understood", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The store does not answer", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["read"])),
)]
async fn state(
    _: Read,
    State(app): State<Shared>,
    Path(name): Path<String>,
) -> Result<Answer<StateBody>, Problem> {
    Ok(Answer(app.bay().lock(&name).state().await?.into()))
}

/// Takes a lock from whoever holds it. The holder learns of it when it renews.
#[utoipa::path(
    post,
    path = "/v1/locks/{name}/force-release",
    tag = "locks",
    params(("name" = String, Path, description = "1 to 512 bytes of UTF-8")),
    responses(
        (status = 200, description = "Nobody holds it now", body = Forced),
        (status = "4XX", description = "It was not understood", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The store does not answer", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["admin"])),
)]
async fn force_release(
    _: Admin,
    State(app): State<Shared>,
    Path(name): Path<String>,
) -> Result<Answer<Forced>, Problem> {
    Ok(Answer(Forced { released: app.bay().lock(&name).force_release().await? }))
}
