//! [`Forebay`], the open store, and how to open it.

use std::sync::Arc;

#[cfg(feature = "redis")]
use crate::cluster::Hosts;
pub use crate::options::Options;
use crate::{
    buffer::{BufferHandle, StoredBuffer},
    clock::Clock,
    cluster::Cluster,
    engine::{Engine, Location},
    error::Result,
    event::{Event, EventHandle, LimitedTally},
    limit::{Charge, Decisions, Limit, LimitHandle, Limits, follow_overrides},
    lock::{LockHandle, LockManager},
    model::Buffer,
    once::{self, Once},
    series::{
        Distinct, DistinctHandle, Gauge, GaugeHandle, Percentiles, PercentilesHandle, Series, SeriesHandle,
    },
    store::Store,
    time::When,
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
    store: Store,
    limits: Arc<Limits>,
    locks: Arc<LockManager>,
    tally: Arc<LimitedTally>,
}

impl Options {
    /// Opens the store at `url`; see [`Forebay::open`].
    ///
    /// # Errors
    /// As [`Forebay::open`].
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// let bay = forebay::Forebay::options().prefix("shop").open("memory:").await?;
    /// # bay.close().await?;
    /// # Ok(()) }
    /// ```
    pub async fn open(self, url: &str) -> Result<Forebay> {
        self.open_at(Location::read(url)).await
    }

    /// Opens a store of several named hosts.
    ///
    /// # Errors
    /// As [`Forebay::open`], and [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) when the hosts
    /// hold another placement of keys than these would come to, or are others than their names say.
    ///
    /// # Examples
    /// ```no_run
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// use forebay::{Forebay, cluster::Hosts};
    /// let hosts = Hosts::new().host("a", "redis://10.0.0.1").host("b", "redis://10.0.0.2");
    /// let bay = Forebay::options().open_hosts(hosts).await?;
    /// println!("{} has user:42", bay.cluster().route("user:42").host);
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "redis")]
    pub async fn open_hosts(self, hosts: Hosts) -> Result<Forebay> {
        self.open_at(Location::of_hosts(hosts.router, &hosts.listed)).await
    }

    async fn open_at(self, location: Result<Location<'_>>) -> Result<Forebay> {
        self.engine.check()?;
        let engine = Engine::open(location?, &self.engine).await?;
        let store = Store::new(engine, self.engine.clock, self.once_bytes);
        let limits = Limits::new(store.clone());
        if let Err(error) = Box::pin(limits.refresh_overrides()).await {
            tracing::warn!(%error, "starting without the overrides that were set at run time");
        }
        if store.engine().is_shared() {
            // Ends with the store.
            tokio::spawn(follow_overrides(Arc::downgrade(&limits)));
        }
        let locks = Arc::new(LockManager::new(store.clone()));
        let tally = LimitedTally::new(store.clone());
        Ok(Forebay(Arc::new(Inner { store, limits, locks, tally })))
    }
}

impl Forebay {
    /// Opens a store.
    ///
    /// `redis://[[user][:password]@]host[:port][/db]` is a server, and `redis://a,b,c` are several; with `rediss:` by TLS.
    /// `redis+sentinel://a,b,c/primary` is the server that Sentinels name. `docs/operations.md` lists the parameters.
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
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// use forebay::{ErrorKind, Forebay};
    /// let bay = Forebay::open("memory:").await?;
    /// bay.ping().await?;
    /// assert_eq!(Forebay::open("nonsense:").await.unwrap_err().kind(), ErrorKind::Invalid);
    /// # Ok(()) }
    /// ```
    pub async fn open(url: &str) -> Result<Self> {
        Options::default().open(url).await
    }

