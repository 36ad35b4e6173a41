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
    bay::Forebay,
    engine::{
        request::{Attempt, Begin, End, Epoch, Hosts, Known, LEASE, Ours, TOKEN_BYTES},
        step,
    },
    error::{Error, Result},
    key::check_key,
    model::Health,
};

/// How many bytes one host keeps for requests, unless `once_bytes` in the options of the store says otherwise.
pub const DEFAULT_BYTES: u64 = 512 << 20;

/// How many keys are drawn to find a host that answers: of many hosts one may be the only one.
const DRAWS: usize = 256;

/// About what a record takes beside its key and its text.
const RECORD_BYTES: u64 = 320;

/// What the store knows of a request.
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
#[derive(Clone)]
#[must_use = "dropped, nobody can repeat the request for 30 s"]
pub struct Begun(Arc<Request>);

/// What all lines of a request share.
pub(crate) struct Request {
    bay: Forebay,
    key: Box<str>,
    print: u128,
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
        let ours = self.0.bay.engine().once_end(&self.0.key, self.0.owner, end).await?;
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

impl Forebay {
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
        check_key(key)?;
        let (owner, hosts) = (Uuid::now_v7(), self.engine().epochs());
        let weight = RECORD_BYTES + 2 * key.len() as u64 + 26 * hosts.len() as u64;
        let (lease, most) = (lease(), self.once_bytes());
        let begin = Begin { key, print, owner, lease, hosts: &hosts, weight, most };
        failpoint!("once_before_begin");
        let known = self.engine().once_begin(begin).await?;
        failpoint!("once_after_begin");
        Ok(match known {
            Known::Ours(ours) => {
                let (bay, key, tokens) = (self.clone(), key.into(), AtomicU64::new(0));
                Once::First(Begun(Arc::new(Request { bay, key, print, owner, ours, weight, tokens })))
            }
            Known::Running(remaining) => Once::Running { remaining },
            Known::Done(answer) => Once::Done(answer),
            Known::Other => Once::Other,
            Known::Full => Once::Full,
        })
    }

    /// Draws a key for a request that has none, such that `place`, what it is called in [`once`](Self::once), lies on a host
    /// that answers, as far as is known. `None`: none was drawn.
    pub fn draw_request(&self, place: impl Fn(&str) -> String) -> Option<String> {
        let hosts = self.engine().hosts();
        let is_up = |key: &String| {
            let (host, _) = self.engine().place_of(step::Place::Key(&place(key)));
            hosts.get(host).is_some_and(|host| host.health == Health::Up)
        };
        let mut keys = std::iter::repeat_with(|| Uuid::new_v4().simple().to_string());
        keys.by_ref().take(DRAWS).find(is_up)
    }

    /// For each host its name, and the bytes that requests and their tokens took when one was last begun there.
    pub fn once_usage(&self) -> Vec<(Box<str>, u64)> {
        let hosts = self.engine().hosts().into_iter().map(|host| host.name);
        hosts.zip(self.engine().once_bytes()).collect()
    }
}

/// The error of a part of which nobody can ever tell whether it was applied.
pub(crate) fn lost() -> Error {
    let text = "write: an earlier attempt may have applied it, and the store has lost what would tell";
    Error::new(crate::ErrorKind::Ambiguous, text).with_retry(crate::Retry::Never)
}

/// For how long an attempt is left alone. Tests of attempts that die set it in milliseconds, rather than wait.
fn lease() -> Duration {
    #[cfg(feature = "test-util")]
    if let Some(lease) = std::env::var("FOREBAY_TEST_LEASE").ok().and_then(|lease| lease.parse().ok()) {
        return Duration::from_millis(lease);
    }
    LEASE
}
