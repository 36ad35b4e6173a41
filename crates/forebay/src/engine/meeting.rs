//! Where those who wait for one round trip meet its outcome.

use std::{
    sync::OnceLock,
    task::{Context, Waker},
};

use parking_lot::Mutex;

/// One outcome for many who wait. Whoever gathers them keeps their wakers, one for each seat.
#[derive(Debug)]
pub(crate) struct Meeting<T> {
    outcome: OnceLock<T>,
    /// Tasks that were polled again by somebody else: seat, and the waker that counts. Its lock also makes setting the
    /// outcome and looking for whom to wake one step; held for a few instructions.
    moved: Mutex<Vec<(usize, Waker)>>,
}

impl<T> Default for Meeting<T> {
    fn default() -> Self {
        Self { outcome: OnceLock::new(), moved: Mutex::default() }
    }
}

impl<T> Meeting<T> {
    /// The outcome, once there is one.
    pub(crate) fn outcome(&self) -> Option<&T> {
        self.outcome.get()
    }

    /// Whether there is an outcome; if not, the task is woken when there is.
    pub(crate) fn is_settled(&self, seat: usize, context: &Context<'_>) -> bool {
        if self.outcome.get().is_some() {
            return true;
        }
        let mut moved = self.moved.lock();
        if self.outcome.get().is_some() {
            return true;
        }
        match moved.iter_mut().find(|(moved, _)| *moved == seat) {
            Some((_, waker)) => waker.clone_from(context.waker()),
            None => moved.push((seat, context.waker().clone())),
        }
        false
    }

    /// Wakes the task in a seat, if it was polled again by somebody else, before there is an outcome.
    pub(crate) fn wake(&self, seat: usize) {
        let moved = self.moved.lock();
        moved.iter().filter(|(moved, _)| *moved == seat).for_each(|(_, waker)| waker.wake_by_ref());
    }

    /// Sets the outcome, once, and wakes everybody.
    pub(crate) fn settle(&self, outcome: T, wakers: Vec<Waker>) {
        let mut moved = self.moved.lock();
        // Whoever gathered settles, and does so once.
        let _ = self.outcome.set(outcome);
        let moved = std::mem::take(&mut *moved);
        wakers.into_iter().chain(moved.into_iter().map(|(_, waker)| waker)).for_each(Waker::wake);
    }
}
