//! A store's URL of one host, and where its primary is.

use std::{path::PathBuf, sync::Arc};

use redis::{Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, Value, aio::PubSub};
use tokio::sync::watch;

use super::{
    access::Access,
    dial::Endpoint,
    login::{Login, Password},
    pipeline::{pipeline, send},
    query::Query,
    reply::{unavailable, unreachable},
    sentinel::Sentinels,
    tls::{Files, Tls},
};
use crate::{
    clock::Clock,
    engine::{
        cluster::{RouterKind, host_and_port},
        options::mixed_schemes,
    },
    error::{Result, invalid},
};

/// The port of Sentinels that name none.
const SENTINEL_PORT: u16 = 26_379;

/// The parameters that say where a password is.
const PASSWORDS: [&str; 2] = ["password-file", "password-env"];

/// The parameters of TLS.
const TLS: [&str; 4] = ["ca", "cert", "key", "server-name"];

/// The parameters of the login to Sentinels, and of their TLS.
const SENTINELS: [&str; 5] =
    ["sentinel-user", "sentinel-password", "sentinel-password-file", "sentinel-password-env", "sentinel-tls"];

/// Where a host is, and how to be let in there.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// For messages: never with a password.
    pub name: Box<str>,
    pub access: Access,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Fixed(Endpoint),
    Named(Arc<Sentinels>),
}

/// The place of a host as found, and news about it.
#[derive(Debug)]
pub(super) struct Located {
    pub endpoint: Endpoint,
    sentinels: Option<(Arc<Sentinels>, watch::Receiver<()>)>,
}

