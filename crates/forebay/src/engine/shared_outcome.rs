//! One outcome that many callers wait for.

use std::{
    sync::OnceLock,
    task::{Context, Waker},
};

use parking_lot::Mutex;

/// One outcome for many waiters. The collector of the waiters keeps their wakers, one for each.
#[derive(Debug)]
pub(crate) struct SharedOutcome<T> {
    outcome: OnceLock<T>,
    /// Waiters that another task polled later, with the waker that counts. The lock also makes setting the
    /// outcome and looking for whom to wake one step; held for a few instructions.
    moved: Mutex<Vec<(usize, Waker)>>,
}

impl<T> Default for SharedOutcome<T> {
    fn default() -> Self {
        Self { outcome: OnceLock::new(), moved: Mutex::default() }
    }
}

impl<T> SharedOutcome<T> {
    /// The outcome, once there is one.
    pub(crate) fn get(&self) -> Option<&T> {
        self.outcome.get()
    }

    /// Whether there is an outcome; if not, the task is woken when there is.
    pub(crate) fn is_ready(&self, waiter: usize, context: &Context<'_>) -> bool {
        if self.outcome.get().is_some() {
            return true;
        }
        let mut moved = self.moved.lock();
        if self.outcome.get().is_some() {
            return true;
        }
        match moved.iter_mut().find(|(moved, _)| *moved == waiter) {
            Some((_, waker)) => waker.clone_from(context.waker()),
            None => moved.push((waiter, context.waker().clone())),
        }
        false
    }

    /// Wakes a waiter that another task polled later, before there is an outcome.
    pub(crate) fn wake(&self, waiter: usize) {
        let moved = self.moved.lock();
        moved.iter().filter(|(moved, _)| *moved == waiter).for_each(|(_, waker)| waker.wake_by_ref());
    }

    /// Wakes all waiters, before there is an outcome.
    pub(crate) fn wake_all(&self, wakers: &[Waker]) {
        let moved = self.moved.lock();
        wakers.iter().chain(moved.iter().map(|(_, waker)| waker)).for_each(Waker::wake_by_ref);
    }

    /// Sets the outcome, once, and wakes all waiters.
    pub(crate) fn set(&self, outcome: T, wakers: Vec<Waker>) {
        let mut moved = self.moved.lock();
        // Only the sender sets it, once.
        let _ = self.outcome.set(outcome);
        let moved = std::mem::take(&mut *moved);
        wakers.into_iter().chain(moved.into_iter().map(|(_, waker)| waker)).for_each(Waker::wake);
    }
}
