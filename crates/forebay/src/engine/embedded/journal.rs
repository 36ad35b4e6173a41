//! The way from memory to the file: changes gather here, and steps wait here until their change is durable.
//!
//! A step changes memory and the journal under the lock of the changed table, and then under the journal's. So the
//! journal has the changes of one entry in the order in which memory saw them. The committer takes all gathered
//! changes, commits them, and answers all of their waiters at once (group commit).

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::SetOnce;

use super::{
    batch::{Batch, DeferredWrite},
    closing,
    file::Remedy,
};
use crate::error::{Error, ErrorKind, Result};

/// Bytes of limits and series in one commit: some 10 ms of an ordinary disk, by which they may delay the waiters of the
/// same commit.
const MAX_DEFERRED_BYTES: usize = 1 << 20;

/// Callers that a commit has answered often write again at once. A commit that began with the first of them would leave
/// the others to the next one. So it waits until none has come for this long, at most so many times. With 512 callers in
/// a loop a commit then has 500 writes instead of 280. It does not wait for a single caller.
const COALESCE_WAIT: Duration = Duration::from_micros(100);
const MAX_COALESCE_ROUNDS: usize = 10;

/// The journal of an engine; without a file there is none, and every change counts as durable.
///
/// Dropping it ends it: the committer writes what has gathered, on its own thread, and gives the file back.
#[derive(Default)]
pub(super) struct Journal(Option<Arc<Shared>>);

/// The queue between the steps and the committer.
pub(super) struct Shared {
    queue: Mutex<Queue>,
    /// Notified when there is something to commit, or the journal ends.
    wake: Condvar,
    /// How the committer ended.
    ended: Answer,
    /// Names the file in errors.
    place: Box<str>,
    /// Whether rows are answered before they are committed.
    relaxed: bool,
}

/// How a commit went, once it did.
type Answer = Arc<SetOnce<Result<()>>>;

#[derive(Default)]
struct Queue {
    batch: Batch,
    deferred: VecDeque<DeferredWrite>,
    /// Set when `batch` is committed.
    done: Answer,
    /// The number of `batch`, counted from 1.
    number: u64,
    /// Up to this number all batches are durable.
    durable: u64,
    /// How many commits that took.
    commits: u64,
    /// A commit is requested.
    due: bool,
    /// How many wait for `batch`, and did for the one before.
    waiting: u64,
    waited: u64,
    health: Health,
}

/// Whether changes are taken.
#[derive(Default)]
enum Health {
    #[default]
    Working,
    /// The last commit failed; until the remedy memory takes no more. It is tried again, unless only a restart helps.
    Failed(Error, Remedy),
    Closed,
}

/// The next commit.
pub(super) struct Work {
    pub batch: Batch,
    pub number: u64,
    pub done: Answer,
}

impl Journal {
    /// The journal of a file, and the committer's side of it.
    pub(super) fn new(place: &str, relaxed: bool) -> (Self, Arc<Shared>) {
        let queue = Queue { number: 1, ..Queue::default() };
        let shared = Arc::new(Shared {
            queue: Mutex::new(queue),
            wake: Condvar::new(),
            ended: Answer::default(),
            place: place.into(),
            relaxed,
        });
        (Self(Some(shared.clone())), shared)
    }

