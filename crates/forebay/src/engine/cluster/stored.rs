//! Independent hosts: they agree on where keys go, and what they have stored is followed when it changes.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use futures::future::join_all;

use super::{
    Cluster, Host, Record, SlotTable,
    address::Address,
    member::Member,
    placement::{CurrentPlacement, Placement, Relation},
    router::RouterKind,
    stored_hosts::{StoredHosts, like},
    topology::Topology,
};
use crate::{
    engine::{options::Options, redis::Redis},
    error::{Error, ErrorKind, Result},
    time::millis,
};

/// How long a host is waited for that is asked for its placement.
const ASK_TIMEOUT: Duration = millis(500);

/// Hosts that are being connected to.
struct Started {
    hosts: Vec<Host>,
    /// In the order of the hosts.
    members: Vec<Arc<Member>>,
}

impl Cluster {
    /// Connects to the hosts, and agrees with them on where keys go.
    ///
    /// A host that does not answer does not stop that, as long as another one knows; at the very first start all
    /// must answer.
    ///
    /// # Errors
    /// As [`Placement::agreed`]; and what a host says that cannot be a host, such as a wrong password.
    pub(crate) async fn open(
        kind: RouterKind,
        addresses: Vec<Address>,
        options: &Options,
    ) -> Result<Arc<Self>> {
        let first = Self::check(kind, &addresses)?;
        let mut started = start(kind, &addresses, options)?;
        let (placement, met) = agree(kind, &addresses, &mut started, (&first, options)).await?;
        let placement = Arc::new(placement);
        let stored = StoredHosts::new(addresses, placement.clone(), options);
        let mut members = vec![];
        for (member, met) in started.members.into_iter().zip(met) {
            if let Some(table) = placement.table() {
                if table.hosts().all(|name| name != member.host.name()) {
                    continue;
                }
                member.engine.set_epoch(placement.epoch());
            }
            member.on_first_contact(&met);
            member.engine.enter_service();
            member.start_probing(Some(&stored.current), &options.clock);
            members.push(member);
        }
        let cluster = Arc::new(Self::of(Topology::stored(members.into(), placement), None, Some(stored)));
        if let Some(stored) = cluster.stored.as_ref().filter(|_| kind == RouterKind::Slots) {
            let task = follow(Arc::downgrade(&cluster), stored.current.clone());
            stored.keep(tokio::spawn(task).abort_handle());
        }
        Ok(cluster)
    }

    /// Connects to hosts and reads where keys go. Hosts without a stored placement are looked at as if they had the first one.
    ///
    /// # Errors
    /// As [`open`](Self::open); and the outage of a host that does not answer.
    pub(crate) async fn inspect(
        router: RouterKind,
        addresses: Vec<Address>,
        options: &Options,
    ) -> Result<Arc<Self>> {
        let first = Self::check(router, &addresses)?;
        let mut started = start(router, &addresses, options)?;
        let found = read_records(&addresses, &mut started, options).await?;
        // One that has joined and got no slots need not answer.
        let table = Placement::latest_table(&found);
        let is_needed =
            |host: &Host| table.as_ref().is_none_or(|table| table.owners().any(|name| name == host.name()));
        let needed = started.hosts.iter().zip(&found).filter(|(host, _)| is_needed(host));
        if let Some(error) = needed.into_iter().find_map(|(_, record)| record.as_ref().err()) {
            return Err(error.clone());
        }
        let placement = Placement::agreed(router, &started.hosts, &found)?.unwrap_or(first);
        let placement = Arc::new(placement.of_its_hosts(&started.hosts)?);
        let is_known = |member: &Arc<Member>| {
            placement.table().is_none_or(|table| table.hosts().any(|name| name == member.host.name()))
        };
        let members = started.members.into_iter().filter(is_known).collect();
        Ok(Arc::new(Self::of(Topology::stored(members, placement), None, None)))
    }

    /// Looks whether the hosts have stored a later placement, and follows it. Answers whether those who came by `stale` come by
    /// another way now.
    pub(super) async fn refresh(&self, stale: Option<&Arc<Member>>) -> Result<bool> {
        let Some(stored) = &self.stored else { return Ok(false) };
        let (before, came) = (self.topology(), stored.clock.monotonic());
        let mut looked = stored.turn.lock().await;
        let topology = self.topology();
        let is_present = |stale: &Arc<Member>| topology.members().iter().any(|it| Arc::ptr_eq(it, stale));
        if !Arc::ptr_eq(&before, &topology) || stale.is_some_and(|stale| !is_present(stale)) {
            return Ok(true);
        }
        let placement = stored.current.get();
        // What was seen by somebody who began to look after this one came is good for both.
        if *looked <= came {
            *looked = stored.clock.monotonic();
            if let Some(table) = self.later_table(stored, &topology, &placement).await {
                self.follow_table(stored, &topology, &table)?;
                return Ok(true);
            }
        }
        // A host that lost its data has a later fence than it had.
        let is_behind =
            |stale: &&Arc<Member>| stale.engine.slot_epoch().is_some_and(|epoch| epoch < placement.epoch());
        let Some(stale) = stale.filter(is_behind) else { return Ok(false) };
        let renew = |member: &Arc<Member>| {
            if Arc::ptr_eq(member, stale) {
                stored.renewed(member, placement.epoch())
            } else {
                member.clone()
            }
        };
        let members = topology.members().iter().map(renew).collect();
        self.replace(Topology::stored(members, placement.clone()));
        Ok(true)
    }

