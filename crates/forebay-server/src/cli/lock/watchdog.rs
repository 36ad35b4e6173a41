//! The wrapper's end of its watchdog.

use std::{
    io::{self, PipeWriter, Write as _},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use forebay::{Clock, time::secs};
use rustix::io::ioctl_fionbio;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{self, ChildStdout, Command},
};

use super::{child::this_program, guard::Order};

/// How long a watchdog may take to start.
const START_TIMEOUT: Duration = secs(5);

/// How long it may take to answer, or to end after an order.
const ANSWER_TIMEOUT: Duration = secs(2);

/// How many watchdogs in a row may end within [`ANSWER_TIMEOUT`] of their start.
const MAX_SHORT_LIVED: u32 = 5;

/// A process that ends the command if this one does not: see [`guard`](super::guard).
#[derive(Debug)]
pub(super) struct Watchdog {
    process: process::Child,
    orders: PipeWriter,
    answers: Lines<BufReader<ChildStdout>>,
    clock: Clock,
    started: Duration,
    /// When the oldest unanswered order was sent.
    unanswered: Option<Duration>,
    short_lived: u32,
}

/// A message of a watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// It is ending the command.
    Ending,
    /// It has died.
    Gone,
}

impl Watchdog {
    /// Starts a watchdog with its first orders, and waits until it has its own session.
    pub(super) async fn start(timeout: Duration, first: &[Order]) -> Result<Self> {
        let (stdin, orders) = io::pipe()?;
        ioctl_fionbio(&orders, true)?;
        // The orders are in the pipe before the watchdog exists, so it has them even if this process dies at any moment.
        for order in first {
            write(&orders, order)?;
        }
        let mut process = spawn(stdin.into())?;
        forebay::failpoint!("watchdog_spawned");
        let answers = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let clock = Clock::system();
        let started = clock.monotonic();
        let mut watchdog =
            Self { process, orders, answers, clock, started, unanswered: Some(started), short_lived: 0 };
        let ready = watchdog.clock.timeout(timeout.min(START_TIMEOUT), watchdog.answers.next_line()).await;
        if let Some(Ok(Some(_))) = ready {
            forebay::failpoint!("watchdog_ready");
            return Ok(watchdog);
        }
        // The caller ends the command. A watchdog that is late must not do the same afterwards.
        let _ = watchdog.process.start_kill();
        ready.context("it takes too long")??;
        bail!("it ended at once")
    }

    /// Replaces a watchdog that has died or hangs, with the first orders.
    pub(super) async fn replace(&mut self, timeout: Duration, first: &[Order]) -> Result<()> {
        let lived = self.clock.monotonic().saturating_sub(self.started);
        let short_lived = if lived < ANSWER_TIMEOUT { self.short_lived + 1 } else { 0 };
        if short_lived > MAX_SHORT_LIVED {
            bail!("{MAX_SHORT_LIVED} of them ended at once");
        }
        let new = Self::start(timeout, first).await?;
        // Only now, so that there is always one that ends the command if this process dies. A stopped watchdog must not
        // continue later: it would end the command.
        let _ = self.process.start_kill();
        let was_ending = self.ended().await;
        *self = Self { short_lived, ..new };
        if was_ending {
            bail!("the previous one was ending COMMAND");
        }
        Ok(())
    }

    /// Whether an answer is overdue.
    pub(super) fn hangs(&self) -> bool {
        self.unanswered.is_some_and(|since| self.clock.monotonic().saturating_sub(since) > ANSWER_TIMEOUT)
    }

    /// Waits for a message.
    pub(super) async fn message(&mut self) -> Message {
        loop {
            match self.answers.next_line().await {
                Ok(Some(line)) if line == super::guard::ENDING => return Message::Ending,
                Ok(Some(_)) => self.unanswered = None,
                Ok(None) | Err(_) => return Message::Gone,
            }
        }
    }

    /// Ends the watchdog; returns whether it was ending the command.
    pub(super) async fn dismiss(&mut self) -> bool {
        let _ = self.send(&Order::Done);
        self.ended().await
    }

    /// Waits for its end, and kills it if it takes too long; returns whether it was ending the command.
    async fn ended(&mut self) -> bool {
        let clock = self.clock.clone();
        let mut was_ending = false;
        let end = async {
            while self.message().await == Message::Ending {
                was_ending = true;
            }
            self.process.wait().await
        };
        if clock.timeout(ANSWER_TIMEOUT, end).await.is_none() {
            let _ = self.process.kill().await;
        }
        was_ending
    }

    /// Sends it an order.
    pub(super) fn send(&mut self, order: &Order) -> io::Result<()> {
        if matches!(order, Order::Until { .. }) {
            self.unanswered = self.unanswered.or(Some(self.clock.monotonic()));
        }
        write(&self.orders, order)
    }
}

/// Starts the process. Only the process then has the end of the pipe that it reads.
fn spawn(stdin: Stdio) -> io::Result<process::Child> {
    let mut command = Command::from(this_program()?);
    command.arg(super::guard::NAME).current_dir("/");
    // It inherits no stream of the caller: a pipeline would wait for its end.
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
}

/// Writes an order, as a whole or not at all because it is shorter than `PIPE_BUF`. It fails if the pipe is full, as of a
/// watchdog that was stopped long ago.
fn write(mut orders: &PipeWriter, order: &Order) -> io::Result<()> {
    let line = serde_json::to_string(order)? + "\n";
    orders.write_all(line.as_bytes())
}
