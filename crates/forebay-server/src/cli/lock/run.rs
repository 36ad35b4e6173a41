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
    watchdog::{Told, Watchdog},
};
use crate::text::{chain, shown};

/// How long a command may take to end by itself after the lock is certainly lost.
const HURRY: Duration = secs(2);

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

/// When what has to happen before the lease ends, unless it is renewed.
#[derive(Debug)]
struct Lease {
    deadline: Deadline,
    ttl: Duration,
    /// When the watchdog asks the command to end, and when it kills it.
    watchdog: Order,
}

impl Lease {
    /// How long before its end this process ends the command. Renewals come every third of the ttl: with a quarter
    /// left, two of them have failed.
    fn margin(&self) -> Duration {
        (self.ttl / 4).min(secs(5))
    }

    /// How often it is looked whether the lease was renewed: well before the deadline of the watchdog comes.
    fn interval(&self) -> Duration {
        self.ttl / 6
    }

    /// Looks whether the lease was renewed.
    fn has_moved(&mut self, held: &Held, clock: &Clock) -> bool {
        // The time first: what it takes to look at the lease is not added to it.
        let (boot, monotonic) = (boot::now(), clock.monotonic());
        let Some(until) = self.deadline.renewed(boot, monotonic, held.remaining()) else { return false };
        // Both later than this process would do it; and the kill so early that it is over in time on a busy machine.
        let before = |span| until.saturating_sub(span);
        let (ask, kill) = ((self.ttl / 6).min(secs(3)), (self.ttl / 8).min(millis(500)));
        self.watchdog = Order::Until { ask: before(ask), kill: before(kill) };
        true
    }
}

impl Run {
    /// Starts watchdog and command; or says why not, with an exit status.
    pub(super) async fn start(args: &Args, held: &Held, since: Deadline) -> Result<Self, (u8, Error)> {
        let watchdog = Watchdog::start(held.remaining(), &[]).await;
        let watchdog =
            watchdog.map_err(|error| (FAILED, error.context("starting the watchdog of COMMAND")))?;
        let child = Child::start(&args.command, &args.name, held.fence()).await.map_err(|error| {
            let program = args.command.first().map(|word| word.to_string_lossy()).unwrap_or_default();
            (126, anyhow!("cannot run {}: {error}", shown(&program)))
        })?;
        let lost = Order::Until { ask: Duration::ZERO, kill: Duration::ZERO };
        let lease = Lease { deadline: since, ttl: args.ttl.0, watchdog: lost };
        let mut run = Self { child, watchdog, lease, clock: Clock::system() };
        for order in run.orders(held) {
            if run.watchdog.send(&order).await.is_err()
                && let Err(error) = run.replace(held).await
            {
                run.child.end(Duration::ZERO).await;
                return Err((FAILED, error));
            }
        }
        run.child.let_on();
        Ok(run)
    }

    /// Waits until the command has ended, or has to be ended: then says why.
    pub(super) async fn wait(&mut self, held: &Held, signals: &mut Signals) -> Option<String> {
        let margin = self.lease.margin();
        let mut next = self.clock.monotonic() + self.lease.interval();
        loop {
            let mut gone = false;
            tokio::select! {
                // The lease goes before signals, however many.
                biased;
                told = self.watchdog.told() => match told {
                    Told::Ending => return Some(LATE.to_owned()),
                    Told::Gone => gone = true,
                },
                () = self.child.ended() => {
                    let was_late = self.watchdog.dismiss().await;
                    return was_late.then(|| LATE.to_owned());
                }
                why = held.losing(margin) => return Some(why.to_owned()),
                () = self.clock.sleep(next.saturating_sub(self.clock.monotonic())) => {
                    next = self.clock.monotonic() + self.lease.interval();
                    gone = self.renew(held).await.is_err() || self.watchdog.hangs();
                }
                signal = signals.next() => self.child.pass_on(signal),
            }
            if gone && let Err(error) = self.replace(held).await {
                return Some(chain(&*error));
            }
        }
    }

    /// Ends the command, at the latest after `patience`.
    pub(super) async fn end(&mut self, patience: Duration) {
        // If it is gone, there is only this process left to do it.
        let _ = self.watchdog.send(&Order::Asked).await;
        self.child.end(if patience.is_zero() { HURRY } else { patience }).await;
    }

    /// The exit status of the command, which has ended.
    pub(super) async fn finish(mut self) -> io::Result<u8> {
        // Before the command's number can be given to another process.
        self.watchdog.dismiss().await;
        self.child.reap()
    }

    /// All that a watchdog has to know.
    fn orders(&mut self, held: &Held) -> [Order; 2] {
        self.lease.has_moved(held, &self.clock);
        [Order::Watch(self.child.tree().clone()), self.lease.watchdog.clone()]
    }

    /// Tells the watchdog about a renewal, if there was one.
    async fn renew(&mut self, held: &Held) -> io::Result<()> {
        if self.lease.has_moved(held, &self.clock) {
            self.watchdog.send(&self.lease.watchdog).await?;
        }
        Ok(())
    }

    /// Starts another watchdog in place of one that is gone.
    async fn replace(&mut self, held: &Held) -> Result<()> {
        let orders = self.orders(held);
        // In time to end the command if that fails.
        let replaced = self.watchdog.replace(held.remaining() / 2, &orders).await;
        replaced.context("its watchdog is gone, and another one cannot be started")
    }
}
