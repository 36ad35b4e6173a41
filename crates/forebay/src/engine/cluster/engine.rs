//! The engine of several hosts: each step goes to the one that has its place.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures::future::join_all;
use parking_lot::RwLock;
use uuid::Uuid;

use super::{
    Host,
    address::Address,
    known_points::KnownPoints,
    member::Member,
    node_watch::NodeWatch,
    placement::Placement,
    router::RouterKind,
    stored_hosts::StoredHosts,
    topology::Topology,
    traffic::{MAX_SKEW, skews},
};
use crate::{
    clock::Clock,
    engine::{
        notifier::Subscription,
        redis::Redis,
        request::{Hosts, down_mark},
        step::{BufferParts, Place, Take},
    },
    error::{Error, ErrorKind, Result},
    key::Name,
    model::{self, Health, HostStatus},
};

/// The engine of several hosts.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// The hosts as of now. Locked to copy or to replace a pointer, never across an await.
    pub(super) topology: RwLock<Arc<Topology>>,
    /// Orders nothing else.
    closed: AtomicBool,
    /// The nodes of a Redis Cluster.
    pub(super) nodes: Option<NodeWatch>,
    /// The placement that independent hosts have stored.
    pub(super) stored: Option<StoredHosts>,
    /// The points of series that wait in stand-ins.
    pub(super) known_points: KnownPoints,
}

impl Cluster {
    /// Checks a list of hosts without connecting to any: where keys go at first.
    ///
    /// # Errors
    /// As [`Router::new`], and a URL that is none.
    pub(crate) fn check(kind: RouterKind, addresses: &[Address]) -> Result<Placement> {
        let hosts: Vec<Host> = addresses.iter().map(|address| address.host.clone()).collect();
        for Address { host, url } in addresses {
            Redis::check(url)
                .map_err(|error| Error::new(error.kind(), format!("host {:?}: {error}", host.name())))?;
        }
        Placement::first(kind, &hosts)
    }

    pub(super) fn of(topology: Topology, nodes: Option<NodeWatch>, stored: Option<StoredHosts>) -> Self {
        let (topology, closed) = (RwLock::new(Arc::new(topology)), AtomicBool::new(false));
        Self { topology, closed, nodes, stored, known_points: KnownPoints::default() }
    }

    /// Lets other hosts take the place of those as of now. Those that are left out end when their calls have ended.
    pub(super) fn replace(&self, topology: Topology) {
        let before = std::mem::replace(&mut *self.topology.write(), Arc::new(topology));
        let now = self.topology();
        let stays = |member: &Arc<Member>| now.members().iter().any(|other| Arc::ptr_eq(member, other));
        for member in before.members().iter().filter(|member| !stays(member)) {
            member.stop_probing();
            // The calls under way are settled by the present owners of its slots. A host that is well still answers. Independent
            // hosts settle them themselves.
            if self.stored.is_none() && member.health().0 != Health::Up {
                member.engine.give_up();
                self.known_points.note_loss();
            }
        }
    }

    /// The hosts as of now.
    pub(super) fn topology(&self) -> Arc<Topology> {
        self.topology.read().clone()
    }

    /// The host of a place, as of now.
    pub(in crate::engine) fn member(&self, place: Place<'_>) -> Arc<Member> {
        self.topology.read().member(place).clone()
    }

    /// The hosts, in the order of their numbers.
    pub(crate) fn hosts(&self) -> Vec<HostStatus> {
        let topology = self.topology();
        let members = topology.members();
        let mut hosts: Vec<HostStatus> = members.iter().map(|member| member.status()).collect();
        let loads: Vec<_> = (0..)
            .zip(members.iter().zip(&hosts))
            .map(|(number, (member, host))| {
                let recent = member.traffic().recent(member.engine.clock().monotonic());
                ((host.health != Health::Down).then_some(recent), topology.slots(number))
            })
            .collect();
        for ((host, (_, slots)), skew) in hosts.iter_mut().zip(&loads).zip(skews(&loads)) {
            (host.slots, host.skew) = (*slots, Some(skew));
        }
        hosts
    }

