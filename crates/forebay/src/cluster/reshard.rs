//! Hosts that join and leave while the store is in use.

use std::time::Duration;

use super::{Hosts, Inspection, inspection::slot_hosts};
use crate::{
    engine::cluster::reshard::{Resharder, Settings, checked},
    error::{Result, invalid},
    model::Progress,
    time::secs,
};

/// How slots are moved by [`Inspection::reshard`].
///
/// # Examples
/// ```
/// use forebay::{cluster::ReshardOptions, time::secs};
/// let options = ReshardOptions::new().rate(50_000_000)?.drain(secs(120));
/// # drop(options);
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "slots are moved by `Inspection::reshard`"]
pub struct ReshardOptions(Settings);

impl ReshardOptions {
    /// As fast as the hosts allow. Rows are waited for up to a minute.
    pub fn new() -> Self {
        Self(Settings { rate: None, drain: secs(60), take_over: false })
    }

    /// Bounds the bytes of keys and values that are copied a second, on average.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for 0.
    pub fn rate(mut self, bytes_per_second: u64) -> Result<Self> {
        if bytes_per_second == 0 {
            return Err(invalid("rate 0: at least 1 byte a second"));
        }
        self.0.rate = Some(bytes_per_second);
        Ok(self)
    }

    /// Sets how long the rows of a partition of a buffer are waited for, until they are in the database. Those that do not get there
    /// stay on their host, with all keys of their slot.
    pub fn drain(mut self, within: Duration) -> Self {
        self.0.drain = within;
        self
    }

    /// Displaces another process that is moving slots of this store, or was until less than 30 s ago.
    pub fn take_over(mut self) -> Self {
        self.0.take_over = true;
        self
    }
}

impl Default for ReshardOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl Inspection {
    /// Moves slots with their keys until each host of `target` has its share by weight, and no other host has any. The store may be
    /// in use meanwhile. As few slots move as possible, a few at a time.
    ///
    /// While the keys of a slot are copied nothing is written to it: calls wait, for a second at most. Counts are neither lost nor
    /// doubled. Buffers are not copied: new rows go to other partitions, and those that are there into the database first, so that
    /// a process has to flush them. `told` hears of each step.
    ///
    /// It can be repeated after any error, and after this process was killed: it goes on from what is stored. Two at a time are
    /// refused.
    ///
    /// Processes that have the store open follow. They reach a host that joins by the address in `target`, with the login of the
    /// hosts that they have configured.
    ///
    /// Raw commands and scripts of your own on plain keys are not held back: do not write with them meanwhile.
    ///
    /// # Errors
    /// As [`plan`](Self::plan). Hosts whose clocks are more than a second apart; a host that does not answer; a value that its next
    /// host does not understand, as an older server. Nothing is lost.
    ///
    /// # Cancellation
    /// Dropping the future may leave slots to which nothing is written. Repeat it, or [`settle`](Self::settle).
    ///
    /// # Examples
    /// ```no_run
    /// # #[tokio::main] async fn main() -> forebay::Result<()> {
    /// use forebay::{Forebay, cluster::{Hosts, ReshardOptions}};
    /// let now = Hosts::new().host("a", "redis://10.0.0.1").host("b", "redis://10.0.0.2");
    /// let next = now.clone().host("c", "redis://10.0.0.3");
    /// let looked = Forebay::options().inspect_hosts(now).await?;
    /// let moved = looked.reshard(&next, &ReshardOptions::new(), |progress| println!("{progress:?}")).await?;
    /// assert!(moved.undrained.is_empty(), "these partitions have rows that cannot be flushed");
    /// # Ok(()) }
    /// ```
    pub async fn reshard(
        &self,
        target: &Hosts,
        options: &ReshardOptions,
        mut told: impl FnMut(&Progress) + Send,
    ) -> Result<Progress> {
        let hosts = (slot_hosts(&self.hosts)?, slot_hosts(target)?);
        let store = (self.options.prefix.as_str(), &self.options.clock);
        Box::pin(async { Resharder::open(hosts, store, options.0, &mut told).await?.run().await }).await
    }

    /// Checks whether slots can move to these hosts, and changes nothing: whether each answers and belongs to this store, or is
    /// empty; whether its clock is that of the others, and whether processes can log in to it.
    ///
    /// # Errors
    /// Those with which [`reshard`](Self::reshard) would begin.
    pub async fn check_target(&self, target: &Hosts) -> Result<()> {
        let (present, target) = (slot_hosts(&self.hosts)?, slot_hosts(target)?);
        let store = (self.options.prefix.as_str(), &self.options.clock);
        Box::pin(async { checked(&present, &target, store).await.map(drop) }).await
    }

    /// Ends a [`reshard`](Self::reshard) whose future was dropped: every slot is written by its owner again. The rest moves when
    /// that is repeated.
    ///
    /// # Errors
    /// As [`reshard`](Self::reshard).
    pub async fn settle(&self) -> Result<()> {
        let present = slot_hosts(&self.hosts)?;
        let store = (self.options.prefix.as_str(), &self.options.clock);
        let options = ReshardOptions::new().take_over();
        let mut told = |_: &Progress| ();
        let hosts = (present.clone(), present);
        Box::pin(async { Resharder::open(hosts, store, options.0, &mut told).await?.settle().await }).await
    }
}