    /// Whether there is a file.
    pub(super) fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Whether rows are answered before they are committed.
    pub(super) fn is_relaxed(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| shared.relaxed)
    }

    /// Begins to record a change, or says why none can be made; the journal is locked until it ends.
    pub(super) fn record(&self) -> Result<Record<'_>> {
        let Some(shared) = &self.0 else { return Ok(Record(None)) };
        let queue = shared.queue.lock();
        shared.healthy(&queue)?;
        Ok(Record(Some((shared, queue))))
    }

    /// Whether changes are taken.
    pub(super) fn check(&self) -> Result<()> {
        self.record().map(drop)
    }

    /// Whether a batch is durable.
    pub(super) fn is_durable(&self, number: u64) -> bool {
        self.0.as_ref().is_none_or(|shared| shared.queue.lock().durable >= number)
    }

    /// Whether deferred writes are accepted: the earlier ones are written, and the file works.
    pub(super) fn has_room(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| {
            let queue = shared.queue.lock();
            queue.deferred.is_empty() && matches!(queue.health, Health::Working)
        })
    }

    /// Adds a limit's or series' change to a later commit.
    pub(super) fn defer(&self, write: DeferredWrite) {
        if let Some(shared) = &self.0 {
            let mut queue = shared.queue.lock();
            if queue.health.is_tried() {
                queue.deferred.push_back(write);
            }
        }
    }

    /// Commits pending changes now, and retries a failed commit.
    pub(super) fn request_commit(&self) {
        if let Some(shared) = &self.0 {
            let mut queue = shared.queue.lock();
            if queue.health.is_tried() {
                shared.due(&mut queue);
            }
        }
    }

    /// Accepts no more changes. The committer writes the pending ones and ends.
    pub(super) fn end(&self) {
        if let Some(shared) = &self.0 {
            let mut queue = shared.queue.lock();
            if !matches!(queue.health, Health::Closed) {
                closing::begins(&shared.place);
                queue.health = Health::Closed;
            }
            drop(queue);
            shared.wake.notify_one();
        }
    }

    /// How the committer ended, once it has.
    pub(super) async fn ended(&self) -> Result<()> {
        match &self.0 {
            None => Ok(()),
            Some(shared) => shared.ended.wait().await.clone(),
        }
    }

    /// How many commits there were.
    #[cfg(test)]
    pub(super) fn commits(&self) -> u64 {
        self.0.as_ref().map_or(0, |shared| shared.queue.lock().commits)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Journal").field(&self.0.as_ref().map(|shared| &shared.place)).finish()
    }
}

/// A change being recorded. Dropped, it keeps what was recorded, for the next commit.
pub(super) struct Record<'a>(Option<(&'a Shared, MutexGuard<'a, Queue>)>);

impl Record<'_> {
    /// Notes a change in the batch, if there is a file.
    pub(super) fn note<T: Default>(&mut self, change: impl FnOnce(&mut Batch) -> T) -> T {
        self.0.as_mut().map(|(_, queue)| change(&mut queue.batch)).unwrap_or_default()
    }

    /// The number of the batch that takes the change.
    pub(super) fn number(&self) -> u64 {
        self.0.as_ref().map_or(0, |(_, queue)| queue.number)
    }

    /// Takes a limit's or series' change into the batch, with all deferred writes: earlier ones must not be written after it.
    pub(super) fn include_deferred(&mut self, write: DeferredWrite) {
        if let Some((_, queue)) = &mut self.0 {
            let before = queue.deferred.drain(..).collect::<Vec<_>>();
            queue.batch.deferred.extend(before);
            queue.batch.deferred.push(write);
        }
    }

    /// Requests a commit of the change now. `answer` is for the caller, once the change is durable.
    pub(super) fn commit<T>(self, answer: T) -> PendingCommit<T> {
        let Some((shared, mut queue)) = self.0 else { return PendingCommit::done(answer) };
        let done = queue.done.clone();
        queue.waiting += 1;
        shared.due(&mut queue);
        PendingCommit(answer, Some(done))
    }

    /// Requests a commit of written rows now, or, relaxed, lets them wait for the next one.
    pub(super) fn commit_rows<T>(self, answer: T) -> PendingCommit<T> {
        match &self.0 {
            Some((shared, _)) if shared.relaxed => PendingCommit::done(answer),
            _ => self.commit(answer),
        }
    }
}

/// An answer that waits for its commit.
#[must_use = "a change is not durable before this says so"]
pub(super) struct PendingCommit<T>(T, Option<Answer>);

impl<T> PendingCommit<T> {
    /// An answer that has nothing to wait for.
    pub(super) fn done(answer: T) -> Self {
        Self(answer, None)
    }

    /// Waits until the change is durable.
    ///
    /// # Errors
    /// [`ErrorKind::Ambiguous`]: the commit failed. Memory has the change, and the file may get it.
    pub(super) async fn durable(self) -> Result<T> {
        if let Some(committed) = self.1 {
            committed.wait().await.clone()?;
        }
        Ok(self.0)
    }
}

