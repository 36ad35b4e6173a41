//! A command under a lock, with its watchdog.

use std::{future::pending, io, time::Duration};

use anyhow::{Context, Error, Result, anyhow};
use forebay::{
    Clock,
    time::{millis, secs},
};

use super::{
    super::{runtime::FAILED, terminal::complain},
    args::{Args, OnLost},
    boot::{self, Deadline},
    child::Child,
    guard::Order,
    held::Held,
    signals::Signals,
    watchdog::{Message, Watchdog},
};
use crate::text::{Span, chain, quoted, shown};

/// How long a command may take to end after the lock is certainly lost.
const END_TIMEOUT: Duration = secs(2);

/// Why the watchdog ends a command.
const LATE: &str = "it was not renewed in time";

/// A command that runs, and the watchdog that ends it if this process does not.
#[derive(Debug)]
pub(super) struct Run {
    child: Child,
    /// None for a command that may outlive its lock.
    watchdog: Option<Watchdog>,
    lease: Lease,
    /// The longest time that the command may run, and when that ends.
    max_hold: Option<(Span, Duration)>,
    on_lost: OnLost,
    /// The name of the lock, for people.
    name: String,
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
        let watchdog = match args.on_lost {
            OnLost::Ignore => Ok(None),
            OnLost::Term | OnLost::Kill => Watchdog::start(held.remaining(), &orders).await.map(Some),
        };
        match watchdog {
            Ok(watchdog) => {
                let began = clock.monotonic();
                let max_hold = args.max_hold.map(|span| (span, began.saturating_add(span.0)));
                child.resume();
                forebay::failpoint!("command_resumed");
                Ok(Self {
                    child,
                    watchdog,
                    lease,
                    max_hold,
                    on_lost: args.on_lost,
                    name: quoted(&args.name),
                    clock,
                })
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
        let mut is_lost = false;
        loop {
            let mut gone = false;
            tokio::select! {
                // The lease takes precedence over any number of signals.
                biased;
                message = message(&mut self.watchdog) => match message {
                    Message::Ending => return Some(LATE.to_owned()),
                    Message::Gone => gone = true,
                },
                () = self.child.ended() => {
                    let was_late = self.dismiss().await;
                    return was_late.then(|| LATE.to_owned());
                }
                why = held.losing(margin), if !is_lost => match self.on_lost {
                    OnLost::Term | OnLost::Kill => return Some(why.to_owned()),
                    OnLost::Ignore => {
                        complain(&format!("warning: lock {}: {why}; COMMAND goes on", self.name));
                        is_lost = true;
                    }
                },
                span = end_of(&self.clock, self.max_hold) => {
                    return Some(format!("held for {span} (--max-hold)"));
                }
                () = self.clock.sleep(next.saturating_sub(self.clock.monotonic())) => {
                    next = self.clock.monotonic() + self.lease.interval();
                    gone = self.renew(held).is_err() || self.watchdog.as_ref().is_some_and(Watchdog::hangs);
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

    /// Ends the command while the lock is held, and otherwise as soon as it may be.
    pub(super) async fn end(&mut self, held: &Held) {
        if let Some(watchdog) = &mut self.watchdog {
            // If the watchdog has died, this process alone ends the command.
            let _ = watchdog.send(&Order::Asked);
        }
        let timeout = match (self.on_lost, held.remaining()) {
            (OnLost::Kill, _) => Duration::ZERO,
            (_, Duration::ZERO) => END_TIMEOUT,
            (_, remaining) => remaining,
        };
        self.child.end(timeout).await;
    }

    /// The exit status of the command, which has ended.
    pub(super) async fn finish(mut self) -> io::Result<u8> {
        // Before another process can get the command's pid.
        self.dismiss().await;
        self.child.reap()
    }

    /// Ends the watchdog; returns whether it was ending the command.
    async fn dismiss(&mut self) -> bool {
        match &mut self.watchdog {
            Some(watchdog) => watchdog.dismiss().await,
            None => false,
        }
    }

    /// Tells the watchdog about a renewal, if there was one.
    fn renew(&mut self, held: &Held) -> io::Result<()> {
        match &mut self.watchdog {
            Some(watchdog) if self.lease.has_moved(held, &self.clock) => watchdog.send(&self.lease.watchdog),
            _ => Ok(()),
        }
    }

    /// Replaces a watchdog that has died or hangs.
    async fn replace(&mut self, held: &Held) -> Result<()> {
        let orders = self.lease.orders(&self.child, held, &self.clock);
        // With enough time to end the command if that fails.
        let Some(watchdog) = &mut self.watchdog else { return Ok(()) };
        let replaced = watchdog.replace(held.remaining() / 2, &orders).await;
        replaced.context("its watchdog has died, and cannot be replaced")
    }
}

/// Waits for a message of a watchdog, for ever if there is none.
async fn message(watchdog: &mut Option<Watchdog>) -> Message {
    match watchdog {
        Some(watchdog) => watchdog.message().await,
        None => pending().await,
    }
}

/// Waits for the end of a span, for ever if there is none.
async fn end_of(clock: &Clock, span: Option<(Span, Duration)>) -> Span {
    let Some((span, end)) = span else { return pending().await };
    clock.sleep(end.saturating_sub(clock.monotonic())).await;
    span
}
