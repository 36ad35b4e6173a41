//! `GET /v1/limits`: the limits of the configuration.

use axum::{Json as Answer, extract::State};
use forebay::{
    Limit, Name,
    limit::{Kind, Settings},
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{ProblemBody, Read, Shared};
use crate::text::Span;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list))
}

/// A limit of the configuration.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Limit)]
pub(super) struct LimitBody {
    /// Its name.
    name: String,
    /// `fixed-window`, `sliding-window`, `token-bucket` or `concurrency`.
    kind: &'static str,
    /// What keys are allowed that have no override: a rate such as `20/1m` or `100/1m burst 500`; of a concurrency limit the
    /// number of leases; `unlimited`; or `blocked`.
    #[schema(example = "20/1m")]
    allow: String,
    /// How long a lease is lent; null for other kinds.
    ttl: Option<String>,
    /// Where windows begin, counted from multiples of their length, or `by-key`; null for kinds that have no windows.
    phase: Option<String>,
    /// `exact` or `leased`.
    mode: &'static str,
    /// Whether it only shows what it would do.
    shadow: bool,
    /// What is answered while the store does not answer: `open`, `closed` or `local`.
    on_error: &'static str,
    /// How long it waits for the store.
    #[schema(example = "50ms")]
    deadline: String,
    /// How many keys the configuration allows something else; `/v1/limits/{limit}/overrides` lists them, with those that
    /// were set since.
    overrides: usize,
}

impl LimitBody {
    fn of((name, limit): (&Name, &Limit)) -> Self {
        let Settings { kind, allowed, per, phase, mode, shadow, on_error, deadline, overrides, .. } =
            limit.settings();
        let span = |span| Span(span).to_string();
        let phase = || phase.map_or_else(|| "by-key".to_owned(), span);
        Self {
            name: name.to_string(),
            kind: kind.as_str(),
            allow: allowed.to_string(),
            ttl: (kind == Kind::Concurrency).then(|| span(per)),
            phase: (kind == Kind::FixedWindow).then(phase),
            mode: mode.as_str(),
            shadow,
            on_error: on_error.as_str(),
            deadline: span(deadline),
            overrides,
        }
    }
}

/// The limits of the configuration, by name.
#[utoipa::path(
    get,
    path = "/v1/limits",
    tag = "limits",
    operation_id = "list_limits",
    responses(
        (status = 200, description = "All of them, as they are in force", body = Vec<LimitBody>),
        (status = "4XX", description = "A token with the scope read is missing", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["read"])),
)]
async fn list(_: Read, State(app): State<Shared>) -> Answer<Vec<LimitBody>> {
    Answer(app.rules().declared_limits().map(LimitBody::of).collect())
}
