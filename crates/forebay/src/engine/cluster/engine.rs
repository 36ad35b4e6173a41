//! The engine of several independent hosts: each step goes to the one that has its tag.

use std::sync::Arc;

use futures::future::join_all;
use tokio::task::AbortHandle;
use uuid::Uuid;

use super::{
    Host, Record, Slot,
    address::Address,
    member::Member,
    placement::Placement,
    router::{Router, RouterKind},
};
use crate::{
    engine::{
        notifier::Subscription,
        options::Options,
        redis::Redis,
        step::{BufferParts, SeriesPart, Take},
    },
    error::{Error, ErrorKind, Result},
    key::{Name, tag_text},
    model::{self, Command, Failure, Fate, Health, HostStatus, Reply},
    time::Timestamp,
};

/// The engine of several independent hosts.
#[derive(Debug)]
pub(crate) struct Cluster {
    members: Box<[Arc<Member>]>,
    placement: Arc<Placement>,
    /// How many each host has, where slots decide.
    slots: Option<Box<[u16]>>,
    probers: Box<[AbortHandle]>,
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
        let hosts: Vec<Host> = addresses.iter().map(|address| address.host.clone()).collect();
        // Also finds what is wrong with the list, before anything is connected to.
        let first = Self::check(kind, &addresses)?;
        let start = |Address { host, url }: Address| {
            let engine = Redis::start(&url, &options.prefix, options.clock.clone())?;
            Ok(Arc::new(Member::new(host, engine)))
        };
        let members: Box<[Arc<Member>]> = addresses.into_iter().map(start).collect::<Result<_>>()?;
        let (placement, met) = agree(kind, &hosts, &members, &first).await?;
        let placement = Arc::new(placement);
        for (member, met) in members.iter().zip(&met) {
            member.on_first_contact(met);
        }
        let probe = |member: &Arc<Member>| {
            tokio::spawn(member.clone().keep_probing(placement.clone(), options.clock.clone())).abort_handle()
        };
        members.iter().for_each(|member| member.engine.enter_service());
        let probers = members.iter().map(probe).collect();
        Ok(Arc::new(Self { slots: slots(&placement), members, placement, probers }))
    }

    /// The number of the host of everything with this hash tag.
    fn number(&self, tag: &str) -> usize {
        self.placement.router().host_for_tag(tag.as_bytes())
    }

    /// The host of everything with this hash tag.
    pub(in crate::engine) fn member(&self, tag: &str) -> &Member {
        &self.members[self.number(tag)]
    }

    /// The hosts, in the order of their numbers.
    pub(crate) fn hosts(&self) -> Vec<HostStatus> {
        let status = |(number, member): (usize, &Arc<Member>)| {
            let (health, reason) = member.health();
            HostStatus {
                name: member.host.name().into(),
                health,
                slots: self.slots.as_ref().map(|slots| slots[number]),
                reason: reason.map(|error| error.to_string().into()),
            }
        };
        self.members.iter().enumerate().map(status).collect()
    }

    /// The hosts, each with a hash of its name, and the epoch that it is in.
    pub(crate) fn epochs(&self) -> crate::engine::request::Hosts {
        let host = |member: &Arc<Member>| {
            let [a, b, c, d, ..] = crate::key::hash(member.host.name().as_bytes()).to_le_bytes();
            (u32::from_le_bytes([a, b, c, d]), member.engine.epoch())
        };
        self.members.iter().map(host).collect()
    }

    /// The bytes that each host has of requests.
    pub(crate) fn once_bytes(&self) -> Vec<u64> {
        self.members.iter().flat_map(|member| member.engine.once_bytes()).collect()
    }

    /// How keys find their host.
    pub(crate) fn placement(&self) -> model::Placement {
        let (router, epoch) = (self.placement.kind().as_str(), self.placement.epoch());
        model::Placement { router, epoch }
    }

    /// The number of the host that has a plain key.
    pub(crate) fn host_of(&self, key: &[u8]) -> usize {
        self.placement.router().host_for_key(key)
    }

    /// The slot of a plain key, if slots decide.
    pub(crate) fn slot_of(&self, key: &[u8]) -> Option<u16> {
        matches!(self.placement.router(), Router::Slots(_)).then(|| Slot::of_key(key).number())
    }

    /// The number of the host of everything with this hash tag, and the tag's slot if slots decide.
    pub(crate) fn place_of(&self, tag: &str) -> (usize, Option<u16>) {
        let is_by_slot = matches!(self.placement.router(), Router::Slots(_));
        (self.number(tag), is_by_slot.then(|| Slot::of_tag(tag.as_bytes()).number()))
    }

    /// Whether one host has the keys of all takes.
    pub(crate) fn together(&self, takes: &[Take<'_>]) -> bool {
        let mut hosts = takes.iter().map(|take| self.number(&tag_text(take.key)));
        let first = hosts.next();
        hosts.all(|host| Some(host) == first)
    }

    pub(crate) async fn series_now(&self, part: &SeriesPart) -> Timestamp {
        self.member(&part.tag()).engine.series_now(part).await
    }

    pub(crate) fn lock_subscribe(&self, name: &str, owner: Uuid) -> Subscription {
        self.member(&tag_text(name)).engine.lock_subscribe(name, owner)
    }

    /// Runs plain commands on the host of this number.
    pub(crate) async fn kv(
        &self,
        host: usize,
        commands: &[&Command],
        within: std::time::Duration,
    ) -> Vec<Result<Reply, Failure>> {
        let member = &self.members[host];
        match member.begin() {
            Ok(guard) => guard.end_all(member.engine.kv(commands, within).await),
            Err(error) => vec![Err((Fate::NotSent, error)); commands.len()],
        }
    }

    /// Whether any of the hosts takes writes: the others' keys are served while one is down.
    pub(crate) async fn ping(&self) -> Result<()> {
        let ping = async |member: &Arc<Member>| member.begin()?.end(member.engine.ping().await);
        let pings = join_all(self.members.iter().map(ping)).await;
        if pings.iter().any(Result::is_ok) {
            return Ok(());
        }
        let each = self
            .members
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
        let parts = async |member: &Arc<Member>| member.begin()?.end(member.engine.buffer_parts().await);
        let each = join_all(self.members.iter().map(parts)).await;
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
        let answers = join_all(self.members.iter().map(ask)).await;
        if pause.is_none() && answers.iter().any(Result::is_ok) {
            return Ok(answers.into_iter().flatten().any(|paused| paused));
        }
        answers.into_iter().try_fold(false, |_, answer| answer)
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> =
            self.members.iter().flat_map(|member| member.engine.warnings()).collect();
        for member in &self.members {
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
        warnings
    }

    /// Whether it was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.members.first().is_some_and(|member| member.engine.is_closed())
    }

    pub(crate) async fn close(&self) -> Result<()> {
        for prober in &self.probers {
            prober.abort();
        }
        join_all(self.members.iter().map(|member| member.engine.close())).await.into_iter().collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // They hold the hosts, which would otherwise stay connected for ever.
        for prober in &self.probers {
            prober.abort();
        }
    }
}

fn slots(placement: &Placement) -> Option<Box<[u16]>> {
    let Router::Slots(table) = placement.router() else { return None };
    let of = |host| table.runs(host).map(|run| run.end() - run.start() + 1).sum();
    Some((0..table.hosts().len()).map(of).collect())
}

/// Where keys go, once every host that answers has it written down; and what each host came to.
async fn agree(
    kind: RouterKind,
    hosts: &[Host],
    members: &[Arc<Member>],
    first: &Placement,
) -> Result<(Placement, Vec<Result<Record>>)> {
    let mut found = join_all(members.iter().map(|member| member.engine.record())).await;
    if let Some(error) =
        found.iter().filter_map(|record| record.as_ref().err()).find(|error| !error.is_outage())
    {
        return Err(error.clone());
    }
    let mut agreed = Placement::agreed(kind, hosts, &found)?;
    if agreed.is_none() {
        // If several processes start together, the first one on this host decides for all.
        let by_name = (0..).zip(hosts).min_by_key(|(_, host)| host.name());
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
    Ok((agreed, found))
}