    /// The health of the host of a place.
    pub(crate) fn health_of(&self, place: Place<'_>) -> Health {
        self.topology.read().member(place).health().0
    }

    /// The hosts, each with a hash of its name, and the epoch that it is in. One that is down has none, and a mark behind
    /// all hosts. A node of a Redis Cluster gets no mark, since its slots are another node's after an election: a row of a request whose
    /// home is down waits there.
    pub(crate) fn epochs(&self) -> Hosts {
        let topology = self.topology();
        let placement = topology.placement().epoch;
        let (mut hosts, mut down) = (vec![], vec![]);
        for member in topology.members() {
            let is_down = member.health().0 == Health::Down;
            hosts.push((member.host.id(), member.engine.epoch().filter(|_| !is_down)));
            let marks = is_down && topology.is_told_everywhere();
            down.extend(marks.then(|| down_mark(member.host.id(), placement)));
        }
        hosts.append(&mut down);
        hosts
    }

    /// The [id](Host::id) of the host of a place, and the number of the placement of keys.
    pub(crate) fn host_of_request(&self, place: Place<'_>) -> (u32, u64) {
        let topology = self.topology.read();
        (topology.member(place).host.id(), topology.placement().epoch)
    }

    /// The clock of this process.
    pub(crate) fn clock(&self) -> Clock {
        self.topology().members()[0].engine.clock().clone()
    }

    /// The bytes that each host has of requests.
    pub(crate) fn once_bytes(&self) -> Vec<u64> {
        self.topology().members().iter().flat_map(|member| member.engine.once_bytes()).collect()
    }

    /// How keys find their host.
    pub(crate) fn placement(&self) -> model::Placement {
        self.topology.read().placement()
    }

    /// The number of the host that has a plain key.
    pub(crate) fn host_of(&self, key: &[u8]) -> usize {
        self.topology.read().host_of(key)
    }

    /// The name of that host.
    pub(crate) fn host_name_of(&self, key: &[u8]) -> Arc<str> {
        let topology = self.topology.read();
        topology.members()[topology.host_of(key)].host.shared_name()
    }

    /// The slot of a plain key, if slots decide.
    pub(crate) fn slot_of(&self, key: &[u8]) -> Option<u16> {
        self.topology.read().slot_of(key)
    }

    /// The number of the host of a place, and its slot if slots decide.
    pub(crate) fn place_of(&self, place: Place<'_>) -> (usize, Option<u16>) {
        self.topology.read().place_of(place)
    }

    /// Whether one step can charge all takes.
    pub(crate) fn together(&self, takes: &[Take<'_>]) -> bool {
        let topology = self.topology.read();
        takes.windows(2).all(|pair| topology.are_together(pair[0].key, pair[1].key))
    }

    /// Whether one step can charge all takes, now and later.
    pub(crate) fn stay_together(&self, takes: &[Take<'_>]) -> bool {
        let topology = self.topology.read();
        takes.windows(2).all(|pair| topology.stay_together(pair[0].key, pair[1].key))
    }

    pub(crate) fn lock_subscribe(&self, name: &str, owner: Uuid) -> Subscription {
        self.member(Place::Named(name)).engine.lock_subscribe(name, owner)
    }

    /// Logs in to each host with the password as it is now.
    pub(crate) async fn renew_login(&self) -> Result<()> {
        let topology = self.topology();
        join_all(topology.members().iter().map(|member| member.engine.renew_login()))
            .await
            .into_iter()
            .collect()
    }

    /// Whether any of the hosts takes writes: the others' keys are served while one is down.
    pub(crate) async fn ping(&self) -> Result<()> {
        let ping = async |member: &Arc<Member>| member.begin()?.end(member.engine.ping().await);
        let topology = self.topology();
        let pings = join_all(topology.members().iter().map(ping)).await;
        if pings.iter().any(Result::is_ok) {
            return Ok(());
        }
        let each = topology
            .members()
            .iter()
            .zip(pings)
            .filter_map(|(member, ping)| Some(format!("{:?}: {}", member.host.name(), ping.err()?)));
        let each: Vec<_> = each.collect();
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("none of the hosts takes writes: {}", each.join("; ")),
        ))
    }