    /// The latest table that a host holds, if it is later than what this process goes by.
    async fn later_table(
        &self,
        stored: &StoredHosts,
        topology: &Topology,
        placement: &Placement,
    ) -> Option<SlotTable> {
        let ask = async |member: &Arc<Member>| {
            let asked = async {
                match member.engine.check_identity().await?.relation(placement) {
                    Relation::Later => member.engine.record().await.map(Some),
                    _ => Ok(None),
                }
            };
            let late = || Err(Error::new(ErrorKind::Timeout, "no answer"));
            stored.clock.timeout(ASK_TIMEOUT, asked).await.unwrap_or_else(late)
        };
        let asked = topology.members().iter().filter(|member| member.is_asked());
        let records = join_all(asked.map(ask)).await.into_iter().filter_map(Result::transpose);
        let records: Vec<Result<Record>> = records.collect();
        Placement::latest_table(&records).filter(|table| table.epoch() > placement.epoch())
    }

    /// Takes a later table. Hosts of which a slot leaves, or is on its way, get new connections: by these it is known which calls
    /// came by which table.
    fn follow_table(&self, stored: &StoredHosts, before: &Topology, table: &SlotTable) -> Result<()> {
        let former = stored.current.get();
        let mut members: Vec<Arc<Member>> = vec![];
        let known = |name: &str| before.members().iter().find(|member| member.host.name() == name);
        // Those that stay keep their order.
        let names = before.members().iter().map(|member| member.host.name());
        let names: Vec<&str> = names.filter(|name| table.hosts().any(|known| known == *name)).collect();
        let joined = table.hosts().filter(|name| known(name).is_none());
        // First those that may not be reached by what is known of them.
        let new: Vec<Arc<Member>> = joined.map(|name| stored.begin(name, table)).collect::<Result<_>>()?;
        for member in names.iter().filter_map(|name| known(name)) {
            let gives = |former: &SlotTable| former.gives_from(table, member.host.name());
            let renews = former.table().is_some_and(gives);
            members.push(if renews { stored.renewed(member, table.epoch()) } else { member.clone() });
        }
        members.extend(new);
        let hosts: Vec<Host> = members.iter().map(|member| member.host.clone()).collect();
        let placement = Arc::new(Placement::of_table(table.numbered_as(&hosts)?));
        tracing::info!(epoch = placement.epoch(), hosts = hosts.len(), "slots have other hosts");
        stored.current.set(placement.clone());
        for member in members.iter().filter(|member| known(member.host.name()).is_none()) {
            member.start_probing(Some(&stored.current), &stored.clock);
        }
        self.replace(Topology::stored(members.into(), placement));
        Ok(())
    }
}

/// Follows the placement, whenever a host is found to hold a later one.
async fn follow(cluster: Weak<Cluster>, current: Arc<CurrentPlacement>) {
    loop {
        current.later().await;
        let Some(cluster) = cluster.upgrade() else { return };
        if let Err(error) = cluster.refresh(None).await {
            tracing::warn!(%error, "cannot follow the placement of keys");
        }
    }
}

/// Begins to connect to hosts.
fn start(kind: RouterKind, addresses: &[Address], options: &Options) -> Result<Started> {
    let mut started = Started { hosts: vec![], members: vec![] };
    for Address { host, url } in addresses {
        let start = if kind == RouterKind::Slots { Redis::start_fenced } else { Redis::start };
        let engine = start(url, &options.prefix, options.clock.clone())?;
        started.hosts.push(host.clone());
        started.members.push(Arc::new(Member::new(host.clone(), engine)));
    }
    Ok(started)
}

/// What each host holds; also of those that have joined since the configuration was written.
async fn read_records(
    configured: &[Address],
    started: &mut Started,
    options: &Options,
) -> Result<Vec<Result<Record>>> {
    let mut found = join_all(started.members.iter().map(|member| member.engine.record())).await;
    let Some(table) = Placement::latest_table(&found) else { return Ok(found) };
    let mut joined = vec![];
    for (name, address) in table.addresses() {
        if started.hosts.iter().all(|host| host.name() != name) {
            joined.push(Address { host: Host::new(name)?, url: like(configured, address)? });
        }
    }
    let more = start(RouterKind::Slots, &joined, options)?;
    found.extend(join_all(more.members.iter().map(|member| member.engine.record())).await);
    started.hosts.extend(more.hosts);
    started.members.extend(more.members);
    Ok(found)
}

/// Where keys go, once every host that answers has it written down; and what each host came to.
async fn agree(
    kind: RouterKind,
    configured: &[Address],
    started: &mut Started,
    (first, options): (&Placement, &Options),
) -> Result<(Placement, Vec<Result<Record>>)> {
    let mut found = read_records(configured, started, options).await?;
    let Started { hosts, members } = started;
    if let Some(error) =
        found.iter().filter_map(|record| record.as_ref().err()).find(|error| !error.is_outage())
    {
        return Err(error.clone());
    }
    let mut agreed = Placement::agreed(kind, hosts, &found)?;
    if agreed.is_none() {
        // If several processes start together, the first one on this host decides for all.
        let by_name = (0..).zip(&*hosts).min_by_key(|(_, host)| host.name());
        let (arbiter, host) = by_name.expect("a checked list has hosts");
        found[arbiter] = Ok(members[arbiter].engine.complete_record(host.name(), first.text()).await?);
        agreed = Placement::agreed(kind, hosts, &found)?;
    }
    let agreed = agreed.expect("the arbiter holds one");
    let complete = members.iter().zip(found).map(async |(member, record)| match record {
        // One that holds both may take no writes now, which is no reason not to begin.
        Ok(known @ Record { name: Some(_), placement: Some(_) }) => Ok(known),
        Ok(_) => member.engine.complete_record(member.host.name(), agreed.text()).await,
        Err(error) => Err(error),
    });
    let found = join_all(complete).await;
    let agreed = Placement::agreed(kind, hosts, &found)?.unwrap_or(agreed);
    Ok((agreed.of_its_hosts(hosts)?, found))
}