impl Shared {
    /// Waits for work; `None`: there is none, and none will come.
    pub(super) fn next(&self) -> Option<Work> {
        let mut queue = self.queue.lock();
        loop {
            let ending = matches!(queue.health, Health::Closed);
            if queue.due || ending {
                queue = self.coalesce(queue);
                let work = queue.take();
                return if ending && work.batch.is_empty() { None } else { Some(work) };
            }
            self.wake.wait(&mut queue);
        }
    }

    /// Waits for the callers of the last commit, which come back together.
    fn coalesce<'a>(&'a self, mut queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        for _ in 0..MAX_COALESCE_ROUNDS {
            let before = queue.waiting;
            if queue.waited < 2 || before == 0 {
                break;
            }
            self.wake.wait_for(&mut queue, COALESCE_WAIT);
            if queue.waiting == before {
                break;
            }
        }
        queue
    }

    /// The batch of this number, and all before it, are durable.
    pub(super) fn committed(&self, work: &Work, wrote: bool) {
        let mut queue = self.queue.lock();
        queue.durable = work.number;
        queue.commits += u64::from(wrote);
        if matches!(queue.health, Health::Failed(..)) {
            queue.health = Health::Working;
        }
        drop(queue);
        answer(&work.done, Ok(()));
    }

    /// Notes that the commit failed. All waiters get the error, also those that came meanwhile: their changes follow with
    /// the repeated commit.
    pub(super) fn failed(&self, work: &Work, cause: &Error, remedy: Remedy) {
        let behind = {
            let mut queue = self.queue.lock();
            if !matches!(queue.health, Health::Closed) {
                queue.health = Health::Failed(cause.clone(), remedy);
            }
            std::mem::take(&mut queue.done)
        };
        let place = &self.place;
        let text =
            format!("commit to {place} failed: what was to be written may be there after a restart, or not");
        let error = Error::new(ErrorKind::Ambiguous, text).with_source(cause.clone());
        answer(&work.done, Err(error.clone()));
        answer(&behind, Err(error));
    }

    /// The committer has ended.
    pub(super) fn set_ended(&self, how: Result<()>) {
        let commits = {
            let mut queue = self.queue.lock();
            // Also if nobody asked for the end.
            queue.health = Health::Closed;
            queue.commits
        };
        tracing::debug!(place = %self.place, commits, "closed");
        closing::ends(&self.place);
        answer(&self.ended, how);
    }

    /// Wakes the committer, unless it has been woken: it looks again before it sleeps.
    fn due(&self, queue: &mut Queue) {
        if !std::mem::replace(&mut queue.due, true) {
            self.wake.notify_one();
        }
    }

    fn healthy(&self, queue: &Queue) -> Result<()> {
        let place = &self.place;
        let (why, cause) = match &queue.health {
            Health::Working => return Ok(()),
            Health::Failed(cause, Remedy::Room) => ("takes no writes until there is room on its disk", cause),
            Health::Failed(cause, Remedy::PutBack) => (
                "takes no writes: it was deleted or replaced while it is open: put it back, or restart to begin with the file \
                 that is there",
                cause,
            ),
            Health::Failed(cause, Remedy::Restart) => ("takes no writes until a restart", cause),
            Health::Closed => return Err(Error::new(ErrorKind::Closed, format!("{place} is closed"))),
        };
        Err(Error::new(ErrorKind::Unavailable, format!("{place} {why}")).with_source(cause.clone()))
    }
}

impl Health {
    /// Whether the committer works, or tries again.
    fn is_tried(&self) -> bool {
        matches!(self, Self::Working | Self::Failed(_, Remedy::Room | Remedy::PutBack))
    }
}

impl Queue {
    /// Takes what has gathered, with as many deferred writes as fit into one commit.
    fn take(&mut self) -> Work {
        let mut batch = std::mem::take(&mut self.batch);
        let mut weight = 0;
        while weight < MAX_DEFERRED_BYTES
            && let Some(write) = self.deferred.pop_front()
        {
            weight += write.weight();
            batch.deferred.push(write);
        }
        let number = self.number;
        self.number += 1;
        self.due = !self.deferred.is_empty();
        self.waited = std::mem::take(&mut self.waiting);
        Work { batch, number, done: std::mem::take(&mut self.done) }
    }
}

fn answer(to: &Answer, how: Result<()>) {
    // Answered before: a batch whose commit is repeated was answered when it failed.
    let _ = to.set(how);
}
