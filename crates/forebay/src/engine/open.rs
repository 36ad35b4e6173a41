//! From a store's URL to an engine.

use std::{path::Path, time::Duration};

#[cfg(feature = "redis")]
use super::cluster;
use super::{
    Engine,
    embedded::{Embedded, FileOptions},
};
#[cfg(feature = "redis")]
use crate::cluster::{Hosts, RouterKind};
use crate::{
    bay::Options,
    error::{Result, invalid},
    time::{millis, secs},
};

/// Where a store is, as its URL says. Whatever can be wrong with a URL is found by reading it into this: that is all
/// that a configuration is checked by, and the first thing that opening does.
#[derive(Debug)]
pub(crate) enum Location<'a> {
    Memory,
    Embedded(&'a Path, FileOptions),
    #[cfg(feature = "redis")]
    Host(&'a str),
    #[cfg(feature = "redis")]
    Hosts(RouterKind, Vec<cluster::Address>),
}

impl<'a> Location<'a> {
    /// Reads a store's URL.
    pub(crate) fn read(url: &'a str) -> Result<Self> {
        let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
        match scheme {
            "memory" if rest.is_empty() => Ok(Self::Memory),
            "embedded" => embedded(rest).map(|(path, file)| Self::Embedded(path, file)),
            "redis" | "redis+unix" => Self::read_redis(url),
            // The rest of a URL may hold a password: name the scheme only.
            _ => Err(invalid(format!(
                "store URL with scheme {scheme:?}: memory:, embedded:PATH or redis: is accepted"
            ))),
        }
    }

    #[cfg(feature = "redis")]
    fn read_redis(url: &'a str) -> Result<Self> {
        if cluster::is_list(url) {
            let (router, addresses) = cluster::read_list(url)?;
            cluster::Cluster::check(router, &addresses)?;
            return Ok(Self::Hosts(router, addresses));
        }
        super::redis::Redis::check(url)?;
        Ok(Self::Host(url))
    }

    #[cfg(not(feature = "redis"))]
    fn read_redis(_url: &'a str) -> Result<Self> {
        Err(invalid("a redis: store needs the feature `redis` of the crate forebay"))
    }

    /// Reads a list of hosts.
    #[cfg(feature = "redis")]
    pub(crate) fn of_hosts(hosts: &Hosts) -> Result<Self> {
        if hosts.listed.is_empty() {
            return Err(invalid("no hosts: a store has at least one"));
        }
        let addresses = cluster::sort_listed(hosts.router, hosts.listed.clone())?;
        cluster::Cluster::check(hosts.router, &addresses)?;
        Ok(Self::Hosts(hosts.router, addresses))
    }
}

impl Engine {
    /// Opens the engine that is at a place.
    pub(crate) async fn open(location: Location<'_>, options: &Options) -> Result<Self> {
        match location {
            #[cfg(feature = "test-util")]
            Location::Memory if options.faults.is_some() => {
                let (inner, faults) = (Embedded::in_memory(options.clock.clone()), options.faults.clone());
                let faults = faults.unwrap_or_default();
                Ok(Self::Fault(std::sync::Arc::new(super::fault::FaultEngine { inner, faults })))
            }
            Location::Memory => Ok(Self::Embedded(Embedded::in_memory(options.clock.clone()))),
            Location::Embedded(path, file) => {
                Ok(Self::Embedded(Embedded::open(path, file, options.clock.clone()).await?))
            }
            #[cfg(feature = "redis")]
            Location::Host(url) => {
                let opened = super::redis::Redis::open(url, &options.prefix, options.clock.clone());
                Ok(Self::Redis(opened.await?))
            }
            #[cfg(feature = "redis")]
            Location::Hosts(router, addresses) => {
                Ok(Self::Cluster(cluster::Cluster::open(router, addresses, options).await?))
            }
        }
    }
}

/// `PATH` or `PATH?sync=SPAN`.
fn embedded(rest: &str) -> Result<(&Path, FileOptions)> {
    let (path, sync) = rest.rsplit_once("?sync=").map_or((rest, "0"), |(path, sync)| (path, sync));
    if path.is_empty() {
        return Err(invalid("store URL embedded:: a path is missing, as in embedded:forebay.redb"));
    }
    let sync = span(sync)
        .ok_or_else(|| invalid(format!("store URL embedded:{path}: sync {sync:?}: 0, or 10ms to 1s")))?;
    Ok((Path::new(path), FileOptions { sync }))
}

/// `0`, `20ms` or `1s`.
fn span(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let number = |digits: &str| digits.parse::<u32>().ok().map(u64::from);
    match text.strip_suffix("ms") {
        Some(digits) => number(digits).map(millis),
        None => number(text.strip_suffix('s')?).map(secs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_embedded_store_has_a_path_and_perhaps_a_span() {
        let read = |rest| {
            embedded(rest).map(|(path, file)| (path.to_str().unwrap_or("").to_owned(), file.sync)).ok()
        };
        assert_eq!(read("a.redb"), Some(("a.redb".into(), secs(0))));
        assert_eq!(read("/b/a.redb?sync=1s"), Some(("/b/a.redb".into(), secs(1))));
        assert_eq!(read("a?sync=20ms"), Some(("a".into(), millis(20))));
        assert_eq!(read("what?.redb?sync=0"), Some(("what?.redb".into(), secs(0))));
        for wrong in ["", "?sync=1s", "a?sync=", "a?sync=1", "a?sync=-1s", "a?sync=1h", "a?sync=s"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
