//! From a store's URL to an engine.

use super::{Engine, embedded::Embedded};
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
}

#[cfg(feature = "redis")]
async fn open_redis(url: &str, options: &Options) -> Result<Engine> {
    let engine = super::redis::Redis::open(url, &options.prefix, options.clock.clone()).await?;
    Ok(Engine::Redis(engine))
}

#[cfg(not(feature = "redis"))]
#[expect(clippy::unused_async, reason = "the other one waits for its connection")]
async fn open_redis(_url: &str, _options: &Options) -> Result<Engine> {
    Err(invalid("a redis: store needs the feature `redis` of the crate forebay"))
}
