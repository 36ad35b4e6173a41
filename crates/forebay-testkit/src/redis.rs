//! One Redis server.

use std::{fmt, fs, io, sync::OnceLock};

use crate::{
    certificates::{Certificates, Pair},
    ports::{free_port, free_port_with_bus},
    programs,
    proxy::Proxy,
    resp::{Connection, Reply},
    server::{Plan, Server, dereferences_to_server},
    supervisor::Supervisor,
};

/// A `redis-server` on a loopback port, ended and removed when dropped.
///
/// ```
/// use forebay_testkit::{Redis, Reply};
///
/// # if forebay_testkit::without("redis") { return; }
/// let redis = Redis::builder().append_only().start();
/// assert_eq!(redis.command(["SET", "a", "1"]), Reply::text("OK"));
/// redis.restart();
/// assert_eq!(redis.command(["GET", "a"]), Reply::text("1"));
/// ```
pub struct Redis {
    server: Server,
    password: Option<String>,
    tls_port: Option<u16>,
}

impl Redis {
    /// Starts a server that keeps its data in memory only.
    ///
    /// # Panics
    /// If it cannot be started, with the reason.
    #[track_caller]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// A server with further options.
    pub fn builder() -> RedisBuilder {
        RedisBuilder::default()
    }

    /// The one plain server that all tests of a binary share; it ends with the process.
    ///
    /// Each test uses its own [`unique_prefix`](crate::unique_prefix). No test flushes or configures the server.
    ///
    /// # Panics
    /// If it cannot be started, with the reason.
    #[track_caller]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Redis> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Its database 0 as a URL, with the password if it has one.
    pub fn url(&self) -> String {
        self.url_of(0)
    }

    /// Its database `number` (0 to 15) as a URL, with the password if it has one.
    pub fn url_of(&self, number: u8) -> String {
        self.url_at(self.port(), number)
    }

    /// Its database 0 as a URL that leads through `proxy`.
    pub fn url_through(&self, proxy: &Proxy) -> String {
        self.url_at(proxy.port(), 0)
    }

    /// The port on which it speaks TLS.
    ///
    /// # Panics
    /// If it has none.
    #[track_caller]
    pub fn tls_port(&self) -> u16 {
        self.tls_port.expect("a server with TLS")
    }

    /// Its database 0 by TLS as a URL, with `parameters`.
    ///
    /// # Panics
    /// If it has no TLS.
    #[track_caller]
    pub fn tls_url(&self, host: &str, parameters: &str) -> String {
        self.tls_url_at(host, self.tls_port(), parameters)
    }

    /// Like [`tls_url`](Self::tls_url), by another port: that of a proxy.
    pub fn tls_url_at(&self, host: &str, port: u16, parameters: &str) -> String {
        let password = self.password.as_ref().map_or(String::new(), |password| format!(":{password}@"));
        format!("rediss://{password}{host}:{port}/0?{parameters}")
    }

    /// Sends one command on its own connection, without the client under test.
    ///
    /// # Panics
    /// If it does not answer. A refusal is an answer: [`Reply::Error`].
    #[track_caller]
    pub fn command<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Reply {
        let answer = self.try_command(words);
        answer.unwrap_or_else(|error| panic!("redis on port {} did not answer: {error}", self.port()))
    }

    /// Like [`command`](Self::command), for a server that may be down.
    pub fn try_command<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> io::Result<Reply> {
        connect(self.port(), self.password.as_deref())?.command(words)
    }

    /// Whether it has a TLS port.
    pub(crate) fn has_tls(&self) -> bool {
        self.tls_port.is_some()
    }

    /// The port by which the servers of its set know it: with TLS, the TLS port.
    pub(crate) fn own_port(&self) -> u16 {
        self.tls_port.unwrap_or(self.port())
    }

    fn url_at(&self, port: u16, number: u8) -> String {
        let password = self.password.as_ref().map_or(String::new(), |password| format!(":{password}@"));
        format!("redis://{password}127.0.0.1:{port}/{number}")
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server.fmt(f)
    }
}

dereferences_to_server!(Redis);

/// Options of a [`Redis`] server.
#[derive(Clone, Default)]
#[must_use = "a builder does nothing until `start`"]
pub struct RedisBuilder {
    port: Option<u16>,
    password: Option<String>,
    sentinel: bool,
    cluster: bool,
    tls: bool,
    /// Lines of `redis.conf`.
    options: String,
}

