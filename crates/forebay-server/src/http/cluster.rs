//! `/v1/cluster`: the hosts of the store, and which of them have what of a key.

use axum::{Json as Answer, extract::State};
use forebay::cluster::HostStatus;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Problem, ProblemBody, Query, Read, Shared,
    query::{KeyQuery, checked_key},
};
use crate::route::Routes;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(show)).routes(routes!(route))
}

/// The hosts of the store.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Cluster)]
pub(super) struct ClusterBody {
    /// How keys find their host: `slots`, `nydus-partition`, …; null in a store that has only one.
    router: Option<&'static str>,
    /// Which version of the table of slots it is; null in a store that has only one host.
    epoch: Option<u64>,
    hosts: Vec<HostBody>,
}

/// A host, as this server sees it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Host)]
pub(crate) struct HostBody {
    /// Stays when its address changes.
    name: Box<str>,
    /// `up`, `suspect`, `down` or `half-open`. Only while it is down are its keys refused at once.
    health: &'static str,
    /// Of the 16384 slots, those it owns; null where slots do not decide.
    slots: Option<u16>,
    /// What it came to the last time it did not answer; null while it is up.
    reason: Option<Box<str>>,
}

impl From<HostStatus> for HostBody {
    fn from(host: HostStatus) -> Self {
        Self { name: host.name, health: host.health.as_str(), slots: host.slots, reason: host.reason }
    }
}

/// The hosts of the store, and how they have been answering.
#[utoipa::path(
    get,
    path = "/v1/cluster",
    tag = "operation",
    operation_id = "cluster",
    responses(
        (status = 200, description = "The hosts; one unless the store has several", body = ClusterBody),
        (status = "4XX", description = "It was not understood", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["read"])),
)]
async fn show(_: Read, State(app): State<Shared>) -> Answer<ClusterBody> {
    let cluster = app.bay().cluster();
    let placement = cluster.placement();
    Answer(ClusterBody {
        router: placement.map(|placement| placement.router),
        epoch: placement.map(|placement| placement.epoch),
        hosts: cluster.hosts().into_iter().map(HostBody::from).collect(),
    })
}

/// Which hosts have what is kept under a key: in limits, in each series and buffer, as a lock, and as a plain key.
#[utoipa::path(
    get,
    path = "/v1/cluster/route",
    tag = "operation",
    params(KeyQuery),
    responses(
        (status = 200, description = "Where each of them is", body = Routes),
        (status = "4XX", description = "It was not understood", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["read"])),
)]
async fn route(
    _: Read,
    State(app): State<Shared>,
    Query(query): Query<KeyQuery>,
) -> Result<Answer<Routes>, Problem> {
    let series = app.series.iter().map(|(name, series)| (name, &series.handle));
    let buffers = app.buffers.iter().map(|(name, buffer)| (name, &buffer.handle));
    Ok(Answer(Routes::of(&app.bay().cluster(), checked_key(&query.key)?, series, buffers)))
}
