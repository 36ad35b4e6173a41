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
const START: Duration = secs(5);

/// How long it may take to answer, or to end when it is told to.
const ANSWER: Duration = secs(2);

/// How many watchdogs in a row may end within [`ANSWER`] of their start.
const SHORT_LIVED: u32 = 5;

/// A process that ends the command if this one does not: see [`guard`](super::guard).
#[derive(Debug)]
pub(super) struct Watchdog {
    process: process::Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    clock: Clock,
    started: Duration,
    /// Since when an order has not been answered.
    unanswered: Option<Duration>,
    short_lived: u32,
}

/// What a watchdog tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It is ending the command.
    Ending,
    /// It is gone, or hangs.
    Gone,
}

impl Watchdog {
    /// Starts one with these orders, and waits at most for `patience` until it is out of reach of what may befall this
    /// process.
    pub(super) async fn start(patience: Duration, first: &[Order]) -> Result<Self> {
        let mut command = Command::from(this_program()?);
        command.arg(super::guard::NAME).current_dir("/");
        // None of the caller's streams: a pipeline would wait for their end.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn()?;
        let orders = process.stdin.take().expect("it is piped");
        let answers = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let clock = Clock::system();
        let started = clock.monotonic();
        let mut watchdog =
            Self { process, orders, answers, clock, started, unanswered: None, short_lived: 0 };
        // At once: it has them even if this process ends while it starts.
        for order in first {
            watchdog.send(order).await?;
        }
        let ready = watchdog.clock.timeout(patience.min(START), watchdog.answers.next_line()).await;
        match ready.context("it takes too long")?? {
            Some(_) => Ok(watchdog),
            None => bail!("it ended at once"),
        }
    }

    /// Starts another one, with these orders, in place of one that is gone.
    pub(super) async fn replace(&mut self, patience: Duration, first: &[Order]) -> Result<()> {
        let lived = self.clock.monotonic().saturating_sub(self.started);
        let short_lived = if lived < ANSWER { self.short_lived + 1 } else { 0 };
        if short_lived > SHORT_LIVED {
            bail!("{SHORT_LIVED} of them ended at once");
        }
        // One that was stopped must not go on later, and end the command.
        self.discard().await;
        *self = Self::start(patience, first).await?;
        self.short_lived = short_lived;
        Ok(())
    }

    /// Whether an answer has been missing for too long.
    pub(super) fn hangs(&self) -> bool {
        self.unanswered.is_some_and(|since| self.clock.monotonic().saturating_sub(since) > ANSWER)
    }

    /// Waits until it has something to tell.
    pub(super) async fn told(&mut self) -> Told {
        loop {
            match self.answers.next_line().await {
                Ok(Some(line)) if line == super::guard::ENDING => return Told::Ending,
                Ok(Some(_)) => self.unanswered = None,
                Ok(None) | Err(_) => return Told::Gone,
            }
        }
    }

    /// Tells it that there is nothing left to watch, and waits for its end. Whether it was ending the command.
    pub(super) async fn dismiss(&mut self) -> bool {
        let _ = self.send(&Order::Done).await;
        let clock = self.clock.clone();
        let mut was_ending = false;
        let end = async {
            while self.told().await == Told::Ending {
                was_ending = true;
            }
            self.process.wait().await
        };
        let _ = clock.timeout(ANSWER, end).await;
        self.discard().await;
        was_ending
    }

    /// Makes sure that it has ended.
    async fn discard(&mut self) {
        let _ = self.process.kill().await;
    }

    /// Gives it an order.
    pub(super) async fn send(&mut self, order: &Order) -> io::Result<()> {
        if matches!(order, Order::Until { .. }) {
            self.unanswered = self.unanswered.or(Some(self.clock.monotonic()));
        }
        let line = format!("{order}\n");
        // One that was stopped reads nothing, and the pipe may be full.
        let sent = self.clock.timeout(ANSWER.min(millis(500)), self.orders.write_all(line.as_bytes())).await;
        sent.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
    }
}