    /// The partitions of buffers on those hosts that answer.
    pub(crate) async fn buffer_parts(&self) -> Result<BufferParts> {
        let topology = self.topology();
        let parts = async |(number, member): (usize, &Arc<Member>)| {
            let registers = topology.registers(number);
            member.begin()?.end(member.engine.registered_parts(&registers).await)
        };
        let each = join_all(topology.members().iter().enumerate().map(parts)).await;
        let mut all = BufferParts::default();
        for parts in each {
            match parts {
                Ok(parts) => all.found.extend(parts.found),
                Err(error) => all.failure = Some(error),
            }
        }
        // One that was moved is known to two.
        all.found.sort_unstable();
        all.found.dedup();
        Ok(all)
    }

    /// A pause is told to every host, and holds if any says so: so it does not depend on the one that is down.
    pub(crate) async fn buffer_paused(&self, buffer: &Name, pause: Option<bool>) -> Result<bool> {
        let ask = async |member: &Arc<Member>| {
            member.begin()?.end(member.engine.buffer_paused(buffer, pause).await)
        };
        let topology = self.topology();
        if !topology.is_told_everywhere() {
            return ask(topology.member(Place::Named(buffer.as_str()))).await;
        }
        let answers = join_all(topology.members().iter().map(ask)).await;
        if pause.is_none() && answers.iter().any(Result::is_ok) {
            return Ok(answers.into_iter().flatten().any(|paused| paused));
        }
        answers.into_iter().try_fold(false, |_, answer| answer)
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        let topology = self.topology();
        let members = topology.members();
        let mut warnings: Vec<String> = members.iter().flat_map(|member| member.engine.warnings()).collect();
        warnings.extend(self.nodes.as_ref().and_then(NodeWatch::warning));
        warnings.extend(self.stored.iter().flat_map(StoredHosts::warnings));
        warnings.extend(self.known_points.warnings());
        for member in members {
            let (health, reason) = member.health();
            if let Some(refusal) = member.engine.refusal().filter(|_| health == Health::Up) {
                warnings
                    .push(format!("host {:?} answers and takes no writes: {refusal}", member.host.name()));
            }
            if health != Health::Up {
                let reason = reason.map(|error| format!(": {error}")).unwrap_or_default();
                warnings.push(format!("host {:?} is {health}{reason}", member.host.name()));
            }
        }
        for host in self.hosts() {
            if let Some(calls) = host.skew.and_then(|skew| skew.calls).filter(|&calls| calls > MAX_SKEW) {
                let name = host.name;
                warnings.push(format!(
                    "host {name:?} gets {calls:.1} times the mean of the calls: see docs/guide/cluster.md"
                ));
            }
        }
        warnings
    }

    /// Ends the tasks that ask where keys go.
    fn end_watches(&self) {
        if let Some(nodes) = &self.nodes {
            nodes.close();
        }
        if let Some(stored) = &self.stored {
            stored.close();
        }
    }

    /// Whether it was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    pub(crate) async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Relaxed);
        let topology = self.topology();
        topology.members().iter().for_each(|member| member.stop_probing());
        self.end_watches();
        join_all(topology.members().iter().map(|member| member.engine.close())).await.into_iter().collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Probes hold the hosts, which would otherwise stay connected for ever.
        self.topology.read().members().iter().for_each(|member| member.stop_probing());
        self.end_watches();
    }
}
