//! Where the store has what is kept under a key: for `/v1/cluster/route` and `forebay cluster route`.

use std::collections::BTreeMap;

use forebay::{
    Name,
    buffer::{BufferHandle, Value},
    cluster::{Cluster, Route},
    series::SeriesHandle,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::text;

/// Where everything is that is kept under one key. The kinds differ: structures of Forebay are placed by what stands in
/// the braces of their keys, series and buffers by their partition, and a plain key as it is.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = Route)]
pub struct Routes {
    /// As `limit` and `lock`: 0 to 16383, the same as in Redis Cluster; null where slots do not decide.
    slot: Option<u16>,
    /// As `limit` and `lock`: the host's name.
    host: String,
    /// The key in all limits.
    limit: Location,
    /// The lock of this name.
    lock: Location,
    /// The key as a plain one, which `map` of the library uses.
    map: Location,
    /// The key in each series.
    series: BTreeMap<String, Location>,
    /// The row with this key in each buffer; without those whose rows have keys of several columns, or of a type that the key is
    /// not.
    buffers: BTreeMap<String, Location>,
}

/// One place.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct Location {
    /// Of series and buffers: which partition it is, counted from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<u16>,
    /// 0 to 16383, the same as in Redis Cluster; null where slots do not decide.
    slot: Option<u16>,
    /// The host's name.
    host: String,
}

impl Routes {
    /// Looks everything up; nothing is asked of a host.
    pub fn of<'a>(
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

    /// The places as lines for people.
    pub fn describe(&self) -> String {
        let kinds = [("limits", &self.limit), ("lock", &self.lock), ("plain key", &self.map)];
        let mut lines: Vec<(String, String)> =
            kinds.map(|(kind, location)| (kind.to_owned(), location.describe())).into();
        lines.extend(
            self.series
                .iter()
                .map(|(name, location)| (format!("series {}", text::shown(name)), location.describe())),
        );
        lines.extend(
            self.buffers
                .iter()
                .map(|(name, location)| (format!("buffer {}", text::shown(name)), location.describe())),
        );
        let width = lines.iter().map(|(kind, _)| kind.len()).max().unwrap_or(0);
        let lines: Vec<String> =
            lines.into_iter().map(|(kind, location)| format!("{kind:<width$}  {location}")).collect();
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