impl RedisBuilder {
    /// Writes every command to disk before it is answered: SIGKILL loses nothing.
    pub fn append_only(self) -> Self {
        self.option("appendonly", "yes").option("appendfsync", "always")
    }

    /// Listens on `port` rather than on a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Asks clients for `password`.
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self.option("requirepass", password)
    }

    /// Follows `primary`.
    pub fn replica_of(self, primary: &Redis) -> Self {
        // With TLS, all servers of a set speak TLS to each other.
        let builder = self.option("replicaof", &format!("127.0.0.1 {}", primary.own_port()));
        match &primary.password {
            Some(password) => builder.option("masterauth", password),
            None => builder,
        }
    }

    /// Listens on another port, too, by TLS. It asks clients for no certificate.
    pub fn tls(mut self, ca: &Certificates, pair: &Pair) -> Self {
        self.tls = true;
        self.option("tls-cert-file", &pair.certificate.display().to_string())
            .option("tls-key-file", &pair.key.display().to_string())
            .option("tls-ca-cert-file", &ca.file().display().to_string())
            .option("tls-auth-clients", "no")
    }

    /// Runs as a Sentinel, which watches servers: `option("sentinel", "monitor …")` names them.
    pub fn sentinel(mut self) -> Self {
        self.sentinel = true;
        self
    }

    /// Runs as a node of a Redis Cluster.
    pub(crate) fn cluster(mut self) -> Self {
        self.cluster = true;
        self.option("cluster-enabled", "yes")
    }

    /// Adds another line of `redis.conf`. Of several lines with one name the last one counts.
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.options.extend([name, " ", value, "\n"]);
        self
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Panics
    /// If it cannot be started, with the reason.
    #[track_caller]
    pub fn start(self) -> Redis {
        let program = programs::find("redis", "redis-server");
        let password = self.password.clone();
        // Before version 7 the distance of the bus is fixed. It counts from the TLS port if the bus has TLS.
        let free = if self.cluster { free_port_with_bus } else { free_port };
        let tls_port = self.tls.then(free);
        let server = Server::start_on("redis-server", self.port, free, |port| {
            let supervisor = Supervisor::new("KILL");
            let written = fs::write(supervisor.dir().join("redis.conf"), self.config(port, tls_port));
            written.unwrap_or_else(|error| panic!("cannot write redis.conf: {error}"));
            let password = password.clone();
            let mut command = vec![program.display().to_string(), "redis.conf".to_owned()];
            if self.sentinel {
                command.push("--sentinel".to_owned());
            }
            Plan {
                supervisor,
                command,
                ready: Box::new(move |pid| answers(port, password.as_deref(), pid).unwrap_or(false)),
            }
        });
        Redis { server, password, tls_port }
    }

    fn config(&self, port: u16, tls_port: Option<u16>) -> String {
        // By default Redis waits 5 s for further replicas before it serves the first one. There are none.
        let plain = "bind 127.0.0.1\ndaemonize no\nsave \"\"\nrepl-diskless-sync-delay 0\n";
        let tls = tls_port.map_or(String::new(), |port| format!("tls-port {port}\n"));
        format!("{plain}port {port}\n{tls}{}", self.options)
    }
}

impl fmt::Debug for RedisBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The options may contain passwords, too.
        f.debug_struct("RedisBuilder").field("port", &self.port).finish_non_exhaustive()
    }
}

fn connect(port: u16, password: Option<&str>) -> io::Result<Connection> {
    let mut connection = Connection::open(port)?;
    if let Some(password) = password {
        connection.command(["AUTH", password])?;
    }
    Ok(connection)
}

/// Returns whether the server has loaded its data and has this process id.
fn answers(port: u16, password: Option<&str>, pid: u32) -> io::Result<bool> {
    let Reply::Text(info) = connect(port, password)?.command(["INFO"])? else { return Ok(false) };
    let is = |field: &str, value: &str| info.lines().any(|line| line == format!("{field}:{value}"));
    // A Sentinel has nothing to load, and has no such line.
    Ok(!is("loading", "1") && is("process_id", &pid.to_string()))
}
