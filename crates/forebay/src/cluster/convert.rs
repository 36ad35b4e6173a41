//! A store that goes to hosts of another layout while nobody uses it.

use super::{Hosts, inspection::slot_hosts};
use crate::{
    engine::{
        self, Location,
        cluster::{
            convert::{Converter, Destination, Settings},
            read_nodes,
        },
    },
    error::{Result, invalid},
    model::Converted,
};

/// Where a store goes, and how: for [`Options::convert_hosts`](crate::bay::Options::convert_hosts).
///
/// # Examples
/// ```
/// use forebay::cluster::{Conversion, Hosts};
/// let to = Hosts::new().host("a", "redis://10.0.0.1").host("b", "redis://10.0.0.2");
/// let conversion = Conversion::to_hosts(&to)?.dry_run();
/// let other = Conversion::to_redis_cluster("redis+cluster://10.0.0.1,10.0.0.2")?;
/// # drop((conversion, other));
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a store is converted by `Options::convert_hosts`"]
pub struct Conversion {
    to: Destination,
    settings: Settings,
}

impl Conversion {
    /// To independent hosts, whose keys are placed by slots. They may be hosts of the source.
    ///
    /// # Errors
    /// As [`Hosts::check`]; [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for another router than that of slots.
    pub fn to_hosts(hosts: &Hosts) -> Result<Self> {
        Ok(Self::to(Destination::Hosts(slot_hosts(hosts)?)))
    }

    /// To a Redis Cluster or a Valkey Cluster: `redis+cluster://[user[:password]@]host[:port],…` names some of its nodes.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for another URL; the message has no login.
    pub fn to_redis_cluster(url: &str) -> Result<Self> {
        if !["redis+cluster://", "rediss+cluster://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(invalid(
                "URL of a Redis Cluster: it begins with redis+cluster:// or rediss+cluster://",
            ));
        }
        Ok(Self::to(Destination::Nodes(read_nodes(url)?)))
    }

    fn to(to: Destination) -> Self {
        Self { to, settings: Settings::default() }
    }

    /// Looks at everything that a conversion looks at, and writes nothing.
    pub fn dry_run(mut self) -> Self {
        self.settings.dry_run = true;
        self
    }

    /// Goes on if somebody writes to the source, and if keys lie where its router does not look. What is written meanwhile, and these
    /// keys, may be lost to the target.
    pub fn force(mut self) -> Self {
        self.settings.force = true;
        self
    }

    /// Displaces another process that is copying keys to the target, or was until less than 30 s ago.
    pub fn take_over(mut self) -> Self {
        self.settings.take_over = true;
        self
    }

    /// Copies the keys of `source`.
    pub(crate) async fn run(
        &self,
        options: &engine::Options,
        source: &Hosts,
        mut told: impl FnMut(&Converted) + Send,
    ) -> Result<Converted> {
        let Location::Hosts(kind, addresses) = Location::of_hosts(source.router, &source.listed)? else {
            return Err(invalid("a list of hosts is converted"));
        };
        let store = (options.prefix.as_str(), &options.clock);
        Box::pin(async {
            let from = (kind, &addresses[..]);
            Converter::open(from, &self.to, store, self.settings, &mut told).await?.run().await
        })
        .await
    }
}
