//! The handle from which everything else is had.

use std::sync::{Arc, OnceLock, Weak};

#[cfg(feature = "redis")]
use crate::cluster::Hosts;
use crate::{
    buffer::{BufferHandle, StoredBuffer},
    clock::Clock,
    cluster::Cluster,
    engine::{Engine, Location, embedded::Embedded},
    error::{Result, invalid},
    event::{Event, EventHandle},
    limit::{AllLeased, Limit, LimitHandle, Limits, follow_overrides},
    lock::{LockHandle, LockManager},
    model::Buffer,
    series::{Series, SeriesHandle},
};

/// An open store: where limits, series, buffers and locks live.
///
/// Clones are cheap and share the store.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{Decision, Forebay, Limit};
///
/// let bay = Forebay::open("memory:").await?;
/// let hits = bay.limit(Limit::per_minute("hits", 20))?;
/// match hits.take("42").await? {
///     Decision::Allow { remaining, .. } => assert_eq!(remaining, 19),
///     Decision::Deny { .. } => unreachable!("the first of twenty"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Forebay(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    engine: Engine,
    clock: Clock,
    /// Decides for limits with `OnError::Local` while the store does not answer.
    fallback: OnceLock<Engine>,
    locks: OnceLock<Arc<LockManager>>,
    limits: Limits,
    leased: AllLeased,
    once_bytes: u64,
}

/// A [`Forebay`] as its own background work has it: it does not keep it open.
#[derive(Clone, Debug)]
pub(crate) struct WeakForebay(Weak<Inner>);

impl WeakForebay {
    pub(crate) fn upgrade(&self) -> Option<Forebay> {
        self.0.upgrade().map(Forebay)
    }
}

/// How to open a store. [`Forebay::open`] is this with the defaults.
#[derive(Clone, Debug)]
#[must_use = "options do nothing until `open`"]
pub struct Options {
    pub(crate) prefix: String,
    pub(crate) clock: Clock,
    once_bytes: u64,
    #[cfg(feature = "test-util")]
    pub(crate) faults: Option<crate::fault::Faults>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            prefix: "forebay".into(),
            clock: Clock::system(),
            once_bytes: crate::once::DEFAULT_BYTES,
            #[cfg(feature = "test-util")]
            faults: None,
        }
    }
}

impl Options {
    /// The first part of every key in a shared store, default `forebay`: 1 to 64 of letters, digits, `_`, `-` and `.`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The clock of the embedded engine and of all waiting; default the machine's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// How many bytes each host keeps for requests that are carried out once, and the tokens of their parts; default
    /// [`DEFAULT_BYTES`](crate::once::DEFAULT_BYTES). Beyond it new requests are not [begun](Forebay::once); those that are
    /// known stay.
    pub fn once_bytes(mut self, bytes: u64) -> Self {
        self.once_bytes = bytes;
        self
    }

    /// Puts faults in front of a store in memory, which then counts as one that is not in this process.
    #[cfg(feature = "test-util")]
    pub fn faults(mut self, faults: crate::fault::Faults) -> Self {
        self.faults = Some(faults);
        self
    }

    /// Opens the store at `url`; see [`Forebay::open`].
    ///
    /// # Errors
    /// As [`Forebay::open`].
    pub async fn open(self, url: &str) -> Result<Forebay> {
        self.check()?;
        let engine = Engine::open(Location::read(url)?, &self).await?;
        Ok(self.over(engine).await)
    }

    /// Opens a store of several named hosts.
    ///
    /// # Errors
    /// As [`Forebay::open`], and [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) when the hosts
    /// hold another placement of keys than these would come to, or are others than their names say.
    #[cfg(feature = "redis")]
    pub async fn open_hosts(self, hosts: Hosts) -> Result<Forebay> {
        self.check()?;
        let engine = Engine::open(Location::of_hosts(&hosts)?, &self).await?;
        Ok(self.over(engine).await)
    }

    fn check(&self) -> Result<()> {
        let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if self.prefix.is_empty() || self.prefix.len() > 64 || !self.prefix.chars().all(ok) {
            return Err(invalid(format!(
                "prefix {:?}: 1 to 64 of letters, digits, '_', '-' and '.'",
                self.prefix
            )));
        }
        Ok(())
    }

    async fn over(self, engine: Engine) -> Forebay {
        let is_shared = engine.is_shared();
        let bay = Forebay(Arc::new(Inner {
            engine,
            clock: self.clock,
            fallback: OnceLock::new(),
            locks: OnceLock::new(),
            limits: Limits::default(),
            leased: AllLeased::default(),
            once_bytes: self.once_bytes,
        }));
        if let Err(error) = bay.refresh_overrides().await {
            tracing::warn!(%error, "starting without the overrides that were set at run time");
        }
        if is_shared {
            // Ends with the store.
            tokio::spawn(follow_overrides(WeakForebay(Arc::downgrade(&bay.0))));
        }
        bay
    }
}

