//! The connection to one host: kept up, and never sending a mutation twice.

use std::{
    ops::Deref,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use redis::{Pipeline, Value, aio::MultiplexedConnection};
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
};

use super::{
    access::Driver,
    fence::Scripts,
    handshake::{ServerInfo, connect, not_primary},
    keys::Keys,
    meter::{Meter, memory},
    pipeline::{pipeline, send},
    refusal::Class,
    reply::{lost, refuses, server_time, text, unavailable, unexpected},
    script::Script,
    server_clock::ServerClock,
    session::{Facts, Session},
    target::{Located, Target},
};
use crate::{
    backoff::Backoff,
    clock::Clock,
    engine::standing::Standing,
    error::{Error, ErrorKind, Result},
    model::Health,
    time::Timestamp,
};

/// Connecting, the handshake and loading the scripts together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A host that has not answered for so long is given up, and the connection with it. Limits have a
/// shorter deadline of their own; this one is for peers that vanish without a word.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection without an answer for so long is asked for one.
const IDLE: Duration = Duration::from_secs(5);

/// Between two attempts to connect.
const RECONNECT: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(2));

/// One host, for those who come to it by one table of slots, if its slots can move. All of them share the connection.
#[derive(Debug)]
pub(super) struct Host {
    link: Arc<Connected>,
    /// The epoch of that table. Set before the first of them.
    epoch: OnceLock<u64>,
    /// Shared by those who need the connection: it ends with the last of them. Its own tasks do not.
    life: Option<Arc<Life>>,
}

/// Ends a connection.
#[derive(Debug)]
struct Life(Arc<Connected>);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Deref for Host {
    type Target = Connected;

    fn deref(&self) -> &Connected {
        &self.link
    }
}

/// A host, and the connection to it.
#[derive(Debug)]
pub(super) struct Connected {
    target: Target,
    keys: Keys,
    clock: Clock,
    state: watch::Sender<Link>,
    kin: Kin,
    keeper: OnceLock<AbortHandle>,
    /// The store is open, so every error of this host is an outage. Orders nothing else.
    in_service: AtomicBool,
    /// An engine closes this host at its end. Orders nothing else.
    owned: AtomicBool,
    /// As `link` has it, for those who only ask that. Orders nothing else.
    closed: AtomicBool,
    /// Notified to try again before the pause is over.
    hurry: Notify,
    server_clock: ServerClock,
    /// Whether it can be connected to, and since when. Locked to copy and to replace.
    standing: Mutex<Standing>,
    meter: Arc<Meter>,
}

/// The data that connections to servers of one store share.
#[derive(Clone, Debug, Default)]
pub(super) struct Kin {
    scripts: Arc<Scripts>,
    /// The nodes of the Redis Cluster to which this host belongs.
    peers: Option<Weak<dyn Peers>>,
}

/// The nodes of a Redis Cluster.
pub(super) trait Peers: std::fmt::Debug + Send + Sync {
    /// The node at an address, which may be new.
    fn node(&self, host: &str, port: u16) -> Arc<Host>;

    /// Says that the known owners of slots may be out of date.
    fn report(&self);

    /// The address of the node that has a slot, as far as is known.
    fn owner(&self, slot: u16) -> Option<(Box<str>, u16)>;

    /// Some node, another one for each number.
    fn any(&self, number: usize) -> Option<Arc<Host>>;
}

impl Kin {
    pub(super) fn of(peers: Weak<dyn Peers>) -> Self {
        Self { peers: Some(peers), ..Self::default() }
    }

    /// Of hosts whose slots can move.
    pub(super) fn fenced(keys: &Keys) -> Self {
        Self { scripts: Arc::new(Scripts::fenced(keys)), ..Self::default() }
    }
}

/// Whether there is a connection.
#[derive(Clone, Debug)]
enum Link {
    /// The first attempt since the last connection is under way.
    Connecting,
    Up(Session),
    /// The last attempt failed; more follow.
    Down(Error),
    Closed,
}

