//! The engine of a Redis Cluster: its nodes say who has which slot.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use futures::future::join_all;

use super::{
    Cluster, Host,
    address::{Address, read_list},
    member::Member,
    node_watch::NodeWatch,
    placement::converting,
    topology::Topology,
};
use crate::{
    clock::Clock,
    engine::{
        options::Options,
        redis::{Found, Nodes, SlotOwners},
    },
    error::{Error, ErrorKind, Result, invalid},
    model::Health,
    time::{millis, secs},
};

/// Between two questions while all nodes are well and nothing was redirected.
const CALM_INTERVAL: Duration = secs(10);

/// Between two questions while a node is not well: how long keys may wait needlessly after another one was elected.
const ALERT_INTERVAL: Duration = millis(250);

/// Between two questions at least.
const MIN_INTERVAL: Duration = millis(100);

/// Reads `redis+cluster://[user[:password]@]host[:port],…`: some nodes of a Redis Cluster, which tell the others.
///
/// # Errors
/// [`ErrorKind::Invalid`], never with the login.
pub(crate) fn read_nodes(url: &str) -> Result<Vec<Address>> {
    let (scheme, rest) = url.split_once("+cluster").unwrap_or((url, ""));
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    if query.split('&').any(|pair| pair.starts_with("router=")) {
        return Err(invalid("store URL: router: a Redis Cluster places keys itself; leave it out"));
    }
    let (_, addresses) = read_list(&format!("{scheme}{rest}"))?;
    Cluster::check_nodes(&addresses)?;
    Ok(addresses)
}

impl Cluster {
    /// Checks the URL of a Redis Cluster without connecting.
    fn check_nodes(addresses: &[Address]) -> Result<()> {
        let urls: Vec<Box<str>> = addresses.iter().map(|address| address.url.clone()).collect();
        Nodes::new(&urls, "check", Clock::system()).map(drop)
    }

    /// Connects to a Redis Cluster of which some nodes are known.
    ///
    /// # Errors
    /// As [`Nodes::find`]; [`ErrorKind::Configuration`] for slots that no node has, and for what a node says that is no outage,
    /// such as a wrong password.
    pub(crate) async fn open_nodes(addresses: &[Address], options: &Options) -> Result<Arc<Self>> {
        let urls: Vec<Box<str>> = addresses.iter().map(|address| address.url.clone()).collect();
        let nodes = Nodes::new(&urls, &options.prefix, options.clock.clone())?;
        let found = nodes.find().await?;
        let missing = found.owners.missing();
        if !missing.is_empty() {
            let text = format!("no node of the Redis Cluster has the slots {missing}; see CLUSTER ADDSLOTS");
            return Err(Error::new(ErrorKind::Configuration, text));
        }
        let topology = topology(&nodes, &found.owners, None, &options.clock)?;
        let connected = topology.members().iter().map(|member| member.engine.connected());
        let failures: Vec<Error> = join_all(connected).await.into_iter().filter_map(Result::err).collect();
        if let Some(error) = failures.iter().find(|error| !error.is_outage()) {
            return Err(error.clone());
        }
        if failures.len() == topology.members().len() {
            return Err(failures[0].clone());
        }
        let engine = &topology.members()[0].engine;
        let owner =
            found.owners.owners[usize::from(engine.slots_about_conversion()[0].number())].unwrap_or(0);
        if let Ok(Some(_)) = topology.members()[usize::from(owner)].engine.conversion().await {
            return Err(converting());
        }
        let watch = NodeWatch::new(nodes, &found);
        let cluster = Arc::new(Self::of(topology, Some(watch), None));
        if let Some(watch) = &cluster.nodes {
            let task = keep_asking(Arc::downgrade(&cluster), watch.nodes.clone(), options.clock.clone());
            watch.keep(tokio::spawn(task).abort_handle());
        }
        Ok(cluster)
    }

    /// Takes what the nodes say.
    fn adopt(&self, nodes: &Nodes, found: &Found, clock: &Clock) -> Result<()> {
        if let Some(watch) = &self.nodes {
            watch.note(found);
        }
        let before = self.topology();
        let topology = topology(nodes, &found.owners, Some(&before), clock)?;
        if topology.owner_names() != before.owner_names() {
            tracing::info!(epoch = found.owners.epoch, "slots of the cluster have other nodes");
            self.replace(topology);
        }
        Ok(())
    }

    fn is_well(&self) -> bool {
        self.topology().members().iter().all(|member| member.health().0 == Health::Up)
    }
}

/// The nodes that have slots. Those that were there before stay the same, with their connections and callers.
fn topology(nodes: &Nodes, found: &SlotOwners, before: Option<&Topology>, clock: &Clock) -> Result<Topology> {
    let members = found.nodes.iter().map(|address| {
        let (host, port) = address;
        let name = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let known =
            before.and_then(|before| before.members().iter().find(|member| member.host.name() == name));
        if let Some(known) = known {
            return Ok(known.clone());
        }
        let member = Arc::new(Member::new(Host::new(&name)?, nodes.engine(address)));
        member.start_probing(None, clock);
        Ok(member)
    });
    let members: Box<[Arc<Member>]> = members.collect::<Result<_>>()?;
    let former = before.and_then(Topology::owner_names);
    let owner = |(slot, owner): (usize, &Option<u16>)| {
        owner.unwrap_or_else(|| {
            // Nobody lays claim to it. Its former owner, or any node, says why.
            let name = former.as_ref().map(|names| names[slot]);
            let number = members.iter().position(|member| Some(member.host.name()) == name).unwrap_or(0);
            u16::try_from(number).unwrap_or(0)
        })
    };
    let owners = found.owners.iter().enumerate().map(owner).collect();
    if members.is_empty() {
        return Err(Error::new(ErrorKind::Unavailable, "no node of the Redis Cluster has any slot"));
    }
    Ok(Topology::nodes(members, owners, found.epoch))
}

/// Asks the nodes again and again, sooner when something is amiss.
async fn keep_asking(cluster: Weak<Cluster>, nodes: Arc<Nodes>, clock: Clock) {
    loop {
        let Some(is_well) = cluster.upgrade().map(|cluster| cluster.is_well()) else { return };
        let pause = if is_well { CALM_INTERVAL } else { ALERT_INTERVAL };
        clock.timeout(pause, nodes.stale()).await;
        let found = nodes.find().await;
        let Some(cluster) = cluster.upgrade() else { return };
        match found.and_then(|found| cluster.adopt(&nodes, &found, &clock)) {
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "cannot ask for the owners of slots"),
        }
        drop(cluster);
        clock.sleep(MIN_INTERVAL).await;
    }
}
