//! How far earlier attempts have come, as the notes and placements on the target say.

use futures::future::try_join_all;

use super::{
    super::{
        Host, Record, SlotTable,
        placement::{CONVERTING, check_name},
    },
    database::refused,
    target::{Peer, Places, Target},
};
use crate::error::{Error, ErrorKind, Result};

/// How far an earlier attempt has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// There was none.
    New,
    /// It has copied some keys.
    Begun,
    /// It has copied all keys, and stored the table on a host.
    Placed,
}

impl Target {
    /// How far an earlier attempt has come.
    ///
    /// # Errors
    /// If keys of another source were copied here, or the target is a store already.
    pub(super) async fn state(&self, head: &str) -> Result<State> {
        let noting = self.noting();
        let notes = try_join_all(noting.iter().map(|peer| peer.engine.conversion())).await?;
        for (peer, note) in noting.iter().zip(&notes) {
            if let Some(other) = note.as_ref().filter(|note| !note.starts_with(head)) {
                return Err(refused(format!(
                    "host {:?}: keys of another source are copied there, or were until it ended in the middle: {other:?}; run \
                     that to its end, or empty the host",
                    peer.name
                )));
            }
        }
        let has_notes = notes.iter().any(Option::is_some);
        let state = if has_notes { State::Begun } else { State::New };
        let Some(placement) = self.placement() else { return Ok(state) };
        let records = try_join_all(self.peers.iter().map(|peer| peer.engine.record())).await?;
        let is_placed = |record: &Record| record.placement.as_deref() == Some(placement.text());
        for ((peer, record), note) in self.peers.iter().zip(&records).zip(&notes) {
            let other = record.placement.as_deref().filter(|_| !is_placed(record));
            let is_table = other.is_some_and(|text| text.parse::<SlotTable>().is_ok());
            // What the source has there is read with the source.
            let is_foreign = peer.same.is_none() && other.is_some_and(|text| !text.starts_with(CONVERTING));
            if (is_table && (has_notes || peer.same.is_none())) || is_foreign {
                return Err(is_store(peer));
            }
            if note.is_none() && has_notes && records.iter().any(is_placed) && !is_placed(record) {
                return Err(is_store(peer));
            }
            if peer.same.is_none() {
                record.name.as_deref().map_or(Ok(()), |name| check_name(&Host::new(&peer.name)?, name))?;
            }
        }
        match records.iter().position(is_placed) {
            Some(number) if !has_notes && self.peers[number].same.is_none() => {
                Err(is_store(&self.peers[number]))
            }
            Some(_) if has_notes => Ok(State::Placed),
            _ => Ok(state),
        }
    }

    /// Checks that hosts without a note have no keys of a store, and answers for each that notes whether it has no other keys.
    pub(super) async fn check_empty(&self) -> Result<Vec<bool>> {
        let mut empty = vec![];
        for peer in self.noting() {
            let hosts = match self.places {
                Places::Table(_) => std::slice::from_ref(peer),
                Places::Nodes(..) => &self.peers[..],
            };
            let is_new = peer.engine.conversion().await?.is_none();
            let mut has_plain = false;
            for peer in hosts.iter().filter(|peer| is_new && peer.same.is_none()) {
                has_plain |= peer.has_plain().await?;
            }
            empty.push(!has_plain);
        }
        Ok(empty)
    }

    /// Whether no host had keys of others, as the notes say.
    pub(super) async fn is_alone(&self) -> Result<bool> {
        let noting = self.noting();
        let alone = try_join_all(noting.iter().map(|peer| peer.is_alone())).await?;
        Ok(alone.into_iter().all(|is_alone| is_alone))
    }
}

impl Peer {
    /// Whether the host had no keys of others, as its note says.
    pub(super) async fn is_alone(&self) -> Result<bool> {
        Ok(self.engine.conversion().await?.is_some_and(|note| note.ends_with("alone\n")))
    }

    /// Whether the host has keys of others.
    ///
    /// # Errors
    /// If it has keys of a store of this prefix.
    async fn has_plain(&self) -> Result<bool> {
        let (mut cursor, mut has_plain) = (None, false);
        loop {
            let (next, keys) = self.engine.scan_page(cursor.as_ref()).await?;
            if let Some(key) = keys.iter().find(|key| self.engine.is_of_store(key)) {
                let key = String::from_utf8_lossy(key);
                return Err(refused(format!(
                    "host {:?} has keys of a store with this prefix already, such as {key:?}: convert to hosts without, or \
                     remove them",
                    self.name
                )));
            }
            has_plain |= keys.iter().any(|key| self.engine.kind_of(key).is_some());
            cursor = next;
            if cursor.is_none() {
                return Ok(has_plain);
            }
        }
    }
}

fn is_store(peer: &Peer) -> Error {
    let text = format!(
        "host {:?} belongs to a store already: convert to hosts of none; forebay cluster reshard moves slots between hosts",
        peer.name
    );
    Error::new(ErrorKind::Configuration, text)
}