impl Host {
    /// Begins to connect to `url`, and goes on until it is closed, also if the first attempt fails.
    pub(super) fn start(url: &str, keys: Keys, clock: Clock) -> Result<Arc<Self>> {
        Self::start_kin(url, keys, clock, Kin::default())
    }

    /// [`start`](Self::start) with what the hosts of a store share.
    pub(super) fn start_kin(url: &str, keys: Keys, clock: Clock, kin: Kin) -> Result<Arc<Self>> {
        Ok(Self::start_at(Target::parse(url)?, keys, clock, kin))
    }

    /// [`start`](Self::start) for a place that was read before.
    pub(super) fn start_at(target: Target, keys: Keys, clock: Clock, kin: Kin) -> Arc<Self> {
        Self::connecting(target, keys, clock, kin, (Link::Connecting, false, Arc::default()))
    }

    /// Another connection to the same host.
    pub(super) fn twin(&self) -> Arc<Self> {
        let link = if matches!(*self.state.borrow(), Link::Closed) { Link::Closed } else { Link::Connecting };
        let in_service = self.in_service.load(Ordering::Relaxed);
        let (target, kin) = (self.target.clone(), self.kin.clone());
        let meter = self.meter.clone();
        let twin =
            Self::connecting(target, self.keys.clone(), self.clock.clone(), kin, (link, in_service, meter));
        if let Some(epoch) = self.epoch() {
            twin.set_epoch(epoch);
        }
        twin
    }

    /// The same host for those who come to it by the table of slots of another epoch.
    pub(super) fn of_epoch(&self, epoch: u64) -> Arc<Self> {
        let (link, life) = (self.link.clone(), self.life.clone());
        Arc::new(Self { link, epoch: OnceLock::from(epoch), life })
    }

    /// The same host for a task that does not keep its connection.
    pub(super) fn unowned(&self) -> Arc<Self> {
        Arc::new(Self { link: self.link.clone(), epoch: self.epoch.clone(), life: None })
    }

    /// Whether nobody else needs the connection.
    pub(super) fn is_last(&self) -> bool {
        self.life.as_ref().is_none_or(|life| Arc::strong_count(life) == 1)
    }

    fn connecting(
        target: Target,
        keys: Keys,
        clock: Clock,
        kin: Kin,
        (first, in_service, meter): (Link, bool, Arc<Meter>),
    ) -> Arc<Self> {
        let standing = Mutex::new(Standing::new(&clock));
        let link = Arc::new(Connected {
            target,
            keys,
            clock,
            state: watch::Sender::new(first),
            kin,
            keeper: OnceLock::new(),
            in_service: AtomicBool::new(in_service),
            owned: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            hurry: Notify::new(),
            server_clock: ServerClock::default(),
            standing,
            meter,
        });
        let life = Some(Arc::new(Life(link.clone())));
        let host = Arc::new(Self { link, epoch: OnceLock::new(), life });
        if !matches!(*host.state.borrow(), Link::Closed) {
            let keeper = tokio::spawn(keep_up(host.unowned()));
            host.keeper.set(keeper.abort_handle()).expect("set once");
        }
        host
    }

    /// The store is open: from here on a host that refuses its clients is one that is down for a while.
    pub(super) fn enter_service(&self) {
        self.in_service.store(true, Ordering::Relaxed);
    }

    /// Tries to connect at once if the last attempt failed. Callers that need the connection wait for that.
    pub(super) fn hurry(&self) {
        let pausing = self.state.send_if_modified(|link| {
            let pausing = matches!(link, Link::Down(_));
            if pausing {
                *link = Link::Connecting;
            }
            pausing
        });
        if pausing {
            self.hurry.notify_one();
        }
    }

