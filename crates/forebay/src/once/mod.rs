//! Requests that are carried out once.
//!
//! A client that hears no answer cannot know whether its request was carried out. It sends it again under the same key. The
//! store remembers for 24 hours what became of the request, and of each part of it: an attempt that died half-way is
//! completed by the next one, and no part is applied twice.

mod line;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use uuid::Uuid;

pub use self::line::Line;
pub(crate) use self::line::{Place, State};
use crate::{
    engine::{
        Engine,
        request::{ATTEMPT_LEASE, Attempt, Begin, End, Epoch, Hosts, Known, Ours, TOKEN_BYTES},
        step,
    },
    error::Result,
    key::check_key,
    model::Health,
    store::Store,
};

/// How many bytes one host keeps for requests, unless `once_bytes` in the options of the store says otherwise.
pub const DEFAULT_BYTES: u64 = 512 << 20;

/// How many keys are drawn to find a host that answers: of many hosts one may be the only one.
const MAX_DRAWS: usize = 256;

/// About what a record takes beside its key and its text.
const RECORD_BYTES: u64 = 320;

/// What the store knows of a request.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::once::Once;
/// match bay.once("order 42", 7).await? {
///     Once::First(request) => request.end("accepted").await?,
///     Once::Done(answer) => println!("answered before: {answer}"),
///     _ => println!("try again later"),
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "a request that was begun has to be ended, or nobody can repeat it for 30 s"]
pub enum Once {
    /// Whoever gets this carries the request out, or completes it, and says what came of it.
    First(Begun),
    /// Another attempt is under way.
    #[non_exhaustive]
    Running {
        /// For how long it is left alone: after that a repeat takes the request over.
        remaining: Duration,
    },
    /// It was carried out, with this answer.
    Done(Box<str>),
    /// Under this key there was another request.
    Other,
    /// The store keeps as many requests as it may, and takes no new one for now.
    Full,
}

/// A request that is being carried out.
///
/// Dropped, it stays known as running for 30 seconds. Then a repeat completes what was not applied.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::once::Once;
/// let Once::First(request) = bay.once("order 42", 7).await? else { unreachable!("the first attempt") };
/// assert!(request.is_first());
/// request.end("accepted").await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "dropped, nobody can repeat the request for 30 s"]
pub struct Begun(Arc<Request>);

/// What all lines of a request share.
pub(crate) struct Request {
    store: Store,
    key: Box<str>,
    fingerprint: u128,
    owner: Uuid,
    ours: Ours,
    weight: u64,
    /// How many tokens were used. Only added up, so any memory order will do.
    tokens: AtomicU64,
}

impl Begun {
    /// What the last attempt noted in [`leave`](Self::leave). Empty: nothing.
    pub fn note(&self) -> &str {
        &self.0.ours.note
    }

    /// Whether this is the first attempt.
    pub fn is_first(&self) -> bool {
        self.0.ours.attempt == Attempt::First
    }

    /// One line of the request, of which nothing was noted.
    pub fn line(&self, number: u32) -> Line {
        Line::new(self.0.clone(), number, "")
    }

    /// One line of the request, of which an earlier attempt noted this [state](crate::event::HitError::state).
    pub fn line_after(&self, number: u32, state: &str) -> Line {
        Line::new(self.0.clone(), number, state)
    }

    /// Notes the answer: whoever repeats the request gets it.
    ///
    /// # Errors
    /// When the store does not answer; then the request stays known as running for 30 seconds.
    pub async fn end(self, answer: &str) -> Result<()> {
        let more = self.more();
        self.finish(End::Final { answer, more }).await
    }

    /// Notes what became of each line so far, for the attempt that completes the request. `certain`: of no part it is open
    /// whether it was applied.
    ///
    /// # Errors
    /// As [`end`](Self::end).
    pub async fn leave(self, note: &str, certain: bool) -> Result<()> {
        let more = self.more();
        self.finish(End::Open { note, certain, more }).await
    }

    /// Forgets the request, because this attempt certainly came to nothing: it may be repeated.
    ///
    /// One that was attempted before is not forgotten: what is left of the earlier attempt may still be on its way to a
    /// host, and the record has what tells it from another one.
    ///
    /// # Errors
    /// As [`end`](Self::end).
    pub async fn forget(self) -> Result<()> {
        if self.is_first() {
            let less = self.0.weight;
            return self.finish(End::Nothing { less }).await;
        }
        let (note, more) = (&*self.0.ours.note, self.more());
        self.finish(End::Open { note, certain: false, more }).await
    }

    async fn finish(&self, end: End<'_>) -> Result<()> {
        failpoint!("once_before_end");
        let ours = self.0.store.engine().once_end(&self.0.key, self.0.owner, end).await?;
        failpoint!("once_after_end");
        if !ours {
            tracing::debug!(key = %self.0.key, "another attempt has taken the request over");
        }
        Ok(())
    }

    fn more(&self) -> u64 {
        self.0.tokens.load(Ordering::Relaxed) * TOKEN_BYTES
    }
}

impl Request {
    /// The epoch in which a part of the host with this number may have been applied, or may be now.
    fn epoch(&self, hosts: &Hosts, number: usize) -> Option<Epoch> {
        let (name, _) = hosts.get(number)?;
        self.ours.hosts.iter().find(|(other, _)| other == name).map(|(_, epoch)| *epoch)
    }
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun").field("key", &self.0.key).finish_non_exhaustive()
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Begins a request that is carried out once, or takes it over: see [`Forebay::once`](crate::Forebay::once).
pub(crate) async fn begin(store: &Store, key: &str, fingerprint: u128) -> Result<Once> {
    check_key(key)?;
    let (owner, hosts) = (Uuid::now_v7(), store.engine().epochs());
    let weight = RECORD_BYTES + 2 * key.len() as u64 + 26 * hosts.len() as u64;
    let begin =
        Begin { key, fingerprint, owner, lease: lease(), hosts: &hosts, weight, most: store.once_bytes() };
    failpoint!("once_before_begin");
    let known = store.engine().once_begin(begin).await?;
    failpoint!("once_after_begin");
    Ok(match known {
        Known::Ours(ours) => {
            let (store, key, tokens) = (store.clone(), key.into(), AtomicU64::new(0));
            Once::First(Begun(Arc::new(Request { store, key, fingerprint, owner, ours, weight, tokens })))
        }
        Known::Running(remaining) => Once::Running { remaining },
        Known::Done(answer) => Once::Done(answer),
        Known::Other => Once::Other,
        Known::Full => Once::Full,
    })
}

/// Draws a key whose record lies on a host that answers: see [`Forebay::draw_request`](crate::Forebay::draw_request).
pub(crate) fn draw_request(engine: &Engine, place: impl Fn(&str) -> String) -> Option<String> {
    let hosts = engine.hosts();
    let is_up = |key: &String| {
        let (host, _) = engine.place_of(step::Place::Key(&place(key)));
        hosts.get(host).is_some_and(|host| host.health == Health::Up)
    };
    let mut keys = std::iter::repeat_with(|| Uuid::new_v4().simple().to_string());
    keys.by_ref().take(MAX_DRAWS).find(is_up)
}

/// For how long an attempt is left alone. Tests of attempts that die set it in milliseconds, rather than wait.
fn lease() -> Duration {
    #[cfg(feature = "test-util")]
    if let Some(lease) = std::env::var("FOREBAY_TEST_LEASE").ok().and_then(|lease| lease.parse().ok()) {
        return Duration::from_millis(lease);
    }
    ATTEMPT_LEASE
}
