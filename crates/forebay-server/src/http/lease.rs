//! `/v1/limits/{limit}/leases`: leases of concurrency limits.
//!
//! The caller with the lease's text is its holder. The server neither extends leases nor releases them when it stops.

use std::{fmt, str::FromStr};

use axum::http::StatusCode;
use forebay::{
    key::Key,
    limit::{Lease, LeaseId, LeaseTerm, LimitHandle},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Json, JsonResult, Path, Problem, Write, limit::denied};
use crate::{
    api::limit::{LeaseDenied, LeaseRequest, LimitLease, LimitLeaseExtension},
    app::Shared,
    text::seconds,
};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(grant)).routes(routes!(extend, release))
}

/// The name of a lease for clients: its id and its key in hexadecimal, so that the server needs no table of leases.
#[derive(Debug, PartialEq, Eq)]
struct KeyedLeaseId {
    id: LeaseId,
    key: String,
}

/// The hexadecimal digits of an id.
const ID_DIGITS: usize = 32;

impl fmt::Display for KeyedLeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id.to_string().replace('-', ""))?;
        self.key.bytes().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for KeyedLeaseId {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let read = || {
            // `from_str_radix` would accept a sign, too.
            let hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit());
            let (id, digits) = text.split_at_checked(ID_DIGITS).filter(|_| hexadecimal)?;
            let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
            let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
            let key = String::from_utf8(pairs.iter().map(byte).collect::<Option<_>>()?).ok()?;
            Key::new(&key).ok().filter(|_| rest.is_empty())?;
            Some(Self { id: id.parse().ok()?, key })
        };
        read().ok_or_else(|| {
            Problem::new(StatusCode::NOT_FOUND, "unknown-lease", "lease: not a lease of this limit")
        })
    }
}

fn not_held(limit: &LimitHandle) -> Problem {
    let detail = format!("limit {}: the lease has expired, or was released", limit.name());
    Problem::new(StatusCode::CONFLICT, "not-holder", detail)
}

/// Acquires a lease.
#[utoipa::path(
    post, path = "/v1/limits/{limit}/leases", operation_id = "grant_lease", security(("token" = ["write"])),
    responses(
        (status = 201, description = "Granted", body = LimitLease),
        (status = "4XX", description = "429: all leases are in use; the members have the decision, and `first_end`, the seconds until the first lease expires unless it is extended"),
    ),
)]
async fn grant(
    Write(app): Write,
    Path(limit): Path<String>,
    Json(request): Json<LeaseRequest>,
) -> Result<(StatusCode, Json<LimitLease>), Problem> {
    let rules = app.rules();
    let limit = rules.limits.find(&limit)?;
    let key = request.key.0;
    match limit.handle.lease_as(&key, LeaseId::random()).await? {
        Lease::Granted(LeaseTerm { id, expires_in, decision, .. }) => {
            limit.metrics.count(&decision);
            let lease = KeyedLeaseId { id, key }.to_string();
            let body = LimitLease { lease, expires_in: seconds(expires_in), decision: (&decision).into() };
            Ok((StatusCode::CREATED, Json(body)))
        }
        Lease::Denied { decision, first_end } => {
            limit.metrics.count(&decision);
            let body = LeaseDenied { first_end: first_end.map(seconds), decision: (&decision).into() };
            Err(denied(limit.handle.name(), &decision).with_all(body))
        }
    }
}

/// Extends a lease to its full ttl from now.
#[utoipa::path(
    put, path = "/v1/limits/{limit}/leases/{lease}", operation_id = "extend_lease",
    responses(
        (status = 200, description = "Extended", body = LimitLeaseExtension),
        (status = "4XX", description = "409: it has expired"),
        (status = 503, description = "The store does not answer; repeating is safe"),
    ),
    security(("token" = ["write"])),
)]
async fn extend(
    Write(app): Write,
    Path((limit, lease)): Path<(String, String)>,
) -> JsonResult<LimitLeaseExtension> {
    let rules = app.rules();
    let (limit, lease) = (&rules.limits.find(&limit)?.handle, lease.parse::<KeyedLeaseId>()?);
    match limit.extend_lease(&lease.key, lease.id).await? {
        Some(expires_in) => {
            let degraded = lease.id.is_degraded();
            Ok(Json(LimitLeaseExtension { expires_in: seconds(expires_in), degraded }))
        }
        None => Err(not_held(limit)),
    }
}

/// Releases a lease.
#[utoipa::path(
    delete, path = "/v1/limits/{limit}/leases/{lease}", operation_id = "release_lease",
    responses(
        (status = 204, description = "Released"),
        (status = "4XX", description = "409: it had expired"),
        (status = 503, description = "The store does not answer; repeating is safe"),
    ),
    security(("token" = ["write"])),
)]
async fn release(
    Write(app): Write,
    Path((limit, lease)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let rules = app.rules();
    let (limit, lease) = (&rules.limits.find(&limit)?.handle, lease.parse::<KeyedLeaseId>()?);
    if limit.release_lease(&lease.key, lease.id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(not_held(limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_id_is_read_back_with_its_key_and_nothing_else_is() {
        let lease = KeyedLeaseId { id: LeaseId::random(), key: "a/é?".into() };
        let text = lease.to_string();
        assert_eq!(text.parse::<KeyedLeaseId>().ok(), Some(lease));
        for wrong in ["", "42", &text[..32], &text[1..], &text[..text.len() - 1], &format!("{text}+1")] {
            assert!(wrong.parse::<KeyedLeaseId>().is_err(), "{wrong}");
        }
    }
}