    /// Logs in with the password as it is now, if it may be another; without a connection it is tried at once.
    pub(super) async fn renew_login(&self) -> Result<()> {
        let Some(words) = self.target.access.words()? else { return Ok(()) };
        if !matches!(*self.state.borrow(), Link::Up(_)) {
            self.hurry();
            return Ok(());
        }
        let mut auth = redis::cmd("AUTH");
        auth.arg(words);
        self.command(&auth).await.map(drop)
    }

    /// Makes an engine the one that closes this host; false: another one will.
    pub(super) fn own(&self) -> bool {
        !self.owned.swap(true, Ordering::Relaxed)
    }

    /// Ends the connection, and the wait of those who wait for an answer.
    pub(super) fn give_up(&self) {
        if let Link::Up(session) = &*self.state.borrow() {
            session.facts.give_up.notify_one();
        }
    }

    /// Why there is no connection, as far as is known.
    pub(super) fn trouble(&self) -> Option<Error> {
        match &*self.state.borrow() {
            Link::Down(error) => Some(error.clone()),
            _ => None,
        }
    }

    /// Whether it can be connected to, and since when.
    pub(super) fn standing(&self) -> Standing {
        *self.standing.lock()
    }

    /// The measurements of it.
    pub(super) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// The server's replication id, as it said last, while there is a connection.
    pub(super) fn replid(&self) -> Option<Arc<str>> {
        match &*self.state.borrow() {
            Link::Up(session) => Some(session.replid()),
            _ => None,
        }
    }

