//! Moves slots between independent hosts while the store is in use.
//!
//! Slots move in batches from one host to another. Each step ends with a later table on all hosts, the host with the first name
//! first, and with a fence on the host that the slots leave: it does nothing for those who come by an earlier table.
//!
//! 1. *Draining*: no rows are added to the buffers of these slots. Other partitions take them. Those that are there get into
//!    the database.
//! 2. *Moving*: nothing is written. The keys are copied and compared.
//! 3. *Left*: the slots have their new owner. The keys are removed on the former one.
//!
//! A resharder that ends in the middle leaves slots that are not written, and nothing else: the next one lets them be where they
//! are and plans anew, from the table as it is. Two do not work at a time. One that was stopped for long, while another took over,
//! writes nothing any more: its table is refused, its mark is not on the target, and the fence is not of its epoch.

mod batch;
mod hosts;
mod keys;
mod newcomers;
mod peers;
mod state;

use std::collections::{BTreeMap, BTreeSet};

use self::batch::batches;
pub(crate) use self::hosts::checked;
pub(crate) use self::state::{Resharder, Settings};
use super::{Host, Placement, SlotMove, moves, placement::check_name, table::Phase};
use crate::{error::Result, model::Progress};

impl Resharder<'_> {
    /// Moves slots until each host of the target has its share, and answers what was moved.
    ///
    /// # Errors
    /// If a host does not answer, or another resharder has taken over. It may be begun again.
    pub(crate) async fn run(mut self) -> Result<Progress> {
        let outcome = self.move_all().await;
        self.claim.release().await;
        outcome.map(|()| self.progress)
    }

    /// Lets every slot be written by its owner. What has to move stays where it is.
    ///
    /// # Errors
    /// If a host does not answer, or another resharder has taken over.
    pub(crate) async fn settle(mut self) -> Result<()> {
        let begun = self.begin().await;
        self.claim.release().await;
        begun
    }

    async fn move_all(&mut self) -> Result<()> {
        self.begin().await?;
        self.progress.slots = self.plan()?.len() as u64;
        self.tell();
        let sources: Vec<Box<str>> = self.peers.iter().map(|peer| peer.name().into()).collect();
        // First everywhere: a slot that moves on is noted for its last former owner only.
        for source in &sources {
            self.remove_left(source).await?;
        }
        for source in &sources {
            self.move_from(source).await?;
        }
        self.finish().await
    }

    /// Stores a table that knows all hosts, and by which every slot is written.
    async fn begin(&mut self) -> Result<()> {
        self.leave_useless().await;
        let text = self.table.to_string();
        for peer in &self.peers {
            let record = peer.engine.complete_record(peer.name(), &text).await?;
            // Two names of one host would share its keys.
            check_name(&peer.address.host, record.name.as_deref().unwrap_or_default())?;
        }
        self.end_earlier().await?;
        let joins = |name: &str| self.table.hosts().all(|known| known != name);
        let new = self.peers.iter().map(|peer| (peer.name(), peer));
        let new = new.filter(|(name, _)| joins(name)).map(|(name, peer)| (name, peer.address.shown()));
        let next = self.table.with_addresses(&new.collect::<Vec<_>>());
        let left = next.transits().iter().filter(|it| it.phase == Phase::Left && self.is_met(it.host));
        self.left = left.copied().collect();
        let next = next.with_transits(self.left.clone());
        let everyone: Vec<Box<str>> = next.hosts().map(Into::into).collect();
        self.store(next, &everyone, false).await?;
        for peer in &self.peers {
            // Who was displaced writes nothing any more, and nobody takes the keys that were noted for it.
            peer.engine.forbid_import().await?;
            self.fence(peer.name(), false).await?;
            peer.engine.forget_touched().await?;
        }
        Ok(())
    }

    /// Forgets hosts without slots that are not to get any and take no writes: an earlier resharder failed on them.
    async fn leave_useless(&mut self) {
        let present = Placement::of_table(self.table.clone());
        let mut useful = vec![];
        for peer in std::mem::take(&mut self.peers) {
            let has_slots = self.table.owners().any(|name| name == peer.name());
            let stays = self.target.iter().any(|host| host.name() == peer.name());
            if has_slots || stays || peer.engine.place(&present, None).await.is_ok() {
                useful.push(peer);
            }
        }
        self.peers = useful;
    }

    /// Removes what an earlier resharder has copied to hosts that did not get the slots.
    async fn end_earlier(&mut self) -> Result<()> {
        if self.table.transits().iter().all(|transit| transit.phase != Phase::Moving) {
            return Ok(());
        }
        // It may still be at work. From here on it has neither the table of the hosts nor a mark on them.
        self.store(self.table.with_transits(self.table.transits().to_vec()), &[], false).await?;
        for peer in &self.peers {
            peer.engine.forbid_import().await?;
        }
        self.remove_copies().await
    }

    /// Moves the slots that leave a host.
    async fn move_from(&mut self, source: &str) -> Result<()> {
        let number = self.number(source);
        let planned = self.plan()?.into_iter().filter(|it| it.from == number);
        let leaving: BTreeMap<u16, Box<str>> =
            planned.map(|it| (it.slot, self.target[it.to].name().into())).collect();
        if leaving.is_empty() {
            return Ok(());
        }
        let engine = self.peer(source).engine.clone();
        engine.begin_tracking(self.claim.mark()).await?;
        self.fence(source, true).await?;
        let (mut index, paused) = self.index(&engine, &leaving.keys().copied().collect()).await?;
        let targets: BTreeSet<Box<str>> = leaving.values().cloned().collect();
        let mut copied = vec![];
        for target in &targets {
            copied.push((target, engine.copy_paused(&paused, &self.peer(target).engine).await?));
            let arriving = leaving.iter().filter(|(_, to)| *to == target).map(|(slot, _)| *slot);
            self.remove_strays(target, &arriving.collect()).await?;
        }
        for batch in batches(source, &leaving, &index, &engine.registered_tags().await?) {
            self.move_batch(&batch, &mut index).await?;
        }
        self.purge(true).await?;
        for (target, paused) in copied {
            engine.resume_on(&paused, &self.peer(target).engine).await?;
        }
        self.fence(source, false).await?;
        engine.forget_touched().await
    }

    /// The last table: without hosts that have no slots any more.
    async fn finish(&mut self) -> Result<()> {
        let names: Vec<&str> = self.target.iter().map(Host::name).collect();
        let next = self.table.without_idle(&names);
        let everyone: Vec<Box<str>> = self.peers.iter().map(|peer| peer.name().into()).collect();
        self.store(next, &everyone, false).await
    }

    fn plan(&self) -> Result<Vec<SlotMove>> {
        moves(&self.table, &self.target)
    }

    fn tell(&mut self) {
        (self.told)(&self.progress);
    }
}
