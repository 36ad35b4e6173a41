//! Reads a store's URL and opens its engine.

use std::{path::Path, time::Duration};

#[cfg(feature = "redis")]
use super::cluster::{self, Listed, RouterKind};
use super::{
    Engine,
    embedded::{Embedded, FileOptions},
    options::{Options, unknown_parameter},
};
#[cfg(feature = "redis")]
use crate::model::ServerReport;
use crate::{
    error::{Result, invalid},
    sink::BoxFuture,
    time::{millis, secs},
};

/// The place of a store, as its URL says. Reading a URL into this finds every mistake in it: a configuration is checked by
/// that, and opening begins with it.
#[derive(Debug)]
pub(crate) enum Location<'a> {
    Memory,
    Embedded(&'a Path, FileOptions),
    #[cfg(feature = "redis")]
    Host(&'a str),
    #[cfg(feature = "redis")]
    Hosts(RouterKind, Vec<cluster::Address>),
    /// Some nodes of a Redis Cluster.
    #[cfg(feature = "redis")]
    Nodes(Vec<cluster::Address>),
}

impl<'a> Location<'a> {
    /// Reads a store's URL.
    pub(crate) fn read(url: &'a str) -> Result<Self> {
        let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
        match scheme {
            "memory" if rest.is_empty() => Ok(Self::Memory),
            "embedded" => embedded(rest).map(|(path, file)| Self::Embedded(path, file)),
            "redis" | "rediss" | "redis+unix" | "redis+sentinel" | "rediss+sentinel" | "redis+cluster"
            | "rediss+cluster" => Self::read_redis(url),
            // The rest of a URL may hold a password: name the scheme only.
            _ => Err(invalid(format!(
                "store URL with scheme {scheme:?}: memory:, embedded:PATH, redis:, rediss:, redis+unix:, redis+sentinel:, \
                 rediss+sentinel:, redis+cluster: or rediss+cluster: is accepted"
            ))),
        }
    }

    #[cfg(feature = "redis")]
    fn read_redis(url: &'a str) -> Result<Self> {
        if url.split_once(':').is_some_and(|(scheme, _)| scheme.ends_with("+cluster")) {
            return cluster::read_nodes(url).map(Self::Nodes);
        }
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
    pub(crate) fn of_hosts(router: RouterKind, listed: &[Listed]) -> Result<Self> {
        if listed.is_empty() {
            return Err(invalid("no hosts: a store has at least one"));
        }
        let addresses = cluster::sort_listed(router, listed.to_vec())?;
        cluster::Cluster::check(router, &addresses)?;
        Ok(Self::Hosts(router, addresses))
    }
}

impl Location<'_> {
    /// Tests on each server of a place what Forebay needs.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a store without a server; and for a server that cannot be asked.
    #[cfg(feature = "redis")]
    pub(crate) fn probe<'a>(self, options: &'a Options) -> BoxFuture<'a, Result<Vec<ServerReport>>>
    where
        Self: 'a,
    {
        Box::pin(self.probe_servers(options))
    }

    #[cfg(feature = "redis")]
    async fn probe_servers(self, options: &Options) -> Result<Vec<ServerReport>> {
        let Options { prefix, clock, .. } = options;
        match self {
            Self::Memory | Self::Embedded(..) => {
                Err(invalid("store URL: a probe needs a Redis server: redis:, …"))
            }
            Self::Host(url) => super::redis::probe_hosts(&[url], prefix, clock).await,
            Self::Hosts(_, addresses) => {
                let urls: Vec<&str> = addresses.iter().map(|address| &*address.url).collect();
                super::redis::probe_hosts(&urls, prefix, clock).await
            }
            Self::Nodes(addresses) => {
                let urls: Vec<Box<str>> = addresses.into_iter().map(|address| address.url).collect();
                super::redis::probe_nodes(&urls, prefix, clock).await
            }
        }
    }
}

impl Engine {
    /// Opens the engine that is at a place.
    pub(crate) fn open<'a>(location: Location<'a>, options: &'a Options) -> BoxFuture<'a, Result<Self>> {
        Box::pin(Self::open_at(location, options))
    }

    async fn open_at(location: Location<'_>, options: &Options) -> Result<Self> {
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
                let opened = super::redis::Redis::open(url, &options.prefix, options.clock.clone()).await?;
                cluster::check_alone(&opened).await?;
                let weak = std::sync::Arc::downgrade(&opened);
                let open = move || weak.upgrade().filter(|redis| !redis.is_closed()).map(Self::Redis);
                tokio::spawn(super::sealer::seal_series(open, options.clock.clone()));
                Ok(Self::Redis(opened))
            }
            #[cfg(feature = "redis")]
            Location::Hosts(router, addresses) => {
                Ok(Self::cluster(cluster::Cluster::open(router, addresses, options).await?, options))
            }
            #[cfg(feature = "redis")]
            Location::Nodes(addresses) => {
                Ok(Self::cluster(cluster::Cluster::open_nodes(&addresses, options).await?, options))
            }
        }
    }

    /// The engine of several hosts, with the tasks that seal buckets of series and hand over points. They end with the store.
    #[cfg(feature = "redis")]
    fn cluster(cluster: std::sync::Arc<cluster::Cluster>, options: &Options) -> Self {
        let weak = std::sync::Arc::downgrade(&cluster);
        tokio::spawn(cluster::tend_stand_ins(weak.clone(), options.clock.clone()));
        let open = move || weak.upgrade().filter(|cluster| !cluster.is_closed()).map(Self::Cluster);
        tokio::spawn(super::sealer::seal_series(open, options.clock.clone()));
        Self::Cluster(cluster)
    }
}

