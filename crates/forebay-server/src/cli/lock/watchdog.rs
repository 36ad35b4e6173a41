//! The wrapper's end of its watchdog.

use std::{io, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use forebay::{
    Clock,
    time::{millis, secs},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{self, ChildStdin, ChildStdout, Command},
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
    orders: ChildStdin,
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
        let mut command = Command::from(this_program()?);
        command.arg(super::guard::NAME).current_dir("/");
        // It inherits no stream of the caller: a pipeline would wait for its end.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn()?;
        let orders = process.stdin.take().expect("it is piped");
        let answers = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let clock = Clock::system();
        let started = clock.monotonic();
        let mut watchdog =
            Self { process, orders, answers, clock, started, unanswered: None, short_lived: 0 };
        // At once, so that it has them even if this process ends while it starts.
        for order in first {
            watchdog.send(order).await?;
        }
        let ready = watchdog.clock.timeout(timeout.min(START_TIMEOUT), watchdog.answers.next_line()).await;
        match ready.context("it takes too long")?? {
            Some(_) => Ok(watchdog),
            None => bail!("it ended at once"),
        }
    }

    /// Replaces a watchdog that has died, with the first orders.
    pub(super) async fn replace(&mut self, timeout: Duration, first: &[Order]) -> Result<()> {
        let lived = self.clock.monotonic().saturating_sub(self.started);
        let short_lived = if lived < ANSWER_TIMEOUT { self.short_lived + 1 } else { 0 };
        if short_lived > MAX_SHORT_LIVED {
            bail!("{MAX_SHORT_LIVED} of them ended at once");
        }
        // A stopped watchdog must not continue later, and end the command.
        let _ = self.process.kill().await;
        *self = Self::start(timeout, first).await?;
        self.short_lived = short_lived;
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
        let _ = self.send(&Order::Done).await;
        let clock = self.clock.clone();
        let mut was_ending = false;
        let end = async {
            while self.message().await == Message::Ending {
                was_ending = true;
            }
            self.process.wait().await
        };
        let _ = clock.timeout(ANSWER_TIMEOUT, end).await;
        let _ = self.process.kill().await;
        was_ending
    }

    /// Sends it an order.
    pub(super) async fn send(&mut self, order: &Order) -> io::Result<()> {
        if matches!(order, Order::Until { .. }) {
            self.unanswered = self.unanswered.or(Some(self.clock.monotonic()));
        }
        let line = serde_json::to_string(order)? + "\n";
        // A stopped watchdog reads nothing, and the pipe may be full.
        let sent =
            self.clock.timeout(ANSWER_TIMEOUT.min(millis(500)), self.orders.write_all(line.as_bytes())).await;
        sent.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
    }
}