impl Forebay {
    /// Opens a store.
    ///
    /// `memory:` is this process; `embedded:PATH` is this process and a file, which is created if it is not there, and
    /// which one process at a time can have. Writes to buffers and locks are answered once they are on disk;
    /// `embedded:PATH?sync=1s` answers writes to buffers at once, and a crash then loses up to the last second of them.
    /// Limits and series are on disk after at most a second. Must be called inside a tokio runtime, which then also
    /// does the background work.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a URL that is none of these,
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) for a file that cannot be opened or that another
    /// process has, which the message names, [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) for one that this
    /// version cannot read.
    pub async fn open(url: &str) -> Result<Self> {
        Options::default().open(url).await
    }

    /// Checks the URL of a store without opening it: what a configuration is checked by, and what
    /// [`open`](Self::open) checks first.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) or
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) for a URL that names no store.
    pub fn check_url(url: &str) -> Result<()> {
        Location::read(url).map(|_| ())
    }

    /// Opens a store with other options than the default.
    pub fn options() -> Options {
        Options::default()
    }

    /// A rate limit.
    ///
    /// Another handle of the same name may have another definition: each decides by its own, and they share what was
    /// counted as far as their kinds and periods are the same. So a definition is changed while it is in use: whoever asks
    /// the new handle is under the new one.
    ///
    /// # Errors
    /// When the definition is not valid: see [`Limit`].
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a definition is used up, as that of a series or a buffer is"
    )]
    pub fn limit(&self, limit: Limit) -> Result<LimitHandle> {
        LimitHandle::new(self.clone(), &limit)
    }

    /// A time series, by name or by definition.
    ///
    /// # Errors
    /// When the definition is not valid: see [`Series`].
    pub fn series(&self, series: impl Into<Series>) -> Result<SeriesHandle> {
        SeriesHandle::new(self.clone(), series.into())
    }

    /// A write buffer.
    ///
    /// # Errors
    /// When the definition is not valid: see [`Buffer::build`].
    pub fn buffer(&self, buffer: Buffer) -> Result<BufferHandle> {
        Ok(BufferHandle::new(self.clone(), buffer.build()?))
    }

    /// What the store holds of every buffer that was ever written to in it, whether it is defined or not: rows of a buffer
    /// that nobody defines are kept, and flushed by nobody.
    ///
    /// # Errors
    /// When the store does not answer.
    ///
    /// # Cost
    /// Two round trips over all partitions of all buffers.
    pub async fn stored_buffers(&self) -> Result<Vec<StoredBuffer>> {
        StoredBuffer::find(self).await
    }

    /// A lock: any UTF-8 of 1 to 512 bytes, which is checked when it is acquired.
    pub fn lock(&self, name: impl AsRef<str>) -> LockHandle {
        let Inner { engine, clock, .. } = &*self.0;
        let manager = self.0.locks.get_or_init(|| Arc::new(LockManager::new(engine.clone(), clock.clone())));
        LockHandle::new(manager.clone(), name.as_ref().into())
    }

    /// An event: limits, series and buffers in one call.
    ///
    /// # Errors
    /// When the definition is not valid: see [`Event`].
    pub fn event(&self, event: Event) -> Result<EventHandle> {
        EventHandle::new(self.clone(), event)
    }

    /// The hosts of the store, for plain commands on many keys.
    pub fn cluster(&self) -> Cluster {
        Cluster::new(self.clone())
    }

    /// Whether the store takes writes: of several hosts, any. The keys of the others are served while one is down or
    /// refuses, and [`warnings`](Self::warnings) names that one.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) or
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) if it does not.
    ///
    /// # Cost
    /// One round trip and a small write, at most once a second; else what the last one came to.
    pub async fn ping(&self) -> Result<()> {
        self.0.engine.ping().await
    }

    /// Settings of the store that break a promise, and hosts that are not up, as sentences for an operator. Empty: none
    /// known.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.0.engine.warnings();
        warnings.extend(self.0.limits.warning());
        warnings
    }

    /// Makes durable what was answered, and stops the background work. Later calls fail.
    ///
    /// Who waits for a lock is told so and leaves the queue. Guards that were dropped are given back first, within a
    /// second; those that are still there are not. Likewise what this process holds of leased limits is given back.
    ///
    /// # Errors
    /// When the store could not be written; what was acknowledged is safe all the same.
    pub async fn close(&self) -> Result<()> {
        if let Some(locks) = self.0.locks.get() {
            locks.close().await;
        }
        self.0.leased.close().await;
        self.0.engine.close().await
    }

    /// The clock that was given in the [`Options`].
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// The most bytes that requests and their tokens may take on a host.
    pub(crate) fn once_bytes(&self) -> u64 {
        self.0.once_bytes
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(crate) fn leased(&self) -> &AllLeased {
        &self.0.leased
    }

    pub(crate) fn fallback(&self) -> &Engine {
        self.0.fallback.get_or_init(|| Engine::Embedded(Embedded::in_memory(self.0.clock.clone())))
    }
}