#[cfg(feature = "redis")]
impl Engine {
    /// Connects to independent hosts without writing anything to them.
    pub(crate) fn inspect<'a>(location: Location<'a>, options: &'a Options) -> BoxFuture<'a, Result<Self>> {
        Box::pin(Self::inspect_at(location, options))
    }

    async fn inspect_at(location: Location<'_>, options: &Options) -> Result<Self> {
        let Location::Hosts(router, addresses) = location else {
            return Err(invalid("only a store of several independent hosts places keys itself"));
        };
        Ok(Self::Cluster(cluster::Cluster::inspect(router, addresses, options).await?))
    }
}

/// `PATH` or `PATH?sync=SPAN`. A path may have a `?` of its own, unless what follows it reads as a parameter.
fn embedded(rest: &str) -> Result<(&Path, FileOptions)> {
    let query = rest.rsplit_once('?').filter(|(_, query)| query.contains('=') && !query.contains('/'));
    let (path, sync) = match query {
        None => (rest, "0"),
        Some((path, query)) => {
            let names = query.split('&').map(|pair| pair.split('=').next().unwrap_or_default());
            if let Some(name) = names.into_iter().find(|name| *name != "sync") {
                return Err(unknown_parameter(name, &["sync"]));
            }
            (path, query.strip_prefix("sync=").unwrap_or(query))
        }
    };
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
        assert_eq!(read("a?b.redb"), Some(("a?b.redb".into(), secs(0))));
        for wrong in
            ["", "?sync=1s", "a?sync=", "a?sync=1", "a?sync=-1s", "a?sync=1h", "a?sync=s", "a?sync=sync=1s"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_embedded_store_has_no_unknown_parameter() {
        for (url, name) in [
            ("embedded:x.redb?snc=1s", "snc"),
            ("embedded:x.redb?SYNC=1s", "SYNC"),
            ("embedded:x.redb?sync=1s&cache=2", "cache"),
            ("embedded:x.redb?cache=2&sync=1s", "cache"),
            ("embedded:x.redb?sync=1s?cache=2", "cache"),
            ("embedded:x.redb?=1s", ""),
        ] {
            let error = Location::read(url).expect_err(url);
            assert_eq!(error.kind(), crate::ErrorKind::Invalid, "{url}");
            let text = error.to_string();
            assert!(text.contains(&format!("unknown parameter {name:?}")), "{url}: {text}");
            assert!(
                text.contains("did you mean \"sync\"?") && text.contains("sync is accepted"),
                "{url}: {text}"
            );
        }
        let error = Location::read("embedded:x.redb?sync=1s&sync=0").expect_err("twice").to_string();
        assert!(error.contains("sync"), "{error}");
    }

    #[cfg(feature = "redis")]
    #[test]
    fn a_redis_store_has_no_unknown_parameter_and_no_negative_database() {
        for url in [
            "redis://h/0",
            "redis://h",
            "redis://h/15?protocol=resp3",
            "redis://h/0?router=slots",
            "redis+unix:///tmp/a?db=3&user=u&pass=p",
            "redis://h,i/3?router=slots",
        ] {
            Location::read(url).expect(url);
        }
        for (url, parts) in [
            ("redis://h/0?x=y", &["unknown parameter \"x\"", "protocol, router"][..]),
            ("redis://h/0?rooter=slots", &["did you mean \"router\"?"]),
            ("redis://h/0?router=slot", &["did you mean \"slots\"?"]),
            ("redis://h/0?db=1", &["unknown parameter \"db\""]),
            ("redis://h/0?protocol=resp3&timeout=1", &["unknown parameter \"timeout\""]),
            ("redis://h,i/0?x=y", &["unknown parameter \"x\""]),
            ("redis+unix:///tmp/a?bd=1", &["unknown parameter \"bd\"", "did you mean \"db\"?"]),
            ("redis+unix:///tmp/a?db=-1", &["database -1", "0 or greater"]),
            ("redis://h/-1", &["database -1", "0 or greater"]),
        ] {
            let error = Location::read(url).expect_err(url);
            assert_eq!(error.kind(), crate::ErrorKind::Invalid, "{url}");
            let text = error.to_string();
            assert!(parts.iter().all(|part| text.contains(part)), "{url}: {text}");
        }
        // The text after an unescaped ? may be a password's end.
        let error = Location::read("redis://user:12?s3cret=x@h/0").expect_err("a password with a ?");
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    }
}