    /// Where the host is.
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// The host as messages name it.
    pub(super) fn name(&self) -> &str {
        &self.target.name
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The host's time of day, without a question as long as its last answer is fresh.
    pub(super) async fn server_time(&self) -> Timestamp {
        self.server_clock
            .now(&self.clock, || async {
                let session = self.session().await?;
                let answer = self.transmit(&session, &pipeline([redis::cmd("TIME")])).await?.swap_remove(0);
                server_time(answer).ok_or_else(|| unexpected(self.name(), "TIME"))
            })
            .await
    }

    /// The same as of at most 10 ms ago, and without ever asking.
    pub(super) fn estimated_server_time(&self) -> Timestamp {
        self.server_clock.estimate(&self.clock)
    }

    /// The connection, once the attempt under way has come to something.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] while there is none, [`ErrorKind::Closed`] for ever.
    pub(super) async fn session(&self) -> Result<Session> {
        if let Link::Up(session) = &*self.state.borrow() {
            return Ok(session.clone());
        }
        self.settled_session(|_| true).await
    }

    /// [`session`](Self::session), after this one was found dead.
    pub(super) async fn session_after(&self, dead: &Session) -> Result<Session> {
        dead.facts.give_up.notify_one();
        self.settled_session(|session| !Arc::ptr_eq(&session.facts, &dead.facts)).await
    }

    async fn settled_session(&self, is_good: impl Fn(&Session) -> bool) -> Result<Session> {
        let mut link = self.state.subscribe();
        let is_settled = |link: &Link| match link {
            Link::Connecting => false,
            Link::Up(session) => is_good(session),
            Link::Down(_) | Link::Closed => true,
        };
        match link.wait_for(is_settled).await.as_deref() {
            Ok(Link::Up(session)) => Ok(session.clone()),
            Ok(Link::Down(error)) => Err(error.clone()),
            _ => Err(Error::new(ErrorKind::Closed, format!("redis {}: the store was closed", self.name()))),
        }
    }

    /// Whether the last connection has ended, and no attempt to make another has failed yet.
    #[cfg(test)]
    pub(super) fn is_connecting(&self) -> bool {
        matches!(*self.state.borrow(), Link::Connecting)
    }

    /// Server settings that break a promise.
    pub(super) fn warnings(&self) -> Vec<String> {
        let Link::Up(session) = &*self.state.borrow() else { return vec![] };
        let (policy, name) = (&session.facts.server.maxmemory_policy, self.name());
        let mut warnings = vec![];
        if &**policy != "noeviction" {
            warnings.push(format!(
                "redis {name}: maxmemory-policy is {policy}: under memory pressure the server drops buffered rows and \
                 locks without a word; set it to noeviction"
            ));
        }
        if session.replid().is_empty() {
            warnings.push(format!(
                "redis {name}: INFO does not tell master_replid: a row or point whose answer is lost is not sent again, and its \
                 fate stays unknown; a server that went back in time is not noticed"
            ));
        }
        warnings
    }

    /// Whether it was closed, for ever.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// The hash of a script, as every server computes it; `None` until the first connection.
    pub(super) fn hash(&self, script: Script) -> Option<&str> {
        self.kin.scripts.hashes.get().map(|hashes| &*hashes[script.index()])
    }

    pub(super) fn scripts(&self) -> &Scripts {
        &self.kin.scripts
    }

    /// The epoch of the table of slots by which callers come to this host; `None`: its slots cannot move.
    pub(super) fn epoch(&self) -> Option<u64> {
        self.epoch.get().copied()
    }

    /// Notes the epoch of the table of slots by which callers come to this host: once, before the first of them.
    pub(super) fn set_epoch(&self, epoch: u64) {
        let _ = self.epoch.set(epoch);
    }

    /// Whether it is a node of a Redis Cluster.
    pub(super) fn is_node(&self) -> bool {
        self.kin.peers.is_some()
    }

    /// The nodes of its Redis Cluster, while the store is open.
    pub(super) fn peers(&self) -> Option<Arc<dyn Peers>> {
        self.kin.peers.as_ref()?.upgrade()
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The replies as they came: a refusal is one. A connection without an answer is given up.
    ///
    /// # Errors
    /// [`ErrorKind::Ambiguous`] or [`ErrorKind::Timeout`]: each of them may have been applied.
    pub(super) async fn transmit(&self, session: &Session, commands: &Pipeline) -> Result<Vec<Value>> {
        let answer = self.transmit_within(session, commands, ANSWER_TIMEOUT).await;
        if answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Timeout) {
            session.facts.give_up.notify_one();
        }
        answer
    }

    pub(super) async fn transmit_within(
        &self,
        session: &Session,
        commands: &Pipeline,
        within: Duration,
    ) -> Result<Vec<Value>> {
        let mut connection = session.connection.clone();
        let began = self.clock.monotonic();
        let sent = self.clock.timeout(within, send(&mut connection, commands)).await;
        if !matches!(sent, Some(Err(_))) {
            self.meter.round_trip(self.clock.monotonic().saturating_sub(began));
        }
        match sent {
            Some(Ok(values)) if values.len() == commands.len() => {
                session.facts.answers.fetch_add(1, Ordering::Relaxed);
                // Another connection finds the new primary, and logs in with the password as it is then.
                if values.iter().any(|value| refuses(value, &[Class::Replica, Class::Login])) {
                    session.facts.give_up.notify_one();
                }
                Ok(values)
            }
            Some(Ok(_)) => Err(unexpected(self.name(), "a pipeline")),
            Some(Err(cause)) => Err(lost(self.name(), cause)),
            None => {
                let text = format!("redis {}: no answer within {within:?}", self.name());
                Err(Error::new(ErrorKind::Timeout, text))
            }
        }
    }
}

impl Connected {
    /// Ends the connection and all attempts.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.state.send_replace(Link::Closed);
        if let Some(keeper) = self.keeper.get() {
            keeper.abort();
        }
    }
}

