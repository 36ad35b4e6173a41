//! From a store's URL to an engine.

#[cfg(feature = "redis")]
use super::cluster;
use super::{Engine, embedded::Embedded};
#[cfg(feature = "redis")]
use crate::cluster::Hosts;
use crate::{
    bay::Options,
    error::{Result, invalid},
};

impl Engine {
    /// Opens the engine that `url` names.
    pub(crate) async fn open(url: &str, options: &Options) -> Result<Self> {
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        match scheme {
            #[cfg(feature = "test-util")]
            "memory" if url == "memory:" && options.faults.is_some() => {
                let (inner, faults) = (Embedded::in_memory(options.clock.clone()), options.faults.clone());
                let faults = faults.unwrap_or_default();
                Ok(Self::Fault(std::sync::Arc::new(super::fault::FaultEngine { inner, faults })))
            }
            "memory" if url == "memory:" => Ok(Self::Embedded(Embedded::in_memory(options.clock.clone()))),
            "redis" | "redis+unix" => open_redis(url, options).await,
            // The rest of a URL may hold a password: name the scheme only.
            _ => Err(invalid(format!("store URL with scheme {scheme:?}: memory: or redis: is accepted"))),
        }
    }

    /// Opens the engine of several hosts.
    #[cfg(feature = "redis")]
    pub(crate) async fn open_hosts(hosts: Hosts, options: &Options) -> Result<Self> {
        let addresses = cluster::sort_listed(hosts.router, hosts.listed)?;
        Ok(Self::Cluster(cluster::Cluster::open(hosts.router, addresses, options).await?))
    }
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
