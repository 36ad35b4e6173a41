//! The options for opening a store, and what can be asked of servers without opening one.

use crate::{clock::Clock, engine, once};
#[cfg(feature = "redis")]
use crate::{
    cluster::{Conversion, Converted, Hosts, Inspection, ServerReport},
    engine::{Engine, Location},
    error::Result,
    store::Store,
};

/// Options for opening a store. [`Forebay::open`](crate::Forebay::open) uses the defaults.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{Forebay, ManualClock, Timestamp};
/// let hand = ManualClock::at(Timestamp::from_secs(1_790_000_000));
/// let bay = Forebay::options().prefix("shop").clock(hand.into()).open("memory:").await?;
/// assert_eq!(bay.clock().now(), Timestamp::from_secs(1_790_000_000));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until `open`"]
pub struct Options {
    pub(crate) engine: engine::Options,
    pub(crate) once_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { engine: engine::Options::default(), once_bytes: once::DEFAULT_BYTES }
    }
}

impl Options {
    /// The first part of every key in a shared store, default `forebay`: 1 to 64 of letters, digits, `_`, `-` and `.`.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// // Two applications share a server.
    /// let shop = forebay::Forebay::options().prefix("shop").open("memory:").await?;
    /// let blog = forebay::Forebay::options().prefix("blog").open("memory:").await?;
    /// # (shop.close().await?, blog.close().await?);
    /// # Ok(()) }
    /// ```
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.engine.prefix = prefix.into();
        self
    }

    /// The clock of the embedded engine and of all waiting; default the machine's.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// use forebay::{Forebay, ManualClock, Timestamp};
    /// let hand = ManualClock::at(Timestamp::from_secs(1_790_000_000));
    /// let bay = Forebay::options().clock(hand.into()).open("memory:").await?;
    /// assert_eq!(bay.clock().now(), Timestamp::from_secs(1_790_000_000));
    /// # Ok(()) }
    /// ```
    pub fn clock(mut self, clock: Clock) -> Self {
        self.engine.clock = clock;
        self
    }

    /// The bytes that each host keeps for requests that are carried out once, and for the tokens of their parts; default
    /// [`DEFAULT_BYTES`](crate::once::DEFAULT_BYTES). Beyond it new requests are not [begun](crate::Forebay::once); those that are
    /// known stay.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// let bay = forebay::Forebay::options().once_bytes(64 << 20).open("memory:").await?;
    /// # bay.close().await?;
    /// # Ok(()) }
    /// ```
    pub fn once_bytes(mut self, bytes: u64) -> Self {
        self.once_bytes = bytes;
        self
    }

    /// Puts faults in front of a store in memory, which then counts as one that is not in this process.
    #[cfg(feature = "test-util")]
    pub fn faults(mut self, faults: crate::fault::Faults) -> Self {
        self.engine.faults = Some(faults);
        self
    }

    /// Tests on each server of the store at `url` what Forebay needs of it. Every primary of a Redis Cluster is tested. This
    /// writes keys under the prefix, which expire within ten seconds.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a bad URL, or one without a server; and those of a server that
    /// cannot be asked at all, as [`Forebay::open`](crate::Forebay::open).
    ///
    /// # Cost
    /// Five connections to each server, one after the other.
    ///
    /// # Examples
    /// ```no_run
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// use forebay::cluster::Outcome;
    /// for server in forebay::Forebay::options().probe("redis://127.0.0.1").await? {
    ///     let unfit = server.findings.iter().filter(|finding| finding.outcome == Outcome::Missing);
    ///     println!("{} lacks {}", server.name, unfit.count());
    /// }
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "redis")]
    pub async fn probe(self, url: &str) -> Result<Vec<ServerReport>> {
        self.engine.check()?;
        Location::read(url)?.probe(&self.engine).await
    }

    /// Connects to hosts without opening a store on them: nothing is written, whatever the router is. With it a list of hosts
    /// can be tested on existing keys, and a change of hosts be planned.
    ///
    /// # Errors
    /// As [`open_hosts`](Self::open_hosts); and if any host does not answer.
    ///
    /// # Examples
    /// ```no_run
    /// # #[tokio::main] async fn main() -> forebay::Result<()> {
    /// use forebay::{Forebay, cluster::{Hosts, RouterKind}};
    /// let fleet = Hosts::new().router(RouterKind::NydusPartition).host("0", "redis://a").host("1", "redis://b");
    /// for host in Forebay::options().inspect_hosts(fleet).await?.verify(10_000).await? {
    ///     println!("{}: {} of {} keys belong elsewhere", host.name, host.misplaced, host.keys);
    /// }
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "redis")]
    pub async fn inspect_hosts(self, hosts: Hosts) -> Result<Inspection> {
        self.engine.check()?;
        let location = Location::of_hosts(hosts.router, &hosts.listed)?;
        let engine = Engine::inspect(location, &self.engine).await?;
        let store = Store::new(engine, self.engine.clock.clone(), self.once_bytes);
        Ok(Inspection::new(store, hosts, self.engine))
    }

    /// Copies all keys of a store of one or several hosts to where the router of another layout looks for them. **Nobody may use the
    /// store meanwhile**: stop all programs first. Two looks, a second apart, refuse a source to which somebody writes.
    ///
    /// Keys keep their names on independent hosts. On a Redis Cluster Forebay's own keys get those that it has there, and plain keys
    /// keep theirs. Counts go on from where they were. Rows of buffers are not copied: flush them first. Times are moved by the
    /// difference of the hosts' clocks, towards later ones.
    ///
    /// The source stays as it is; remove it when you are satisfied. Hosts of the source that are hosts of the target, too, keep what
    /// they have until all keys are copied and compared; then their placement is replaced, and what has left them is removed.
    ///
    /// It can be repeated after any error, and after this process was killed. No store can be opened on the target before it has
    /// ended. `told` hears of each step.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration), before anything is written: somebody writes to the source;
    /// buffers have rows; keys lie where the router of the source does not look; the target has keys of a store already, or a plain
    /// key of the same name; hosts whose clocks are more than a second apart. If a host does not answer.
    ///
    /// # Cancellation
    /// Dropping the future leaves a target on which no store can be opened. Repeat it.
    ///
    /// # Examples
    /// ```no_run
    /// # #[tokio::main] async fn main() -> forebay::Result<()> {
    /// use forebay::{Forebay, cluster::{Conversion, Hosts, RouterKind}};
    /// let fleet = Hosts::new().router(RouterKind::NydusPartition).host("0", "redis://a").host("1", "redis://b");
    /// let to = Conversion::to_hosts(&Hosts::new().host("a", "redis://a").host("b", "redis://b"))?;
    /// let converted = Forebay::options().convert_hosts(fleet, &to, |progress| println!("{progress:?}")).await?;
    /// println!("{} keys", converted.keys_copied);
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "redis")]
    pub async fn convert_hosts(
        self,
        source: Hosts,
        to: &Conversion,
        told: impl FnMut(&Converted) + Send,
    ) -> Result<Converted> {
        self.engine.check()?;
        to.run(&self.engine, &source, told).await
    }
}