impl Target {
    /// Reads `redis[s]://[[user][:password]@]host[:port][/db]`, `redis+unix:///path[?db=n]`, or
    /// `redis[s]+sentinel://[[user][:password]@]sentinel[:port],…/primary[/db]`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), also for a parameter that nothing would read and for a file that
    /// cannot be read.
    pub(super) fn parse(url: &str) -> Result<Self> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| invalid("store URL without \"://\""))?;
        match scheme {
            "redis+sentinel" | "rediss+sentinel" => Self::of_sentinels(scheme, rest),
            "redis+unix" => Self::of_socket(url),
            "redis" | "rediss" => Self::of_host(scheme, rest),
            _ => {
                let known = "redis, rediss, redis+unix, redis+sentinel, rediss+sentinel";
                Err(invalid(format!("store URL: scheme {scheme:?} of a host: {known} are accepted")))
            }
        }
    }

    fn of_host(scheme: &str, rest: &str) -> Result<Self> {
        let tls = scheme == "rediss";
        let accepted = [&["protocol", "router"][..], &PASSWORDS, if tls { &TLS } else { &[] }].concat();
        let query = read_query(rest, &accepted)?;
        let info = redis_info(rest)?;
        let db = database(&info)?;
        let ConnectionAddr::Tcp(host, port) = info.addr() else { return Err(unlike()) };
        let endpoint = Endpoint::Tcp(host.as_str().into(), *port);
        let access = Access { tls: tls.then(|| tls_of(&query)).transpose()?, ..access(&info, &query, db)? };
        Ok(Self { name: format!("{endpoint}/{db}").into(), access, place: Place::Fixed(endpoint) })
    }

    fn of_socket(url: &str) -> Result<Self> {
        let query = Query::read(url, &[&["db", "user", "pass", "protocol"][..], &PASSWORDS].concat())?;
        let info = url.into_connection_info().map_err(|cause| unlike().with_source(cause))?;
        let db = database(&info)?;
        let ConnectionAddr::Unix(path) = info.addr() else { return Err(unlike()) };
        let name = format!("{}?db={db}", path.display());
        let place = Place::Fixed(Endpoint::Unix(path.clone()));
        Ok(Self { name: name.into(), access: access(&info, &query, db)?, place })
    }

    fn of_sentinels(scheme: &str, rest: &str) -> Result<Self> {
        let accepted = [&["protocol", "router"][..], &PASSWORDS, &TLS, &SENTINELS].concat();
        let query = read_query(rest, &accepted)?;
        let bad = || {
            invalid(format!(
                "store URL: {scheme}://[[user][:password]@]sentinel[:port],…/primary[/db] is accepted"
            ))
        };
        let (address, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (login, places) = address.rsplit_once('@').map_or(("", address), |(login, rest)| (login, rest));
        let (hosts, primary) = places.split_once('/').ok_or_else(bad)?;
        let (primary, db) = primary.split_once('/').unwrap_or((primary, ""));
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if primary.is_empty() || !primary.chars().all(word) {
            return Err(bad());
        }
        let at = if login.is_empty() { "" } else { "@" };
        let info = redis_info(&format!("{login}{at}{primary}/{db}?{parameters}"))?;
        let db = database(&info)?;
        let endpoint = |text| {
            let (host, port) = host_and_port(text, SENTINEL_PORT).ok_or_else(bad)?;
            Ok(Endpoint::Tcp(host.into(), port))
        };
        let hosts: Vec<Endpoint> = hosts.split(',').map(endpoint).collect::<Result<_>>()?;
        let tls = scheme == "rediss+sentinel";
        let for_sentinels = match query.get("sentinel-tls") {
            None => tls,
            Some("on") => true,
            Some("off") => false,
            Some(_) => return Err(invalid("store URL: sentinel-tls: on or off")),
        };
        if !tls
            && !for_sentinels
            && let Some(name) = TLS.into_iter().find(|name| query.get(name).is_some())
        {
            return Err(needs_tls(name));
        }
        let files = if tls || for_sentinels { Some(tls_of(&query)?) } else { None };
        let login = Login {
            user: query.get("sentinel-user").map(Into::into),
            password: password(&query, "sentinel-", query.get("sentinel-password"))?,
        };
        login.password()?;
        let sentinels = Access { login, tls: files.clone().filter(|_| for_sentinels), db: 0, resp2: true };
        let access = Access { tls: files.filter(|_| tls), ..access(&info, &query, db)? };
        let listed: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let name = format!("{primary}/{db} (sentinels {})", listed.join(", "));
        let place = Place::Named(Arc::new(Sentinels::new(primary, hosts, sentinels)));
        Ok(Self { name: name.into(), access, place })
    }

    /// Another server that lets in whom this one does.
    pub(super) fn at(&self, host: &str, port: u16) -> Self {
        let endpoint = Endpoint::Tcp(host.into(), port);
        Self { name: endpoint.to_string().into(), access: self.access.clone(), place: Place::Fixed(endpoint) }
    }

    /// The name or address and the port of a fixed host.
    pub(super) fn address(&self) -> Option<(&str, u16)> {
        match &self.place {
            Place::Fixed(Endpoint::Tcp(host, port)) => Some((host, *port)),
            _ => None,
        }
    }

    /// The replies to commands on a connection of their own, to a fixed host of any role.
    pub(super) async fn ask(&self, commands: &[Cmd], clock: &Clock) -> Result<Vec<Value>> {
        let endpoint = self.locate(clock).await?.endpoint;
        let (mut connection, mut driver) = self.access.connect(&self.name, &endpoint, clock).await?;
        let commands = pipeline(commands.iter().cloned());
        tokio::select! {
            values = send(&mut connection, &commands) => values.map_err(|cause| unreachable(&self.name, &cause)),
            () = &mut driver => Err(unavailable(&self.name, "the connection ended before it answered")),
        }
    }

    /// Finds the host. Sentinels are asked each time, and listened to from then on.
    pub(super) async fn locate(&self, clock: &Clock) -> Result<Located> {
        match &self.place {
            Place::Fixed(endpoint) => Ok(Located { endpoint: endpoint.clone(), sentinels: None }),
            Place::Named(sentinels) => {
                // Before the question, so that nothing is missed after it.
                let switches = sentinels.switches(clock);
                let endpoint = sentinels.primary(clock).await?;
                Ok(Located { endpoint, sentinels: Some((sentinels.clone(), switches)) })
            }
        }
    }

    /// The host as messages name it where it was found.
    pub(super) fn name_at(&self, endpoint: &Endpoint) -> String {
        match &self.place {
            Place::Fixed(_) => self.name.to_string(),
            Place::Named(_) => format!("{} at {endpoint}", self.name),
        }
    }

    /// A connection to the host where it was found that listens to one channel.
    pub(super) async fn subscribe(
        &self,
        endpoint: &Endpoint,
        channel: &str,
        clock: &Clock,
    ) -> Result<PubSub> {
        self.access.subscribe(&self.name_at(endpoint), endpoint, channel, clock).await
    }

    /// Whether Sentinels say where the host is.
    pub(super) fn is_announced(&self) -> bool {
        matches!(self.place, Place::Named(_))
    }

    /// Ends when Sentinels say that a primary was replaced. Does not end for a fixed host.
    pub(super) async fn switched(&self, clock: &Clock) {
        let Place::Named(sentinels) = &self.place else { return std::future::pending().await };
        // The sender lives as long as they do.
        let _ = sentinels.switches(clock).changed().await;
    }
}

