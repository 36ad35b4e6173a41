//! Hosts that are about to join: checked before anything is changed.

use std::collections::BTreeSet;

use super::{keys::begins_with_any, state::Peer};
use crate::{
    engine::{
        cluster::{Address, Record, SlotTable},
        redis::{Home, Redis, clock_offset},
    },
    error::{Error, ErrorKind, Result},
};

/// Keys of a host that may be of another store in the same database: it is known when all keys were seen.
const MAX_SUSPECTS: usize = 1_000;

/// Refuses hosts that cannot join a store: those with keys, whose clock is another one, or that the processes of the store
/// cannot log in to. `present` is a host of their configuration.
pub(super) async fn check_newcomers(
    peers: &[Peer],
    newcomers: &[(&Peer, &Record)],
    (table, present): (&SlotTable, Option<&Address>),
) -> Result<()> {
    let owner = peers.iter().find(|peer| table.owners().any(|name| name == peer.name()));
    for (peer, record) in newcomers {
        if let Some(owner) = owner {
            clock_offset(&owner.engine, &peer.engine).await?;
        }
        if let Some(present) = present {
            check_login(peer, present).await?;
        }
        check_keys(peer, record).await?;
    }
    Ok(())
}

/// Whether processes reach a host with the login that they have configured for the others.
async fn check_login(peer: &Peer, present: &Address) -> Result<()> {
    let url = present.like(&peer.address.shown());
    if *url == *peer.address.url {
        return Ok(());
    }
    let engine = Redis::start(&url, peer.engine.prefix(), peer.engine.clock().clone())?;
    engine.connected().await.map_err(|error| {
        let text = format!(
            "host {:?}: processes that have the store open reach it with the login and parameters of their own hosts, and that \
             fails: {error}",
            peer.name()
        );
        Error::new(ErrorKind::Configuration, text)
    })
}

/// Refuses a host with keys that would be taken for those of this store. One that has left may have some of its bookkeeping.
async fn check_keys(peer: &Peer, record: &Record) -> Result<()> {
    let (engine, was_here) = (&peer.engine, record.placement.is_some());
    let (mut foreign, mut suspects, mut cursor) = (BTreeSet::<Box<[u8]>>::new(), vec![], None);
    loop {
        let (next, keys) = engine.scan_page(cursor.as_ref()).await?;
        for key in keys {
            if let Some(prefix) = engine.foreign_prefix(&key) {
                foreign.insert(prefix);
            }
            let is_own = !matches!(engine.home(&key), Home::Key(_));
            let is_left_over = is_own && (was_here || engine.is_name(&key));
            if !is_left_over && suspects.len() < MAX_SUSPECTS {
                suspects.push(key);
            }
        }
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    let Some(key) = suspects.iter().find(|key| !begins_with_any(key, &foreign)) else { return Ok(()) };
    let text = format!(
        "host {:?} has keys, such as \"{}\": a host that joins has none, because they would be taken for this store's; give it \
         another database, or remove them",
        peer.name(),
        key.escape_ascii()
    );
    Err(Error::new(ErrorKind::Configuration, text))
}
