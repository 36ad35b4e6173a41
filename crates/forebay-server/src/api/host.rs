//! A host of the store, in `/v1/cluster` and `/v1/live`.

use std::{borrow::Cow, time::Duration};

use forebay::cluster::{HostStatus, Latency};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::text::seconds;

/// A host, as this process sees it.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct Host {
    /// Stays when its address changes.
    pub(crate) name: Box<str>,
    /// `up`, `suspect`, `down` or `half-open`. Its keys are refused at once only while it is down.
    pub(crate) health: Cow<'static, str>,
    /// The time at which that began, in RFC 3339; null for a store in this process.
    pub(crate) since: Option<String>,
    /// How many seconds it has lasted; null for a store in this process.
    pub(crate) lasted: Option<f64>,
    /// How often its health changed since this process met it.
    pub(crate) changes: u64,
    /// The number of the 16384 slots that it owns; null where keys are not routed by slots.
    pub(crate) slots: Option<u16>,
    /// The reason why the last call to it failed; null while it is up.
    pub(crate) reason: Option<Box<str>>,
    /// The calls of this process; null in a store with one host, which counts none.
    pub(crate) calls: Option<HostCalls>,
    /// The round trips of the last 30 to 60 seconds.
    pub(crate) latency: HostLatency,
    /// Calls that this node of a Redis Cluster sent elsewhere.
    pub(crate) redirects: HostRedirects,
    /// As the host reported it at most some seconds ago; null before the first report, and for a store in this process.
    pub(crate) memory: Option<HostMemory>,
    /// Its load compared with the mean of all hosts; null in a store with one host.
    pub(crate) skew: Option<HostSkew>,
    /// Whether takes are refused at once, because the last ones had no answer before their deadlines.
    pub(crate) breaker_open: bool,
}

/// Calls of this process to a host.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct HostCalls {
    /// Calls since the start.
    pub(crate) begun: u64,
    /// Those of them that had no answer, or were given up by their caller.
    pub(crate) unanswered: u64,
    /// Those that wait for an answer now.
    pub(crate) in_flight: u64,
}

/// The times of round trips. One round trip carries the calls of many callers.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct HostLatency {
    /// The number of round trips.
    pub(crate) count: u64,
    /// Half of them took no more seconds than this, to within a factor of two; null if there were none.
    pub(crate) p50: Option<f64>,
    /// 99 of 100 took no more seconds than this, to within a factor of two; null if there were none.
    pub(crate) p99: Option<f64>,
    /// Those of the 18 buckets that are not empty.
    pub(crate) buckets: Vec<Bucket>,
}

/// Round trips that took about the same time.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct Bucket {
    /// The most seconds that they took; null: longer than all bounds. They took more than half of it.
    pub(crate) up_to: Option<f64>,
    /// The number of round trips.
    pub(crate) count: u64,
}

/// Calls that a node of a Redis Cluster did not carry out.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct HostRedirects {
    /// Another node has the slot (`MOVED`).
    pub(crate) moved: u64,
    /// Another node has the keys, while the slot moves (`ASK`).
    pub(crate) ask: u64,
    /// Two nodes have the keys of one call, while the slot moves (`TRYAGAIN`).
    pub(crate) try_again: u64,
}

/// The memory of a host, in bytes.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct HostMemory {
    /// The bytes that it uses.
    pub(crate) used: u64,
    /// The bytes that it may use; null: it has no bound.
    pub(crate) max: Option<u64>,
}

/// How many times the mean of all hosts one host has.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct HostSkew {
    /// Of the calls of this process in about the last minute; null: there were too few to tell, or it is down.
    pub(crate) calls: Option<f64>,
    /// Of the slots; null where keys are not routed by slots.
    pub(crate) slots: Option<f64>,
}

impl From<HostStatus> for Host {
    fn from(host: HostStatus) -> Self {
        Self {
            name: host.name,
            health: host.health.as_str().into(),
            since: host.since.map(|since| since.at.to_string()),
            lasted: host.since.map(|since| seconds(since.lasted)),
            changes: host.changes,
            slots: host.slots,
            reason: host.reason,
            calls: host.calls.map(|calls| HostCalls {
                begun: calls.begun,
                unanswered: calls.unanswered,
                in_flight: calls.in_flight,
            }),
            latency: HostLatency::from(&host.recent),
            redirects: HostRedirects {
                moved: host.redirects.moved,
                ask: host.redirects.ask,
                try_again: host.redirects.try_again,
            },
            memory: host.memory.map(|memory| HostMemory { used: memory.used, max: memory.max }),
            skew: host.skew.map(|skew| HostSkew { calls: skew.calls, slots: skew.slots }),
            breaker_open: host.breaker_open,
        }
    }
}

impl From<&Latency> for HostLatency {
    fn from(latency: &Latency) -> Self {
        let quantile = |share| latency.quantile(share).map(seconds);
        let mut below = 0;
        let buckets = latency.buckets().map(|(bound, count): (Option<Duration>, u64)| Bucket {
            up_to: bound.map(seconds),
            count: count - std::mem::replace(&mut below, count),
        });
        let buckets = buckets.filter(|bucket| bucket.count > 0).collect();
        Self { count: latency.count(), p50: quantile(0.5), p99: quantile(0.99), buckets }
    }
}