/// Connects, drives the connection while it lasts, and begins again.
async fn keep_up(host: Arc<Host>) {
    let mut backoff = RECONNECT;
    loop {
        let attempt = host.clock.timeout(CONNECT_TIMEOUT, open(&host)).await;
        let attempt = attempt.unwrap_or_else(|| {
            Err(unavailable(host.name(), format_args!("cannot connect within {CONNECT_TIMEOUT:?}")))
        });
        match attempt {
            Ok((mut located, (connection, driver, server))) => {
                backoff.reset();
                // The same texts have the same hashes on every server.
                host.kin.scripts.hashes.get_or_init(|| server.hashes.clone());
                let since = host.clock.monotonic();
                host.server_clock.learn(server.time, since, since, &host.clock);
                host.meter.learn_memory(server.memory, since);
                let replid = Mutex::new(server.replid.clone());
                let (give_up, answers) = (Notify::new(), AtomicU64::new(0));
                let session = Session {
                    connection,
                    facts: Arc::new(Facts { server, replid, since, give_up, answers }),
                };
                host.standing.lock().enter(Health::Up, &host.clock);
                host.state.send_replace(Link::Up(session.clone()));
                if session.facts.server.replica_of.is_some()
                    && let Some(peers) = host.peers()
                {
                    peers.report();
                }
                let reason = tokio::select! {
                    biased;
                    () = driver => "it was closed",
                    () = session.facts.give_up.notified() => "it is useless",
                    () = located.moved(&host.clock) => "the primary was replaced",
                    () = silent(&host, &session) => "it is silent",
                };
                tracing::warn!(host = %host.name(), reason, "connection to redis ended");
                if let Some(peers) = host.peers() {
                    peers.report();
                }
                host.state.send_replace(Link::Connecting);
            }
            Err(error) => {
                let in_service = host.in_service.load(Ordering::Relaxed);
                let error = if in_service { error.as_outage() } else { error };
                host.standing.lock().enter(Health::Down, &host.clock);
                tracing::debug!(host = %host.name(), %error, "cannot connect to redis");
                host.state.send_replace(Link::Down(error));
                tokio::select! {
                    () = host.clock.sleep(backoff.after_failure()) => {}
                    () = host.hurry.notified() => {}
                    () = host.target.switched(&host.clock) => {}
                }
            }
        }
    }
}

/// Finds the host and connects to it. If Sentinels name another primary meanwhile, that ends the attempt.
async fn open(host: &Host) -> Result<(Located, (MultiplexedConnection, Driver, ServerInfo))> {
    let mut located = host.target.locate(&host.clock).await?;
    let here = located.endpoint.clone();
    let made = tokio::select! {
        made = connect(&host.target, &here, &host.clock, host.scripts()) => made?,
        () = located.moved(&host.clock) => return Err(unavailable(host.name(), "the primary was replaced")),
    };
    if made.2.is_node && !host.is_node() {
        let text = format!(
            "redis {}: this is a node of a Redis Cluster: write redis+cluster: in place of redis: in the URL",
            host.name()
        );
        return Err(Error::new(ErrorKind::Configuration, text));
    }
    // A node that became one sends calls on to its primary, until the owners of slots are known.
    if let Some(primary) = made.2.replica_of.as_deref().filter(|_| !host.is_node()) {
        return Err(not_primary(&host.target.name_at(&here), primary));
    }
    Ok((located, made))
}

/// Ends when an idle connection does not answer. A peer that vanished without a word is found before it is needed. The question
/// is how much memory the host uses, which one of its connections asks also if it is not idle.
async fn silent(host: &Host, session: &Session) {
    let question = pipeline([redis::cmd("INFO").arg("memory").to_owned()]);
    loop {
        let before = session.facts.answers.load(Ordering::Relaxed);
        host.clock.sleep(IDLE).await;
        let now = host.clock.monotonic();
        host.meter.turn(now);
        let is_idle = session.facts.answers.load(Ordering::Relaxed) == before;
        if !is_idle && !host.meter.wants_memory(now) {
            continue;
        }
        match host.transmit_within(session, &question, ANSWER_TIMEOUT).await {
            Ok(mut answers) => {
                let info = answers.pop().and_then(text).unwrap_or_default();
                host.meter.learn_memory(memory(&info), now);
            }
            Err(_) if is_idle => return,
            Err(_) => {}
        }
    }
}
