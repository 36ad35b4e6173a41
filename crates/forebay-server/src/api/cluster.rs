//! Bodies of `/v1/cluster`.

use std::{borrow::Cow, collections::BTreeMap};

use forebay::{
    Name,
    buffer::{BufferHandle, Value},
    cluster::{Cluster, Route, ServerReport},
    series::SeriesHandle,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::host::Host;
use crate::text;

/// The hosts of the store.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = Cluster)]
pub(crate) struct ClusterBody {
    /// The router, which finds the host of a key: `slots`, `nydus-partition`, …; null in a store with one host.
    pub(crate) router: Option<Cow<'static, str>>,
    /// The version of the slot table; null in a store with one host.
    pub(crate) epoch: Option<u64>,
    pub(crate) hosts: Vec<Host>,
}

impl From<&Cluster> for ClusterBody {
    fn from(cluster: &Cluster) -> Self {
        let placement = cluster.placement();
        Self {
            router: placement.map(|placement| placement.router.into()),
            epoch: placement.map(|placement| placement.epoch),
            hosts: cluster.hosts().into_iter().map(Host::from).collect(),
        }
    }
}

/// A server that was probed.
#[derive(Debug, Serialize)]
pub(crate) struct ProbedServer {
    pub(crate) name: Box<str>,
    pub(crate) findings: Vec<Finding>,
}

/// A need, and what a server was found to do about it.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) need: &'static str,
    /// `met`, `limited` or `missing`.
    pub(crate) outcome: &'static str,
    pub(crate) found: Box<str>,
}

impl From<ServerReport> for ProbedServer {
    fn from(server: ServerReport) -> Self {
        let findings = server.findings.into_iter().map(|finding| Finding {
            need: finding.need,
            outcome: finding.outcome.as_str(),
            found: finding.found,
        });
        Self { name: server.name, findings: findings.collect() }
    }
}

/// The hosts of one key. The kinds differ: a limit, series, lock or buffer is placed by the hash tag in its key, series and
/// buffers by their partition, and a plain key by the whole key.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = Route)]
pub(crate) struct Routes {
    /// The slot of `limit` and `lock`: 0 to 16383, the same as in Redis Cluster; null where keys are not routed by slots.
    slot: Option<u16>,
    /// The host of `limit` and `lock`.
    host: String,
    /// The key in all limits.
    limit: Location,
    /// The lock of this name.
    lock: Location,
    /// A plain key, as `map` of the library uses it.
    map: Location,
    /// The key in each series.
    series: BTreeMap<String, Location>,
    /// The row with this key in each buffer. Buffers with several key columns, or with a type that the key does not fit, are
    /// left out.
    buffers: BTreeMap<String, Location>,
}

/// The host of a key.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct Location {
    /// Only for series and buffers: the partition, counted from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<u16>,
    /// 0 to 16383, the same as in Redis Cluster; null where keys are not routed by slots.
    slot: Option<u16>,
    /// The host's name.
    host: String,
}

impl Routes {
    /// Routes `key` without a call to a host.
    pub(crate) fn new<'a>(
        cluster: &Cluster,
        key: &str,
        series: impl Iterator<Item = (&'a Name, &'a SeriesHandle)>,
        buffers: impl Iterator<Item = (&'a Name, &'a BufferHandle)>,
    ) -> Self {
        let limit = Location::from(cluster.route_limit(key));
        let row = |buffer: &BufferHandle| {
            let [column] = &*buffer.schema().keys else { return None };
            let value: Value = text::value(column.column_type, key).ok()?;
            Some(Location::from(cluster.route_row(buffer, [value]).ok()?))
        };
        Self {
            slot: limit.slot,
            host: limit.host.clone(),
            limit,
            lock: cluster.route_lock(key).into(),
            map: cluster.route(key).into(),
            series: series
                .map(|(name, series)| (name.to_string(), cluster.route_series(series, key).into()))
                .collect(),
            buffers: buffers.filter_map(|(name, buffer)| Some((name.to_string(), row(buffer)?))).collect(),
        }
    }

    /// The hosts as lines of text.
    pub(crate) fn describe(&self) -> String {
        let kinds = [("limits", &self.limit), ("lock", &self.lock), ("plain key", &self.map)];
        let kinds = kinds.into_iter().map(|(kind, location)| (kind.to_owned(), location));
        let series = self.series.iter().map(|(name, at)| (format!("series {}", text::shown(name)), at));
        let buffers = self.buffers.iter().map(|(name, at)| (format!("buffer {}", text::shown(name)), at));
        let lines: Vec<(String, &Location)> = kinds.chain(series).chain(buffers).collect();
        let width = lines.iter().map(|(kind, _)| kind.len()).max().unwrap_or(0);
        let line = |(kind, location): (String, &Location)| format!("{kind:<width$}  {}", location.describe());
        let lines: Vec<String> = lines.into_iter().map(line).collect();
        lines.join("\n")
    }
}

impl Location {
    fn describe(&self) -> String {
        let slot = self.slot.map(|slot| format!("slot {slot} on ")).unwrap_or_default();
        let partition =
            self.partition.map(|partition| format!(", partition {partition}")).unwrap_or_default();
        format!("{slot}host {}{partition}", text::shown(&self.host))
    }
}

impl From<Route> for Location {
    fn from(route: Route) -> Self {
        Self { partition: route.partition, slot: route.slot, host: route.host.into() }
    }
}