    /// Checks the URL of a store without opening it: what a configuration is checked by, and what
    /// [`open`](Self::open) checks first.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) or
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) for a URL that names no store.
    ///
    /// # Examples
    /// ```
    /// use forebay::Forebay;
    /// assert!(Forebay::check_url("embedded:forebay.db?sync=1s").is_ok());
    /// assert!(Forebay::check_url("nonsense:").is_err());
    /// ```
    pub fn check_url(url: &str) -> Result<()> {
        Location::read(url).map(|_| ())
    }

    /// Opens a store with other options than the default.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// use forebay::{Clock, Forebay};
    /// let bay = Forebay::options().clock(Clock::system()).open("memory:").await?;
    /// # drop(bay);
    /// # Ok(()) }
    /// ```
    pub fn options() -> Options {
        Options::default()
    }

    /// A rate limit.
    ///
    /// Another handle of the same name may have another definition. Each decides by its own, and they share the counts if
    /// kind and period are the same. So a definition can be changed while it is in use.
    ///
    /// # Errors
    /// When the definition is not valid: see [`Limit`].
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let hits = bay.limit(forebay::Limit::per_minute("hits", 20))?;
    /// assert!(hits.take("user:42").await?.is_allowed());
    /// # Ok(()) }
    /// ```
    pub fn limit(&self, limit: Limit) -> Result<LimitHandle> {
        LimitHandle::new(&self.0.limits, limit)
    }

    /// A time series, by name or by definition.
    ///
    /// # Errors
    /// When the definition is not valid: see [`Series`].
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let hits = bay.series("hits")?;
    /// hits.add("user:42", 1).await?;
    /// # Ok(()) }
    /// ```
    pub fn series(&self, series: impl Into<Series>) -> Result<SeriesHandle> {
        SeriesHandle::new(self.store().clone(), series.into())
    }

    /// A series that counts different elements, such as the visitors of each page.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) or [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) when the
    /// definition is not valid, and when a series of another kind is open under this name.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{Distinct, time::hours};
    /// let visitors = bay.distinct(Distinct::new("visitors"))?;
    /// for user in ["ada", "bob", "ada"] {
    ///     visitors.add("home", user).await?;
    /// }
    /// assert_eq!(visitors.count("home", hours(1)).await?, 2);
    /// # Ok(()) }
    /// ```
    pub fn distinct(&self, series: impl Into<Distinct>) -> Result<DistinctHandle> {
        DistinctHandle::new(self.store().clone(), series.into())
    }

    /// A series of gauges, such as the temperature of each room.
    ///
    /// # Errors
    /// As [`distinct`](Self::distinct).
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let temperature = bay.gauge("temperature")?;
    /// temperature.record("attic", 21.5).await?;
    /// let hour = temperature.stats("attic", forebay::time::hours(1)).await?.expect("a value");
    /// assert_eq!((hour.last, hour.count), (21.5, 1));
    /// # Ok(()) }
    /// ```
    pub fn gauge(&self, series: impl Into<Gauge>) -> Result<GaugeHandle> {
        GaugeHandle::new(self.store().clone(), series.into())
    }

    /// A series of percentiles, such as the latency of each route.
    ///
    /// # Errors
    /// As [`distinct`](Self::distinct).
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let latency = bay.percentiles("latency")?;
    /// latency.record("home", 0.120).await?;
    /// assert_eq!(latency.quantile("home", 0.99, forebay::time::hours(1)).await?, Some(0.120));
    /// assert!(bay.gauge("latency").is_err()); // a name has one kind
    /// # Ok(()) }
    /// ```
    pub fn percentiles(&self, series: impl Into<Percentiles>) -> Result<PercentilesHandle> {
        PercentilesHandle::new(self.store().clone(), series.into())
    }

    /// A write buffer.
    ///
    /// # Errors
    /// When the definition is not valid: see [`Buffer::build`].
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let projects = bay.buffer(forebay::Buffer::new("projects").key("id").sum("hits"))?;
    /// projects.row("42").add("hits", 1).await?;
    /// # Ok(()) }
    /// ```
    pub fn buffer(&self, buffer: Buffer) -> Result<BufferHandle> {
        Ok(BufferHandle::new(self.store().clone(), buffer.build()?))
    }

    /// Lists every buffer that was ever written to in the store, with its pending rows. Rows of a buffer without a definition
    /// are kept, and nothing flushes them.
    ///
    /// # Errors
    /// When the store does not answer.
    ///
    /// # Cost
    /// Two round trips over all partitions of all buffers.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// for buffer in bay.stored_buffers().await? {
    ///     println!("{}: {} rows, the oldest {:?}", buffer.name, buffer.pending_rows, buffer.oldest_age);
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn stored_buffers(&self) -> Result<Vec<StoredBuffer>> {
        StoredBuffer::find(self.engine()).await
    }

    /// A lock: any UTF-8 of 1 to 512 bytes, which is checked when it is acquired.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let guard = bay.lock("nightly-report").acquire().await?;
    /// assert!(guard.is_held());
    /// # Ok(()) }
    /// ```
    pub fn lock(&self, name: impl AsRef<str>) -> LockHandle {
        LockHandle::new(self.0.locks.clone(), name.as_ref().into())
    }

    /// An event: limits, series and buffers in one call.
    ///
    /// # Errors
    /// When the definition is not valid: see [`Event`].
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{Event, Limit};
    /// let limit = bay.limit(Limit::per_minute("hits", 20))?;
    /// let hit = bay.event(Event::new("hit").limit(&limit).series(&bay.series("hits")?))?;
    /// assert!(hit.hit("user:42", 1).await?.is_accepted());
    /// # Ok(()) }
    /// ```
    pub fn event(&self, event: Event) -> Result<EventHandle> {
        EventHandle::new(self.store().clone(), self.0.tally.clone(), event)
    }

    /// Takes from several limits, from all or from none (1 to 64, each limit and key once).
    ///
    /// On one host that is one atomic step. Where the keys live on several hosts the charges are made one host
    /// after the other, and given back when a later one denies: between the two, others may be denied who would
    /// have been admitted; never is more admitted than the limits allow. If this process or a host dies between
    /// the two, its charge stays until the window ends. A host that does not answer in time is decided by
    /// [`OnError`](crate::limit::OnError) of its own limits; those on other hosts hold.
    ///
    /// While this process knows that one of the limits denies, no limit is asked and none is charged: see
    /// [`known_denial`](Self::known_denial). Local budgets of a [leased](crate::limit::Mode::Leased) limit are spent last.
    ///
    /// # Errors
    /// As [`LimitHandle::take_n`].
    ///
    /// # Cancellation
    /// Dropping the future may leave the costs of the host that was being asked charged; others' are given back.
    ///
    /// # Cost
    /// One round trip on one host; otherwise one for each host, one after the other, and one more if charges go back. None
    /// while a denial is known, nor for limits whose local budgets suffice.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{Limit, limit::Charge};
    /// let charge = |limit, key: &str| Charge { limit, key: key.into(), cost: 1 };
    /// let user = charge(bay.limit(Limit::per_minute("user", 20))?, "42");
    /// let global = charge(bay.limit(Limit::per_second("global", 10_000))?, "*");
    /// assert!(bay.take_all(&[user, global]).await?.allowed);
    /// # Ok(()) }
    /// ```
    pub async fn take_all(&self, charges: &[Charge]) -> Result<Decisions> {
        self.take_all_at(charges, When::EngineClock).await
    }

    /// The answer of [`take_all`](Self::take_all), if this process knows that a limit denies: a key is blocked, or the store
    /// denied the same or a smaller cost within the last second. Limits that do not deny are not asked. `None`: the store
    /// has to be asked.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) or [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange), as
    /// [`take_all`](Self::take_all).
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{Limit, limit::{Charge, Override}};
    /// let limit = bay.limit(Limit::per_minute("hits", 20))?;
    /// limit.set_override("user:42", Override::blocked()).await?;
    /// let charge = Charge { limit, key: "user:42".into(), cost: 1 };
    /// assert!(bay.known_denial(&[charge])?.is_some_and(|denied| !denied.allowed));
    /// # Ok(()) }
    /// ```
    pub fn known_denial(&self, charges: &[Charge]) -> Result<Option<Decisions>> {
        self.store().known_denial(charges)
    }

    /// As [`take_all`](Self::take_all), at a time other than the store's: for replays of old traffic. No answer comes from
    /// the deny cache or from a local budget.
    ///
    /// # Errors
    /// As [`take_all`](Self::take_all).
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{Limit, Timestamp, When, limit::Charge};
    /// let limit = bay.limit(Limit::per_minute("hits", 20))?;
    /// let charge = Charge { limit, key: "user:42".into(), cost: 1 };
    /// let then = When::At(Timestamp::from_secs(1_790_000_000)); // a replay
    /// assert!(bay.take_all_at(&[charge], then).await?.allowed);
    /// # Ok(()) }
    /// ```
    pub async fn take_all_at(&self, charges: &[Charge], when: When) -> Result<Decisions> {
        self.store().take_all_with(charges, when, None).await
    }

    /// Begins a request that is to be carried out once, or takes it over. `key` has 1 to 512 bytes; `print` is a hash of the
    /// request, by which another one under the same key is found out. What is known of it is kept for 24 hours, through a
    /// crash.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// use forebay::{Forebay, once::Once};
    /// let bay = Forebay::open("memory:").await?;
    /// let Once::First(begun) = bay.once("order 42", 7).await? else { unreachable!("it is the first") };
    /// begun.end("accepted").await?;
    /// assert!(matches!(bay.once("order 42", 7).await?, Once::Done(answer) if &*answer == "accepted"));
    /// assert!(matches!(bay.once("order 42", 8).await?, Once::Other));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a key that is none; and when the store does not answer: the
    /// request has not begun then, though the store may take it for running.
    ///
    /// # Cost
    /// One round trip, and one more at the end; commits on a file.
    pub async fn once(&self, key: &str, print: u128) -> Result<Once> {
        once::begin(self.store(), key, print).await
    }

    /// Draws a key for a request that has none, such that `place`, what it is called in [`once`](Self::once), lies on a host
    /// that answers, as far as is known. `None`: none was drawn.
    pub fn draw_request(&self, place: impl Fn(&str) -> String) -> Option<String> {
        once::draw_request(self.engine(), place)
    }

    /// For each host its name, and the bytes that requests and their tokens took when one was last begun there.
    pub fn once_usage(&self) -> Vec<(Box<str>, u64)> {
        let hosts = self.engine().hosts().into_iter().map(|host| host.name);
        hosts.zip(self.engine().once_bytes()).collect()
    }

    /// Learns now what other processes have let single keys be allowed, rather than within a second.
    ///
    /// An open store does so by itself, once a second; it goes on with what it knows while the store does not answer, and
    /// [`warnings`](Self::warnings) says so.
    ///
    /// # Errors
    /// When the store does not answer.
    ///
    /// # Cost
    /// One round trip, and one more for each limit of which overrides have changed; none on the embedded engine.
    pub async fn refresh_overrides(&self) -> Result<()> {
        self.0.limits.refresh_overrides().await
    }

    /// The hosts of the store, for plain commands on many keys.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let mut map = bay.cluster().map();
    /// let hits = map.incr("hits", 1);
    /// assert_eq!(map.run().await.get(hits)?, 1);
    /// # Ok(()) }
    /// ```
    pub fn cluster(&self) -> Cluster {
        Cluster::new(self.store().clone())
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
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// bay.ping().await?;
    /// # Ok(()) }
    /// ```
    pub async fn ping(&self) -> Result<()> {
        self.engine().ping().await
    }

    /// Reads the passwords of Redis hosts again that the store's URL has in files or variables, and logs in with them.
    ///
    /// Every new connection reads them anyway. This is for what a server demands of a connection that stands: a new token
    /// before the old one ends.
    ///
    /// # Errors
    /// When a password cannot be read, or a host refuses it: the connection goes on as before then.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// let bay = forebay::Forebay::open("memory:").await?;
    /// bay.renew_login().await?; // nothing to do here
    /// # Ok(()) }
    /// ```
    pub async fn renew_login(&self) -> Result<()> {
        self.engine().renew_login().await
    }

    /// Settings of the store that break a promise, and hosts that are not up, as sentences for an operator. Empty: none
    /// known.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// for warning in bay.warnings() {
    ///     eprintln!("{warning}");
    /// }
    /// # Ok(()) }
    /// ```
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.engine().warnings();
        warnings.extend(self.0.limits.warning());
        warnings
    }

    /// Makes acknowledged writes durable, and stops the background work. Later calls fail.
    ///
    /// Waiters for a lock get an error and leave the queue. Locks whose guards were dropped are released first, within a
    /// second; guards that still exist keep theirs. Local budgets of leased limits go back to the store.
    /// Counts of [limited](Event) hits are sent. Each takes at most a second.
    ///
    /// # Errors
    /// When the store could not be written; acknowledged writes are safe all the same.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// bay.close().await?;
    /// assert!(bay.lock("nightly-report").try_acquire().await.is_err());
    /// # Ok(()) }
    /// ```
    pub async fn close(&self) -> Result<()> {
        self.0.locks.close().await;
        self.0.limits.leased.close().await;
        self.0.tally.close().await;
        self.engine().close().await
    }

    /// The clock that was given in the [`Options`].
    pub fn clock(&self) -> &Clock {
        self.store().clock()
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.store().engine()
    }
}
