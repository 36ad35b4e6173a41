//! Bodies of `/v1/limits`.

use std::borrow::Cow;

use forebay::{
    Decision, Limit, Name,
    limit::{Denied, Kind, NearLimit, Outstanding, Overridden, SetBy, Settings},
    time::mins,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::fields::{Cost, Count, Key};
use crate::text::{Span, seconds};

/// A take from one limit.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with key, and perhaps cost")]
pub(crate) struct TakeRequest {
    pub(crate) key: Key,
    /// The cost; default 1, at most the limit. 0 charges nothing and answers what a take of 1 would get.
    #[serde(default)]
    pub(crate) cost: Cost,
}

/// A take from several limits: all are charged, or none.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with take")]
pub(crate) struct TakeAllRequest {
    /// 1 to 64; each limit and key once.
    #[schema(min_items = 1, max_items = 64)]
    pub(crate) take: Vec<ChargeRequest>,
}

/// A cost against a key of a limit.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with limit and key, and perhaps cost")]
pub(crate) struct ChargeRequest {
    /// A declared limit.
    pub(crate) limit: String,
    pub(crate) key: Key,
    /// The cost; default 1, at most the limit. 0 charges nothing and answers what a take of 1 would get.
    #[serde(default)]
    pub(crate) cost: Cost,
}

/// The decision of a limit.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = Decision)]
pub(crate) struct DecisionBody {
    pub(crate) allowed: bool,
    /// The part of the limit that is used.
    pub(crate) used: u64,
    /// The quota, or the burst of a token bucket.
    pub(crate) limit: u64,
    /// The cost that would still be admitted now.
    pub(crate) remaining: u64,
    /// Seconds until nothing is used.
    pub(crate) reset_after: f64,
    /// Seconds until a denied cost would be admitted; null if it was admitted, or if that is not known, as for leases.
    pub(crate) retry_after: Option<f64>,
    /// The part that decided: `engine`, `lease` (this server, within its part of the quota), `deny_cache`, `fallback` (see
    /// `degraded`), or `definition` (unlimited, or blocked).
    pub(crate) source: Cow<'static, str>,
    /// The store did not answer, and `on_error` decided.
    pub(crate) degraded: bool,
    /// The limit is a shadow: it would have denied.
    #[serde(default)]
    #[schema(required = true)]
    pub(crate) shadowed: bool,
}

/// The decisions of several limits, in the order of the request.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Decisions)]
pub(crate) struct DecisionsBody {
    pub(crate) allowed: bool,
    pub(crate) limits: Vec<LimitAnswer>,
}

/// The decision of one limit among several.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum LimitAnswer {
    Decision(DecisionBody),
    NotAsked(NotAsked),
}

/// The limit was not asked, because another one had denied already.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NotAsked {
    NotAsked,
}

impl From<Option<&Decision>> for LimitAnswer {
    fn from(decision: Option<&Decision>) -> Self {
        decision.map_or(Self::NotAsked(NotAsked::NotAsked), |decision| Self::Decision(decision.into()))
    }
}

impl From<&Decision> for DecisionBody {
    fn from(decision: &Decision) -> Self {
        Self {
            allowed: decision.is_allowed(),
            used: decision.used(),
            limit: decision.limit(),
            remaining: decision.remaining(),
            reset_after: seconds(decision.reset_after()),
            retry_after: decision.retry_after().map(seconds),
            source: decision.source().as_str().into(),
            degraded: decision.is_degraded(),
            shadowed: decision.is_shadowed(),
        }
    }
}

/// The part of the quota of a reset key that other servers of a leased limit, or holders of leases, still hold.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = Outstanding)]
pub(crate) struct OutstandingBody {
    /// The cost that stays charged.
    pub(crate) outstanding: u64,
    /// The time at which that ends at the latest, unless it is extended.
    #[schema(format = DateTime)]
    pub(crate) until: String,
}

impl From<Outstanding> for OutstandingBody {
    fn from(outstanding: Outstanding) -> Self {
        Self { outstanding: outstanding.amount, until: outstanding.until.to_string() }
    }
}

/// A key that was denied often.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct DeniedKey {
    pub(crate) key: String,
    /// The number of denials; an upper bound.
    pub(crate) denied: u64,
    /// The amount by which `denied` may be too high.
    pub(crate) error: u64,
}

/// A key that has used most of its quota.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct NearKey {
    pub(crate) key: String,
    /// The part that was used after the last admitted take.
    pub(crate) used: u64,
    /// The quota.
    pub(crate) limit: u64,
    /// The part of the quota that is used, 0.8 to 1; more where a shadow admitted it.
    pub(crate) share: f64,
}

impl From<Denied> for DeniedKey {
    fn from(denied: Denied) -> Self {
        Self { key: denied.key, denied: denied.count, error: denied.error }
    }
}

impl From<NearLimit> for NearKey {
    fn from(near: NearLimit) -> Self {
        let share = (near.share() * 1_000.0).round() / 1_000.0;
        Self { key: near.key, used: near.used, limit: near.limit, share }
    }
}

