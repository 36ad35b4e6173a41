//! The state of one Redis host.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Semaphore;

use super::{
    breaker::Breaker,
    combine::Combiner,
    connection::{Host, Kin},
    inbox::Inbox,
    keys::{Home, Keys},
    open_buckets::OpenBuckets,
    partition_writer::Writers,
    probe::Probe,
    reply::{text, unexpected},
    series_writer, stand_in_writer, summary,
    target::Target,
};
use crate::{
    clock::Clock,
    engine::{
        cluster::{Groups, Layout},
        grids::Grids,
        sequence::Sequencer,
    },
    error::{Error, Result},
    model::{Health, HostStatus},
};

/// How many batches of all maps of this process are on their way to a host at a time. Further maps wait for their turn.
const MAX_BATCHES: usize = 16;

/// The engine on one Redis host.
#[derive(Debug)]
pub(crate) struct Redis {
    pub(super) host: Arc<Host>,
    pub(super) keys: Keys,
    pub(super) combiner: Combiner,
    pub(super) breaker: Breaker,
    pub(super) probe: Probe,
    pub(super) inbox: Arc<Inbox>,
    /// The connection for plain commands, once there was one.
    pub(super) plain: OnceLock<Arc<Host>>,
    /// Permits of batches of plain commands.
    pub(super) batches: Semaphore,
    pub(super) writers: Writers,
    pub(super) series_writers: series_writer::Writers,
    pub(super) open_buckets: Arc<OpenBuckets>,
    pub(super) stand_in_writers: stand_in_writer::Writers,
    pub(super) summary_writers: summary::Writers,
    /// The series of this process.
    pub(super) grids: Grids,
    /// The bytes of requests and their tokens, as the host said last, of each group that has a count of its own. Only shown, so
    /// any memory order will do.
    pub(super) once_bytes: Box<[AtomicU64]>,
    /// The groups of keys that this node of a Redis Cluster has. Orders nothing else.
    groups: AtomicU64,
}

impl Redis {
    /// Connects to the host at `url`, see [`Target::parse`].
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for another URL; what the first attempt to
    /// connect came to, if it failed. From then on the connection is kept up by itself.
    pub(crate) async fn open(url: &str, prefix: &str, clock: Clock) -> Result<Arc<Self>> {
        let engine = Self::start(url, prefix, clock)?;
        engine.host.session().await?;
        engine.enter_service();
        Ok(engine)
    }

    /// Checks a URL without connecting.
    pub(crate) fn check(url: &str) -> Result<()> {
        Target::parse(url).map(|_| ())
    }

    /// As [`open`](Self::open), without waiting for the first attempt to connect, and whatever it comes to.
    pub(crate) fn start(url: &str, prefix: &str, clock: Clock) -> Result<Arc<Self>> {
        let keys = Keys::new(prefix, Layout::Named);
        let host = Host::start(url, keys.clone(), clock)?;
        let inbox = Arc::new(Inbox::new(keys.inboxes()));
        Ok(Self::on(host, keys, inbox))
    }

    /// As [`start`](Self::start), on a host whose slots can move.
    pub(crate) fn start_fenced(url: &str, prefix: &str, clock: Clock) -> Result<Arc<Self>> {
        let keys = Keys::new(prefix, Layout::Named);
        let host = Host::start_kin(url, keys.clone(), clock, Kin::fenced(&keys))?;
        let inbox = Arc::new(Inbox::new(keys.inboxes()));
        Ok(Self::on(host, keys, inbox))
    }

    /// Notes the epoch of the table of slots by which callers come here, before the first of them.
    pub(crate) fn set_epoch(&self, epoch: u64) {
        self.host.set_epoch(epoch);
    }

    /// The engine on the same host for those who come by the table of slots of another epoch. What waits in this one is told so by
    /// the host.
    pub(crate) fn of_epoch(&self, epoch: u64) -> Arc<Self> {
        let engine = Self::on(self.host.of_epoch(epoch), self.keys.clone(), self.inbox.clone());
        if let Some(plain) = self.plain.get() {
            engine.plain.get_or_init(|| plain.of_epoch(epoch));
        }
        engine
    }

    /// The epoch of the table of slots by which callers come here.
    pub(crate) fn slot_epoch(&self) -> Option<u64> {
        self.host.epoch()
    }

    /// The engine on a connection.
    pub(super) fn on(host: Arc<Host>, keys: Keys, inbox: Arc<Inbox>) -> Arc<Self> {
        let combiner = Combiner::new(host.clone(), keys.clone());
        let shares = keys.layout.shares();
        Arc::new(Self {
            host,
            keys,
            combiner,
            breaker: Breaker::default(),
            probe: Probe::default(),
            inbox,
            plain: OnceLock::new(),
            batches: Semaphore::new(MAX_BATCHES),
            writers: Writers::default(),
            series_writers: series_writer::Writers::default(),
            open_buckets: Arc::default(),
            grids: Grids::default(),
            stand_in_writers: stand_in_writer::Writers::default(),
            summary_writers: summary::Writers::default(),
            once_bytes: (0..shares).map(|_| AtomicU64::new(0)).collect(),
            groups: AtomicU64::new(0),
        })
    }

