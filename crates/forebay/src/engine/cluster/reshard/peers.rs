//! The hosts of a reshard as they are met: what each of them holds of the store.

use futures::future::{join_all, try_join_all};

use super::state::Peer;
use crate::{
    clock::Clock,
    engine::{
        cluster::{Address, Host, Placement, Record, SlotTable, placement::check_name},
        redis::Redis,
    },
    error::{Error, ErrorKind, Result},
};

/// The hosts that answer, and what they hold.
pub(super) struct Met {
    pub peers: Vec<Peer>,
    /// The latest that any of them holds.
    pub table: SlotTable,
    /// In the order of the hosts.
    pub records: Vec<Record>,
}

/// Connects to the hosts of a store and to those of the target. `None`: no store was opened on them.
///
/// A host that has no slots, and is not to get any, need not answer: what was copied to it is of no use.
pub(super) async fn meet(
    present: &[Address],
    target: &[Address],
    (prefix, clock): (&str, &Clock),
) -> Result<Option<Met>> {
    let connect = async |address: Address| {
        let engine = Redis::start(&address.url, prefix, clock.clone())?;
        engine.connected().await?;
        Ok::<_, Error>(Peer { address, engine })
    };
    let mut peers: Vec<Peer> = try_join_all(target.iter().cloned().map(connect)).await?;
    let mut absent: Vec<(Box<str>, Error)> = vec![];
    let mut add = async |peers: &mut Vec<Peer>, addresses: Vec<Address>| {
        let names: Vec<Box<str>> = addresses.iter().map(|it| it.host.name().into()).collect();
        for (name, met) in names.into_iter().zip(join_all(addresses.into_iter().map(connect)).await) {
            match met {
                Ok(peer) => peers.push(peer),
                Err(error) => absent.push((name, error)),
            }
        }
    };
    // The URL of the target counts: a host may have another address from now on.
    let stays = |address: &Address| target.iter().any(|it| it.host.name() == address.host.name());
    add(&mut peers, present.iter().filter(|address| !stays(address)).cloned().collect()).await;
    let found = records(&peers).await;
    let is_present = |name: &str| present.iter().any(|it| it.host.name() == name);
    let Some(table) = latest(&peers, &found, is_present) else { return Ok(None) };
    // Those that joined earlier, and are not in the configuration.
    let mut joined = vec![];
    for (name, address) in table.addresses() {
        if peers.iter().all(|peer| peer.name() != name) {
            let template = present.first().or(target.first());
            let url = template.map(|template| template.like(address)).unwrap_or_default();
            joined.push(Address { host: Host::new(name)?, url });
        }
    }
    add(&mut peers, joined).await;
    if let Some((_, error)) = absent.into_iter().find(|(name, _)| table.owners().any(|it| *it == **name)) {
        return Err(error);
    }
    let is_met = |name: &str| peers.iter().any(|peer| peer.name() == name);
    if let Some(name) = table.owners().find(|name| !is_met(name)) {
        let text = format!(
            "host {name:?} has slots, and its address is not known: add it to the hosts of the store"
        );
        return Err(Error::new(ErrorKind::Configuration, text));
    }
    // A host of the table may have got a later one first.
    let found = records(&peers).await;
    let is_known = |name: &str| table.hosts().any(|known| known == name);
    let table = latest(&peers, &found, is_known).unwrap_or(table);
    Ok(Some(Met { peers, table, records: found.into_iter().collect::<Result<_>>()? }))
}

impl Peer {
    pub(super) fn name(&self) -> &str {
        self.address.host.name()
    }

    /// Whether it is the host that is meant, and of this store.
    pub(super) fn check(&self, table: &SlotTable, record: &Record) -> Result<()> {
        if let Some(name) = &record.name {
            check_name(&self.address.host, name)?;
        }
        let Some(text) = &record.placement else { return Ok(()) };
        let own: SlotTable = text.parse().map_err(|error: Error| {
            let name = self.name();
            Error::new(
                ErrorKind::Configuration,
                format!("host {name:?} has another kind of placement: {error}"),
            )
        })?;
        // One that has left holds a table in which it has no slots.
        let is_new = table.hosts().all(|known| known != self.name());
        let is_foreign = is_new && own.owners().any(|owner| owner == self.name());
        let differs = own.epoch() == table.epoch() && own.to_string() != table.to_string();
        if is_foreign || differs || own.epoch() > table.epoch() {
            let name = self.name();
            let text = format!(
                "host {name:?} belongs to another store: it holds another table, of epoch {}; if that store is gone, \
                 remove its keys from this host",
                own.epoch()
            );
            return Err(Error::new(ErrorKind::Configuration, text));
        }
        Ok(())
    }
}

/// The latest table that some of the hosts hold.
fn latest(peers: &[Peer], found: &[Result<Record>], is_asked: impl Fn(&str) -> bool) -> Option<SlotTable> {
    let asked = peers.iter().zip(found).filter(|(peer, _)| is_asked(peer.name()));
    let asked: Vec<Result<Record>> = asked.map(|(_, record)| record.clone()).collect();
    Placement::latest_table(&asked)
}

/// What each host holds of the cluster.
async fn records(peers: &[Peer]) -> Vec<Result<Record>> {
    join_all(peers.iter().map(|peer| peer.engine.record())).await
}
