//! Requests that are carried out once, however often they come.
//!
//! A client that hears no answer cannot know whether its request was carried out. It sends it again under the same key, and
//! the store remembers for 24 hours what became of it.

use std::fmt;

use uuid::Uuid;

use crate::{bay::Forebay, engine::step::Known, error::Result, key::check_key};

/// What the store knows of a request.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "a request that is the first has to be ended, or nobody can repeat it for 24 h"]
pub enum Once {
    /// Nothing, until now. Whoever gets this carries it out, and says what came of it.
    First(Begun),
    /// Somebody is carrying it out, or died over it and left it open whether it was.
    Running,
    /// It was carried out, with this answer.
    Done(Box<str>),
    /// Under this key there was another request.
    Other,
}

/// A request that is being carried out.
///
/// Dropped, it stays known as running: whether it was carried out is open then.
#[must_use = "dropped, nobody can repeat the request for 24 h"]
pub struct Begun {
    bay: Forebay,
    key: Box<str>,
    print: u128,
    owner: Uuid,
}

impl Begun {
    /// Notes the answer, which must not be empty: whoever repeats the request gets it.
    ///
    /// # Errors
    /// When the store does not answer; then the request stays known as running.
    pub async fn end(self, answer: &str) -> Result<()> {
        self.bay.engine().once_end(&self.key, self.print, self.owner, answer).await
    }

    /// Forgets the request, because it certainly came to nothing: it may be repeated.
    ///
    /// # Errors
    /// As [`end`](Self::end).
    pub async fn forget(self) -> Result<()> {
        self.bay.engine().once_forget(&self.key).await
    }
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Forebay {
    /// Begins a request that is to be carried out once. `key` has 1 to 512 bytes; `print` is a hash of the request, by which
    /// another one under the same key is found out. What is known of it is kept for 24 hours, through a crash.
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
    /// One round trip for a request that is the first, else two; a commit on a file.
    pub async fn once(&self, key: &str, print: u128) -> Result<Once> {
        check_key(key)?;
        let owner = Uuid::now_v7();
        Ok(match self.engine().once_begin(key, print, owner).await? {
            Known::First => Once::First(Begun { bay: self.clone(), key: key.into(), print, owner }),
            Known::Running => Once::Running,
            Known::Done(answer) => Once::Done(answer),
            Known::Other => Once::Other,
        })
    }
}