/// A limit of the configuration.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Limit)]
pub(crate) struct LimitBody {
    /// Its name.
    name: String,
    /// `fixed-window`, `sliding-window`, `token-bucket`, `calendar-window` or `concurrency`.
    kind: &'static str,
    /// The allowance of a key without an override: a rate such as `20/1m`, `100/1m burst 500` or `5/day`; for a concurrency limit the
    /// number of leases; `unlimited`; or `blocked`.
    #[schema(example = "20/1m")]
    allow: String,
    /// The time for which a lease lasts; null for other kinds.
    ttl: Option<String>,
    /// The begin of windows, as an offset from multiples of their length, or `by-key`; null for kinds without windows.
    phase: Option<String>,
    /// The time zone whose calendar counts; null for other kinds than `calendar-window`.
    zone: Option<String>,
    /// `exact` or `leased`.
    mode: &'static str,
    /// True if it admits everything and only reports what it would deny.
    shadow: bool,
    /// The decision while the store does not answer: `open`, `closed` or `local`.
    on_error: &'static str,
    /// The longest wait for the store.
    #[schema(example = "50ms")]
    deadline: String,
    /// The number of overrides in the configuration. `/v1/limits/{limit}/overrides` lists them, with those that were set since.
    overrides: usize,
}

impl LimitBody {
    pub(crate) fn new((name, limit): (&Name, &Limit)) -> Self {
        let Settings { kind, allowed, per, zone, phase, mode, shadow, on_error, deadline, overrides, .. } =
            limit.settings();
        let span = |span| Span(span).to_string();
        let phase = || phase.map_or_else(|| "by-key".to_owned(), span);
        Self {
            name: name.to_string(),
            kind: kind.as_str(),
            allow: allowed.to_string(),
            ttl: (kind == Kind::Concurrency).then(|| span(per)),
            phase: (kind == Kind::FixedWindow).then(phase),
            zone,
            mode: mode.as_str(),
            shadow,
            on_error: on_error.as_str(),
            deadline: span(deadline),
            overrides,
        }
    }
}

/// An override to set.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with allow")]
pub(crate) struct OverrideRequest {
    /// A rate such as `100/1m`, for a token bucket perhaps with its burst, `100/1m burst 500`; for a concurrency limit
    /// the number of leases; `unlimited`; or `blocked`.
    #[schema(example = "100/1m")]
    pub(crate) allow: String,
}

/// The override of a key.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = Overridden)]
pub(crate) struct OverriddenBody {
    pub(crate) key: String,
    /// The allowance of the key, as in a request that sets it.
    pub(crate) allow: String,
    /// `configuration`, or `request`, which takes precedence.
    pub(crate) set_by: Cow<'static, str>,
}

impl From<Overridden> for OverriddenBody {
    fn from(one: Overridden) -> Self {
        let set_by = match one.set_by {
            SetBy::Definition => "configuration",
            _ => "request",
        };
        Self { key: one.key, allow: one.instead.to_string(), set_by: set_by.into() }
    }
}

/// A lease to acquire.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with key")]
pub(crate) struct LeaseRequest {
    pub(crate) key: Key,
}

/// A lease that was granted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LimitLease {
    /// Extends and releases the lease. Keep it secret.
    pub(crate) lease: String,
    /// Seconds until the lease expires, counted from before the request was sent, less an allowance for clocks.
    pub(crate) expires_in: f64,
    #[serde(flatten)]
    pub(crate) decision: DecisionBody,
}

/// A lease that was extended.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LimitLeaseExtension {
    /// Seconds until the lease expires, counted from before the request was sent, less an allowance for clocks.
    pub(crate) expires_in: f64,
    /// It was granted without the store, by `on_error`, and is not counted.
    pub(crate) degraded: bool,
}

/// The members of the problem for a lease that was denied.
#[derive(Debug, Serialize)]
pub(crate) struct LeaseDenied {
    pub(crate) first_end: Option<f64>,
    #[serde(flatten)]
    pub(crate) decision: DecisionBody,
}

/// A reservation to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with key, and perhaps cost and ttl")]
pub(crate) struct ReserveRequest {
    pub(crate) key: Key,
    /// The estimated cost; default 1, at most the limit.
    #[serde(default)]
    pub(crate) cost: Count,
    /// The time in which it can be committed or released: 1 s to 24 h, default `1m`. After that the estimate stays charged.
    #[serde(default = "default_ttl")]
    #[schema(value_type = String, default = "1m", example = "5m")]
    pub(crate) ttl: Span,
}

fn default_ttl() -> Span {
    Span(mins(1))
}

/// The real cost of a reservation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with cost")]
pub(crate) struct CommitRequest {
    /// 0 to 2^31. A cost above the estimate is charged in full, also where it exceeds the limit.
    pub(crate) cost: Cost,
}

/// A reservation that was granted.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Reservation)]
pub(crate) struct ReservationBody {
    /// Commits or releases the reservation.
    pub(crate) reservation: String,
    #[serde(flatten)]
    pub(crate) decision: DecisionBody,
}
