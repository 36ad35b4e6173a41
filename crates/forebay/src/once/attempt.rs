//! The begin and the end of an attempt at a request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use uuid::Uuid;

use super::{item::RequestItem, request::Request};
use crate::{
    engine::{
        Engine,
        request::{ATTEMPT_LEASE, Attempt, Begin, End, Known, TOKEN_BYTES},
        step,
    },
    error::Result,
    key::Key,
    model::Health,
    store::Store,
};

/// The bytes that one host keeps for requests, unless `once_bytes` in the options of the store says otherwise.
pub const DEFAULT_BYTES: u64 = 512 << 20;

/// At most this many keys are drawn to find a host that answers: only one of many hosts may.
const MAX_DRAWS: usize = 256;

/// About what a record takes beside its key and its text.
const RECORD_BYTES: u64 = 320;

/// The state of a request in the store.
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
    /// The caller carries the request out, or completes it, and reports the outcome.
    First(InProgress),
    /// Another attempt is under way.
    #[non_exhaustive]
    Running {
        /// After this time a repeat takes the request over.
        remaining: Duration,
    },
    /// It was carried out, with this answer.
    Done(Box<str>),
    /// The key was used for another request.
    Other,
    /// The store has no room for a new request for now.
    Full,
}

/// A request that is being carried out.
///
/// If it is dropped, the request counts as running for 30 seconds. Then a repeat completes what was not applied.
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
#[derive(Clone, Debug)]
#[must_use = "dropped, nobody can repeat the request for 30 s"]
pub struct InProgress(Arc<Request>);

impl InProgress {
    /// The last attempt's note from [`leave`](Self::leave). Empty: nothing.
    pub fn note(&self) -> &str {
        &self.0.ours.note
    }

    /// Whether this is the first attempt.
    pub fn is_first(&self) -> bool {
        self.0.ours.attempt == Attempt::First
    }

    /// An item of the request, of which nothing was noted.
    pub fn item(&self, number: u32) -> RequestItem {
        RequestItem::new(self.0.clone(), number, "")
    }

    /// An item of the request, of which an earlier attempt noted this [state](crate::event::HitError::state).
    pub fn item_after(&self, number: u32, state: &str) -> RequestItem {
        RequestItem::new(self.0.clone(), number, state)
    }

    /// Notes the answer, which a repeat of the request gets.
    ///
    /// # Errors
    /// When the store does not answer; then the request stays known as running for 30 seconds.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::once::Once;
    /// let Once::First(request) = bay.once("order 42", 7).await? else { unreachable!("the first attempt") };
    /// request.end("accepted").await?;
    /// assert!(matches!(bay.once("order 42", 7).await?, Once::Done(answer) if &*answer == "accepted"));
    /// # Ok(()) }
    /// ```
    pub async fn end(self, answer: &str) -> Result<()> {
        let more = self.more();
        self.finish(End::Final { answer, more }).await
    }

    /// Notes the outcome of each item so far, for the attempt that completes the request. `certain`: the outcome of every
    /// part is known.
    ///
    /// # Errors
    /// As [`end`](Self::end).
    pub async fn leave(self, note: &str, certain: bool) -> Result<()> {
        let more = self.more();
        self.finish(End::Open { note, certain, more }).await
    }

    /// Forgets the request, because this attempt certainly applied nothing. It may be repeated.
    ///
    /// A request that was attempted before is not forgotten: writes of the earlier attempt may still arrive at a host, and
    /// the record tells them from another request's.
    ///
    /// # Errors
    /// As [`end`](Self::end).
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::once::Once;
    /// let Once::First(request) = bay.once("order 42", 7).await? else { unreachable!("the first attempt") };
    /// request.forget().await?; // it was refused before anything was applied
    /// assert!(matches!(bay.once("order 42", 7).await?, Once::First(_)));
    /// # Ok(()) }
    /// ```
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

/// Begins a request that is carried out once, or takes it over: see [`Forebay::once`](crate::Forebay::once).
pub(crate) async fn begin(store: &Store, key: &str, fingerprint: u128) -> Result<Once> {
    let key = Key::new(key)?.as_str();
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
            Once::First(InProgress(Arc::new(Request {
                store,
                key,
                fingerprint,
                owner,
                ours,
                weight,
                tokens,
            })))
        }
        Known::Running(remaining) => Once::Running { remaining },
        Known::Done(answer) => Once::Done(answer),
        Known::Other => Once::Other,
        Known::Full => Once::Full,
    })
}

/// Draws a key whose record lies on a host that answers: see [`Forebay::draw_request`](crate::Forebay::draw_request).
pub(crate) fn draw_request(engine: &Engine, place: impl Fn(&str) -> String) -> Option<String> {
    let is_up = |key: &String| engine.health_of(step::Place::Key(&place(key))) == Health::Up;
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
