//! A progress bar.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows the progress through a file on a terminal.
pub(super) struct Bar {
    bar: ProgressBar,
    taken: Arc<AtomicU64>,
}

impl Bar {
    /// A bar of a file of this size, of which `taken` bytes are read.
    pub(super) fn new(size: Option<u64>, taken: Arc<AtomicU64>) -> Self {
        // Draws nothing unless stderr is a terminal.
        let bar = ProgressBar::with_draw_target(size, ProgressDrawTarget::stderr());
        let style = match size {
            Some(_) => "{wide_bar} {percent}% {msg} lines, {eta} left",
            None => "{spinner} {msg} lines, {elapsed}",
        };
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Self { bar, taken }
    }

    /// Shows the number of lines, and how much of the file is read.
    pub(super) fn show(&self, lines: u64) {
        self.bar.set_message(lines.to_string());
        self.bar.set_position(self.taken.load(Ordering::Relaxed));
    }

    /// Writes to the terminal while the bar is away.
    pub(super) fn suspend(&self, write: impl FnOnce()) {
        self.bar.suspend(write);
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