    /// Waits for the first attempt to connect.
    pub(crate) async fn connected(&self) -> Result<()> {
        self.host.session().await.map(drop)
    }

    /// Notes the groups of keys that this node of a Redis Cluster has.
    pub(crate) fn set_groups(&self, groups: Groups) {
        self.groups.store(groups.bits(), Ordering::Relaxed);
    }

    pub(super) fn groups(&self) -> Groups {
        Groups::of_bits(self.groups.load(Ordering::Relaxed))
    }

    /// Ends the wait of those who wait for an answer of this node, whose slots another one has by now.
    pub(crate) fn give_up(&self) {
        self.host.give_up();
    }

    /// Refuses the rows and points that were not sent, because the host is down. Another one may take them. Until it is
    /// [back](Self::admit_waiting) none wait behind those under way.
    pub(crate) fn refuse_waiting(&self, why: &Error) {
        self.writers.each(|writer| writer.refuse_waiting(why));
        self.series_writers.each(|writer| writer.refuse_waiting(why));
        self.stand_in_writers.each(|writer| writer.refuse_waiting(why));
        self.summary_writers.each(|writer| writer.refuse_waiting(why));
    }

    /// Lets rows and points wait behind those under way again, because the host is back.
    pub(crate) fn admit_waiting(&self) {
        self.writers.each(Sequencer::admit_waiting);
        self.series_writers.each(Sequencer::admit_waiting);
        self.stand_in_writers.each(Sequencer::admit_waiting);
        self.summary_writers.each(Sequencer::admit_waiting);
    }

    /// Says that the known owners of slots may be out of date.
    pub(crate) fn report(&self) {
        if let Some(peers) = self.host.peers() {
            peers.report();
        }
    }

    /// Checks that this host answers.
    pub(crate) async fn check_alive(&self) -> Result<()> {
        self.host.command(&redis::cmd("PING")).await.map(drop)
    }

    /// Checks that this node of a Redis Cluster answers. It may be a replica, since its last slot has moved or another one was
    /// elected. A replica sends calls on, so that its keys and the calls under way need not fail until the owners are known.
    pub(crate) async fn check_node(&self) -> Result<()> {
        let info = self.host.command(redis::cmd("INFO").arg("replication")).await?;
        let info = text(info).ok_or_else(|| unexpected(self.host.name(), "INFO"))?;
        if info.lines().all(|line| line != "role:master") {
            self.report();
        }
        self.combiner.across().probe(&self.host, &self.keys, self.groups()).await;
        Ok(())
    }

    /// Notes that the store is open: every refusal from here on is an outage.
    pub(crate) fn enter_service(&self) {
        self.host.enter_service();
    }

    /// Whether this host can be connected to.
    pub(crate) fn health(&self) -> Health {
        self.host.standing().health()
    }

    /// This host.
    pub(crate) fn hosts(&self) -> Vec<HostStatus> {
        let reason = self.host.trouble().map(|error| error.to_string().into());
        let status = HostStatus { reason, ..self.status(self.host.name()) };
        vec![self.host.standing().show(self.host.clock(), status)]
    }

    /// The status of this host under a name, as far as its connections know it.
    pub(crate) fn status(&self, name: &str) -> HostStatus {
        let breaker_open = !self.breaker.is_closed();
        self.host.meter().show(HostStatus { breaker_open, ..HostStatus::only(name) })
    }

    /// The clock of this process.
    pub(crate) fn clock(&self) -> &Clock {
        self.host.clock()
    }

    pub(super) fn plain(&self) -> &Arc<Host> {
        self.plain.get_or_init(|| self.host.twin())
    }

    /// Whether it was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.host.is_closed()
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        self.host.warnings()
    }

    #[expect(clippy::unused_async, reason = "other engines have to be waited for")]
    pub(crate) async fn close(&self) -> Result<()> {
        self.end();
        Ok(())
    }

    /// Logs in with the password as it is now.
    pub(crate) async fn renew_login(&self) -> Result<()> {
        self.host.renew_login().await?;
        match self.plain.get() {
            Some(plain) => plain.renew_login().await,
            None => Ok(()),
        }
    }

    /// Whether this host takes writes, and lets its user run every command that Forebay uses.
    pub(crate) async fn ping(&self) -> Result<()> {
        let group = self.groups().iter().next().unwrap_or_default();
        self.probe.run(&self.host, &self.keys, group).await
    }

    /// The part of a key that decides on its host.
    pub(crate) fn home<'a>(&self, key: &'a [u8]) -> Home<'a> {
        self.keys.home(key)
    }

    /// Why this host refused the last probe, if it did.
    pub(crate) fn refusal(&self) -> Option<Error> {
        self.probe.refusal()
    }

    fn end(&self) {
        self.host.close();
        // The nodes of a Redis Cluster share one.
        if !self.host.is_node() {
            self.inbox.close();
        }
        if let Some(plain) = self.plain.get() {
            plain.close();
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // Engines of other epochs may need the connections.
        if self.host.is_last() {
            self.end();
        }
    }
}
