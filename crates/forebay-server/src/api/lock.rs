//! Bodies of `/v1/locks`.

use forebay::lock::{DEFAULT_TTL, Lease, LockState};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::text::{Span, seconds};

/// The ttl of the lock, and the longest wait for it.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object, perhaps with ttl and wait")]
pub(crate) struct AcquireRequest {
    /// The time for which the lock is held without a renewal: 100 ms to 24 h, default `10s`.
    #[serde(default = "default_ttl")]
    #[schema(value_type = String, default = "10s", example = "10s")]
    pub(crate) ttl: Span,
    /// The longest wait in the queue: at most 60 s, default `0s`. A caller that closes the connection leaves the queue.
    #[serde(default)]
    #[schema(value_type = String, default = "0s", example = "30s")]
    pub(crate) wait: Span,
}

fn default_ttl() -> Span {
    Span(DEFAULT_TTL)
}

/// The token that proves ownership of the lock.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with token")]
pub(crate) struct TokenRequest {
    /// The token in the answer to the acquisition.
    pub(crate) token: String,
}

/// The token of a lock to renew, and perhaps another ttl.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with token, and perhaps ttl")]
pub(crate) struct RenewRequest {
    /// The token in the answer to the acquisition.
    pub(crate) token: String,
    /// The ttl from now on: 100 ms to 24 h. Without it, the one that the lock has. A lock that has more time left keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "30s")]
    pub(crate) ttl: Option<Span>,
}

/// A lock that was acquired.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = Lease)]
pub(crate) struct LeaseBody {
    /// Renews and releases the lock. Keep it secret.
    pub(crate) token: String,
    /// The fencing token: larger than that of every earlier holder. Let the resource refuse a smaller one than it has seen.
    pub(crate) fence: u64,
    /// Seconds from the grant until the lock expires, less an allowance for clocks. The time before the request was sent, plus
    /// `waited`, plus this is a deadline that is never too late.
    pub(crate) expires_in: f64,
    /// Seconds from the request to the claim that was granted.
    pub(crate) waited: f64,
}

/// A lock that was renewed.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = Renewal)]
pub(crate) struct RenewalBody {
    /// Seconds until the lock expires, counted from before the request was sent, less an allowance for clocks.
    pub(crate) expires_in: f64,
}

/// The members of the problem for a lock that another caller holds.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct HeldBody {
    /// The id of the acquisition that holds it.
    pub(crate) holder: String,
    /// Seconds until its lease ends.
    pub(crate) remaining: f64,
    /// The number of callers that are ahead in the queue.
    pub(crate) ahead: u64,
}

/// The state of a lock.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = LockState)]
pub(crate) struct StateBody {
    /// The id of the acquisition that holds it, not its token; null if the lock is free.
    pub(crate) holder: Option<String>,
    /// Seconds since it was acquired.
    pub(crate) age: Option<f64>,
    /// Its fencing token.
    pub(crate) fence: Option<u64>,
    /// Seconds until it expires unless it is renewed.
    pub(crate) remaining: Option<f64>,
    /// The number of callers that wait for it.
    pub(crate) waiters: u64,
}

/// The answer to a forced release.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct Forced {
    /// False: the lock was free.
    pub(crate) released: bool,
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
