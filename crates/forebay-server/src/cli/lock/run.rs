//! A command under a lock, with its watchdog.

use std::{io, time::Duration};

use anyhow::{Context, Error, Result, anyhow};
use forebay::{
    Clock,
    time::{millis, secs},
};

use super::{
    super::runtime::FAILED,
    args::Args,
    boot::{self, Deadline},
    child::Child,
    guard::Order,
    held::Held,
    signals::Signals,
    watchdog::{Message, Watchdog},
};
use crate::text::{chain, shown};

/// How long a command may take to end after the lock is certainly lost.
const END_TIMEOUT: Duration = secs(2);

/// Why the watchdog ends a command.
const LATE: &str = "it was not renewed in time";

/// A command that runs, and the watchdog that ends it if this process does not.
#[derive(Debug)]
pub(super) struct Run {
    child: Child,
    watchdog: Watchdog,
    lease: Lease,
    clock: Clock,
}

/// The deadlines before the lease ends.
#[derive(Debug)]
struct Lease {
    deadline: Deadline,
    ttl: Duration,
    /// When the watchdog terminates the command, and when it kills it.
    watchdog: Order,
}

impl Lease {
    /// The interval between checks of the lease: well before the watchdog's deadline.
    fn interval(&self) -> Duration {
        self.ttl / 6
    }

    /// Updates the deadlines; whether the lease was renewed.
    fn has_moved(&mut self, held: &Held, clock: &Clock) -> bool {
        // The time first, so that the time for reading the lease does not extend it.
        let (boot, monotonic) = (boot::now(), clock.monotonic());
        let Some(until) = self.deadline.renewed(boot, monotonic, held.remaining()) else { return false };
        // Both later than this process would act, and the kill early enough for a busy machine.
        let before = |span| until.saturating_sub(span);
        let (ask, kill) = ((self.ttl / 6).min(secs(3)), (self.ttl / 8).min(millis(500)));
        self.watchdog = Order::Until { ask: before(ask), kill: before(kill) };
        true
    }

    /// The orders for a new watchdog.
    fn orders(&mut self, child: &Child, held: &Held, clock: &Clock) -> [Order; 2] {
        self.has_moved(held, clock);
        [Order::Watch(child.tree().clone()), self.watchdog.clone()]
    }
}

impl Run {
    /// Starts the command's process, the watchdog, and then the command. The error has an exit status.
    pub(super) async fn start(args: &Args, held: &Held, since: Deadline) -> Result<Self, (u8, Error)> {
        let mut child = Child::start(&args.command, &args.name, held.fence()).await.map_err(|error| {
            let program = args.command.first().map(|word| word.to_string_lossy()).unwrap_or_default();
            (126, anyhow!("cannot run {}: {error}", shown(&program)))
        })?;
        forebay::failpoint!("gate_started");
        let clock = Clock::system();
        let lost = Order::Until { ask: Duration::ZERO, kill: Duration::ZERO };
        let mut lease = Lease { deadline: since, ttl: args.ttl.0, watchdog: lost };
        let orders = lease.orders(&child, held, &clock);
        match Watchdog::start(held.remaining(), &orders).await {
            Ok(watchdog) => {
                child.resume();
                forebay::failpoint!("command_resumed");
                Ok(Self { child, watchdog, lease, clock })
            }
            Err(error) => {
                child.end(Duration::ZERO).await;
                Err((FAILED, error.context("starting the watchdog of COMMAND")))
            }
        }
    }

    /// Waits until the command has ended, or must be ended; then returns why.
    pub(super) async fn wait(&mut self, held: &Held, signals: &mut Signals) -> Option<String> {
        // How long before its end this process ends the command. Renewals come every third of the ttl: with a quarter left,
        // two of them have failed.
        let margin = (self.lease.ttl / 4).min(secs(5));
        // At once: the lease may have been renewed while the watchdog started.
        let mut next = self.clock.monotonic();
        loop {
            let mut gone = false;
            tokio::select! {
                // The lease takes precedence over any number of signals.
                biased;
                message = self.watchdog.message() => match message {
                    Message::Ending => return Some(LATE.to_owned()),
                    Message::Gone => gone = true,
                },
                () = self.child.ended() => {
                    let was_late = self.watchdog.dismiss().await;
                    return was_late.then(|| LATE.to_owned());
                }
                why = held.losing(margin) => return Some(why.to_owned()),
                () = self.clock.sleep(next.saturating_sub(self.clock.monotonic())) => {
                    next = self.clock.monotonic() + self.lease.interval();
                    gone = self.renew(held).is_err() || self.watchdog.hangs();
                }
                signal = signals.next() => self.child.pass_on(signal),
            }
            if gone {
                if let Err(error) = self.replace(held).await {
                    return Some(chain(&*error));
                }
                next = self.clock.monotonic();
            }
        }
    }

    /// Ends the command within `timeout`.
    pub(super) async fn end(&mut self, timeout: Duration) {
        // If the watchdog has died, this process alone ends the command.
        let _ = self.watchdog.send(&Order::Asked);
        self.child.end(if timeout.is_zero() { END_TIMEOUT } else { timeout }).await;
    }

    /// The exit status of the command, which has ended.
    pub(super) async fn finish(mut self) -> io::Result<u8> {
        // Before another process can get the command's pid.
        self.watchdog.dismiss().await;
        self.child.reap()
    }

    /// Tells the watchdog about a renewal, if there was one.
    fn renew(&mut self, held: &Held) -> io::Result<()> {
        if self.lease.has_moved(held, &self.clock) {
            self.watchdog.send(&self.lease.watchdog)?;
        }
        Ok(())
    }

    /// Replaces a watchdog that has died or hangs.
    async fn replace(&mut self, held: &Held) -> Result<()> {
        let orders = self.lease.orders(&self.child, held, &self.clock);
        // With enough time to end the command if that fails.
        let replaced = self.watchdog.replace(held.remaining() / 2, &orders).await;
        replaced.context("its watchdog has died, and cannot be replaced")
    }
}
