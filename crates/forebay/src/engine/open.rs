//! From a store's URL to an engine.

use std::{path::Path, time::Duration};

#[cfg(feature = "redis")]
use super::cluster;
use super::{
    Engine,
    embedded::{Embedded, FileOptions},
};
#[cfg(feature = "redis")]
use crate::cluster::Hosts;
use crate::{
    bay::Options,
    error::{Result, invalid},
    time::{millis, secs},
};

impl Engine {
    /// Opens the engine that `url` names.
    pub(crate) async fn open(url: &str, options: &Options) -> Result<Self> {
        let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
        match scheme {
            #[cfg(feature = "test-util")]
            "memory" if rest.is_empty() && options.faults.is_some() => {
                let (inner, faults) = (Embedded::in_memory(options.clock.clone()), options.faults.clone());
                let faults = faults.unwrap_or_default();
                Ok(Self::Fault(std::sync::Arc::new(super::fault::FaultEngine { inner, faults })))
            }
            "memory" if rest.is_empty() => Ok(Self::Embedded(Embedded::in_memory(options.clock.clone()))),
            "embedded" => open_embedded(rest, options).await,
            "redis" | "redis+unix" => open_redis(url, options).await,
            // The rest of a URL may hold a password: name the scheme only.
            _ => Err(invalid(format!(
                "store URL with scheme {scheme:?}: memory:, embedded:PATH or redis: is accepted"
            ))),
        }
    }

    /// Opens the engine of several hosts.
    #[cfg(feature = "redis")]
    pub(crate) async fn open_hosts(hosts: Hosts, options: &Options) -> Result<Self> {
        let addresses = cluster::sort_listed(hosts.router, hosts.listed)?;
        Ok(Self::Cluster(cluster::Cluster::open(hosts.router, addresses, options).await?))
    }
}

async fn open_embedded(rest: &str, options: &Options) -> Result<Engine> {
    let (path, file) = embedded(rest)?;
    Ok(Engine::Embedded(Embedded::open(path, file, options.clock.clone()).await?))
}

#[cfg(feature = "redis")]
async fn open_redis(url: &str, options: &Options) -> Result<Engine> {
    if cluster::is_list(url) {
        let (router, addresses) = cluster::read_list(url)?;
        return Ok(Engine::Cluster(cluster::Cluster::open(router, addresses, options).await?));
    }
    let engine = super::redis::Redis::open(url, &options.prefix, options.clock.clone()).await?;
    Ok(Engine::Redis(engine))
}

#[cfg(not(feature = "redis"))]
#[expect(clippy::unused_async, reason = "the other one waits for its connection")]
async fn open_redis(_url: &str, _options: &Options) -> Result<Engine> {
    Err(invalid("a redis: store needs the feature `redis` of the crate forebay"))
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
