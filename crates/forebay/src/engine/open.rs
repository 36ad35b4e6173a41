//! From a store's URL to an engine.

use super::{Engine, embedded::Embedded};
use crate::{
    bay::Options,
    error::{Result, invalid},
};

impl Engine {
    /// Opens the engine that `url` names.
    #[expect(clippy::unused_async, reason = "engines with a connection wait for it")]
    pub(crate) async fn open(url: &str, options: &Options) -> Result<Self> {
        match url.split_once(':') {
            Some(("memory", "")) => Ok(Self::Embedded(Embedded::in_memory(options.clock.clone()))),
            // The rest of a URL may hold a password: name the scheme only.
            scheme => Err(invalid(format!(
                "store URL with scheme {:?}: memory: is accepted",
                scheme.map_or("", |(scheme, _)| scheme)
            ))),
        }
    }
}