impl Located {
    /// Ends when Sentinels name another primary. Does not end for a fixed host.
    pub(super) async fn moved(&mut self, clock: &Clock) {
        let Some((sentinels, switches)) = &mut self.sentinels else { return std::future::pending().await };
        while switches.changed().await.is_ok() {
            if sentinels.primary(clock).await.is_ok_and(|named| named != self.endpoint) {
                return;
            }
        }
    }
}

/// Reads the parameters, and refuses what stands for another scheme.
fn read_query(rest: &str, accepted: &[&str]) -> Result<Query> {
    if rest.split('?').next().is_some_and(|rest| rest.contains("://")) {
        return Err(mixed_schemes());
    }
    if rest.contains('#') {
        return Err(invalid(
            "store URL: nothing may follow a \"#\", which is written %23 in a login; TLS always checks the server's \
             certificate: name its CA by ca=FILE",
        ));
    }
    if let Some(name) = TLS.into_iter().find(|name| !accepted.contains(name) && Query::names(rest, name)) {
        return Err(needs_tls(name));
    }
    let query = Query::read(rest, accepted)?;
    // One host has all keys, whatever the router; a list has taken its own out.
    query.get("router").map(str::parse::<RouterKind>).transpose()?;
    Ok(query)
}

fn needs_tls(name: &str) -> crate::Error {
    invalid(format!("store URL: the parameter {name} is for TLS: write rediss: (rediss+sentinel:)"))
}

fn unlike() -> crate::Error {
    invalid("store URL: redis://[user][:password@]host[:port][/db] is accepted")
}

fn redis_info(rest: &str) -> Result<ConnectionInfo> {
    // The URL may hold a password: leave it out.
    format!("redis://{rest}").into_connection_info().map_err(|cause| unlike().with_source(cause))
}

fn database(info: &ConnectionInfo) -> Result<u32> {
    let db = info.redis_settings().db();
    u32::try_from(db).map_err(|_| invalid(format!("store URL: database {db}: 0 or greater is accepted")))
}

/// The access to servers by plain text. The places of passwords are read once, so that a mistake shows at the start.
fn access(info: &ConnectionInfo, query: &Query, db: u32) -> Result<Access> {
    let settings = info.redis_settings();
    let login = Login {
        user: settings.username().map(Into::into),
        password: password(query, "", settings.password())?,
    };
    login.password()?;
    let resp2 = query.get("protocol").is_some() && settings.protocol() == ProtocolVersion::RESP2;
    Ok(Access { login, db, resp2, tls: None })
}

fn password(query: &Query, kind: &str, text: Option<&str>) -> Result<Password> {
    let [file, variable] = PASSWORDS.map(|place| query.get(&format!("{kind}{place}")));
    match (text, file, variable) {
        (None, None, None) => Ok(Password::None),
        (Some(text), None, None) => Ok(Password::Text(text.into())),
        (None, Some(path), None) => Ok(Password::File(path.into())),
        (None, None, Some(name)) => Ok(Password::Variable(name.into())),
        _ => Err(invalid(format!(
            "store URL: a password stands in one place: in the URL, in {kind}password-file or in {kind}password-env"
        ))),
    }
}

fn tls_of(query: &Query) -> Result<Tls> {
    let path = |name| query.get(name).map(PathBuf::from);
    let server_name = query.get("server-name").map(str::to_owned);
    Tls::new(Files { ca: path("ca"), certificate: path("cert"), key: path("key"), server_name })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a list of hosts, where the scheme of the first URL counts for all: it would be spoken to in plain text.
    #[test]
    fn a_host_has_a_scheme_that_is_known() {
        for url in ["https://a", "http://a:6379/0", "redis+tls://a", "tcp://a", "REDISS://a"] {
            let error = Target::parse(url).map(|target| target.name).expect_err(url).to_string();
            assert!(error.contains("redis, rediss, redis+unix") && error.contains("are accepted"), "{error}");
        }
        assert_eq!(&*Target::parse("redis://a").expect("a good URL").name, "a:6379/0");
    }
}
