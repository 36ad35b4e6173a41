//! The watchdog: ends the command when the process that holds the lock does not.
//!
//! It is a separate process in its own session, so that signals to the wrapper do not reach it. It reads orders from a
//! pipe. If the pipe ends without [`Order::Done`], the wrapper has died; if the deadline passes, the wrapper does not run.
//! In both cases the command is terminated, and killed before another process may hold the lock.

use std::{future::pending, io::Write, os::fd::AsFd, process::ExitCode, time::Duration};

use anyhow::Result;
use forebay::{
    Clock,
    time::{millis, secs},
};
use rustix::process::setsid;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    net::unix::pipe::Receiver,
    task::yield_now,
};

use super::{boot, signals::Signals, tree::Tree};

/// The name of the command that this is.
pub(super) const NAME: &str = "lock-watchdog";

/// The message that it is ending the command.
pub(super) const ENDING: &str = "ending";

/// How long the command may take to end once the wrapper has died, if its lease lasts that long.
const END_TIMEOUT: Duration = secs(5);

/// The longest wait at once. If the machine sleeps, the lease continues to expire.
const MAX_WAIT: Duration = secs(1);

/// The interval between two checks whether the command has ended, each of which reads all of `/proc`.
const CHECK_INTERVAL: Duration = millis(30);

/// How long it repeats the kill.
const KILL_TIMEOUT: Duration = secs(2);

/// An order of the wrapper to its watchdog, each a line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Order {
    /// Watch this command.
    Watch(Tree),
    /// When to terminate it, and when to kill it, on the boot clock.
    Until { ask: Duration, kill: Duration },
    /// The wrapper has terminated it.
    Asked,
    /// Stop watching.
    Done,
}

/// Ends COMMAND if the process that holds the lock does not.
pub(in crate::cli) fn run() -> Result<ExitCode> {
    // Fails only for a group leader, which signals to the wrapper do not reach either.
    let _ = setsid();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // It ends after the wrapper. A signal to all processes of a service must not end it before.
        let _signals = Signals::listen()?;
        let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
        let orders = Orders(BufReader::new(Receiver::from_owned_fd(stdin)?).lines());
        tell("ready");
        let (ask, kill) = (Duration::MAX, Duration::MAX);
        Watch { orders, clock: Clock::system(), tree: None, ask, kill, is_asked: false }.run().await;
        Ok(ExitCode::SUCCESS)
    })
}

fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    // The wrapper may have died.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// The orders of the wrapper.
struct Orders(Lines<BufReader<Receiver>>);

impl Orders {
    /// Waits for the next order; `None` at the end of the pipe.
    ///
    /// # Cancellation
    /// Dropping the future loses no order.
    async fn next(&mut self) -> Option<Order> {
        loop {
            let line = self.0.next_line().await.ok().flatten()?;
            if let Ok(order) = serde_json::from_str(&line) {
                return Some(order);
            }
        }
    }

    /// Waits for [`Order::Done`].
    async fn done(&mut self) {
        while let Some(order) = self.next().await {
            if order == Order::Done {
                return;
            }
        }
        pending::<()>().await;
    }
}

/// The watched command and its deadlines.
struct Watch {
    orders: Orders,
    clock: Clock,
    tree: Option<Tree>,
    ask: Duration,
    kill: Duration,
    is_asked: bool,
}

impl Watch {
    /// Takes orders until the wrapper needs no watchdog any more, or does not watch itself.
    async fn run(mut self) {
        let mut is_late = false;
        loop {
            let until = match (&self.tree, self.is_asked) {
                (None, _) => Duration::MAX,
                (_, true) => self.kill,
                (_, false) => self.ask,
            };
            let left = until.saturating_sub(boot::now());
            tokio::select! {
                biased;
                order = self.orders.next() => {
                    is_late = false;
                    match order {
                        Some(Order::Watch(tree)) => self.tree = Some(tree),
                        Some(Order::Until { ask, kill }) => {
                            (self.ask, self.kill) = (ask, kill);
                            tell("ok");
                        }
                        Some(Order::Asked) => self.is_asked = true,
                        Some(Order::Done) => return,
                        // The wrapper has died.
                        None => break,
                    }
                },
                () = self.clock.sleep(left.min(MAX_WAIT)) => if boot::now() >= until {
                    if is_late {
                        break;
                    }
                    // An order that has arrived counts, even if this process was stopped and reads it late. The runtime
                    // looks at the pipe during the yield.
                    is_late = true;
                    yield_now().await;
                }
            }
        }
        if let Some(tree) = self.tree.take() {
            tell(ENDING);
            self.end(tree).await;
        }
    }

    /// Terminates the command if there is time, and kills the remaining processes.
    async fn end(&mut self, mut tree: Tree) {
        let kill = self.kill.min(boot::now() + END_TIMEOUT);
        if !self.is_asked && boot::now() < kill {
            tree.terminate();
        }
        while boot::now() < kill && !tree.has_ended() {
            let pause = CHECK_INTERVAL.min(kill.saturating_sub(boot::now()));
            // The wrapper may run again, and have ended it.
            if self.clock.timeout(pause, self.orders.done()).await.is_some() {
                return;
            }
        }
        let until = boot::now() + KILL_TIMEOUT;
        loop {
            tree.kill();
            if tree.has_ended() || boot::now() > until {
                return;
            }
            self.clock.sleep(CHECK_INTERVAL).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_as_they_were_written() {
        let tree = Tree::of(rustix::process::getpid(), true);
        let until = Order::Until { ask: millis(1_500), kill: millis(2_000) };
        for order in [Order::Watch(tree), until, Order::Asked, Order::Done] {
            let line = serde_json::to_string(&order).expect("an order is plain data");
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(serde_json::from_str::<Order>(&line).expect(&line), order);
        }
        for bad in ["", r#""Watch""#, r#"{"Watch":0}"#, r#"{"Until":{"ask":1}}"#, r#""End""#] {
            assert!(serde_json::from_str::<Order>(bad).is_err(), "{bad}");
        }
    }
}
